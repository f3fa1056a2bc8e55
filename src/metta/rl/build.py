"""From a configuration to a trainer of built parts."""

from __future__ import annotations

from pathlib import Path

import torch

from metta.agent import make_policy
from metta.envs import BatchedEnv, SingleTask, VecEnv
from metta.errors import ConfigError, within
from metta.grid import compile_world
from metta.rl.batch import fit_batch
from metta.rl.config import TrainConfig, TrainerConfig
from metta.rl.device import choose_device, rank_device
from metta.rl.experience import Experience
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.hooks.checkpoint import CheckpointHook
from metta.rl.hooks.display import DisplayHook
from metta.rl.hooks.early_stop import EarlyStopHook
from metta.rl.hooks.evaluation import EvaluationHook
from metta.rl.hooks.gradients import GradientHook
from metta.rl.hooks.heartbeat import HeartbeatHook
from metta.rl.hooks.metrics import MetricsHook
from metta.rl.hooks.monitor import MonitorHook
from metta.rl.hooks.schedule import ScheduleHook
from metta.rl.hooks.stop import StopHook
from metta.rl.loss.base_loss import BaseLoss, LossContext
from metta.rl.loss.table import build_losses
from metta.rl.memory import keep_freed_memory
from metta.rl.optimizer import build_optimizer
from metta.rl.random_state import RandomState, seed_everything
from metta.rl.ranks import Ranks
from metta.rl.rollout import Rollout
from metta.rl.stats_tracker import StatsTracker
from metta.rl.stopwatch import Stopwatch
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager
from metta.rl.trainer import Trainer
from metta.rl.trainer_state import TrainerState
from metta.rl.user_class import load_user_class
from metta.rl.value_scale import ValueScale

SIZES = ("batch_size", "minibatch_size", "num_worlds")
LOSS, HOOK = "loss/", "hook/"  # before a part's name among what a checkpoint holds
RANK_STRIDE = 1_000_003  # between the seeds of two ranks' global generators


def build_trainer(
    config: TrainConfig,
    *,
    run: str,
    stop: StopHook | None = None,
    env: BatchedEnv | None = None,
    sizes: dict[str, int] | None = None,
    ranks: Ranks | None = None,
) -> Trainer:
    """Build every part of a run, of one of several `ranks`; nothing has been played or written yet.

    `env` stands in for this rank's worlds that the configuration describes (Gymnasium's, say); evaluation plays the
    latter, so it must be off then. `sizes` are those of the trainer's configuration that a resumed run began with.
    """
    ranks = ranks or Ranks()
    # One by default: with two, on two cores, `lstm` was slower and `fast` not clearly faster (LOG.md).
    threads = config.system.threads or 1
    torch.set_num_threads(threads)
    keep_freed_memory()
    seed = config.system.seed
    seed_everything(seed + ranks.rank * RANK_STRIDE)
    device = (
        rank_device(config.system.device, ranks.local_rank) if ranks.size > 1 else choose_device(config.system.device)
    )
    if env is None:
        with within("world"):
            compile_world(config.world)  # its mistakes are told first: sizes depend on the world
    asked = config.trainer.model_copy(update=sizes or {}, deep=True)
    if sizes:
        trainer_config, num_worlds = asked, sizes["num_worlds"]
    else:
        trainer_config, num_worlds = fit_batch(
            asked,
            agents_per_world=env.agents_per_world if env else config.world.num_agents,
            fixed_worlds=env.num_worlds * ranks.size if env else None,
            processes=ranks.size,
        )
    own_worlds = num_worlds // ranks.size
    if env is None:
        tasks = SingleTask(config.world, seed=seed, first_world=ranks.rank * own_worlds)
        env = VecEnv(tasks, num_worlds=own_worlds, threads=threads, stagger=True)
    policy = make_policy(config.policy, env.space, seed=seed, action_names=env.action_names).to(device)
    policy.precision = getattr(torch, config.system.precision)
    policy.compiled = config.system.compile
    losses = build_losses(
        trainer_config.losses,
        LossContext(
            env=env,
            policy=policy,
            device=device,
            total_timesteps=trainer_config.total_timesteps,
            seed=seed,
            data_dir=config.data_dir,
        ),
    )
    num_steps = trainer_config.batch_size // ranks.size // env.num_agents
    experience = Experience(
        num_rows=env.num_agents,
        num_steps=num_steps,
        segment_length=trainer_config.bptt_horizon,
        observation_shape=env.observations.shape[1:],
        observation_dtype=torch.from_numpy(env.observations).dtype,
        extra={name: spec for loss in losses.values() for name, spec in loss.experience_spec().items()},
        device=device,
        prepared=policy.prepared_room(num_steps + 1, env.num_agents),
        ranks=ranks,
    )
    trained = torch.nn.ModuleList([policy, *(loss.networks for loss in losses.values())])
    optimizer = build_optimizer(trainer_config.optimizer, trained)
    value_scale = ValueScale(policy, ranks)
    timer, tracker = Stopwatch(), StatsTracker(env)
    rollout = Rollout(env, policy, experience, timer)
    rollout.begin()
    state = TrainerState(
        batch_size=trainer_config.batch_size,
        optimizer=optimizer,
        experience=experience,
        policy=policy,
        stats_tracker=tracker,
        timer=timer,
    )
    if trainer_config.batch_size != config.trainer.batch_size:
        state.shrunken_sizes = {name: getattr(trainer_config, name) for name in SIZES}
    hooks = build_hooks(config, trainer_config, losses=losses, run=run, stop=stop, threads=threads, ranks=ranks)
    state.stateful = {
        "optimizer": optimizer,
        "rollout": rollout,
        "stats_tracker": tracker,
        "timer": timer,
        "random": RandomState(),
        "value_scale": value_scale,
        **{f"{LOSS}{name}": loss for name, loss in losses.items()},
        **{f"{HOOK}{hook.name}": hook for hook in hooks},
    }
    return Trainer(
        trainer_config,
        seed=seed,
        policy=policy,
        optimizer=optimizer,
        rollout=rollout,
        experience=experience,
        losses=losses,
        hooks=hooks,
        state=state,
        ranks=ranks,
        value_scale=value_scale,
    )


