"""The configuration of a training run: `TrainConfig` and its parts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from metta.agent import FastConfig, PolicyChoice
from metta.config import Config, Folder
from metta.grid import WorldConfig
from metta.grid.worlds import easy_arena
from metta.rl.hooks.early_stop import EarlyStopConfig
from metta.rl.loss.table import LossesConfig
from metta.rl.optimizer import OptimizerConfig
from metta.rl.schedule import ScheduleConfig
from metta.rl.segment_sampling import PrioritizedSamplingConfig


class SystemConfig(Config):
    """Where and with what a run computes."""

    seed: int = Field(1, ge=0, lt=2**31, description="of maps, episodes, initial weights and minibatches")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:<n>; auto takes a GPU if there is one")
    processes: int = Field(
        0, ge=0, description="that train together; 0: one a core, or one a GPU, as far as the batch can be cut for them"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of matrix products; weights, sums and what is stored stay float32"
    )
    compile: bool = Field(False, description="let torch.compile make the training pass; needs a C++ compiler on CPU")
    threads: int = Field(0, ge=0, description="CPU threads of each process; 0: as many as pay off, which is one")


def _default_schedules() -> dict[str, ScheduleConfig]:
    return {"optimizer.learning_rate": ScheduleConfig(), "losses.ppo.entropy_coef": ScheduleConfig()}


class TrainerConfig(Config):
    """How a policy is taught. Steps are agent steps: one agent, one tick."""

    total_timesteps: int = Field(100_000_000, ge=1, description="the run ends at the first epoch end at or past this")
    batch_size: int = Field(24_576, ge=1, description="agent steps an epoch, of all processes together")
    minibatch_size: int = Field(8_192, ge=1, description="agent steps of one optimizer step, of all processes")
    bptt_horizon: int = Field(32, ge=1, description="steps in a segment, the length of recurrent replay")
    num_worlds: int | None = Field(
        None, ge=1, description="of all processes; none: as many as make a rollout one segment"
    )
    update_epochs: int = Field(1, ge=1, description="passes over the batch")
    max_grad_norm: float = Field(0.5, gt=0)
    initial_policy_uri: str | None = Field(None, description="a policy whose weights the run begins with")
    prioritized_sampling: PrioritizedSamplingConfig = Field(default_factory=PrioritizedSamplingConfig)
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    losses: LossesConfig = Field(default_factory=LossesConfig)
    schedules: dict[str, ScheduleConfig] = Field(
        default_factory=_default_schedules, description="a dotted path below `trainer` -> its schedule over the run"
    )

    @model_validator(mode="after")
    def _check_sizes(self) -> TrainerConfig:
        batch, minibatch, horizon = self.batch_size, self.minibatch_size, self.bptt_horizon
        if minibatch > batch:
            raise ValueError(f"minibatch_size={minibatch} is larger than batch_size={batch}")
        if minibatch % horizon:
            fit = max(horizon, minibatch // horizon * horizon)
            raise ValueError(
                f"minibatch_size={minibatch} is not a multiple of bptt_horizon={horizon}; the nearest that works: {fit}"
            )
        if batch % minibatch:
            below = batch // minibatch * minibatch
            raise ValueError(
                f"batch_size={batch} cannot be cut into minibatches of minibatch_size={minibatch}; "
                f"the nearest that work: {below} and {below + minibatch}"
            )
        return self


class EvaluationConfig(Config):
    """Evaluation during training; `interval` 0 turns it off."""

    interval: int = Field(1000, ge=0, description="epochs between evaluations; one more at the end of training")
    suite: str | None = Field(None, description="an evaluation suite by name; none: the world that is trained in")
    episodes: int = Field(16, ge=1, description="episodes of each simulation")
    replays: bool = Field(True, description="save a replay of each simulation's first episode")


class CheckpointConfig(Config):
    """When to save, and what to keep."""

    interval: int = Field(200, ge=1, description="epochs between checkpoints; the last epoch is always saved")
    keep: int = Field(5, ge=0, description="the latest to keep, beside the best by score and by reward; 0: all")


class WandbConfig(Config):
    """Weights & Biases (docs/wandb.md); where a setting is none, the library's own variable is asked first."""

    enabled: bool = False
    mode: Literal["online", "offline"] | None = Field(None, description="none: WANDB_MODE, or online")
    project: str | None = Field(None, description="none: WANDB_PROJECT, or metta")
    entity: str | None = Field(None, description="a user or team; none: WANDB_ENTITY, or your default at W&B")
    name: str | None = Field(None, description="how the run is shown; none: WANDB_NAME, or the run's name")
    group: str | None = Field(None, description="runs of one group are shown together; none: WANDB_RUN_GROUP")
    job_type: str | None = Field(None, description="none: WANDB_JOB_TYPE")
    tags: list[str] = Field(default_factory=list)
    notes: str | None = Field(None, description="a longer text about the run; none: WANDB_NOTES")
    artifacts: bool = Field(True, description="upload every saved policy")
    replays: bool = Field(True, description="upload a page of each replay that an evaluation recorded")


class HooksConfig(Config):
    """What watches a run; `user` lists a user's own hooks as `package.module.Class`, each called without arguments."""

    display: bool = Field(True, description="the live display, or a line an epoch where there is no terminal")
    gradient_interval: int = Field(100, ge=0, description="epochs between gradient statistics, `grad/*`; 0: none")
    monitor_seconds: float = Field(10.0, ge=0, description="between samples of the machine, `monitor/*`; 0: none")
    heartbeat_seconds: float = Field(5.0, ge=0, description="between writings of `heartbeat.json`; 0: none")
    early_stop: EarlyStopConfig | None = Field(None, description="a metric that ends the run before its time")
    user: list[str] = Field(default_factory=list)


class TrainConfig(Config):
    """A whole training run."""

    run: str | None = Field(None, description="the run's name; none: local.<date>.<time>")
    data_dir: Folder = Field("./train_dir", description="runs are kept below this folder")
    system: SystemConfig = Field(default_factory=SystemConfig)
    world: WorldConfig = Field(default_factory=easy_arena)
    policy: PolicyChoice = Field(default_factory=FastConfig)
    trainer: TrainerConfig = Field(default_factory=TrainerConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    wandb: WandbConfig = Field(default_factory=WandbConfig)
    hooks: HooksConfig = Field(default_factory=HooksConfig)
