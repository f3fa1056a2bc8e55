"""What watching costs: all hooks together as a share of an epoch, and whether memory stays flat over a long run.

    python benchmarks/hooks.py [--epochs 300] [--long 1000]

The easy arena with default settings and every default hook (metrics, display without a terminal, heartbeat, gradients,
monitor, checkpoints), but for evaluation: it plays episodes, and has a phase of its own. The first epochs, which
compile, are not counted. Memory is measured in the same world with batches of one world, epochs of a few milliseconds.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported

import psutil

from harness import report, spread
from metta.recipes.arena_basic_easy_shaped import train
from metta.rl.build import build_trainer
from metta.rl.config import TrainConfig
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.trainer import Trainer

WINDOWS = 5
WARM_UP = 64  # epochs; by then every world has ended its first, shortened episode
MIB = 2**20


def default_config(folder: str) -> TrainConfig:
    """The easy arena as `metta train` trains it, below `folder`."""
    tool = train()
    config = (tool.train_config() if hasattr(tool, "train_config") else tool).model_copy(deep=True)
    config.data_dir = folder
    config.system.processes = 1
    config.evaluation.interval = 0
    return config


class TimedTrainer(Trainer):
    """A trainer that measures what its hooks take: in all, the calling itself included, and each."""

    def __init__(self, parts: Trainer) -> None:
        self.hook_seconds = 0.0
        self.seconds_of_each: Counter[str] = Counter()
        super().__init__(
            parts.config,
            seed=parts.seed,
            policy=parts.policy,
            optimizer=parts.optimizer,
            rollout=parts.rollout,
            experience=parts.experience,
            losses=parts.losses,
            hooks=parts.hooks,
            state=parts.state,
            ranks=parts.ranks,
            value_scale=parts.value_scale,
        )

    def _call_hooks(self, moment: str) -> None:
        start = time.perf_counter()
        super()._call_hooks(moment)
        self.hook_seconds += time.perf_counter() - start

    def _guard(self, hook: TrainerHook, call: Callable[[], None]) -> None:
        start = time.perf_counter()
        super()._guard(hook, call)
        self.seconds_of_each[hook.name] += time.perf_counter() - start


def measure_share(epochs: int) -> dict[str, Any]:
    """Return the hooks' share of an epoch, in windows and for each hook."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = TimedTrainer(build_trainer(default_config(folder), run="hooks"))
        trainer.begin()
        for _ in range(WARM_UP):
            trainer.run_epoch()
        trainer.hook_seconds, trainer.seconds_of_each = 0.0, Counter()
        shares, begin = [], time.perf_counter()
        for _ in range(WINDOWS):
            start, before = time.perf_counter(), trainer.hook_seconds
            for _ in range(epochs // WINDOWS):
                trainer.run_epoch()
            shares.append((trainer.hook_seconds - before) / (time.perf_counter() - start))
        seconds, count = time.perf_counter() - begin, epochs // WINDOWS * WINDOWS
        trainer.end()
    return {
        "share": spread(shares),
        "milliseconds_per_epoch": {"epoch": 1e3 * seconds / count, "hooks": 1e3 * trainer.hook_seconds / count},
        "share_of_each": {name: round(spent / seconds, 6) for name, spent in trainer.seconds_of_each.most_common()},
    }


def measure_memory(epochs: int) -> dict[str, Any]:
    """Return the resident memory in MiB at ten marks of a long run, and its growth over all but the first tenth."""
    with tempfile.TemporaryDirectory() as folder:
        config = default_config(folder)
        size = config.world.num_agents * config.trainer.bptt_horizon
        sizes = {"batch_size": size, "minibatch_size": size}
        config.trainer = config.trainer.model_copy(update=sizes)
        trainer = build_trainer(config, run="memory")
        trainer.begin()
        marks = []
        for _ in range(10):
            for _ in range(epochs // 10):
                trainer.run_epoch()
            gc.collect()
            marks.append(psutil.Process().memory_info().rss / MIB)
        trainer.end()
        lines = len((Path(folder) / "memory" / "metrics.jsonl").read_text().splitlines())
    return {"epochs": lines, "mib": [round(mark, 1) for mark in marks], "growth_mib": round(marks[-1] - marks[0], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--long", type=int, default=1000)
    arguments = parser.parse_args()
    share, memory = measure_share(arguments.epochs), measure_memory(arguments.long)
    milliseconds = share["milliseconds_per_epoch"]["hooks"]
    line = (
        f"hooks: {100 * share['share']['median']:.2f} % of an epoch ({milliseconds:.2f} ms); "
        f"memory grew by {memory['growth_mib']} MiB over the last nine tenths of {memory['epochs']} epochs"
    )
    report("hooks", {"hooks": share, "memory": memory}, line)


if __name__ == "__main__":
    main()
