"""docs/statistics.md: its columns are those of the tables, and its commands and questions give what they say."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest

from metta.cli.main import main
from metta.eval import EvalStatsDB
from metta.sim import SimulationRows, SimulationStatsDB
from tests.sim.rows import METRICS, simulation

PAGE = (Path(__file__).parents[1] / "docs" / "statistics.md").read_text(encoding="utf-8")
HEARTS = {("first", 1): 1.0, ("first", 3): 3.0, ("first", 2): 2.0, ("scripted", 0): 2.5}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def played(policy: tuple[str, int], name: str, bonus: float) -> SimulationRows:
    """Three episodes of two agents: the second one has no hearts, and later seeds have one more each."""
    mean = HEARTS[policy] + (bonus if policy[0] == "scripted" else 0)
    values = np.array([[[1, 2 * (mean + seed), 0], [1, 0, 4]] for seed in range(3)])
    attributes = {"asked_episodes": "4" if policy == ("first", 2) else "3"}
    rows = simulation(values, name=name, policy=policy, attributes=attributes, replay_url=f"{policy[1]}/{name}.json.z")
    return SimulationRows(**{**rows.__dict__, "metric_names": [*METRICS[:2], "action.move.failed"]})


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    rows = [played(policy, name, bonus) for policy in HEARTS for name, bonus in (("arena/basic", 0), ("nav/maze", 9))]
    for run in ("first", "second"):
        SimulationStatsDB.write(f"train_dir/{run}/stats/stats.duckdb", rows)
    SimulationStatsDB.write("memory://bucket/stats.duckdb", rows)
    yield
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


def test_the_page_has_every_table_with_every_column() -> None:
    told = {
        name: re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", rows, re.MULTILINE)))
        for name, rows in re.findall(r"^`(\w+)`: (?:.+\n)+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    }
    with EvalStatsDB.from_uri("train_dir/first/stats/stats.duckdb") as database:
        there = database.query(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND table_name <> 'schema_version'"
        )
    assert {name: set(columns) for name, columns in told.items()} == {
        str(name): set(group) for name, group in there.groupby("table_name")["column_name"]
    }


def test_the_commands_of_the_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    commands = blocks("sh")[0].splitlines()
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0
        assert len(capsys.readouterr().out.splitlines()) > 2
    assert len(commands) == 6


def test_the_python_of_the_page_gives_what_it_says() -> None:
    found: dict[str, Any] = {}
    for block in blocks("python"):
        exec(block, found)
    assert found["frame"].empty and found["agents"] == 12
    assert (found["hearts"], found["basic"], found["spread"]) == (4.0, 4.0, pytest.approx(np.std([6, 0, 10, 0])))
    assert found["by_simulation"] == {"arena/basic": 4.0, "nav/maze": 4.0}
    assert fsspec.filesystem("memory").find("/bucket") == ["/bucket/stats.duckdb"]


def test_the_ten_questions_are_answered_right() -> None:
    with EvalStatsDB.from_uri("train_dir/first/stats/stats.duckdb") as database:
        everybody, best, worst, replay, beaten, pairs, curve, vain, shared, missing = (
            database.query(question) for question in blocks("sql")
        )
        for (key, version), rows in everybody.groupby(["policy_key", "policy_version"]):
            for name, hearts in zip(rows["sim_name"], rows["hearts"], strict=True):
                assert hearts == database.get_average_metric_by_filter("hearts", key, version, {"sim_name": name})
    assert len(everybody) == 8 and set(everybody["samples"]) == {6}
    assert tuples(best) == [(3, 4.0)]
    assert worst["hearts"].tolist() == [3.0, 3.0, 4.0, 4.0, 5.0] and set(worst["seed"][:2]) == {100}
    assert replay["replay_url"].item() in ("1/arena/basic.json.z", "1/nav/maze.json.z")
    assert tuples(beaten) == [("nav/maze", 4.0, 12.5)]
    assert tuples(pairs) == [("arena/basic", 3, 2.0, 1.0), ("nav/maze", 3, 2.0, 1.0)]
    assert curve["hearts"].tolist() == [2.0, 2.0, 3.0, 3.0, 4.0, 4.0]
    assert tuples(vain) == [("action.move.failed", 2.0)]
    assert tuples(shared) == [("arena/basic", 8.0, 4.0), ("nav/maze", 8.0, 4.0)]
    assert sorted(tuples(missing)) == [("arena/basic", "first", 2, 3, 4), ("nav/maze", "first", 2, 3, 4)]


def tuples(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(frame.itertuples(index=False, name=None))
