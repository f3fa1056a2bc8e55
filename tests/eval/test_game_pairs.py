"""The games in which two policies differ most, and their replays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from metta.agent import make_policy, save_policy
from metta.agent.mocks import RandomActor
from metta.envs import FixedTasks, Task, VecEnv
from metta.errors import CheckpointError, StatsError
from metta.eval import EvalStatsDB, Suite
from metta.eval.analysis import PolicyVersion
from metta.eval.game_pairs import format_pairs, lacks_replays, largest_differences, suite_pairs
from metta.eval.recording import record_games, unrecorded
from metta.eval.scores import Player, join_players, read_player
from metta.eval.stored_evaluation import StoredEvaluation
from metta.grid.worlds import easy_arena
from metta.replay import read_replay
from metta.sim import SimulationConfig, SimulationStatsDB, evaluation_seeds


def player(name: str, **simulations: dict[int, float]) -> Player:
    tables = {s: pd.DataFrame({name: list(v.values())}, index=list(v)) for s, v in simulations.items()}
    return Player(name=name, runs=(PolicyVersion(name, 0),), episodes=tables, replays={"a": {1: f"{name}/1.json.z"}})


def test_the_largest_differences_each_way_are_those_of_a_plain_search() -> None:
    draw = np.random.default_rng(0)
    x, y = (
        {room: dict(zip(range(k, 30), draw.integers(0, 5, 30 - k).tolist(), strict=True)) for room in ("a", "b")}
        for k in (0, 4)
    )
    pairs = largest_differences(player("x", **x), player("y", **y), ["a", "b"], count=5)
    differences = [x[room][seed] - y[room][seed] for room in ("a", "b") for seed in range(4, 30)]
    assert [pair.difference for pair in pairs] == [*sorted(differences)[:-6:-1], *sorted(differences)[:5]]
    for pair in pairs:
        assert (pair.score, pair.other_score) == (x[pair.simulation][pair.seed], y[pair.simulation][pair.seed])


def test_equal_and_unknown_scores_and_what_one_did_not_play_are_no_differences() -> None:
    one = player("one", a={1: 2.0, 2: 5.0, 3: float("nan")}, b={1: 1.0})
    other = player("other", a={1: 2.0, 2: 4.0, 3: 1.0, 4: 9.0})
    (pair,) = largest_differences(one, other, ["a", "b"])
    assert (pair.simulation, pair.seed, pair.difference) == ("a", 2, 1.0)


def test_scores_that_differ_by_rounding_alone_are_no_differences() -> None:
    one, other = player("one", a={1: 12.300001, 2: 0.3}), player("other", a={1: 12.300001 * (1 + 3e-7), 2: 0.1 + 0.2})
    assert largest_differences(one, other, ["a"]) == []


def test_every_difference_is_shown_as_one_whatever_the_scale() -> None:
    one = player("one", a={1: 0.0042, 2: 0.0031}, b={1: 7250.5})
    pairs = largest_differences(one, player("other", a={1: 0.0027, 2: 0.0034}, b={1: 8.0}), ["a", "b"])
    rows = [line.split()[-3:] for line in format_pairs(pairs).splitlines()[2:5]]
    assert rows == [
        *(["7,250.50", "8.00", "+7,242.50"], ["0.00420", "0.00270", "+0.00150"]),
        ["0.00310", "0.00340", "-0.00030"],
    ]


def test_a_group_of_runs_has_no_game_of_its_own() -> None:
    group = join_players("g", [player("x", a={1: 1.0}), player("y", a={1: 2.0})])
    assert largest_differences(group, player("z", a={1: 5.0}), ["a"]) == []


def test_hearts_and_rewards_are_looked_at_apart() -> None:
    worlds = [SimulationConfig(name=name, world=easy_arena(num_agents=6), num_episodes=2) for name in ("a", "b")]
    x, y = player("x", a={1: 1.0, 2: 1.0}, b={1: 900.0, 2: 500.0}), player("y", a={1: 0.0, 2: 0.5}, b={1: 0.0, 2: 0.0})
    one_score = suite_pairs(x, y, Suite(name="s", simulations=worlds), count=1)
    assert [pair.simulation for pair in one_score] == ["b"]
    worlds[1].score_metric = "reward"
    assert [pair.simulation for pair in suite_pairs(x, y, Suite(name="s", simulations=worlds), count=1)] == ["a", "b"]


def test_the_text_has_a_command_for_each_replay_that_is_there() -> None:
    pairs = largest_differences(player("my run", a={1: 3.0, 2: 1.0}), player("other", a={1: 1.0, 2: 2.0}), ["a"])
    lines = format_pairs(pairs).splitlines()
    assert lines[2].split() == ["my", "run", "other", "a", "1", "3.00", "1.00", "+2.00"]
    assert lines[3].endswith("-1.00") and lines[4:-1] == [
        "metta replay 'my run/1.json.z'",
        "metta replay other/1.json.z",
    ]
    assert lines[-1].startswith("watch=3 records") and "watch" not in format_pairs(pairs[:1])
    assert lacks_replays(pairs) and not lacks_replays(pairs[:1])
    assert unrecorded(pairs, "other") == [("a", 2)]


@pytest.mark.parametrize("opponent", [None, "mock://noop"])
def test_a_game_that_is_recorded_later_is_the_same_game(tmp_path: Path, opponent: str | None) -> None:
    world = easy_arena(num_agents=6)
    world.max_steps = 30
    share = {"npc_policy_uri": opponent, "policy_agents_pct": 0.5} if opponent else {}
    config = SimulationConfig(name="tiny/world", world=world, num_episodes=5, **share)
    evaluation = StoredEvaluation(
        suite=Suite(name="tiny", simulations=[config]),
        stats_uri=str(tmp_path / "s.duckdb"),
        replay_dir=str(tmp_path / "replays"),
    )
    policy = evaluation.evaluate("mock://random")

    def read() -> tuple[Player, pd.DataFrame]:
        with EvalStatsDB.from_uri(evaluation.stats_uri) as database:
            metrics = database.query(
                """SELECT e.seed, m.agent_id, m.metric, m.value, p.policy_key FROM agent_metrics m
                   JOIN episodes e ON e.id = m.episode_id
                   JOIN agent_policies p ON p.episode_id = m.episode_id AND p.agent_id = m.agent_id ORDER BY ALL"""
            )
            return read_player(database, policy, [config]), metrics

    before, metrics = read()
    seeds = evaluation_seeds(5)
    assert RandomActor.key == str(policy) and before.replays == {"tiny/world": {}}  # yardsticks are not recorded
    record_games(evaluation, policy, [("tiny/world", seeds[3]), ("tiny/world", seeds[1])])
    after, same = read()
    pd.testing.assert_frame_equal(same, metrics)
    pd.testing.assert_frame_equal(after.episodes["tiny/world"], before.episodes["tiny/world"])
    assert set(after.replays["tiny/world"]) == {seeds[1], seeds[3]}
    replay = read_replay(after.replays["tiny/world"][seeds[3]])
    assert replay.num_steps == 31 and len(replay.data["objects"]) > 6


@pytest.fixture
def evaluated(tmp_path: Path) -> tuple[StoredEvaluation, PolicyVersion]:
    """The latest policy of a run, epoch 1, evaluated without replays."""
    save(tmp_path / "run", epoch=1, seed=0)
    world = easy_arena(num_agents=6)
    world.max_steps = 30
    config = SimulationConfig(name="tiny/world", world=world, num_episodes=5, score_metric="action.move.success")
    suite, stats_uri = Suite(name="tiny", simulations=[config]), str(tmp_path / "s.duckdb")
    evaluation = StoredEvaluation(suite=suite, stats_uri=stats_uri, data_dir=str(tmp_path))
    policy = evaluation.evaluate("run")
    assert policy == ("run", 1)
    return replace(evaluation, replay_dir=str(tmp_path / "replays")), policy


def save(run: Path, *, epoch: int, seed: int) -> None:
    env = VecEnv(FixedTasks([Task(easy_arena(num_agents=6), 1)]), num_worlds=1)
    network = make_policy("fast", env.space, seed=seed, action_names=env.action_names)
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    save_policy(run / "checkpoints" / f"agent_epoch_{epoch}.pt", network, run="run", epoch=epoch, agent_step=epoch)


def stored(evaluation: StoredEvaluation) -> pd.DataFrame:
    with EvalStatsDB.from_uri(evaluation.stats_uri) as database:
        return database.query(
            """SELECT policy_key, policy_version, seed, replay_url IS NOT NULL AS has_replay
               FROM episodes e JOIN simulations s ON s.id = e.simulation_id ORDER BY ALL"""
        )


def test_of_a_run_in_training_that_policy_is_recorded_which_was_scored(
    tmp_path: Path, evaluated: tuple[StoredEvaluation, PolicyVersion]
) -> None:
    evaluation, policy = evaluated
    save(tmp_path / "run", epoch=2, seed=1)
    record_games(evaluation, policy, [("tiny/world", evaluation_seeds(5)[3])])
    found = stored(evaluation)
    assert set(found["policy_version"]) == {1} and found["has_replay"].sum() == 1 and len(found) == 5


def test_a_policy_whose_file_holds_another_network_by_now_is_not_recorded(
    tmp_path: Path, evaluated: tuple[StoredEvaluation, PolicyVersion]
) -> None:
    evaluation, policy = evaluated
    save(tmp_path / "run", epoch=1, seed=1)
    with pytest.raises(CheckpointError, match=r"agent_epoch_1.pt holds another network than the run:1"):
        record_games(evaluation, policy, [("tiny/world", evaluation_seeds(5)[3])])
    assert not stored(evaluation)["has_replay"].any()


def test_a_game_that_scores_otherwise_than_before_is_not_recorded(
    evaluated: tuple[StoredEvaluation, PolicyVersion],
) -> None:
    evaluation, policy = evaluated
    SimulationStatsDB.settle(evaluation.stats_uri)
    with duckdb.connect(evaluation.stats_uri) as connection:
        connection.execute("UPDATE agent_metrics SET value = value + 1 WHERE metric = 'action.move.success'")
    with pytest.raises(StatsError, match=r"run:1 in tiny/world, seed \d+: action.move.success was .*, played again"):
        record_games(evaluation, policy, [("tiny/world", evaluation_seeds(5)[3])])
    assert not stored(evaluation)["has_replay"].any()


def test_a_replay_that_is_gone_is_no_replay_and_one_that_was_moved_is_found(tmp_path: Path) -> None:
    world = easy_arena(num_agents=6)
    world.max_steps = 10
    config = SimulationConfig(name="tiny/world", world=world, num_episodes=2)
    evaluation = StoredEvaluation(
        suite=Suite(name="tiny", simulations=[config]),
        stats_uri=str(tmp_path / "s.duckdb"),
        replay_dir=str(tmp_path / "old"),
    )
    policy = evaluation.evaluate("mock://noop")
    (tmp_path / "old").rename(tmp_path / "new")
    with EvalStatsDB.from_uri(evaluation.stats_uri) as database:
        assert read_player(database, policy, [config]).replays["tiny/world"] == {}
        moved = read_player(database, policy, [config], replay_dir=tmp_path / "new").replays["tiny/world"]
    assert [Path(url).parent.name for url in moved.values()] == ["new"]
