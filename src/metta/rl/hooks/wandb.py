"""Weights & Biases: configuration and metrics of a run, online or into a folder that `wandb sync` sends later."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metta.errors import ConfigError
from metta.rl.config import TrainConfig
from metta.rl.hooks.base_hook import TrainerHook

if TYPE_CHECKING:
    from metta.rl.trainer_state import TrainerState


class WandbHook(TrainerHook):
    """Logs every metric against `metric/agent_step`. A resumed run goes on under the same id.

    Raises ConfigError when the library is not installed.
    """

    def __init__(self, config: TrainConfig, *, run: str, run_dir: Path) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ConfigError(
                "wandb.enabled=true needs the wandb library: pip install 'metta[wandb]', or give wandb=off"
            ) from error
        self._wandb = wandb
        self._config, self._run_name, self._run_dir = config, run, run_dir
        self._run: Any = None

    def on_new_training_run(self, state: TrainerState) -> None:
        config = self._config.wandb
        self._run_dir.mkdir(parents=True, exist_ok=True)
        self._run = self._wandb.init(
            project=config.project,
            entity=config.entity,
            group=config.group,
            tags=config.tags,
            mode=config.mode,
            name=self._run_name,
            # an id of the name and place alone: the same run started again continues the same curves
            id=hashlib.sha256(str(self._run_dir.resolve()).encode()).hexdigest()[:16],
            resume="allow",
            dir=str(self._run_dir),
            config=self._config.model_dump(mode="json"),
        )
        self._run.define_metric("*", step_metric="metric/agent_step")

    def on_epoch_end(self, state: TrainerState) -> None:
        self._run.log(state.metrics)

    def on_training_end(self, state: TrainerState, error: BaseException | None) -> None:
        if self._run is not None:
            self._run.finish(exit_code=0 if error is None else 1)
