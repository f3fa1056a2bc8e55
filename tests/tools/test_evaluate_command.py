"""`metta evaluate` as a user runs it: the same checkpoint twice, in two fresh folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from metta.agent import make_policy
from metta.agent.artifact import save_policy
from metta.envs import FixedTasks, Task, VecEnv
from metta.grid.worlds import easy_arena
from metta.sim import SimulationStatsDB
from metta.sim.stats_schema import TABLES

TIMES = ["created_at", "completed_at", "finished_at"]


def evaluate(folder: Path, *words: str) -> subprocess.Popen[str]:
    folder.mkdir()
    command = [sys.executable, "-m", "metta.cli", "evaluate", "arena_basic_easy_shaped", *words, "--json"]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    env = VecEnv(FixedTasks([Task(easy_arena(), 1)]), num_worlds=1)
    policy = make_policy("lstm", env.space, seed=1, action_names=env.action_names)
    path = tmp_path / "elsewhere" / "agent_epoch_7.pt"
    path.parent.mkdir()
    save_policy(path, policy, run="elsewhere", epoch=7, agent_step=1)
    return path


def test_two_evaluations_of_a_checkpoint_give_the_same_database_but_for_times(checkpoint: Path, tmp_path: Path) -> None:
    """One on a single core, the other on two."""
    words = [f"policy_uri={checkpoint}", "episodes=9"]  # two threads take a part each
    folders = [tmp_path / "one", tmp_path / "two"]
    started = [evaluate(folder, *words, f"system.threads={n}") for n, folder in enumerate(folders, start=1)]
    one, two = (answer(process) for process in started)
    assert one == two
    assert [score["episodes"] for score in one["policies"][0]["simulations"].values()] == [9, 9]
    files = [
        sorted(path.relative_to(folder) for path in folder.rglob("*") if not path.name.endswith(".lock"))
        for folder in folders
    ]
    assert files[0] == files[1] and sum(path.suffix == ".z" for path in files[0]) == 2
    for path in files[0]:
        if path.suffix == ".z":
            assert (folders[0] / path).read_bytes() == (folders[1] / path).read_bytes()
    (stats,) = (path for path in files[0] if path.suffix == ".duckdb")
    with SimulationStatsDB.from_uri(folders[0] / stats) as a, SimulationStatsDB.from_uri(folders[1] / stats) as b:
        for name in TABLES:
            left, right = (database.table(name).drop(columns=TIMES, errors="ignore") for database in (a, b))
            assert len(left) > 0
            pd.testing.assert_frame_equal(left, right)
