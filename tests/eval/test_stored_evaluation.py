"""What was played is used again: only what is missing is played."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.rl.small_world import small_world

from metta.agent import make_policy, save_policy
from metta.envs import FixedTasks, Task, VecEnv
from metta.eval import EvalStatsDB, StoredEvaluation, Suite, scores, world_suite
from metta.grid import WorldConfig
from metta.sim import Simulation, SimulationConfig, SimulationResult, simulation


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the simulations that are played."""
    names: list[str] = []
    run = Simulation.run

    def told(self: Simulation, **options: object) -> SimulationResult:
        names.append(self.config.name)
        return run(self, **options)

    monkeypatch.setattr(Simulation, "run", told)
    return names


def stored(folder: Path, *names: str, episodes: int = 2) -> StoredEvaluation:
    world = small_world()
    simulations = [SimulationConfig(name=name, world=world, num_episodes=episodes) for name in names]
    return StoredEvaluation(suite=Suite(name="tiny", simulations=simulations), stats_uri=str(folder / "s.duckdb"))


def test_only_what_is_missing_is_played(tmp_path: Path, played: list[str]) -> None:
    stored(tmp_path, "tiny/a").evaluate("mock://random")
    stored(tmp_path, "tiny/a", "tiny/b").evaluate("mock://random")
    assert played == ["tiny/a", "tiny/b"]
    stored(tmp_path, "tiny/a", "tiny/b").evaluate("mock://noop")
    assert played == ["tiny/a", "tiny/b", "tiny/a", "tiny/b"]
    stored(tmp_path, "tiny/a", episodes=1).evaluate("mock://random")
    assert len(played) == 4
    stored(tmp_path, "tiny/a", episodes=3).evaluate("mock://random")
    assert played[4:] == ["tiny/a"]


def test_another_world_is_played_again(tmp_path: Path, played: list[str]) -> None:
    stored(tmp_path, "tiny/a").evaluate("mock://random")
    evaluation = stored(tmp_path, "tiny/a")
    evaluation.suite.simulations[0].world.max_steps += 1
    evaluation.evaluate("mock://random")
    assert played == ["tiny/a", "tiny/a"]


def test_other_rules_make_yardsticks_play_again(
    tmp_path: Path, played: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tmp_path, "tiny/a").evaluate_yardsticks()
    stored(tmp_path, "tiny/a").evaluate_yardsticks()
    assert len(played) == 2
    for module in (simulation, scores):
        monkeypatch.setattr(module, "rules_hash", lambda world: "after an edit")
    stored(tmp_path, "tiny/a").evaluate_yardsticks()
    assert len(played) == 4
    stored(tmp_path, "tiny/a").evaluate_yardsticks()
    assert len(played) == 4
    with EvalStatsDB.from_uri(tmp_path / "s.duckdb") as database:
        rules = database.query("SELECT DISTINCT value FROM episode_attributes WHERE attribute = 'rules'")
    assert rules["value"].tolist() == ["after an edit"]


def test_a_yardstick_that_cannot_play_in_a_world_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    suite = world_suite(WorldConfig(num_agents=1, max_steps=5), name="tiny/nothing", episodes=1)
    evaluation = StoredEvaluation(suite=suite, stats_uri=str(tmp_path / "s.duckdb"))
    assert [policy.key for policy in evaluation.evaluate_yardsticks()] == ["random"]
    assert "mock://scripted is left out: the scripted agent collects hearts" in caplog.text


def test_a_file_that_names_no_rules_is_not_trusted(tmp_path: Path, played: list[str]) -> None:
    suite = world_suite(small_world(), name="tiny/world", episodes=1)
    evaluation = StoredEvaluation(suite=suite, stats_uri=str(tmp_path / "s.duckdb"))
    evaluation.evaluate("mock://random")
    with EvalStatsDB.from_uri(tmp_path / "s.duckdb") as database:
        database._writing().execute("DELETE FROM episode_attributes WHERE attribute = 'rules'")
        database._release()
        (tmp_path / "s.duckdb").write_bytes(database.path.read_bytes())
    evaluation.evaluate("mock://random")
    assert len(played) == 2


def test_a_run_that_was_trained_again_under_its_name_is_played_again(tmp_path: Path, played: list[str]) -> None:
    env = VecEnv(FixedTasks([Task(small_world(), 1)]), num_worlds=1)
    path = tmp_path / "other" / "checkpoints" / "agent_epoch_1.pt"
    path.parent.mkdir(parents=True)

    def train(seed: int, *, at: float) -> None:
        policy = make_policy("fast", env.space, seed=seed, action_names=env.action_names)
        save_policy(path, policy, run="other", epoch=1, agent_step=1)
        os.utime(path, (at, at))

    train(1, at=time.time() - 100)
    stored(tmp_path, "tiny/a").evaluate(str(path))
    stored(tmp_path, "tiny/a").evaluate(str(path))
    assert len(played) == 1
    train(2, at=time.time() + 100)
    stored(tmp_path, "tiny/a").evaluate(str(path))
    assert len(played) == 2
    own = replace(stored(tmp_path, "tiny/a"), stats_uri=str(tmp_path / "other" / "stats" / "stats.duckdb"))
    own.evaluate(str(path))
    own.evaluate(str(path))
    assert len(played) == 3
    train(3, at=time.time() - 100)  # its clock is of no importance
    own.evaluate(str(path))
    assert len(played) == 4


def with_opponent(folder: Path, opponent: str) -> StoredEvaluation:
    shared = SimulationConfig(
        name="tiny/shared", world=small_world(), num_episodes=2, npc_policy_uri=opponent, policy_agents_pct=0.5
    )
    return StoredEvaluation(suite=Suite(name="tiny", simulations=[shared]), stats_uri=str(folder / "s.duckdb"))


def test_games_as_anothers_opponent_are_not_a_policys_own(tmp_path: Path, played: list[str]) -> None:
    evaluation = with_opponent(tmp_path, "mock://noop")
    random = evaluation.evaluate("mock://random")
    noop = evaluation.evaluate("mock://noop")
    assert played == ["tiny/shared"] * 2
    with EvalStatsDB.from_uri(tmp_path / "s.duckdb") as database:
        assert database.sample_count("noop", 0) == 4
        assert database.sample_count("noop", 0, {"player": 1}) == 8  # against the random agent, and against itself
        for policy, about in ((random, "random"), (noop, "noop")):
            score = scores.policy_score(database, policy, evaluation.suite.simulations[0])
            assert score is not None
            assert score.summary.mean.value == database.get_average_metric_by_filter("reward", about, 0)


def test_an_opponent_that_was_trained_again_is_another_opponent(tmp_path: Path, played: list[str]) -> None:
    env = VecEnv(FixedTasks([Task(small_world(), 1)]), num_worlds=1)
    for seed in (1, 1, 2):
        policy = make_policy("fast", env.space, seed=seed, action_names=env.action_names)
        save_policy(tmp_path / "opponent.pt", policy, run="other", epoch=1, agent_step=1)
        with_opponent(tmp_path, str(tmp_path / "opponent.pt")).evaluate("mock://random")
    assert len(played) == 2
