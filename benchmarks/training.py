"""How fast the easy arena is trained: agent-steps a second, where the time goes, and what share of the machine it is.

    python benchmarks/training.py [fast|lstm|agalite ...] [--seconds 20] [--threads 0]

A run is built as `metta train` builds it, without display, files or evaluation; the first epochs (compilation) are not
counted. Multiply-adds are those of one agent-step, acted on and trained on once; the matrix-product rate is that of a
minibatch times a square matrix of the widest layer.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported

import torch

from harness import report, spread
from metta.agent.architectures import policy_config
from metta.recipes.arena_basic_easy_shaped import train
from metta.rl.build import build_trainer
from metta.rl.trainer import Trainer

WINDOWS = 5


def measure(architecture: str, *, seconds: float, threads: int) -> dict[str, Any]:
    """Train for `seconds` after a warm-up; return speeds in windows, parameters and the split between phases."""
    with tempfile.TemporaryDirectory() as folder:
        tool = train()
        config = tool.train_config() if hasattr(tool, "train_config") else tool
        config = config.model_copy(deep=True)
        config.data_dir = folder
        config.policy = policy_config(architecture)
        config.system.threads = threads
        config.hooks.display = False
        config.evaluation.interval = 0
        trainer = build_trainer(config, run="benchmark")
        windows, phases = _run(trainer, seconds=seconds)
    table, dense = count_parameters(trainer.policy)
    rate = matrix_rate(trainer)
    speed = spread(windows)
    # dense: forward once to act and once to train, backward at twice that; table: two sums and one scattering of rows
    prepared = trainer.experience.prepared
    rows = float(prepared.counts.float().mean()) if prepared is not None else 0.0
    dense_work = dense * 4
    table_work = round(3 * rows * trainer.policy.config.width)
    return {
        "architecture": architecture,
        "threads": threads or 1,
        "steps_per_second": speed,
        "parameters": {"table": table, "dense": dense},
        "multiply_adds_per_agent_step": {"table": table_work, "dense": dense_work},
        "table_rows_per_observation": rows,
        "matrix_rate_gflops": rate / 1e9,
        "share_of_matrix_rate": 2 * (dense_work + table_work) * speed["median"] / rate,
        "phases": phases,
    }


def _run(trainer: Trainer, *, seconds: float) -> tuple[list[float], dict[str, float]]:
    """Return agent-steps a second of `WINDOWS` equal spans, and each phase's share of the whole."""
    state = trainer.state
    marks: list[tuple[float, int]] = []
    warm_until = time.perf_counter() + max(3.0, seconds / 4)
    before: dict[str, float] = {}
    trainer.begin()
    while True:
        trainer.run_epoch()
        now = time.perf_counter()
        if not marks and now < warm_until:
            continue
        if not marks:
            before = trainer.timer.cumulative()
        marks.append((now, state.agent_step))
        if now - marks[0][0] > seconds:
            break
    speeds = []
    for window in range(WINDOWS):
        low, high = window * (len(marks) - 1) // WINDOWS, (window + 1) * (len(marks) - 1) // WINDOWS
        if high > low:
            speeds.append((marks[high][1] - marks[low][1]) / (marks[high][0] - marks[low][0]))
    total = marks[-1][0] - marks[0][0]
    after = trainer.timer.cumulative()
    return speeds, {name: round((after[name] - before.get(name, 0.0)) / total, 4) for name in sorted(after)}


def count_parameters(policy: torch.nn.Module) -> tuple[int, int]:
    """Return the numbers of parameters in table rows and in dense layers."""
    table = sum(p.numel() for name, p in policy.named_parameters() if "table" in name)
    return table, sum(p.numel() for p in policy.parameters()) - table


def matrix_rate(trainer: Trainer) -> float:
    """Measure float32 operations a second of a matrix product at the shape of a minibatch and the hidden width."""
    rows = trainer.config.minibatch_size
    width = max((p.shape[-1] for name, p in trainer.policy.named_parameters() if p.ndim == 2 and "table" not in name))
    a, b = torch.randn(rows, width), torch.randn(width, width)
    for _ in range(20):
        a @ b
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < 1.0:
        a @ b
        count += 1
    return 2.0 * rows * width * width * count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architectures", nargs="*", default=["fast", "lstm"])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    results = [measure(name, seconds=arguments.seconds, threads=arguments.threads) for name in arguments.architectures]
    line = "; ".join(f"{r['architecture']} {r['steps_per_second']['median']:,.0f} agent-steps/s" for r in results)
    report("training", {"results": results}, f"training the easy arena: {line}")


if __name__ == "__main__":
    main()
