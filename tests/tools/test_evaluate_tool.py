"""`metta evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metta.errors import ConfigError, SuiteError
from metta.eval import EvalStatsDB
from metta.grid import WorldConfig
from metta.grid.worlds import arena
from metta.replay import read_replay
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


def test_missing_episodes_are_said_and_never_become_fewer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    endless = arena(num_agents=2)
    endless.max_steps = 10_000_000
    simulation = SimulationConfig(name="tiny/slow", world=endless, num_episodes=3, max_seconds=0.1)
    slow = EvaluateTool(policy_uri=["mock://noop"], simulations=[simulation], data_dir=str(tmp_path))
    assert slow.run_tool(as_json=True) == 1
    (policy,) = json.loads(capsys.readouterr().out)["policies"]
    score = policy["simulations"]["tiny/slow"]
    assert (score["episodes"], score["seeds"], score["missing_episodes"], policy["missing_episodes"]) == (0, 0, 3, 3)
    assert score["mean"] == score["interquartile_mean"] == {"value": None, "low": None, "high": None}
    assert policy["category_scores"] == {}
    assert slow.run_tool() == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1].split() == ["mock://noop", "tiny/slow", "hearts", "0", "0", "3"]
    assert "mock://noop: no score in tiny/slow: none of its 3 episodes was finished" in captured.err
    assert "3 of 3 episodes are missing" in caplog.text


def test_a_score_of_some_of_the_episodes_is_a_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a simulation that is missing it does not help."""
    short, endless = arena(num_agents=2), arena(num_agents=2)
    short.max_steps, endless.max_steps = 5, 10_000_000
    simulations = [
        SimulationConfig(name="tiny/short", world=short, num_episodes=2),
        SimulationConfig(name="tiny/slow", world=endless, num_episodes=2, max_seconds=0.1),
    ]
    for chosen, code in (([0], 0), ([0, 1], 1)):
        suite = [simulations[number] for number in chosen]
        assert EvaluateTool(policy_uri=["mock://noop"], simulations=suite, data_dir=str(tmp_path)).run_tool() == code


def test_a_suite_without_simulations_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no_simulations.py").write_text(
        "from metta.eval import Suite\ndef empty():\n    return Suite(name='e', simulations=[])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SuiteError, match="a suite holds no simulations"):
        EvaluateTool(policy_uri=["mock://noop"], suite="no_simulations.empty", data_dir=str(tmp_path)).run_tool()


def test_addresses_may_begin_at_home_or_hold_odd_characters(
    world: WorldConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "my home"))
    monkeypatch.chdir(tmp_path)
    odd = tmp_path / "odd #1%"
    for places in (
        {"replay_dir": "~/replays", "stats_uri": "~/stats.duckdb"},
        {"replay_dir": f"{odd.as_uri()}/replays", "stats_uri": f"{odd.as_uri()}/stats.duckdb"},
    ):
        assert tool(world, tmp_path, "mock://noop").model_copy(update=places).run_tool() == 0
    for folder in (tmp_path / "my home", odd):
        assert sorted(path.name for path in folder.iterdir() if path.suffix != ".lock") == ["replays", "stats.duckdb"]
        with EvalStatsDB.from_uri(f"{folder.as_uri()}/stats.duckdb") as database:
            assert [Path(url).parent for url in database.get_replay_urls()] == [folder / "replays"] * 2
            assert all(Path(url).is_file() for url in database.get_replay_urls())
            assert read_replay(Path(database.get_replay_urls()[0]).as_uri()).num_steps > 1
    assert not (tmp_path / "~").exists()


def test_the_folder_of_runs_may_begin_at_home(world: WorldConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    assert tool(world, Path("~/runs"), "mock://noop").data_dir == "/somebody/runs"


def test_the_table_says_how_many_episodes_and_seeds_a_score_rests_on(
    world: WorldConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool(world, tmp_path, "mock://random").run_tool()
    header, _, first, _ = capsys.readouterr().out.splitlines()
    assert header.split()[-3:] == ["episodes", "seeds", "missing"] and first.split()[-3:] == ["3", "3", "0"]


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


def test_others_may_play_a_part_of_the_agents_and_leave_what_was_played_alone_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = arena(num_agents=6)
    small.max_steps = 5
    alone = EvaluateTool(
        policy_uri=["mock://random"],
        simulations=[SimulationConfig(name="tiny/one", world=small)],
        episodes=4,
        data_dir=str(tmp_path),
    )
    names = {
        ("mock://noop", None): "tiny/one/against-noop",
        ("mock://noop mock://scripted", 1 / 3): "tiny/one/against-noop-and-scripted-at-0.333333",
    }
    assert alone.run_tool() == 0
    capsys.readouterr()
    for (others, share), name in names.items():
        settings = {"npc_policy_uri": others.split(), "policy_agents_pct": share}
        assert alone.model_copy(update=settings).run_tool(as_json=True) == 0
        (policy,) = json.loads(capsys.readouterr().out)["policies"]
        assert list(policy["simulations"]) == [name]
    with EvalStatsDB.from_uri(tmp_path / "evaluation" / "stats" / "stats.duckdb") as database:
        played = {
            name: [
                database.sample_count(who, 0, {"sim_name": name, "player": player})
                for player, who in enumerate(("random", "noop", "scripted"))
            ]
            for name in ("tiny/one", *names.values())
        }
    assert list(played.values()) == [[24, 0, 0], [12, 12, 0], [8, 8, 8]]


def test_shares_that_cannot_be_are_refused(world: WorldConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="says nothing of who plays the other agents"):
        tool(world, tmp_path, "mock://noop").model_copy(update={"policy_agents_pct": 0.3}).run_tool()
    with pytest.raises(SuiteError, match=r"tiny/one: .*a world of one agent cannot be shared"):
        tool(world, tmp_path, "mock://noop").model_copy(update={"npc_policy_uri": ["mock://noop"]}).run_tool()
