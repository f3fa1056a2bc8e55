"""From a configuration to a trainer of built parts, and one call that trains."""

from __future__ import annotations

import json
import math
import platform
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import torch

import metta
from metta.agent import PolicyAgent, load_policy, make_policy, resolve_policy_uri
from metta.agent.artifact import write_whole
from metta.agent.checkpoints import (
    check_run_name,
    local_policy_file,
    policy_path,
    remove_leftovers,
    trainer_path,
)
from metta.agent.warm_start import warm_start
from metta.envs import BatchedEnv, SingleTask, VecEnv
from metta.errors import CheckpointError, ConfigError
from metta.grid import compile_world
from metta.rl.config import TrainConfig, TrainerConfig
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
from metta.rl.launch import choose_processes, is_torchrun, join_torchrun, rank_device, start_ranks
from metta.rl.loss.base_loss import BaseLoss, LossContext
from metta.rl.loss.table import build_losses
from metta.rl.optimizer import build_optimizer
from metta.rl.random_state import RandomState, seed_everything
from metta.rl.ranks import Ranks
from metta.rl.rollout import Rollout
from metta.rl.run_lock import hold_run
from metta.rl.stats_tracker import StatsTracker
from metta.rl.stopwatch import Stopwatch
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager
from metta.rl.trainer import Trainer
from metta.rl.trainer_state import TrainerState
from metta.rl.user_class import load_user_class

SIZES = ("batch_size", "minibatch_size", "num_worlds")
LOSS, HOOK = "loss/", "hook/"  # before a part's name among what a checkpoint holds
RANK_STRIDE = 1_000_003  # between the seeds of two ranks' global generators
PLACE_BOUND = ("rollout", "random")  # parts that mean nothing for another number of processes


def train(config: TrainConfig) -> int:
    """Train a run to its end, resuming it from its latest whole checkpoint if it has one; return the exit code.

    As many processes as `system.processes` says, or as torchrun started. 0 when it is finished, 130 or 143 when Ctrl-C
    or SIGTERM ended it early. Raises MettaError for a user's mistake.
    """
    if is_torchrun():
        with join_torchrun(config) as ranks:
            return train_rank(config, ranks)
    run = config.run or time.strftime("local.%Y%m%d.%H%M%S")
    config = config.model_copy(update={"run": check_run_name(run)})
    saved = saved_shape(TinyCheckpointManager(run, config.data_dir))
    with start_ranks(config, choose_processes(config, saved=saved.processes)) as ranks:
        return train_rank(config, ranks)


def train_rank(config: TrainConfig, ranks: Ranks) -> int:
    """Train as one of `ranks`; return the exit code. Every rank makes the same calls; only rank 0 writes and prints."""
    run = ranks.from_first(config.run or time.strftime("local.%Y%m%d.%H%M%S"))
    check_run_name(run)
    run_dir = Path(config.data_dir) / run
    manager = TinyCheckpointManager(run, config.data_dir)
    stop = StopHook(ranks)
    saved = ranks.from_first(saved_shape(manager) if ranks.is_first else None)
    # building writes nothing: a mistake in the world leaves no folder
    trainer = build_trainer(config, run=run, stop=stop, sizes=saved.sizes, ranks=ranks)
    with hold_run(run_dir) if ranks.is_first else nullcontext():
        if ranks.is_first:
            remove_leftovers(run_dir)
        resumed = resume(trainer, manager)
        if resumed is not None and trainer.is_finished:
            if ranks.is_first:
                print(
                    f"run {run} is finished: {trainer.state.agent_step:,} of {config.trainer.total_timesteps:,} steps "
                    f"in {run_dir}; a higher trainer.total_timesteps goes on with it",
                    file=sys.stderr,
                )
            return 0
        if resumed is None and ranks.is_first:  # the other ranks get rank 0's weights when training begins
            start_from_policy(trainer, config)
        if ranks.is_first:
            system = config.system.model_copy(update={"processes": ranks.size})
            resolved = config.model_copy(update={"run": run, "trainer": trainer.config, "system": system})
            write_config(resolved, run_dir / "config.json")
        trainer.train()
    if ranks.is_first:
        print(f"{trainer.state.latest_checkpoint_uri}")
        if trainer.failed_hooks:
            print(f"failed while training went on: {', '.join(sorted(trainer.failed_hooks))}", file=sys.stderr)
    return max(ranks.gather(stop.exit_code)) or (1 if trainer.failed_hooks else 0)


def fit_batch(
    config: TrainerConfig, *, agents_per_world: int, fixed_worlds: int | None = None, processes: int = 1
) -> tuple[TrainerConfig, int]:
    """Return the trainer's configuration with a batch that can be cut, and the number of worlds of all processes.

    A run of fewer steps than a batch gets the smallest batch that works: a world a process (`fixed_worlds` where their
    number is given), one segment an agent, one minibatch. Raises ConfigError, with the nearest sizes that work, when
    the batch does not fit the agents or cannot be shared out evenly.
    """
    horizon = config.bptt_horizon
    least = fixed_worlds or processes
    smallest = least * agents_per_world * horizon
    if config.total_timesteps < config.batch_size and config.batch_size > smallest:
        print(
            f"total_timesteps={config.total_timesteps} is below batch_size={config.batch_size}: "
            f"the batch shrinks to {smallest} ({least} x {agents_per_world} agents, {horizon} steps)",
            file=sys.stderr,
        )
        sizes = {"batch_size": smallest, "minibatch_size": smallest, "num_worlds": least}
        return config.model_copy(update=sizes, deep=True), least
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
    for name, size, parts in (
        ("num_worlds", worlds, processes),
        ("minibatch_size", config.minibatch_size, processes * horizon),
    ):
        if size % parts:
            below = size // parts * parts
            raise ConfigError(
                f"{processes} processes cannot share trainer.{name}={size}: it must be a multiple of {parts}; the "
                f"nearest that work: {f'{below} and ' if below else ''}{below + parts} (or another system.processes)"
            )
    return config.model_copy(deep=True), worlds


