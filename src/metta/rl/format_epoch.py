"""`format_epoch`: an epoch in one line of text, for a log file or a terminal that is none."""

from __future__ import annotations

from collections.abc import Mapping

from metta.rl.stopwatch import format_seconds


def format_epoch(
    metrics: Mapping[str, float],
    *,
    run: str,
    total_timesteps: int,
    recent: Mapping[str, float],
    steps_per_second: float,
    seconds_left: float | None,
    resumed_epoch: int = 0,
    processes: int = 1,
) -> str:
    """Return the line of an epoch.

    Args:
        metrics: the epoch's, by the names of docs/metrics.md; what is absent (no episode has ended, no evaluation was
            due, no loss has this name) has no place in the line.
        run: its name.
        total_timesteps: agent steps of the whole run.
        recent: reward and hearts of recent episodes, as far as any have ended.
        steps_per_second: agent steps a second.
        seconds_left: of the whole run; None where it cannot be said yet.
        resumed_epoch: the epoch from which the run goes on, to be told in this line; 0: nothing to tell.
        processes: how many train together.
    """
    step = int(metrics["metric/agent_step"])
    percent = int(100 * step / total_timesteps)  # rounded down: 100 % is the end
    resumed = f" (resumed from {resumed_epoch})" if resumed_epoch else ""
    parts = [
        run,
        f"epoch {metrics['metric/epoch']:.0f}{resumed}",
        f"{step:,}/{total_timesteps:,} steps ({percent} %)",
        f"{steps_per_second:,.0f} steps/s" + (f" on {processes} processes" if processes > 1 else ""),
        *(f"{name} {value:.2f}" for name, value in recent.items()),
    ]
    if "reward" not in recent and "experience/reward" in metrics:
        parts.append(f"reward per step {metrics['experience/reward']:+.5f}")
    if "losses/entropy" in metrics:
        parts.append(f"entropy {metrics['losses/entropy']:.3f}")
    for name, value in metrics.items():
        if name.startswith("eval_") and name.endswith("/score"):
            parts.append(f"{name.removesuffix('/score').replace('_', ' ', 1)} {value:.2f}")
    parts.append(f"left {'?' if seconds_left is None else format_seconds(seconds_left)}")
    return "  ".join(parts)
