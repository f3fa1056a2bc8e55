"""The metrics of an epoch, by the names that `docs/metrics.md` explains: a pure function of the trainer's state."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metta.rl.trainer_state import TrainerState


def epoch_metrics(state: TrainerState) -> dict[str, float]:
    """Return every metric of the epoch that has just ended; what is not known yet is absent, never 0."""
    assert state.timer is not None and state.experience is not None
    seconds = state.timer.lap_seconds()
    training = seconds.get("rollout", 0.0) + seconds.get("train", 0.0)
    metrics: dict[str, float] = {
        "metric/epoch": state.epoch,
        "metric/agent_step": state.agent_step,
        "metric/total_time": state.timer.elapsed(),
        "overview/sps": state.batch_size / training if training > 0 else 0.0,
    }
    for name, values in (state.rollout_stats or {}).items():
        key = f"overview/{name}" if "/" not in name else name
        metrics[key] = sum(values) / len(values)
    if state.rollout_stats:
        metrics["experience/episodes"] = len(state.rollout_stats["reward"])
    metrics |= {f"experience/{name}": value for name, value in (state.experience_stats or {}).items()}
    metrics |= {f"losses/{name}": value for name, value in (state.loss_stats or {}).items()}
    tracker = state.stats_tracker
    if tracker is not None:
        metrics |= {f"grad/{name}": value for name, value in tracker.gradient_stats.items()}
        metrics |= {name: sum(values) / len(values) for name, values in tracker.epoch_stats.items()}
    if state.eval_scores is not None:
        metrics |= {f"eval_{name}": value for name, value in state.eval_scores.to_wandb_metrics_format().items()}
    metrics |= {f"timing_per_epoch/{phase}": value for phase, value in seconds.items()}
    metrics |= {f"timing_cumulative/{phase}": value for phase, value in state.timer.cumulative().items()}
    return metrics
