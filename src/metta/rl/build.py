"""From a configuration to a trainer of built parts, and one call that trains."""

from __future__ import annotations

import importlib
import json
import math
import platform
import sys
import time
from pathlib import Path

import numba
import numpy as np
import torch

import metta
from metta.agent import PolicyAgent, make_policy
from metta.agent.artifact import write_whole
from metta.agent.checkpoints import check_run_name, policy_path, remove_leftovers, trainer_path
from metta.envs import BatchedEnv, SingleTask, VecEnv
from metta.errors import CheckpointError, ConfigError
from metta.grid import compile_world
from metta.rl.config import TrainConfig, TrainerConfig
from metta.rl.experience import Experience
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.hooks.checkpoint import CheckpointHook
from metta.rl.hooks.display import DisplayHook
from metta.rl.hooks.evaluation import EvaluationHook
from metta.rl.hooks.metrics import MetricsHook
from metta.rl.hooks.schedule import ScheduleHook
from metta.rl.hooks.stop import StopHook
from metta.rl.loss.table import build_losses
from metta.rl.optimizer import build_optimizer
from metta.rl.random_state import RandomState, seed_everything
from metta.rl.rollout import Rollout
from metta.rl.run_lock import hold_run
from metta.rl.stats_tracker import StatsTracker
from metta.rl.stopwatch import Stopwatch
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager
from metta.rl.trainer import Trainer
from metta.rl.trainer_state import TrainerState

SIZES = ("batch_size", "minibatch_size", "num_worlds")


def train(config: TrainConfig) -> int:
    """Train a run to its end, resuming it from its latest whole checkpoint if it has one; return the exit code.

    0 when it is finished, 130 or 143 when Ctrl-C or SIGTERM ended it early. Raises MettaError for a user's mistake.
    """
    run = config.run or time.strftime("local.%Y%m%d.%H%M%S")
    check_run_name(run)
    run_dir = Path(config.data_dir) / run
    manager = TinyCheckpointManager(run, config.data_dir)
    stop = StopHook()
    # building writes nothing: a mistake in the world leaves no folder
    trainer = build_trainer(config, run=run, stop=stop, sizes=shrunken_sizes(manager))
    with hold_run(run_dir):
        remove_leftovers(run_dir)
        resumed = resume(trainer, manager)
        if resumed is not None and trainer.is_finished:
            print(
                f"run {run} is finished: {trainer.state.agent_step:,} of {config.trainer.total_timesteps:,} steps in "
                f"{run_dir}; a higher trainer.total_timesteps goes on with it",
                file=sys.stderr,
            )
            return 0
        write_config(config.model_copy(update={"trainer": trainer.config}), run_dir / "config.json")
        trainer.train()
    print(f"{trainer.state.latest_checkpoint_uri}")
    if trainer.failed_hooks:
        print(f"failed while training went on: {', '.join(sorted(trainer.failed_hooks))}", file=sys.stderr)
    return stop.exit_code or (1 if trainer.failed_hooks else 0)


def fit_batch(
    config: TrainerConfig, *, agents_per_world: int, fixed_worlds: int | None = None
) -> tuple[TrainerConfig, int]:
    """Return the trainer's configuration with a batch that can be cut, and the number of worlds.

    A run of fewer steps than a batch gets the smallest batch that works: one world (`fixed_worlds` where their number
    is given), one segment an agent, one minibatch. Raises ConfigError, with the nearest sizes that work, when the batch
    does not fit the agents.
    """
    horizon = config.bptt_horizon
    smallest = (fixed_worlds or 1) * agents_per_world * horizon
    if config.total_timesteps < config.batch_size and config.batch_size > smallest:
        print(
            f"total_timesteps={config.total_timesteps} is below batch_size={config.batch_size}: "
            f"the batch shrinks to {smallest} ({fixed_worlds or 1} x {agents_per_world} agents, {horizon} steps)",
            file=sys.stderr,
        )
        sizes = {"batch_size": smallest, "minibatch_size": smallest, "num_worlds": fixed_worlds or 1}
        return config.model_copy(update=sizes, deep=True), fixed_worlds or 1
    unit = (fixed_worlds or config.num_worlds or 1) * agents_per_world * horizon
    if config.batch_size % unit:
        step = math.lcm(unit, config.minibatch_size)
        below = config.batch_size // step * step
        nearest = f"{below} and {below + step}" if below else f"{step}"
        raise ConfigError(
            f"trainer.batch_size={config.batch_size} cannot be cut into segments: it must be a multiple of {unit} "
            f"({unit // agents_per_world // horizon} x {agents_per_world} agents x bptt_horizon {horizon}) and of "
            f"minibatch_size={config.minibatch_size}; the nearest that work: {nearest}"
        )
    worlds = fixed_worlds or config.num_worlds or config.batch_size // unit
    return config.model_copy(deep=True), worlds


