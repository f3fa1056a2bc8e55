"""Statistics files under many real processes, some of them killed: nothing that was handed in is lost or half there."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from metta.sim import SimulationRows, SimulationStatsDB, simulation_stats_db

from .rows import METRICS, simulation

AGENTS = 24

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def context() -> multiprocessing.context.ForkServerContext:
    """Processes that have imported everything when they start: what is killed then is at work, and does not import."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["metta.sim", "tests.sim.rows"])
    return made


def played(seed: int) -> SimulationRows:
    return simulation(np.full((1, AGENTS, len(METRICS)), float(seed)), seeds=[seed], name=f"arena/{seed % 3}")


def assert_whole(target: Path) -> set[int]:
    """Check that every episode in the file has all that belongs to it; return the seeds."""
    with SimulationStatsDB.from_uri(target) as database:
        rows = database.connection.execute(
            """SELECT e.seed, count(m.metric), min(m.value), max(m.value),
                      (SELECT count(*) FROM agent_policies p WHERE p.episode_id = e.id),
                      (SELECT count(*) FROM agent_groups g WHERE g.episode_id = e.id)
               FROM episodes e LEFT JOIN agent_metrics m ON m.episode_id = e.id GROUP BY e.id, e.seed"""
        ).fetchall()
    whole = [(seed, AGENTS * len(METRICS), seed, seed, AGENTS, AGENTS) for seed, *_ in rows]
    assert sorted(rows) == sorted(whole)
    return {row[0] for row in rows}


def produce(target: Path, seeds: range, ways: tuple[str, ...], told: Path) -> None:
    """Hand in or export an episode for every seed, and tell each that is safe; merge often."""
    simulation_stats_db.MOST_WAITING = 4
    with told.open("a", buffering=1) as file:
        for number, seed in enumerate(seeds):
            if ways[number % len(ways)] == "write":
                SimulationStatsDB.write(target, [played(seed)])
            else:
                with SimulationStatsDB() as database:
                    database.add(played(seed))
                    database.export(target)
            file.write(f"{seed}\n")


def start(
    context: multiprocessing.context.ForkServerContext, target: Path, seeds: range, *ways: str
) -> tuple[BaseProcess, Path]:
    told = target.with_name(f"told_{seeds.start}")
    process = context.Process(target=produce, args=(target, seeds, ways, told))
    process.start()
    return process, told


def test_many_processes_lose_nothing_and_readers_see_whole_files(
    context: multiprocessing.context.ForkServerContext, tmp_path: Path
) -> None:
    target = tmp_path / "all.duckdb"
    workers = [start(context, target, range(first + 1, first + 9), "write", "export")[0] for first in range(0, 60, 10)]
    seen: list[set[int]] = []
    while any(worker.is_alive() for worker in workers):
        if target.exists():
            seen.append(assert_whole(target))
            assert len(seen) < 2 or seen[-2] <= seen[-1]  # nothing that was there goes
    assert [worker.exitcode for worker in workers] == [0] * 6
    assert assert_whole(target) == {first + number for first in range(0, 60, 10) for number in range(1, 9)}
    assert len(seen) > 3


def test_producers_killed_at_random_moments_leave_the_file_whole(
    context: multiprocessing.context.ForkServerContext, tmp_path: Path
) -> None:
    draw = random.Random(os.getpid())
    target = tmp_path / "all.duckdb"
    safe: set[int] = set()
    for number in range(12):
        first = 1000 * number + 1
        (one, told_one), (two, told_two) = (
            start(context, target, range(begin, begin + 400), *ways)
            for begin, ways in ((first, ("write",)), (first + 500, ("write", "export")))
        )
        while not (told_one.exists() and told_two.exists()):
            time.sleep(0.005)
        time.sleep(draw.uniform(0.0, 0.6))
        for process in (one, two):
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            assert process.exitcode == -signal.SIGKILL
        safe |= {int(line) for told in (told_one, told_two) for line in told.read_text().split("\n") if line}
        found = assert_whole(target)
        assert safe <= found
        assert len(found - safe) <= 2 * (number + 1)  # handed in, and killed before it could be told
    assert len(safe) > 24
    leftovers = [path.name for path in tmp_path.iterdir() if not path.name.startswith("told")]
    assert set(leftovers) <= {"all.duckdb", ".all.duckdb.lock", "all.duckdb.inbox"}
