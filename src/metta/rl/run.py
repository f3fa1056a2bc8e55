"""A whole training run in one call: `train`."""

from __future__ import annotations

import json
import platform
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numba
import numpy as np
import torch

import metta
from metta.agent.artifact import write_whole
from metta.agent.checkpoints import check_run_name, remove_leftovers
from metta.rl.build import build_trainer
from metta.rl.config import TrainConfig
from metta.rl.hooks.stop import StopHook
from metta.rl.launch import choose_processes, is_torchrun, join_torchrun, start_ranks
from metta.rl.ranks import Ranks
from metta.rl.resume import resume, saved_shape, start_from_policy
from metta.rl.run_lock import hold_run
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager


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
