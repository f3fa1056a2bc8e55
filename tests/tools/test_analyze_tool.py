"""`metta analyze`: what it prints and its exit code; what is in a report is tested in tests/eval."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metta.eval import AnalysisConfig, Report
from metta.eval.analysis import MetricRow, PolicyVersion
from metta.eval.scores import Player, Score, compare_all
from metta.eval.statistics import Interval, summarize
from metta.tools import AnalyzeTool


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[AnalysisConfig]:
    """Analyses whose report is made up; returns what was asked for."""
    (tmp_path / "mine" / "checkpoints").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    configs: list[AnalysisConfig] = []
    names = PolicyVersion("mine", 3), PolicyVersion("random", 0)
    values = np.arange(12.0), np.zeros(12)
    players = [
        Player(name=str(name), runs=(name,), episodes={"a/b": pd.DataFrame({"v": v})})
        for name, v in zip(names, values, strict=True)
    ]

    def analyze(run_dir: Path, *, config: AnalysisConfig, **_: object) -> Report:
        configs.append(config)
        return Report(
            title="t",
            metric="hearts",
            folder=run_dir / "report",
            scores=[
                Score(policy=name, simulation="a/b", summary=summarize([v]), episodes=v)
                for name, v in zip(names, values, strict=True)
            ],
            comparisons=compare_all(players[:1], players[1], ["a/b"]),
            rows=[MetricRow(names[0], "a/b", "hearts", Interval(5.5, 4.0, 7.0), 12, 288)],
            failures=dict.fromkeys(config.policies, "there is none"),
        )

    monkeypatch.setattr("metta.tools.analyze.analyze_run", analyze)
    return configs


def tool(**settings: object) -> AnalyzeTool:
    return AnalyzeTool.model_validate({"run": "mine", "data_dir": ".", **settings})


def test_the_tables_are_printed_and_the_exit_code_is_zero(
    asked: list[AnalysisConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool(metrics=["heart*"], suite="arena", output="there").run_tool() == 0
    scores, comparisons, metrics = capsys.readouterr().out.split("\n\n")  # nothing was wasted: no table of it
    assert "hearts per agent" in scores and "P(improvement)" in comparisons
    assert metrics.split("\n")[0].split() == ["metric", "mean", "95", "%", "interval", "episodes", "agents"]
    assert metrics.split("\n")[2].split() == ["hearts", "5.5", "[4.0,", "7.0]", "12", "288"]
    assert asked == [AnalysisConfig(metrics=["heart*"], suite="arena", output="there")]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_policy_that_could_not_play_has_a_row_and_makes_the_exit_code_one(
    asked: list[AnalysisConfig], capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    assert tool(policies=["broken"]).run_tool(as_json=as_json) == 1
    captured = capsys.readouterr()
    assert captured.err.strip().splitlines()[-1] == "broken: there is none"
    if as_json:
        found = json.loads(captured.out)
        assert found["failures"] == {"broken": "there is none"}
        assert found["scores"][0]["seeds"] == 12 and found["metrics"][0]["agents"] == 288
        assert found["comparisons"][0]["against"] == "random"
    else:
        assert ["broken", "could", "not", "play"] in [line.split() for line in captured.out.splitlines()]
