"""How fast the easy arena is trained: agent-steps a second, where the time goes, and what share of the machine it is.

    python benchmarks/training.py [fast|lstm|agalite ...] [--seconds 20] [--processes 0]

Runs are started, stopped and resumed as a user does it, by `metta train` with default settings but for evaluation, and
read from their `metrics.jsonl`; the first seconds (start, compilation) are not counted. Multiply-adds are those of one
agent-step, acted on and trained on once; the matrix-product rate is that of one process's minibatch times a square
matrix of the widest layer, on each process's core.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported

import torch

from harness import report, spread
from metta.agent.architectures import policy_config
from metta.recipes.arena_basic_easy_shaped import train
from metta.rl.build import build_trainer
from metta.rl.trainer import Trainer

WINDOWS = 5
WARM_UP_SECONDS = 5.0
PATIENCE_SECONDS = 180.0


class Run:
    """A run by the command line, in a folder of its own."""

    def __init__(self, folder: Path, architecture: str, *, processes: int) -> None:
        self._metrics = folder / "benchmark" / "metrics.jsonl"
        self._command = [
            *(sys.executable, "-m", "metta.cli", "train", "arena_basic_easy_shaped", "run=benchmark"),
            *(f"data_dir={folder}", f"policy.architecture={architecture}", f"system.processes={processes}"),
            *("trainer.total_timesteps=100000000000", "evaluation.interval=0"),
        ]

    def epochs(self) -> list[dict[str, float]]:
        """Return the metrics of all whole lines so far."""
        lines = self._metrics.read_text().split("\n")[:-1] if self._metrics.exists() else []
        return [json.loads(line) for line in lines]

    def play(self, seconds: float) -> float:
        """Train for `seconds` after the first new epoch, then end in good order; return the seconds until then."""
        before, start = len(self.epochs()), time.perf_counter()
        process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(self.epochs()) <= before:
            if process.poll() is not None or time.perf_counter() - start > PATIENCE_SECONDS:
                raise SystemExit(f"{' '.join(self._command)} did not train")
            time.sleep(0.02)
        began = time.perf_counter() - start
        time.sleep(seconds)
        process.send_signal(signal.SIGTERM)
        process.wait()
        return began


def measure(architecture: str, *, seconds: float, processes: int) -> dict[str, Any]:
    """Train, stop and resume; return speeds in windows, parameters, the split between phases, the seconds to resume."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), architecture, processes=processes)
        run.play(WARM_UP_SECONDS + seconds)
        epochs = run.epochs()
        resume_seconds = run.play(0.0)
        config = json.loads((Path(folder) / "benchmark" / "config.json").read_text())
    first = next(
        i for i, e in enumerate(epochs) if e["metric/total_time"] > epochs[0]["metric/total_time"] + WARM_UP_SECONDS
    )
    epochs = epochs[first:]
    marks = [epochs[i * (len(epochs) - 1) // WINDOWS] for i in range(WINDOWS + 1)]
    speeds = [
        (high["metric/agent_step"] - low["metric/agent_step"]) / (high["metric/total_time"] - low["metric/total_time"])
        for low, high in itertools.pairwise(marks)
    ]
    total = marks[-1]["metric/total_time"] - marks[0]["metric/total_time"]
    shares = {
        name.removeprefix("timing_cumulative/"): round((marks[-1][name] - marks[0].get(name, 0.0)) / total, 4)
        for name in sorted(marks[-1])
        if name.startswith("timing_cumulative/")
    }
    count = config["system"]["processes"]
    return {
        "architecture": architecture,
        "processes": count,
        "steps_per_second": spread(speeds),
        **_work(architecture, processes=count, speed=spread(speeds)["median"]),
        "phases": shares,
        "waiting_for_saves": shares.get("hooks/checkpoint", 0.0),
        "resume_seconds": round(resume_seconds, 2),
    }


def _work(architecture: str, *, processes: int, speed: float) -> dict[str, Any]:
    """Return parameters and multiply-adds, and what share of the processes' matrix-product rate `speed` needs."""
    with tempfile.TemporaryDirectory() as folder:
        tool = train()
        config = (tool.train_config() if hasattr(tool, "train_config") else tool).model_copy(deep=True)
        config.data_dir, config.policy, config.evaluation.interval = folder, policy_config(architecture), 0
        config.system.processes = 1
        trainer = build_trainer(config, run="benchmark")
        trainer.rollout.run([], trainer.tracker, trainer.state)
    table, dense = count_parameters(trainer.policy)
    rate = matrix_rate(trainer, processes) * processes
    # dense: forward once to act and once to train, backward at twice that; table: two sums and one scattering of rows
    prepared = trainer.experience.prepared
    rows = float(prepared.counts.float().mean()) if prepared is not None else 0.0
    dense_work = dense * 4
    table_work = round(3 * rows * trainer.policy.config.width)
    return {
        "parameters": {"table": table, "dense": dense},
        "multiply_adds_per_agent_step": {"table": table_work, "dense": dense_work},
        "table_rows_per_observation": rows,
        "matrix_rate_gflops": rate / 1e9,
        "share_of_matrix_rate": 2 * (dense_work + table_work) * speed / rate,
    }


def count_parameters(policy: torch.nn.Module) -> tuple[int, int]:
    """Return the numbers of parameters in table rows and in dense layers."""
    table = sum(p.numel() for name, p in policy.named_parameters() if "table" in name)
    return table, sum(p.numel() for p in policy.parameters()) - table


def matrix_rate(trainer: Trainer, processes: int) -> float:
    """Measure float32 operations a second of a matrix product at the shape of a minibatch and the hidden width."""
    rows = trainer.config.minibatch_size // processes
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
    parser.add_argument("--processes", type=int, default=0)
    arguments = parser.parse_args()
    results = [
        measure(name, seconds=arguments.seconds, processes=arguments.processes) for name in arguments.architectures
    ]
    line = "; ".join(
        f"{r['architecture']} {r['steps_per_second']['median']:,.0f} agent-steps/s on {r['processes']} processes, "
        f"resumed in {r['resume_seconds']:.1f} s"
        for r in results
    )
    report("training", {"results": results}, f"training the easy arena: {line}")


if __name__ == "__main__":
    main()
