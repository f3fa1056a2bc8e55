"""Simulations: a fixed list of episodes, each played once, whatever the batch looks like."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from metta.agent import PolicyActor, load_policy_from_uri, make_policy
from metta.agent.mocks import NoopActor, RandomActor
from metta.envs import FixedTasks, Task, VecEnv
from metta.errors import ConfigError
from metta.grid import WorldConfig
from metta.grid.rng import episode_seed
from metta.grid.worlds import arena
from metta.replay import read_replay
from metta.sim import Simulation, SimulationConfig, SimulationResult, SimulationStatsDB, evaluation_seeds
from metta.sim.seeds import EVALUATION_NAMESPACE


def world(max_steps: int = 30) -> WorldConfig:
    config = arena(num_agents=6)
    config.max_steps = max_steps
    return config


def play(
    actor=None, *, episodes: int = 5, npc=None, config: SimulationConfig | None = None, **options
) -> SimulationResult:
    config = config or SimulationConfig(name="arena/small", world=world(), num_episodes=episodes)
    return Simulation(config, actor or RandomActor(), policy_key="run", policy_version=3, npc=npc, **options).run()


def metrics(result: SimulationResult) -> pd.DataFrame:
    with SimulationStatsDB() as database:
        database.add(result.rows)
        return database.table("agent_metrics")


class Lengths(RandomActor):
    """Notes which agents were at an episode's first observation."""

    def reset(self, env: VecEnv) -> None:
        super().reset(env)
        self.ends = 0

    def act(self, env: VecEnv, rows=None):
        self.ends += int((env.terminals | env.truncations).sum())
        return super().act(env, rows)


def test_every_episode_is_played_once_on_its_own_seed() -> None:
    result = play(episodes=5, num_worlds=2)
    assert [episode.seed for episode in result.rows.episodes] == evaluation_seeds(5)
    assert [episode.length for episode in result.rows.episodes] == [30] * 5
    assert result.missing_episodes == 0


@pytest.mark.parametrize("num_worlds", [1, 2, 3, 8])
def test_results_do_not_depend_on_the_number_of_worlds(num_worlds: int) -> None:
    pd.testing.assert_frame_equal(metrics(play(num_worlds=num_worlds)), metrics(play()))


@pytest.mark.parametrize("architecture", ["fast", "lstm"])
@pytest.mark.parametrize("num_worlds", [1, 3])
def test_a_networks_results_do_not_depend_on_the_number_of_worlds(architecture: str, num_worlds: int) -> None:
    env = VecEnv(FixedTasks([Task(world(), 1)]), num_worlds=1)
    policy = make_policy(architecture, env.space, seed=1, action_names=env.action_names)
    whole, parts = (play(PolicyActor(policy), num_worlds=number) for number in (5, num_worlds))
    pd.testing.assert_frame_equal(metrics(whole), metrics(parts))


def test_actors_are_told_of_every_episodes_end() -> None:
    actor = Lengths()
    play(actor, episodes=4, num_worlds=2)
    assert actor.ends == 2 * 6  # of the first two worlds; after the last episodes nobody acts


def test_the_metrics_are_those_of_the_episodes_end() -> None:
    result = play(episodes=1)
    env = VecEnv(FixedTasks([Task(world(), evaluation_seeds(1)[0])]), num_worlds=1)
    actor = RandomActor()
    env.reset()
    actor.reset(env)
    while not env.episode_ends:
        env.step(actor.act(env))
    end, columns = env.episode_ends[0], list(result.rows.metric_names)
    episode = result.rows.episodes[0]
    np.testing.assert_array_equal(episode.metrics[:, columns.index("reward")], end.rewards)
    np.testing.assert_array_equal(episode.metrics[:, columns.index("hearts")], end.inventory[:, 6])
    np.testing.assert_array_equal(episode.metrics[:, columns.index("ore_red.held")], end.inventory[:, 0])
    stats = env.agent_stat_names.index("action.move.success")
    np.testing.assert_array_equal(episode.metrics[:, columns.index("action.move.success")], end.agent_stats[:, stats])
    assert episode.attributes["world.objects.altar"] == "5"
    assert episode.attributes["end"] == "truncated"


def test_episodes_that_do_not_finish_in_time_are_reported_missing(caplog: pytest.LogCaptureFixture) -> None:
    config = SimulationConfig(name="arena/slow", world=world(1_000_000), num_episodes=3, max_seconds=0.05)
    result = play(config=config)
    assert result.missing_episodes == 3
    assert "3 of 3 episodes are missing" in caplog.text
    assert metrics(result).empty


