"""`WatchedMetric`: the recent value of a metric that steers training, the same on every rank."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metta.errors import ConfigError, nearest

if TYPE_CHECKING:
    from metta.envs import BatchedEnv
    from metta.rl.trainer_state import TrainerState

EPISODIC = ("overview", "env_agent", "env_world")  # a value for each episode
SHARED = (*EPISODIC, "losses", "experience")  # known to every rank at an epoch's end

log = logging.getLogger(__name__)


def check_metric(name: str, *, evaluation: bool) -> str:
    """Return `name` if it may steer training; `evaluation` says whether `eval_*`, which rank 0 alone knows, may.

    Raises ValueError, with what is allowed.
    """
    family, _, rest = name.partition("/")
    if rest and (family in SHARED or (evaluation and family.startswith("eval_"))):
        return name
    allowed = [f"{known}/<name>" for known in SHARED] + ["eval_<category>/<name>"] * evaluation
    raise ValueError(f"{name!r} is not a metric that can steer training; allowed: {', '.join(allowed)}")


class WatchedMetric:
    """Follows the metric `name` of docs/metrics.md from epoch to epoch.

    Of `overview/*`, `env_agent/*` and `env_world/*` it is the mean of the last `episodes` episodes, None before so many
    have ended; all others are means already and are taken as the last epoch that knew them gave them.
    """

    def __init__(self, name: str, *, episodes: int) -> None:
        self.name = name
        self._family, _, self._short = name.partition("/")
        self._window: deque[float] = deque(maxlen=episodes if self._family in EPISODIC else 1)
        self._warned = False

    def check(self, env: BatchedEnv) -> None:
        """Raise ConfigError when episodes in `env` have no such metric."""
        if self._family == "overview":
            hearts = ["hearts"] if "heart" in env.resource_names else []
            known: Sequence[str] = ["reward", *hearts, "episode_length"]
        elif self._family == "env_agent":
            known = env.agent_stat_names
        else:
            return  # told in the first epoch that knows the others of its family
        if self._short not in known:
            raise ConfigError(
                f"there is no metric {self.name!r} in this world{nearest(self._short, known)}; "
                f"allowed: {self._family}/ and one of {', '.join(known)}"
            )

    def update(self, state: TrainerState) -> bool:
        """Take in the epoch that has just ended; return whether it measured the metric, as not each does."""
        values = self._values(state)
        key = self.name if self._family.startswith("env_") else self._short
        if key in values:
            found = values[key]
            several = found if isinstance(found, list) else [found]
            self._window.extend(several)
            return bool(several)
        if values and not self._warned and self._family != "overview":
            self._warned = True
            log.warning("%s is not among this epoch's metrics%s", self.name, nearest(key, values))
        return False

    def _values(self, state: TrainerState) -> Mapping[str, float | list[float]]:
        if self._family in EPISODIC:
            return state.rollout_stats or {}
        if self._family == "losses":
            return state.loss_stats or {}
        if self._family == "experience":
            return state.experience_stats or {}
        scores = state.eval_scores.to_wandb_metrics_format() if state.eval_scores is not None else {}
        category = self._family.removeprefix("eval_") + "/"
        return {name.removeprefix(category): score for name, score in scores.items() if name.startswith(category)}

    @property
    def value(self) -> float | None:
        """The recent value; None until it is known."""
        if len(self._window) < (self._window.maxlen or 0):
            return None
        return sum(self._window) / len(self._window)

    def state_dict(self) -> dict[str, Any]:
        """Return what has been seen; empty before anything has."""
        return {"name": self.name, "window": list(self._window)} if self._window else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with what was seen, unless it was another metric."""
        if state.get("name") == self.name:
            self._window.clear()
            self._window.extend(state["window"])