def shrunken_sizes(manager: TinyCheckpointManager) -> dict[str, int] | None:
    """The sizes of a run whose batch was shrunk when it began: it goes on with them, however long it becomes."""
    epoch = manager.latest_epoch()
    if epoch is None:
        return None
    sizes: dict[str, int] | None = manager.load_trainer_state(epoch).get("shrunken_sizes")
    return sizes


def build_trainer(
    config: TrainConfig,
    *,
    run: str,
    stop: StopHook | None = None,
    env: BatchedEnv | None = None,
    sizes: dict[str, int] | None = None,
) -> Trainer:
    """Build every part of a run; nothing has been played or written yet.

    `env` stands in for the worlds that the configuration describes (Gymnasium's, say); evaluation plays the latter, so
    it must be off then. `sizes` are those of the trainer's configuration that a resumed run began with.
    """
    # One by default: with two, on two cores, `lstm` was slower and `fast` not clearly faster (LOG.md).
    threads = config.system.threads or 1
    torch.set_num_threads(threads)
    seed = config.system.seed
    seed_everything(seed)
    device = choose_device(config.system.device)
    if env is None:
        compile_world(config.world)  # its mistakes are told first: sizes depend on the world
    asked = config.trainer.model_copy(update=sizes or {}, deep=True)
    if sizes:
        trainer_config, num_worlds = asked, sizes["num_worlds"]
    else:
        trainer_config, num_worlds = fit_batch(
            asked,
            agents_per_world=env.agents_per_world if env else config.world.num_agents,
            fixed_worlds=env.num_worlds if env else None,
        )
    if env is None:
        env = VecEnv(SingleTask(config.world, seed=seed), num_worlds=num_worlds, threads=threads, stagger=True)
    policy = make_policy(config.policy, env.space, seed=seed, action_names=env.action_names).to(device)
    losses = build_losses(trainer_config.losses)
    num_steps = trainer_config.batch_size // env.num_agents
    experience = Experience(
        num_rows=env.num_agents,
        num_steps=num_steps,
        segment_length=trainer_config.bptt_horizon,
        observation_shape=env.observations.shape[1:],
        observation_dtype=torch.from_numpy(env.observations).dtype,
        extra={name: spec for loss in losses.values() for name, spec in loss.experience_spec().items()},
        device=device,
        prepared=policy.prepared_room(num_steps + 1, env.num_agents),
    )
    optimizer = build_optimizer(trainer_config.optimizer, policy)
    timer, tracker = Stopwatch(), StatsTracker(env)
    rollout = Rollout(env, policy, experience, timer)
    rollout.begin()
    state = TrainerState(optimizer=optimizer, experience=experience, policy=policy, stats_tracker=tracker, timer=timer)
    if trainer_config.batch_size != config.trainer.batch_size:
        state.shrunken_sizes = {name: getattr(trainer_config, name) for name in SIZES}
    hooks = build_hooks(config, trainer_config, run=run, stop=stop, threads=threads)
    state.stateful = {
        "optimizer": optimizer,
        "rollout": rollout,
        "stats_tracker": tracker,
        "timer": timer,
        "random": RandomState(),
        **{f"loss/{name}": loss for name, loss in losses.items()},
        **{f"hook/{hook.name}": hook for hook in hooks},
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
    )


def build_hooks(
    config: TrainConfig, trainer_config: TrainerConfig, *, run: str, stop: StopHook | None, threads: int
) -> list[TrainerHook]:
    """The hooks of a run, in the order in which they are called."""
    run_dir = Path(config.data_dir) / run
    hooks: list[TrainerHook] = [ScheduleHook(trainer_config)]
    if config.evaluation.interval:
        hooks.append(EvaluationHook(config, trainer_config, run=run, run_dir=run_dir, threads=threads))
    hooks.append(MetricsHook(run_dir / "metrics.jsonl"))
    if config.wandb.enabled:
        from metta.rl.hooks.wandb import WandbHook

        hooks.append(WandbHook(config, run=run, run_dir=run_dir))
    if config.hooks.display:
        hooks.append(DisplayHook(run, total_timesteps=trainer_config.total_timesteps))
    hooks += [_user_hook(path) for path in config.hooks.user]
    hooks.append(stop or StopHook())
    hooks.append(CheckpointHook(config.checkpoint, TinyCheckpointManager(run, config.data_dir)))
    return hooks