def test_what_finished_in_time_is_kept() -> None:
    class Impatient(RandomActor):
        """Plays two episodes, then lets the time run out."""

        def act(self, env, rows=None):
            self.ticks = getattr(self, "ticks", 0) + 1
            if self.ticks > 61:
                import time

                time.sleep(0.3)
            return super().act(env, rows)

    config = SimulationConfig(name="arena/slow", world=world(), num_episodes=4, max_seconds=0.3)
    result = play(Impatient(), config=config, num_worlds=1)
    assert result.missing_episodes == 2
    assert [episode.seed for episode in result.rows.episodes] == evaluation_seeds(4)[:2]


def test_evaluation_seeds_are_a_fixed_list_apart_from_those_of_training() -> None:
    assert evaluation_seeds(8) == evaluation_seeds(64)[:8]
    assert len(set(evaluation_seeds(1000)) | set(evaluation_seeds(1000, base=1))) == 2000
    assert all(EVALUATION_NAMESPACE <= seed < 2**63 for seed in evaluation_seeds(1000))
    assert evaluation_seeds(1) == [8036571827545316312]  # scores of years are compared on them: never change this
    training = {int(episode_seed(1, 0, world, episode)) for world in range(50) for episode in range(50)}
    assert max(training) < EVALUATION_NAMESPACE


def test_a_policy_and_another_share_the_agents_and_change_places() -> None:
    config = SimulationConfig(
        name="arena/half", world=world(), num_episodes=4, policy_agents_pct=0.5, npc_policy_uri="mock://noop"
    )
    npc = load_policy_from_uri("mock://noop")
    result = play(config=config, npc=npc, num_worlds=3)
    players = np.stack([episode.policies for episode in result.rows.episodes])
    assert players.sum(axis=1).tolist() == [3, 3, 3, 3]
    assert players.sum(axis=0).tolist() == [2, 2, 2, 2, 2, 2]
    noops = list(result.rows.metric_names).index("action.noop.success")
    for episode in result.rows.episodes:
        assert (episode.metrics[episode.policies == 1, noops] == 30).all()
        assert (episode.metrics[episode.policies == 0, noops] < 15).all()
    assert set(result.rows.policies) == {("run", 3), ("noop", 0)}
    pd.testing.assert_frame_equal(metrics(result), metrics(play(config=config, npc=npc, num_worlds=1)))


def test_a_share_and_an_opponent_go_together() -> None:
    for options in ({"policy_agents_pct": 0.5}, {"npc_policy_uri": "mock://noop"}):
        with pytest.raises(ValueError, match="go together"):
            SimulationConfig(name="arena/x", world=world(), **options)


def test_the_replay_is_that_of_a_scored_episode(tmp_path) -> None:
    result = play(episodes=3, num_worlds=2, replay_dir=str(tmp_path), record_episodes=2)
    first, second, third = result.rows.episodes
    assert [first.replay_url, second.replay_url, third.replay_url] == [*result.replay_urls, None]
    agents = [entry for entry in read_replay(result.replay_urls[1]).data["objects"] if entry.get("is_agent")]
    totals = [entry["total_reward"][-1][1] if isinstance(entry["total_reward"], list) else 0.0 for entry in agents]
    reward = list(result.rows.metric_names).index("reward")
    np.testing.assert_allclose(totals, second.metrics[:, reward], atol=1e-5)


def test_recording_changes_no_result(tmp_path) -> None:
    pd.testing.assert_frame_equal(metrics(play(replay_dir=str(tmp_path))), metrics(play()))


def test_tags_and_the_score_are_kept_with_every_episode() -> None:
    config = SimulationConfig(name="arena/x", world=world(), num_episodes=2, episode_tags={"purpose": "test"})
    assert {(e.attributes["purpose"], e.attributes["score_metric"]) for e in play(config=config).rows.episodes} == {
        ("test", "hearts")
    }


def test_an_unknown_score_names_the_nearest() -> None:
    config = SimulationConfig(name="arena/x", world=world(), num_episodes=1, score_metric="heart")
    with pytest.raises(ConfigError, match=r"'heart' is no metric.*did you mean hearts"):
        play(config=config)


def test_another_world_is_another_env() -> None:
    base = SimulationConfig(name="arena/x", world=world())
    other = base.model_copy(deep=True)
    other.world.agent.freeze_duration = 3
    assert base.env() == SimulationConfig(name="arena/y", world=world(), num_episodes=3).env() != other.env()
    reread = SimulationConfig.model_validate_json(base.model_dump_json())
    assert reread.env() == base.env()


def test_nobody_changes_the_world_of_a_simulation_that_is_running() -> None:
    config = SimulationConfig(name="arena/x", world=world(), num_episodes=1)
    before = config.model_dump_json()
    play(NoopActor(), config=config)
    assert config.model_dump_json() == before
