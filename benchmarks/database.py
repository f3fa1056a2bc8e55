"""What statistics cost: writing an evaluation, merging producers, and an average over ten million rows, cold.

    python benchmarks/database.py [--runs 5]

- Writing: 64 episodes of the arena (24 agents, 1,000 ticks), handed in for a file that is new and for one that holds
  100 evaluations; `settle` is what merging it costs whoever opens the file next. The share is of the time that random
  actions take to play them: a network takes longer. `every_metric`: the same if every agent had counted something of
  every metric, which is the most that there can be.
- Producers: 8 processes hand in 8 evaluations each for one file at the same moment.
- The average: `get_average_metric_by_filter` over 4,000 episodes x 24 agents x 100 metrics of one policy, in a fresh
  process, after asking the kernel to drop the file's pages (fsync, then posix_fadvise DONTNEED; an unprivileged user
  can do no more). Opening and the query count; importing is told beside it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np

from harness import report, spread
from metta.agent import load_policy_from_uri
from metta.eval import named_suite
from metta.sim import EpisodeRecord, Simulation, SimulationRows, SimulationStatsDB
from metta.sim.stats_schema import TABLES

MANY = 100  # evaluations in the file that is full
PRODUCERS, EACH = 8, 8
EPISODES, AGENTS, METRICS = 4000, 24, 100
NOON = datetime(2026, 1, 1, 12)

COLD = """
import json, os, sys, time
start = time.perf_counter()
import duckdb, pandas
libraries = time.perf_counter()
from metta.eval import EvalStatsDB
ours = time.perf_counter()
file = os.open(sys.argv[1], os.O_RDONLY)
os.fsync(file)
os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
os.close(file)
begin = time.perf_counter()
with EvalStatsDB.from_uri(sys.argv[1]) as database:
    opened = time.perf_counter()
    value = database.get_average_metric_by_filter("metric.42", "run", 1)
    end = time.perf_counter()
print(json.dumps({"seconds": end - begin, "open": opened - begin, "query": end - opened, "value": value,
                  "import_duckdb_and_pandas": libraries - start, "import_metta_eval": ours - libraries}))
"""


def played_rows() -> tuple[SimulationRows, float]:
    """Play the arena's 64 episodes three times; return them, and the seconds of the fastest."""
    config = named_suite("arena").simulations[0]
    actor = load_policy_from_uri("mock://random", device="cpu")
    simulation = Simulation(config, actor, policy_key="run", policy_version=0, threads=2)
    results = [simulation.run() for _ in range(3)]
    return results[0].rows, min(result.seconds for result in results)


def with_every_metric(rows: SimulationRows) -> SimulationRows:
    """Return the same episodes with something in every metric."""
    generator = np.random.default_rng(0)
    shape = rows.episodes[0].metrics.shape
    episodes = [
        replace(episode, metrics=generator.integers(1, 1000, size=shape).astype(float)) for episode in rows.episodes
    ]
    return replace(rows, episodes=episodes)


def as_version(rows: SimulationRows, version: int) -> SimulationRows:
    """Return the same episodes, as another version's own."""
    return replace(rows, policies=[("run", version)])


def seconds_of(work: Any, *arguments: Any) -> float:
    """Do it, and return how long it took."""
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def measure_writing(rows: SimulationRows, playing: float, *, runs: int) -> dict[str, Any]:
    """Return the seconds of handing in and of merging one evaluation, into a new file and into one that holds many."""
    write, settle = SimulationStatsDB.write, SimulationStatsDB.settle
    most = with_every_metric(rows)
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        many = f"{folder}/many.duckdb"
        for version in range(MANY):
            write(many, [as_version(rows, version)])
        settle(many)
        for run in range(runs):
            ways = (("new", f"{folder}/{run}.duckdb", rows), ("hundred", many, rows), ("every_metric", many, most))
            for number, (name, file, played) in enumerate(ways):
                version = MANY + len(ways) * run + number
                found.setdefault(name, []).append(seconds_of(write, file, [as_version(played, version)]))
                found.setdefault(f"{name}_settle", []).append(seconds_of(settle, file))
        with SimulationStatsDB.from_uri(f"{folder}/0.duckdb") as database:
            counts = {table: len(database.table(table)) for table in TABLES}
    seconds = {name: spread(values) for name, values in found.items()}
    shares = {name: seconds[name]["median"] / playing for name in ("new", "hundred")}
    return {"rows": counts, "playing_seconds": playing, "seconds": seconds, "share_of_playing": shares}


