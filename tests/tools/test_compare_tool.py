"""`metta compare` and the exit code of `metta analyze`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metta.agent import make_policy, save_policy
from metta.cli.main import main
from metta.envs import FixedTasks, Task, VecEnv
from metta.errors import CheckpointError, ConfigError
from metta.eval import EvalStatsDB
from metta.grid import WorldConfig
from metta.sim import SimulationConfig
from metta.tools import CompareTool


def tool(world: WorldConfig, folder: Path, *policies: str, simulations: int = 2) -> CompareTool:
    names = ["tiny/one", "tiny/two"][:simulations]
    return CompareTool(
        policy_uri=list(policies),
        simulations=[SimulationConfig(name=name, world=world) for name in names],
        episodes=12,
        data_dir=str(folder),
    )


def test_two_policies_are_compared_in_every_simulation_and_over_all(
    world: WorldConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool(world, tmp_path, "mock://noop", "mock://scripted").run_tool() == 0
    scores, comparisons, words = capsys.readouterr().out.strip().split("\n\n")
    assert [line.split()[:2] for line in scores.splitlines()[2:]] == [
        [policy, simulation] for policy in ("noop", "scripted") for simulation in ("tiny/one", "tiny/two", "all")
    ]
    assert "hearts per agent" in scores and "seeds" in scores and "runs" in scores
    assert [line.split()[:3] for line in comparisons.splitlines()[2:]] == [
        ["scripted", "noop", simulation] for simulation in ("tiny/one", "tiny/two", "all")
    ]
    assert words.startswith(("scripted", "No difference"))


def test_the_same_is_told_to_programs(world: WorldConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare = tool(world, tmp_path, "mock://noop", "mock://scripted", "mock://random", simulations=1)
    assert compare.run_tool(as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert [policy["policy"] for policy in found["policies"]] == ["noop", "scripted", "random"]
    assert [(c["policy"], c["against"], c["pairs"]) for c in found["comparisons"]] == [
        ("scripted", "noop", 12),
        ("random", "noop", 12),
    ]
    assert all(c["p"] <= c["p_holm"] <= 1 for c in found["comparisons"]) and len(found["verdicts"]) == 2


def test_what_was_played_is_not_played_again(
    world: WorldConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compare = tool(world, tmp_path, "mock://noop", "mock://random")
    assert compare.run_tool() == 0
    first = capsys.readouterr().out

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("played again")

    monkeypatch.setattr("metta.sim.simulation.Simulation.run", refuse)
    assert compare.run_tool() == 0
    assert capsys.readouterr().out == first


def moving(world: WorldConfig, folder: Path) -> CompareTool:
    """One who stands still and one who moves, scored by moves: their games differ."""
    compare = tool(world, folder, "mock://noop", "mock://random")
    for simulation in compare.simulations:
        simulation.score_metric = "action.move.success"
    return compare


def test_the_games_that_differ_most_have_a_table(
    world: WorldConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert moving(world, tmp_path).run_tool() == 0
    _, _, pairs, words = capsys.readouterr().out.strip().split("\n\n")
    rows = [line.split() for line in pairs.splitlines()[2:]]
    assert [row[:2] for row in rows[:3]] == [["random", "noop"]] * 3 and words.startswith("random is better")
    assert float(rows[0][-1]) >= float(rows[1][-1]) >= float(rows[2][-1]) > 0
    assert "watch=3" in pairs.splitlines()[-1]  # how to get the replays that are missing


def test_the_games_that_differ_most_are_recorded_if_they_shall_be_watched(
    world: WorldConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(compare: CompareTool) -> dict[str, Any]:
        assert compare.run_tool(as_json=True) == 0
        return json.loads(capsys.readouterr().out)

    compare = moving(world, tmp_path)
    before = found(compare)
    assert any(pair["replay"] is None for pair in before["largest_differences"])
    compare.watch = 2
    after = found(compare)
    assert len(after["largest_differences"]) == 2  # two where it scores more, none where it scores less
    for pair in after["largest_differences"]:
        assert Path(pair["replay"]).is_file() and Path(pair["other_replay"]).is_file()
        assert pair["difference"] == pair["score"] - pair["other_score"] > 0
    assert after["comparisons"] == before["comparisons"]
    monkeypatch.setattr("metta.sim.simulation.Simulation.run", None)  # nothing is left to be played
    assert found(compare) == after


def test_of_a_run_in_training_the_policy_that_was_compared_is_recorded(
    world: WorldConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "first" / "checkpoints" / "agent_epoch_1.pt"
    save(file, world, seed=0)
    record = CompareTool._recorded

    def train_on_and_record(*arguments: Any) -> Any:
        save(file.with_name("agent_epoch_2.pt"), world, seed=1)
        return record(*arguments)

    monkeypatch.setattr(CompareTool, "_recorded", train_on_and_record)
    compare = tool(world, tmp_path, "mock://noop", "first", simulations=1)
    compare.simulations[0].score_metric, compare.watch = "action.move.success", 1
    assert compare.run_tool(as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert [pair["policy"] for pair in found["largest_differences"]] == ["first:1"]
    assert all(Path(pair["replay"]).is_file() for pair in found["largest_differences"])
    with EvalStatsDB.from_uri(tmp_path / "first/stats/stats.duckdb") as database:
        assert database.get_all_policy_uris() == ["first:v1"]


def save(file: Path, world: WorldConfig, *, seed: int) -> None:
    """Write a network of a run as a checkpoint."""
    env = VecEnv(FixedTasks([Task(world, 1)]), num_worlds=1)
    network = make_policy("fast", env.space, seed=seed, action_names=env.action_names)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_policy(file, network, run=file.parent.parent.name, epoch=int(file.stem[-1]), agent_step=1)


def test_policies_of_one_name_and_epoch_are_called_by_their_addresses(
    world: WorldConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / folder / "run" / "checkpoints" / "agent_epoch_1.pt" for folder in ("a", "b")]
    for seed, file in enumerate(files):
        save(file, world, seed=seed)
    compare = tool(world, tmp_path, *map(str, files), simulations=1)
    compare.simulations[0].score_metric, compare.watch = "action.move.success", 1
    assert compare.run_tool(as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert [policy["policy"] for policy in found["policies"]] == list(map(str, files))
    for pair in found["largest_differences"]:
        assert f"{tmp_path}/b/" in pair["replay"] and f"{tmp_path}/a/" in pair["other_replay"]
    assert str(files[1]) in found["verdicts"][0]


def test_commas_join_runs_to_a_group(world: WorldConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    group = "mock://noop,mock://random"
    assert tool(world, tmp_path, "mock://scripted", group, simulations=1).run_tool(as_json=True) == 0
    _, found = json.loads(capsys.readouterr().out)["policies"]
    assert found["policy"] == group and found["runs"] == ["noop", "random"]
    assert (found["simulations"]["tiny/one"]["episodes"], found["simulations"]["tiny/one"]["seeds"]) == (24, 12)


def test_a_policy_that_cannot_be_loaded_costs_its_own_row_and_the_exit_code(
    world: WorldConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool(world, tmp_path, "mock://noop", "nothing", "mock://random").run_tool() == 1
    captured = capsys.readouterr()
    rows = [line.split() for line in captured.out.splitlines()]
    assert ["nothing", "could", "not", "play"] in rows and ["random", "noop", "all"] in [row[:3] for row in rows]
    assert captured.err.strip().splitlines()[-1].startswith("nothing: no policy at 'nothing'")
    with pytest.raises(CheckpointError, match="no policy at 'nothing'"):
        tool(world, tmp_path, "nothing", "mock://noop").run_tool()


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        (["mock://noop"], "say which policies"),
        (["mock://noop", "mock://noop"], "given twice: mock://noop"),
        (["mock://noop", "mock://random,mock://random"], "given twice: mock://random; a group has"),
    ],
)
def test_what_cannot_be_compared_is_said_at_once(
    world: WorldConfig, tmp_path: Path, policies: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tool(world, tmp_path, *policies).run_tool()


def test_recording_games_and_no_replays_contradict_each_other(world: WorldConfig, tmp_path: Path) -> None:
    compare = tool(world, tmp_path, "mock://noop", "mock://scripted")
    compare.watch, compare.replays = 1, False
    with pytest.raises(ConfigError, match="watch=1 records games, and replays=false forbids it"):
        compare.run_tool()


def test_the_command_takes_policies_as_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "mock://noop", "mock://random", "suite=navigation", "--dry-run"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["policy_uri"], shown["suite"]) == (["mock://noop", "mock://random"], "navigation")
    assert main(["compare", "policy_uri=mock://scripted", "mock://noop", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["policy_uri"] == ["mock://noop", "mock://scripted"]  # words are first
    assert main(["compare", "mock://noop", "mock://random", "suite=arnea"]) == 2
    assert "did you mean arena" in capsys.readouterr().err
    assert main(["compare", "mock://noop", "nobody"]) == 2
    assert main(["analyze", "nobody", "somebody"]) == 2


def test_hearts_and_rewards_have_no_mean_and_every_simulation_its_own_verdict(
    world: WorldConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare = tool(world, tmp_path, "mock://noop", "mock://scripted")
    compare.simulations[1].score_metric = "reward"
    assert compare.run_tool(as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert [line["simulation"] for line in found["comparisons"]] == ["tiny/one", "tiny/two"]
    assert [list(policy["simulations"]) for policy in found["policies"]] == [["tiny/one", "tiny/two"]] * 2
    assert len(found["verdicts"]) == 2
    assert "hearts per agent" in found["verdicts"][0] or "score the same" in found["verdicts"][0]
    assert "hearts" not in found["verdicts"][1]


def test_a_simulation_that_nobody_finished_is_told_and_the_others_have_their_verdicts(
    world: WorldConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare = tool(world, tmp_path, "mock://noop", "mock://scripted")
    compare.simulations[1].max_seconds = 1e-9
    assert compare.run_tool(as_json=True) == 1
    found = json.loads(capsys.readouterr().out)
    assert [line["simulation"] for line in found["comparisons"]] == ["tiny/one"] and len(found["verdicts"]) == 1
    assert found["missing"]


def test_policies_without_an_episode_in_common_are_told(
    world: WorldConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare = tool(world, tmp_path, "mock://noop", "mock://random", simulations=1)
    compare.simulations[0].max_seconds = 1e-9
    assert compare.run_tool() == 1
    assert (
        capsys.readouterr()
        .out.strip()
        .endswith(
            "random and noop have finished no episode of the same simulation and seed: there is nothing to compare."
        )
    )
