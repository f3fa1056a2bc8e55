"""`TrainerState`: everything that losses and hooks may read, filled in as an epoch goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from metta.agent import PolicyAgent
    from metta.eval import EvalRewardSummary
    from metta.rl.experience import Experience
    from metta.rl.stats_tracker import StatsTracker
    from metta.rl.stopwatch import Stopwatch


class Stateful(Protocol):
    """Something that resuming must restore: its state is plain data (tensors, arrays, numbers, texts, lists, dicts)."""

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state; nothing in it is shared with the live object."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""


@dataclass(slots=True)
class TrainerState:
    """The trainer's face towards losses and hooks; fields are None until they are known in an epoch.

    `epoch` counts finished epochs, `agent_step` the agent steps played so far (one agent, one tick), `batch_size` those
    of one epoch; all of them over all processes. `update_epoch` and `mb_idx` number the pass over the batch and the
    minibatch in it. A loss or hook may set `stop_rollout` (ends the run after this epoch) or `stop_update_epoch`
    (leaves the rest of this epoch's minibatches out).
    """

    epoch: int = 0
    agent_step: int = 0
    batch_size: int = 0
    update_epoch: int = 0
    mb_idx: int = 0
    optimizer: torch.optim.Optimizer | None = None
    stop_rollout: bool = False
    stop_update_epoch: bool = False
    rollout_stats: dict[str, list[float]] | None = None
    loss_stats: dict[str, float] | None = None
    experience_stats: dict[str, float] | None = None
    eval_scores: EvalRewardSummary | None = None
    eval_replay_urls: dict[str, list[str]] | None = None  # simulation -> where its replays stand
    experience: Experience | None = None
    policy: PolicyAgent | None = None
    latest_checkpoint_uri: str | None = None
    latest_wandb_uri: str | None = None
    stats_tracker: StatsTracker | None = None
    timer: Stopwatch | None = None
    shrunken_sizes: dict[str, int] | None = None  # of a batch that was made smaller to fit a short run
    metrics: dict[str, float] = field(default_factory=dict)  # this epoch's metrics, by the names of docs/metrics.md
    stateful: dict[str, Stateful] = field(default_factory=dict)  # everything that a checkpoint must hold