def produce(target: str, rows: SimulationRows, number: int, barrier: Barrier) -> None:
    """Hand in evaluations, beginning when all producers are ready."""
    barrier.wait()
    for version in range(EACH):
        SimulationStatsDB.write(target, [as_version(rows, EACH * number + version)])
    barrier.wait()


def measure_producers(rows: SimulationRows) -> dict[str, Any]:
    """Return how long 8 processes take to hand in 64 evaluations, and merging what still waits then."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["metta.sim"])
    barrier = context.Barrier(PRODUCERS + 1)
    with tempfile.TemporaryDirectory() as folder:
        target = f"{folder}/all.duckdb"
        workers = [context.Process(target=produce, args=(target, rows, n, barrier)) for n in range(PRODUCERS)]
        for worker in workers:
            worker.start()
        barrier.wait()
        handing_in = seconds_of(barrier.wait)
        for worker in workers:
            worker.join()
        merging = seconds_of(SimulationStatsDB.settle, target)
        with SimulationStatsDB.from_uri(target) as database:
            episodes = len(database.table("episodes"))
    assert episodes == PRODUCERS * EACH * len(rows.episodes), "episodes were lost"
    return {"producers": PRODUCERS, "evaluations": PRODUCERS * EACH, "handing_in": handing_in, "merging": merging}


def write_wide(path: Path) -> None:
    """Write the ten million rows: values that compress badly, of one policy, in simulations of 64 episodes."""
    generator = np.random.default_rng(0)
    names = ("reward", *(f"metric.{number}" for number in range(METRICS - 1)))
    with SimulationStatsDB() as database:
        for first in range(0, EPISODES, 64):
            seeds = range(first, min(first + 64, EPISODES))
            values = 0.1 + generator.random((len(seeds), AGENTS, METRICS))
            episodes = [
                EpisodeRecord(
                    seed=seed,
                    length=1000,
                    started_at=NOON,
                    completed_at=NOON,
                    metrics=metrics,
                    groups=np.zeros(AGENTS, np.int32),
                    policies=np.zeros(AGENTS, np.int32),
                )
                for seed, metrics in zip(seeds, values, strict=True)
            ]
            database.add(
                SimulationRows(
                    name=f"arena/{first // 64}",
                    env="w",
                    policies=[("run", 1)],
                    metric_names=names,
                    episodes=episodes,
                    created_at=NOON,
                    finished_at=NOON,
                )
            )
        database.export(path)


def measure_average(*, runs: int) -> dict[str, Any]:
    """Return the seconds of the average in fresh processes, and of the imports before it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wide.duckdb"
        write_wide(path)
        found = []
        for _ in range(runs):
            command = [sys.executable, "-c", COLD, str(path)]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        size = path.stat().st_size
    assert all(abs(one["value"] - 0.6) < 0.01 for one in found), "that is not the average"
    names = [name for name in found[0] if name != "value"]
    spreads = {name: spread([one[name] for one in found]) for name in names}
    return {"rows": EPISODES * AGENTS * METRICS, "file_mib": round(size / 2**20, 1), **spreads}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    rows, playing = played_rows()
    writing = measure_writing(rows, playing, runs=arguments.runs)
    producers = measure_producers(rows)
    average = measure_average(runs=arguments.runs)
    new, hundred = (1e3 * writing["seconds"][name]["median"] for name in ("new", "hundred"))
    line = (
        f"statistics: an evaluation is written in {new:.1f} ms, with {MANY} in the file in {hundred:.1f} ms "
        f"({100 * writing['share_of_playing']['hundred']:.1f} % of playing it); an average over "
        f"{average['rows']:,} rows, cold, takes {average['seconds']['median']:.2f} s"
    )
    report("database", {"writing": writing, "producers": producers, "average": average}, line)


if __name__ == "__main__":
    main()