class SavedShape(NamedTuple):
    """How a run was cut when it was saved: it goes on like that."""

    sizes: dict[str, int] | None = None  # of a batch that was shrunk when the run began; none: as configured
    processes: int | None = None


def saved_shape(manager: TinyCheckpointManager) -> SavedShape:
    """Return how the run's latest whole checkpoint was cut; nothing known where there is none."""
    epoch = manager.latest_epoch()
    if epoch is None:
        return SavedShape()
    saved = manager.load_trainer_state(epoch)
    return SavedShape(saved.get("shrunken_sizes"), len(saved["ranks"]))


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
    seed = config.system.seed
    seed_everything(seed + ranks.rank * RANK_STRIDE)
    device = (
        rank_device(config.system.device, ranks.local_rank) if ranks.size > 1 else choose_device(config.system.device)
    )
    if env is None:
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
    if config.evaluation.interval:
        threads *= ranks.size if ranks.is_local else 1  # the others' cores are idle while rank 0 evaluates
        hooks.append(EvaluationHook(config, trainer_config, run=run, run_dir=run_dir, threads=threads, ranks=ranks))
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
    if config.hooks.early_stop is not None:
        hooks.append(EarlyStopHook(config.hooks.early_stop, ranks))
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


def resume(trainer: Trainer, manager: TinyCheckpointManager) -> int | None:
    """Continue from the run's latest whole checkpoint; return its epoch, None if there is none.

    Raises CheckpointError when the checkpoint belongs to another policy or another shape of training, or when
    checkpoints are there and none is whole.
    """
    ranks, state = trainer.ranks, trainer.state
    epoch, saved, weights = ranks.from_first(_load(manager, trainer) if ranks.is_first else None)
    if epoch is None:
        return None
    is_same = len(saved["ranks"]) == ranks.size
    rows = len(saved["ranks"][0]["rollout"]["resets"])
    if is_same and rows != trainer.experience.num_rows:
        raise CheckpointError(
            f"{manager.run_dir} was trained with {rows} agents at once, this configuration has "
            f"{trainer.experience.num_rows}; give the trainer.batch_size, trainer.bptt_horizon and trainer.num_worlds "
            f"of {manager.run_dir / 'config.json'}, or another run=<name>"
        )
    trainer.policy.load_state_dict(weights)
    state.epoch, state.agent_step = int(saved["epoch"]), int(saved["agent_step"])
    parts = saved["shared"] | saved["ranks"][ranks.rank if is_same else 0]
    for name, part in state.stateful.items():
        if not is_same and name in PLACE_BOUND:
            continue
        if name in parts:
            try:
                part.load_state_dict(parts[name])
            except (KeyError, RuntimeError, ValueError) as error:  # torch's own when numbers of parameters differ
                raise CheckpointError(
                    f"{manager.run_dir} epoch {epoch}: the state of {name!r} does not fit this configuration "
                    f"({error}); start a new run, or resume with the configuration in {manager.run_dir / 'config.json'}"
                ) from error
        elif part.state_dict():
            raise CheckpointError(
                f"{manager.run_dir} epoch {epoch} holds no state for {name!r}, which this configuration has; "
                f"start a new run, or resume with the configuration in {manager.run_dir / 'config.json'}"
            )
    state.latest_checkpoint_uri = str(policy_path(manager.run_dir, epoch))
    if ranks.is_first:
        print(f"resuming {manager.run_name} from epoch {epoch}, {state.agent_step:,} agent steps", file=sys.stderr)
        if not is_same:
            print(
                f"{manager.run_name} was trained by {len(saved['ranks'])} processes and goes on with {ranks.size}: "
                "weights, optimizer and counters are kept, the worlds begin anew, so this is not the run that it would "
                f"have been; system.processes={len(saved['ranks'])} goes on exactly",
                file=sys.stderr,
            )
    return int(epoch)


def start_from_policy(trainer: Trainer, config: TrainConfig) -> None:
    """Begin with the weights of `trainer.initial_policy_uri`, if one is given; says what begins fresh all the same.

    Raises CheckpointError or PolicyMismatchError when it cannot be loaded or is of another kind.
    """
    uri = config.trainer.initial_policy_uri
    if uri is None:
        return
    policy = resolve_policy_uri(uri, data_dir=config.data_dir)
    if policy.kind == "mock":
        raise CheckpointError(
            f"trainer.initial_policy_uri={uri} has no weights to begin with; a kickstarter can learn from it: "
            f"trainer.losses.kickstarter.teacher_uri={uri}"
        )
    with local_policy_file(policy) as path:
        fresh = warm_start(trainer.policy, load_policy(path, allow_class=config.policy.architecture))
    print(f"beginning with the weights of {policy.uri}", file=sys.stderr)
    if fresh:
        print(f"not known to it, so these begin fresh: {', '.join(fresh)}", file=sys.stderr)


def _load(manager: TinyCheckpointManager, trainer: Trainer) -> tuple[int | None, dict[str, Any], dict[str, Any]]:
    """Return the latest whole checkpoint: its epoch (None: there is none), the trainer's file, the policy's weights."""
    epoch = manager.latest_epoch()
    if epoch is None:
        _refuse_damaged(manager)
        return None, {}, {}
    agent = manager.load_agent(epoch)
    _check_same_policy(agent, trainer.policy, where=f"{manager.run_dir} epoch {epoch}")
    return epoch, manager.load_trainer_state(epoch), agent.state_dict()


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
