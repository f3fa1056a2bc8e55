"""Evaluating a policy: every episode is kept, and the score is the one that the statistics file gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from metta.agent import PolicyAgent, make_policy
from metta.agent.mocks import RandomActor
from metta.envs import FixedTasks, Task, VecEnv
from metta.errors import CheckpointError, ConfigError, SuiteError
from metta.eval import EvalStatsDB, PolicyEvaluator, Suite
from metta.grid import WorldConfig
from metta.grid.worlds import easy_arena
from metta.sim import SimulationConfig, SimulationStatsDB
from metta.sim.stats_schema import TABLES


def world(*, max_steps: int = 25, combat: bool = True) -> WorldConfig:
    config = easy_arena(num_agents=6, combat=combat)
    config.max_steps = max_steps
    return config


def small_suite(episodes: int = 3) -> Suite:
    worlds = {"tiny/basic": world(combat=False), "tiny/combat": world(combat=True)}
    simulations = [
        SimulationConfig(name=name, world=config, num_episodes=episodes, score_metric="reward")
        for name, config in worlds.items()
    ]
    return Suite(name="tiny", simulations=simulations)


@pytest.fixture(scope="module")
def policy() -> PolicyAgent:
    env = VecEnv(FixedTasks([Task(world(), 1)]), num_worlds=1)
    return make_policy("lstm", env.space, seed=1, action_names=env.action_names)


def test_the_score_is_the_one_that_the_statistics_file_gives(policy: PolicyAgent, tmp_path: Path) -> None:
    results = PolicyEvaluator(small_suite(), stats_uri=str(tmp_path / "s.duckdb")).evaluate(policy, "run", 7)
    with EvalStatsDB.from_uri(tmp_path / "s.duckdb") as database:
        assert database.simulation_scores("run", 7) == pytest.approx(results.scores.simulation_scores)
        assert database.get_scores("run", 7).category_scores == pytest.approx(results.scores.category_scores)
        assert database.sample_count("run", 7) == 2 * 3 * 6
        for name, score in results.simulations.items():
            summary = database.summary("reward", "run", 7, {"sim_name": name})
            assert summary is not None
            np.testing.assert_allclose(summary.mean, score.mean)
            assert (score.episodes, score.missing_episodes, score.metric) == (3, 0, "reward")
    assert set(results.scores.simulation_scores) == {"tiny/basic", "tiny/combat"}
    assert results.missing_episodes == 0 and results.agent_steps == 2 * 3 * 6 * 25


def test_two_evaluations_give_the_same_database_but_for_times(
    policy: PolicyAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metta.sim.simulation.FEWEST_WORLDS", 1)
    for name, options in (("a", {}), ("b", {"num_worlds": 2, "threads": 2}), ("a", {})):
        evaluator = PolicyEvaluator(small_suite(), stats_uri=str(tmp_path / f"{name}.duckdb"), **options)
        evaluator.evaluate(policy, "run", 7)
    times = ["created_at", "completed_at", "finished_at"]
    with EvalStatsDB.from_uri(tmp_path / "a.duckdb") as a, EvalStatsDB.from_uri(tmp_path / "b.duckdb") as b:
        for table in TABLES:
            frames = [database.table(table).drop(columns=times, errors="ignore") for database in (a, b)]
            assert len(frames[0]) > 0
            pd.testing.assert_frame_equal(*frames)


def test_an_evaluation_touches_neither_the_policy_nor_torchs_random_state(policy: PolicyAgent) -> None:
    weights = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    connection = policy.connection
    PolicyEvaluator(small_suite(1)).evaluate(policy, "run", 1)
    assert torch.equal(torch.rand(3), expected)
    assert policy.connection is connection
    assert all(torch.equal(weights[name], tensor) for name, tensor in policy.state_dict().items())


def test_scores_do_not_depend_on_torchs_threads_and_leave_them_as_they_were(policy: PolicyAgent) -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(PolicyEvaluator(small_suite(2)).evaluate(policy, "run", 1).scores)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


def test_a_policy_may_be_given_by_address_and_brings_its_name(tmp_path: Path) -> None:
    results = PolicyEvaluator(small_suite(1), stats_uri=str(tmp_path / "s.duckdb")).evaluate("mock://random")
    assert (results.policy_key, results.policy_version) == ("random", 0)
    with SimulationStatsDB.from_uri(tmp_path / "s.duckdb") as database:
        assert database.get_all_policy_uris() == ["random:v0"]


def test_a_policy_that_does_not_load_is_an_error_and_never_a_mock(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        PolicyEvaluator(small_suite(1), data_dir=str(tmp_path)).evaluate("no_such_run")


def test_a_replay_is_saved_for_every_simulation(tmp_path: Path) -> None:
    stats_uri = str(tmp_path / "s.duckdb")
    evaluator = PolicyEvaluator(small_suite(2), replay_dir=str(tmp_path / "replays"), stats_uri=stats_uri)
    results = evaluator.evaluate("mock://random")
    assert {name: len(urls) for name, urls in results.replay_urls.items()} == {"tiny/basic": 1, "tiny/combat": 1}
    assert all(Path(url).is_file() and url.endswith(".json.z") for urls in results.replay_urls.values() for url in urls)
    with SimulationStatsDB.from_uri(stats_uri) as database:
        assert database.get_replay_urls("random:v0", "tiny/basic") == results.replay_urls["tiny/basic"]


def test_what_was_played_is_kept_when_a_later_simulation_fails(tmp_path: Path) -> None:
    suite = small_suite(1)
    suite.simulations[1].score_metric = "no_such_metric"
    with pytest.raises(ConfigError):
        PolicyEvaluator(suite, stats_uri=str(tmp_path / "s.duckdb")).evaluate("mock://random")
    with EvalStatsDB.from_uri(tmp_path / "s.duckdb") as database:
        assert list(database.simulation_scores("random", 0)) == ["tiny/basic"]


KILLED = """
import os, sys
from metta.agent.mocks import RandomActor
from metta.eval import PolicyEvaluator
from metta.grid.worlds import easy_arena
from metta.sim import SimulationConfig

