"""`metta sql`."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.sim.rows import hearts

from metta.cli.main import main
from metta.eval.questions import ask_for_first
from metta.sim import SimulationStatsDB

SCORES = """SELECT policy_key, avg(value) AS mean FROM policy_simulation_agent_metrics
            WHERE metric = 'hearts' GROUP BY ALL ORDER BY ALL"""


@pytest.fixture
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with two runs, which share a yardstick's episode, and one statistics file elsewhere."""
    monkeypatch.chdir(tmp_path)
    for run, value in (("first", 1.0), ("second", 3.0)):
        rows = [hearts(value, value + 1, policy=(run, 5)), hearts(8, policy=("scripted", 0))]
        SimulationStatsDB.write(f"train_dir/{run}/stats/stats.duckdb", rows)
    SimulationStatsDB.settle("train_dir/second/stats/stats.duckdb")
    SimulationStatsDB.write("else/where.duckdb", [hearts(9, policy=("third", 1))])


def sql(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["sql", *words]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


@pytest.mark.usefixtures("_runs")
def test_one_run_several_all_or_an_address_are_asked(capsys: pytest.CaptureFixture[str]) -> None:
    def policies(*words: str) -> list[tuple[str, float]]:
        rows = json.loads(sql(capsys, SCORES, "--json", *words))
        return [(row["policy_key"], row["mean"]) for row in rows]

    assert policies("run=first") == [("first", 1.5), ("scripted", 8.0)]
    assert policies("run=train_dir/second") == [("scripted", 8.0), ("second", 3.5)]
    both = [("first", 1.5), ("scripted", 8.0), ("second", 3.5)]
    assert policies("run=first", "run=second") == policies() == both
    assert policies("stats_uri=else/where.duckdb") == policies("stats_uri=else") == [("third", 9.0)]
    assert policies("stats_uri=else/where.duckdb", "run=first") == [("first", 1.5), ("scripted", 8.0), ("third", 9.0)]
    assert policies("data_dir=train_dir", "run=first")[0] == ("first", 1.5)


@pytest.mark.usefixtures("_runs")
def test_a_question_loads_neither_torch_nor_the_worlds() -> None:
    """They take seconds, and an answer a moment."""
    code = "import sys; from metta.cli.main import main; main(['sql', 'FROM episodes']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "duckdb" in loaded and not loaded & {"torch", "numba", "matplotlib", "scipy"}


def test_two_runs_may_use_one_name_for_two_worlds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for run, value in (("first", 1.0), ("second", 3.0)):
        rows = [hearts(value, value, policy=(who, 0), env=f"world of {run}") for who in ("scripted", "random")]
        SimulationStatsDB.write(f"train_dir/{run}/stats/stats.duckdb", rows)
    scores = SCORES.replace("policy_key", "sim_env")
    assert json.loads(sql(capsys, scores, "--json")) == [
        *({"sim_env": "world of first", "mean": 1.0}, {"sim_env": "world of second", "mean": 3.0})
    ]


@pytest.mark.usefixtures("_runs")
def test_whole_numbers_are_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    question = (
        "SELECT sum(range) AS a, sum(range::DOUBLE) AS b, 4000000::HUGEINT AS c, 1e300 AS d, -0.0 AS e FROM range(3000)"
    )
    assert sql(capsys, question).splitlines()[2].split() == ["4498500", "4498500", "4000000", "1e+300", "0"]
    assert sql(capsys, question, "rows=0") == sql(capsys, question)
    assert json.loads(sql(capsys, question, "--json"))[0]["a"] == 4498500
    assert sql(capsys, question, "--csv").splitlines()[1].split(",")[:3] == ["4498500", "4498500.0", "4000000"]


@pytest.mark.usefixtures("_runs")
def test_an_answer_is_an_aligned_table_json_or_csv(capsys: pytest.CaptureFixture[str]) -> None:
    assert sql(capsys, SCORES).splitlines() == [
        "policy_key  mean",
        "----------  ----",
        "first        1.5",
        "scripted       8",
        "second       3.5",
    ]
    text = sql(capsys, SCORES, "--csv")
    assert list(csv.reader(io.StringIO(text))) == [
        *(["policy_key", "mean"], ["first", "1.5"], ["scripted", "8.0"], ["second", "3.5"])
    ]
    odd = sql(capsys, "SELECT NULL AS a, 'x\ny' AS b, 1/3 AS c, TIMESTAMP '2026-01-01' AS d, 0/0 AS e")
    assert odd.splitlines()[2].split() == ["x\\ny", "0.333333", "2026-01-01", "00:00:00"]
    assert sql(capsys, "FROM episodes WHERE false").splitlines()[0].split()[:2] == ["id", "simulation_id"]


@pytest.mark.usefixtures("_runs")
def test_only_the_first_rows_of_a_long_answer_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for rows, shown in (("rows=3", 3), ("rows=0", 100), ("", 40)):
        assert main(["sql", "SELECT range AS x FROM range(100)", *filter(None, [rows])]) == 0
        captured = capsys.readouterr()
        assert captured.out.split() == ["x", "-" * len(str(shown - 1)), *map(str, range(shown))]
        assert captured.err == ("" if shown == 100 else f"the first {shown} of 100 rows; rows=0 shows all, --csv too\n")
    assert len(json.loads(sql(capsys, "FROM range(100)", "--json"))) == 100


@pytest.mark.usefixtures("_runs")
def test_without_a_question_the_tables_are_shown_and_questions_that_work(capsys: pytest.CaptureFixture[str]) -> None:
    page = sql(capsys)
    tables, _, questions = page.partition("\n\nfor example:\n\n")
    assert [line.split()[:2] for line in tables.splitlines()[2:6]] == [
        *(["agent_groups", "5"], ["agent_metrics", "10"], ["agent_policies", "5"], ["episode_attributes", "0"])
    ]
    assert "episode_id, agent_id, metric, value" in tables and "policy_simulation_agent_samples" in tables
    for question in questions.strip().split("\n\n"):
        assert len(sql(capsys, question).splitlines()) > 2


@pytest.mark.usefixtures("_runs")
def test_a_mistake_is_one_line_and_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    for question, told in (
        ("SELECT sim_nam FROM policy_simulation_agent_samples", '"sim_name"'),
        ("SELEC 1", "syntax error"),
        ("COPY episodes TO 'x.csv'", "only questions are allowed"),
        ("FROM 'x.csv'", "may read nothing but this database"),
    ):
        message = sql(capsys, question, code=1)
        assert told in message and message.count("\n") == 1 and message.startswith("metta: ")
    assert not Path("x.csv").exists()
    assert "did you mean second?" in sql(capsys, SCORES, "run=secnd", code=1)
    assert "there are no statistics at nowhere" in sql(capsys, SCORES, "stats_uri=nowhere", code=1)
    assert "unexpected 'FROM'" in sql(capsys, "SELECT 1", "FROM", code=2)
    assert "did you mean data_dir" in sql(capsys, SCORES, "data_di=x", code=2)


def test_where_nothing_was_played_a_message_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "nothing was evaluated yet" in sql(capsys, "SELECT 1", code=1)


@pytest.mark.usefixtures("_runs")
def test_ctrl_c_ends_a_question_with_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "SELECT sum(sin(a.range * b.range)) FROM range(9999999) a, range(999999) b"
    ask = ask_for_first

    def ask_and_press_ctrl_c(*arguments: Any, **named: Any) -> Any:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        return ask(*arguments, **named)

    monkeypatch.setattr("metta.eval.eval_stats_db.ask_for_first", ask_and_press_ctrl_c)
    assert sql(capsys, endless, code=130) == "metta: interrupted\n"