def build_hooks(
    config: TrainConfig,
    trainer_config: TrainerConfig,
    *,
    losses: dict[str, BaseLoss],
    run: str,
    stop: StopHook | None,
    threads: int,
    ranks: Ranks,
) -> list[TrainerHook]:
    """The hooks of one rank of a run, in the order in which they are called."""
    run_dir = Path(config.data_dir) / run
    total = trainer_config.total_timesteps
    hooks: list[TrainerHook] = [ScheduleHook(trainer_config, losses)]
    if config.hooks.gradient_interval:
        hooks.append(GradientHook(config.hooks.gradient_interval))
    if config.hooks.monitor_seconds:
        hooks.append(MonitorHook(config.hooks.monitor_seconds))
    early_stop = [EarlyStopHook(config.hooks.early_stop, ranks)] if config.hooks.early_stop is not None else []
    needs_scores = any(hook.needs_scores for hook in early_stop)
    hooks += [] if needs_scores else early_stop  # first, so that the policy of a run that ends is evaluated
    if config.evaluation.interval:
        threads *= ranks.size if ranks.is_local else 1  # the others' cores are idle while rank 0 evaluates
        hooks.append(EvaluationHook(config, trainer_config, run=run, run_dir=run_dir, threads=threads, ranks=ranks))
    hooks += early_stop if needs_scores else []
    hooks.append(MetricsHook(run_dir / "metrics.jsonl"))
    uploads: list[TrainerHook] = []
    if config.wandb.enabled and ranks.is_first:
        from metta.rl.hooks.wandb import WandbHook, WandbUploadHook
        from metta.rl.wandb_session import WandbSession

        resolved = config.model_copy(update={"run": run, "trainer": trainer_config})
        session = WandbSession(resolved, run_dir=run_dir)
        hooks.append(WandbHook(session))
        uploads.append(WandbUploadHook(session))
    if config.hooks.display:
        hooks.append(DisplayHook(run, total_timesteps=total, processes=ranks.size))
    if config.hooks.heartbeat_seconds:
        path, seconds = run_dir / "heartbeat.json", config.hooks.heartbeat_seconds
        hooks.append(HeartbeatHook(path, total_timesteps=total, seconds=seconds))
    hooks += [_user_hook(path) for path in config.hooks.user]
    hooks.append(stop or StopHook(ranks))
    hooks.append(CheckpointHook(config.checkpoint, TinyCheckpointManager(run, config.data_dir), ranks))
    hooks += uploads  # they follow the save
    return [hook for hook in hooks if ranks.is_first or hook.every_rank]


def _user_hook(path: str) -> TrainerHook:
    hook_class = load_user_class(path, TrainerHook, where="hooks.user")
    try:
        return hook_class()
    except TypeError as error:
        raise ConfigError(f"hooks.user: {path!r} cannot be built without arguments ({error})") from error
