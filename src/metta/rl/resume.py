"""What a run begins with: its own latest checkpoint, another policy's weights, or nothing."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from metta.agent import PolicyAgent, load_policy, resolve_policy_uri
from metta.agent.checkpoints import local_policy_file, policy_path, trainer_path
from metta.agent.warm_start import warm_start
from metta.errors import CheckpointError
from metta.rl.config import TrainConfig
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager
from metta.rl.trainer import Trainer

PLACE_BOUND = ("rollout", "random")  # parts that mean nothing for another number of processes


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
