"""Evaluating against training of the same policy, what writing statistics costs, and what a replay costs.

    python benchmarks/evaluation.py [fast|lstm ...] [--seconds 8] [--rounds 3]

In every round a run of the easy arena is trained for some seconds, as in `training.py`, and then its latest checkpoint
is evaluated by one call of `PolicyEvaluator` on its suite, with as many threads as there are cores: both on the same
machine within the same minute, so their ratio is known better than either. Statistics are written to a fresh file of a
temporary folder: by `SimulationStatsDB.write` after each simulation, and merged once by `settle`, as `metta evaluate`
does at its end and training at the end of the run.

A replay is of one world alone, against the same world alone without a recorder, in the time of this thread: played by
the trained policy, and at random, where nothing but the world and the recorder takes time. Writing is all that happens
after the last tick: finding the changes, JSON, compression, the file.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported

from harness import report, spread
from metta.agent import Actor, load_policy_from_uri
from metta.agent.dense import fixed_weights
from metta.cores import available_cores
from metta.envs import FixedTasks, Task, VecEnv
from metta.eval import PolicyEvaluator, named_suite
from metta.grid.worlds import easy_arena
from metta.replay import Recorder
from metta.sim import SimulationRows, SimulationStatsDB, evaluation_seeds
from training import Run

SUITE = "arena_basic_easy_shaped"
SETTLE_SECONDS = 2.0  # of training, after the first epoch of each start
REPLAYS = 12


class Evaluated(NamedTuple):
    """One evaluation."""

    speed: float  # agent-steps a second, nothing written
    speed_with_statistics: float
    share_of_writing: float  # of the evaluation
    share_with_merging: float  # of the evaluation and of merging what it wrote, once


class Recorded(NamedTuple):
    """One game, in seconds."""

    playing: float
    writing: float


def train_for(run: Run, seconds: float) -> float:
    """Train on for `seconds`; return agent-steps a second."""
    before = len(run.epochs())
    run.play(SETTLE_SECONDS + seconds)
    epochs = run.epochs()[before:]
    start = epochs[0]["metric/total_time"] + SETTLE_SECONDS
    settled = [epoch for epoch in epochs if epoch["metric/total_time"] >= start]
    first, last = (settled if len(settled) > 1 else epochs)[0], epochs[-1]
    steps = last["metric/agent_step"] - first["metric/agent_step"]
    return steps / (last["metric/total_time"] - first["metric/total_time"])


def evaluate(checkpoint: str, folder: Path) -> Evaluated:
    """Evaluate once without and once with statistics."""
    speed = _evaluate(checkpoint, None)[0]
    stats_uri, writing, write = str(folder / f"{time.monotonic_ns()}.duckdb"), 0.0, SimulationStatsDB.write

    def timed_write(uri: str | Path, simulations: list[SimulationRows]) -> None:
        nonlocal writing
        start = time.perf_counter()
        write(uri, simulations)
        writing += time.perf_counter() - start

    with mock.patch.object(SimulationStatsDB, "write", timed_write):
        steps, seconds = _evaluate(checkpoint, stats_uri)[1:]
    start = time.perf_counter()
    SimulationStatsDB.settle(stats_uri)
    merging = time.perf_counter() - start
    return Evaluated(speed, steps / (seconds + merging), writing / seconds, (writing + merging) / (seconds + merging))


def _evaluate(checkpoint: str, stats_uri: str | None) -> tuple[float, int, float]:
    """Return agent-steps a second, agent-steps and seconds of one evaluation."""
    evaluator = PolicyEvaluator(named_suite(SUITE), stats_uri=stats_uri, threads=available_cores())
    policy = load_policy_from_uri(checkpoint)
    start = time.perf_counter()
    steps = evaluator.evaluate(policy).agent_steps
    seconds = time.perf_counter() - start
    return steps / seconds, steps, seconds


def measure(architecture: str, *, seconds: float, rounds: int) -> dict[str, Any]:
    """Train and evaluate in turns; then measure replays of the policy."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = Run(folder, architecture, processes=0)
        trained, evaluated = [], []
        for _ in range(rounds):
            trained.append(train_for(run, seconds))
            checkpoint = _latest(folder)
            if not evaluated:
                evaluate(checkpoint, folder)  # compiles, or reads what was compiled
            evaluated.append(evaluate(checkpoint, folder))
        replays = {
            "policy": replay_cost(load_policy_from_uri(checkpoint), folder),
            "random": replay_cost(load_policy_from_uri("mock://random"), folder),
        }
    return {
        "architecture": architecture,
        "training_steps_per_second": spread(trained),
        "evaluation_steps_per_second": spread([one.speed for one in evaluated]),
        "evaluation_steps_per_second_with_statistics": spread([one.speed_with_statistics for one in evaluated]),
        "times_training": spread([one.speed / speed for one, speed in zip(evaluated, trained, strict=True)]),
        "share_of_writing": spread([one.share_of_writing for one in evaluated]),
        "share_of_writing_and_merging": spread([one.share_with_merging for one in evaluated]),
        "replay": replays,
    }


def _latest(folder: Path) -> str:
    paths = folder.glob("benchmark/checkpoints/agent_epoch_*.pt")
    return str(max(paths, key=lambda path: int(path.stem.rpartition("_")[2])))


def replay_cost(actor: Actor, folder: Path) -> dict[str, Any]:
    """Play the same games with and without a recorder, in turns."""
    with fixed_weights():
        play(actor, 1, None)
        pairs = [
            (play(actor, seed, None), play(actor, seed, folder / f"{seed}.json.z"))
            for seed in evaluation_seeds(REPLAYS)
        ]
    return {
        "slowdown": spread([recorded.playing / plain.playing - 1 for plain, recorded in pairs]),
        "writing_seconds": spread([recorded.writing for _, recorded in pairs]),
    }


def play(actor: Actor, seed: int, target: Path | None) -> Recorded:
    """Play one game of the easy arena, 24 agents and 1,000 ticks; record it if there is a file to write."""
    env = VecEnv(FixedTasks([Task(easy_arena(), seed)]), num_worlds=1)
    env.reset()
    actor.reset(env)
    recorder = None if target is None else Recorder(env, 0)
    start = time.thread_time()
    if recorder is not None:
        recorder.start()
    while env.active.any():
        env.step(actor.act(env))
        if recorder is not None:
            recorder.record_tick()
    played = time.thread_time()
    if recorder is not None:
        assert target is not None
        recorder.finish().save(target)
    return Recorded(played - start, time.thread_time() - played)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architectures", nargs="*", default=["fast", "lstm"])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    results = [measure(name, seconds=arguments.seconds, rounds=arguments.rounds) for name in arguments.architectures]
    line = "; ".join(
        f"{r['architecture']} {r['evaluation_steps_per_second']['median']:,.0f} agent-steps/s, "
        f"{r['times_training']['median']:.1f} times training, writing statistics {r['share_of_writing']['median']:.1%} "
        f"({r['share_of_writing_and_merging']['median']:.1%} with merging), "
        f"a recorder slows its world by {r['replay']['random']['slowdown']['median']:.0%} (with the policy "
        f"{r['replay']['policy']['slowdown']['median']:.0%}), its replay is written in "
        f"{r['replay']['policy']['writing_seconds']['median']:.2f} s"
        for r in results
    )
    report("evaluation", {"threads": available_cores(), "results": results}, f"evaluating the easy arena: {line}")


if __name__ == "__main__":
    main()
