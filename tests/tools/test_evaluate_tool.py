"""`metta evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metta.errors import ConfigError, SuiteError
from metta.grid import WorldConfig
from metta.sim import SimulationConfig
from metta.tools import EvaluateTool


def tool(world: WorldConfig, folder: Path, *policies: str) -> EvaluateTool:
    return EvaluateTool(
        policy_uri=list(policies),
        simulations=[SimulationConfig(name="tiny/one", world=world), SimulationConfig(name="tiny/two", world=world)],
        episodes=3,
        data_dir=str(folder),
    )


def test_every_policy_gets_a_row_for_every_simulation(
    world: WorldConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool(world, tmp_path, "mock://noop", "mock://random").run_tool() == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in table[2:]] == [
        ["mock://noop", "tiny/one", "hearts"],
        ["mock://noop", "tiny/two", "hearts"],
        ["mock://random", "tiny/one", "hearts"],
        ["mock://random", "tiny/two", "hearts"],
    ]
    assert (tmp_path / "evaluation" / "stats" / "stats.duckdb").exists()
    assert len(list((tmp_path / "evaluation" / "replays").iterdir())) == 4


def test_a_policy_that_cannot_be_loaded_costs_its_own_row_and_the_exit_code(
    world: WorldConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool(world, tmp_path, "nothing", "mock://noop").run_tool(as_json=True) == 1
    captured = capsys.readouterr()
    nothing, noop = json.loads(captured.out)["policies"]
    assert "no policy at 'nothing'" in nothing["error"] and "simulations" not in nothing
    assert noop["simulations"]["tiny/one"]["mean"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert "no policy at 'nothing'" in captured.err


def test_the_configuration_is_left_as_it_was(world: WorldConfig, tmp_path: Path) -> None:
    evaluate = tool(world, tmp_path, "mock://noop")
    suite = evaluate.chosen_suite()
    assert [simulation.num_episodes for simulation in suite.simulations] == [3, 3]
    assert [simulation.num_episodes for simulation in evaluate.simulations] == [64, 64]


def test_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="say which policy"):
        EvaluateTool(suite="arena", data_dir=str(tmp_path)).run_tool()
    with pytest.raises(ConfigError, match="say what to play"):
        EvaluateTool(policy_uri=["mock://noop"]).run_tool()
    with pytest.raises(SuiteError, match="did you mean arena"):
        EvaluateTool(policy_uri=["mock://noop"], suite="arnea").run_tool()