class Dies(RandomActor):
    games = 0
    def reset(self, env):
        super().reset(env)
        self.games += 1
    def act(self, env, rows=None):
        if self.games == 2:
            os.kill(os.getpid(), 9)
        return super().act(env, rows)

world = easy_arena(num_agents=6)
world.max_steps = 5
suite = [SimulationConfig(name=f"tiny/{n}", world=world, num_episodes=2) for n in ("first", "second", "third")]
PolicyEvaluator(suite, stats_uri=sys.argv[1]).evaluate(Dies(), "run", 1)
"""


def test_what_was_played_is_kept_when_the_process_is_killed_in_a_later_simulation(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "s.duckdb")], check=False)
    assert done.returncode == -9
    with EvalStatsDB.from_uri(tmp_path / "s.duckdb") as database:
        assert database.sample_count("run", 1, {"sim_name": "tiny/first"}) == database.sample_count("run", 1) == 2 * 6


def test_missing_episodes_are_reported_and_without_any_there_is_no_score() -> None:
    slow = SimulationConfig(name="tiny/slow", world=world(max_steps=1_000_000), num_episodes=2, max_seconds=0.05)
    quick = SimulationConfig(name="tiny/quick", world=world(), num_episodes=2)
    results = PolicyEvaluator([slow, quick]).evaluate(RandomActor(), "run", 1)
    assert results.missing_episodes == 2
    assert list(results.scores.simulation_scores) == ["tiny/quick"]
    counts = [(score.episodes, score.seeds, score.missing_episodes) for score in results.simulations.values()]
    assert counts == [(0, 0, 2), (2, 2, 0)]
    assert np.isnan(results.simulations["tiny/slow"].mean).all()


def test_episodes_are_found_by_their_tags(tmp_path: Path) -> None:
    """The same episodes of two simulations that differ in their tags alone."""
    tagged = [
        SimulationConfig(name=f"tiny/{tag}", world=world(), num_episodes=n, episode_tags={"purpose": tag})
        for tag, n in (("check", 2), ("final", 3))
    ]
    PolicyEvaluator(tagged, stats_uri=str(tmp_path / "s.duckdb")).evaluate("mock://random", "run", 1)
    with EvalStatsDB.from_uri(tmp_path / "s.duckdb") as database:
        samples = [
            database.sample_count("run", 1, {"purpose": tags}) for tags in ("check", "final", ["check", "final"])
        ]
        assert samples == [2 * 6, 3 * 6, 5 * 6]
        by_tag, by_name = (
            database.get_average_metric_by_filter("action.move.success", "run", 1, {key: value})
            for key, value in (("purpose", "final"), ("sim_name", "tiny/final"))
        )
        everything = database.get_average_metric_by_filter("action.move.success", "run", 1)
        assert by_tag == by_name != everything


def test_progress_names_every_simulation_and_ends_at_the_whole() -> None:
    seen: dict[str, list[float]] = {}
    evaluator = PolicyEvaluator(small_suite(), on_progress=lambda name, share: seen.setdefault(name, []).append(share))
    evaluator.evaluate("mock://random")
    assert list(seen) == ["tiny/basic", "tiny/combat"]
    assert all(shares == sorted(shares) and shares[0] < 0.1 and shares[-1] == 1 for shares in seen.values())


def test_an_opponent_plays_its_share(tmp_path: Path) -> None:
    half = SimulationConfig(
        name="tiny/half", world=world(), num_episodes=2, policy_agents_pct=0.5, npc_policy_uri="mock://noop"
    )
    PolicyEvaluator([half], stats_uri=str(tmp_path / "s.duckdb")).evaluate("mock://random", "run", 1)
    with EvalStatsDB.from_uri(tmp_path / "s.duckdb") as database:
        assert database.sample_count("run", 1) == database.sample_count("noop", 0, {"player": 1}) == 6
        assert database.get_average_metric_by_filter("action.noop.success", "noop", 0, {"player": 1}) == 25.0


def test_among_its_own_copies_the_score_is_that_of_its_own_part(tmp_path: Path) -> None:
    half = SimulationConfig(
        name="tiny/half",
        world=world(max_steps=300),
        num_episodes=4,
        policy_agents_pct=0.5,
        npc_policy_uri="mock://scripted",
    )
    results = PolicyEvaluator([half], stats_uri=str(tmp_path / "s.duckdb")).evaluate("mock://scripted")
    with EvalStatsDB.from_uri(tmp_path / "s.duckdb") as database:
        own, other = (
            database.get_average_metric_by_filter("hearts", "scripted", 0, {"player": player}) for player in (0, 1)
        )
        assert database.sample_count("scripted", 0) == 12
        assert database.simulation_scores("scripted", 0, "hearts") == {"tiny/half": own}
        assert results.simulations["tiny/half"].mean.value == pytest.approx(own) and own != other


def test_several_opponents_share_what_is_left_and_each_counts_as_itself(tmp_path: Path) -> None:
    thirds = SimulationConfig(
        name="tiny/thirds",
        world=world(),
        num_episodes=6,
        policy_agents_pct=1 / 3,
        npc_policy_uri=["mock://noop", "mock://scripted"],
    )
    PolicyEvaluator([thirds], stats_uri=str(tmp_path / "s.duckdb")).evaluate("mock://random", "run", 1)
    with EvalStatsDB.from_uri(tmp_path / "s.duckdb") as database:
        counts = [
            database.sample_count(*who, {"player": player})
            for player, who in enumerate((("run", 1), ("noop", 0), ("scripted", 0)))
        ]
        assert counts == [12, 12, 12]
        assert database.get_average_metric_by_filter("action.noop.success", "noop", 0, {"player": 1}) == 25.0


def test_suites_may_be_given_by_name_and_mistakes_are_found_at_once() -> None:
    assert PolicyEvaluator("arena").suite.name == "arena"
    with pytest.raises(SuiteError):
        PolicyEvaluator("aren")
    with pytest.raises(SuiteError):
        PolicyEvaluator([SimulationConfig(name="a/b", world=world())] * 2)