def _user_hook(path: str) -> TrainerHook:
    module, _, name = path.rpartition(".")
    try:
        hook = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(f"hooks.user: {path!r} cannot be loaded ({error}); allowed: package.module.Class") from error
    if not isinstance(hook, TrainerHook):
        raise ConfigError(f"hooks.user: {path!r} is not a metta.rl.TrainerHook")
    return hook


def resume(trainer: Trainer, manager: TinyCheckpointManager) -> int | None:
    """Continue from the run's latest whole checkpoint; return its epoch, None if there is none.

    Raises CheckpointError when the checkpoint belongs to another policy or another shape of training, or when
    checkpoints are there and none is whole.
    """
    epoch = manager.latest_epoch()
    if epoch is None:
        _refuse_damaged(manager)
        return None
    saved, state = manager.load_trainer_state(epoch), trainer.state
    agent = manager.load_agent(epoch)
    _check_same_policy(agent, trainer.policy, where=f"{manager.run_dir} epoch {epoch}")
    rows = len(saved["stateful"]["rollout"]["resets"])
    if rows != trainer.experience.num_rows:
        raise CheckpointError(
            f"{manager.run_dir} was trained with {rows} agents at once, this configuration has "
            f"{trainer.experience.num_rows}; give the trainer.batch_size, trainer.bptt_horizon and trainer.num_worlds "
            f"of {manager.run_dir / 'config.json'}, or another run=<name>"
        )
    trainer.policy.load_state_dict(agent.state_dict())
    state.epoch, state.agent_step = int(saved["epoch"]), int(saved["agent_step"])
    parts = saved["stateful"]
    for name, part in state.stateful.items():
        if name in parts:
            part.load_state_dict(parts[name])
        elif part.state_dict():
            raise CheckpointError(
                f"{manager.run_dir} epoch {epoch} holds no state for {name!r}, which this configuration has; "
                f"start a new run, or resume with the configuration in {manager.run_dir / 'config.json'}"
            )
    state.latest_checkpoint_uri = str(policy_path(manager.run_dir, epoch))
    print(f"resuming {manager.run_name} from epoch {epoch}, {state.agent_step:,} agent steps", file=sys.stderr)
    return epoch


def _refuse_damaged(manager: TinyCheckpointManager) -> None:
    """Raise unless starting anew loses nothing: a policy whose pair was never finished does not count as saved."""
    pairs = [epoch for epoch in manager.list_epochs() if trainer_path(manager.run_dir, epoch).exists()]
    if pairs:
        raise CheckpointError(
            f"{manager.run_dir} has checkpoints of {len(pairs)} epochs, the last {pairs[-1]}, and none is whole "
            f"(see the warnings); give another run=<name>, perhaps with one of its policies, or move the folder away"
        )


def _check_same_policy(saved: PolicyAgent, built: PolicyAgent, *, where: str) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in saved.state_dict().items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}
    if saved.architecture != built.architecture or shapes != wanted:
        differing = sorted(name for name in shapes.keys() | wanted.keys() if shapes.get(name) != wanted.get(name))
        raise CheckpointError(
            f"{where} holds a policy {saved.architecture!r} whose weights do not fit the {built.architecture!r} of "
            f"this configuration (they differ in {', '.join(differing[:4]) or 'the architecture'}); "
            f"give another run=<name>, or the configuration with which the run was begun"
        )


def choose_device(name: str) -> torch.device:
    """Return the torch device of `system.device`. Raises ConfigError when it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"system.device={name!r} is not a device; allowed: auto, cpu, cuda, cuda:<n>") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"system.device={name!r}: there are {torch.cuda.device_count()} GPUs here; hint: auto or cpu")
    return device


def write_config(config: TrainConfig, path: Path) -> None:
    """Write the resolved configuration and the versions that ran it."""
    versions = {
        "metta": metta.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numba": numba.__version__,
        "numpy": np.__version__,
    }
    text = json.dumps({**config.model_dump(mode="json"), "versions": versions}, indent=2) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))
