"""Simulations: a fixed list of episodes, each played once, whatever the batch looks like."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from metta.agent import PolicyActor, load_policy_from_uri, make_policy
from metta.agent.architectures import policy_config
from metta.agent.mocks import NoopActor, RandomActor
from metta.agent.sampling import sample_actions
from metta.envs import FixedTasks, Task, VecEnv
from metta.errors import ConfigError
from metta.grid import WorldConfig
from metta.grid.rng import episode_seed
from metta.grid.worlds import arena
from metta.replay import read_replay
from metta.sim import Simulation, SimulationConfig, SimulationResult, SimulationStatsDB, evaluation_seeds
from metta.sim.seeds import EVALUATION_NAMESPACE
from metta.sim.stats_schema import TABLES


@pytest.fixture(autouse=True)
def _as_many_threads_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a few games, for which one would be faster."""
    monkeypatch.setattr("metta.sim.simulation.FEWEST_WORLDS", 1)


def world(max_steps: int = 30) -> WorldConfig:
    config = arena(num_agents=6)
    config.max_steps = max_steps
    return config


def play(
    actor=None, *, episodes: int = 5, npcs=(), config: SimulationConfig | None = None, **options
) -> SimulationResult:
    config = config or SimulationConfig(name="arena/small", world=world(), num_episodes=episodes)
    return Simulation(config, actor or RandomActor(), policy_key="run", policy_version=3, npcs=npcs, **options).run()


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


def tables(result: SimulationResult) -> dict[str, pd.DataFrame]:
    """All tables of the statistics file, without times."""
    with SimulationStatsDB() as database:
        database.add(result.rows)
        frames = {name: database.table(name) for name in TABLES}
    times = ["created_at", "completed_at", "finished_at"]
    return {name: frame.drop(columns=times, errors="ignore") for name, frame in frames.items()}


def assert_same(one: SimulationResult, other: SimulationResult) -> None:
    left, right = tables(one), tables(other)
    for name in TABLES:
        assert name == "simulation_metrics" or len(left[name]) > 0
        pd.testing.assert_frame_equal(left[name], right[name])


def network(architecture: str, seed: int = 1) -> PolicyActor:
    """A policy that means what it says."""
    env = VecEnv(FixedTasks([Task(world(), 1)]), num_worlds=1)
    policy = make_policy(architecture, env.space, seed=seed, action_names=env.action_names)
    with torch.no_grad():
        policy.policy_head.weight.mul_(100)
    return PolicyActor(policy, key=f"network-{architecture}", version=seed)


def players(name: str) -> tuple[PolicyActor | RandomActor, list[str]]:
    """A policy, and addresses of those with whom it shares the agents."""
    other = {"alone": [], "against": ["mock://scripted"], "in shares": ["mock://random", "mock://scripted"]}[name]
    return network("lstm"), other


@pytest.mark.parametrize(("num_worlds", "threads"), [(1, 1), (3, 2), (32, 1), (32, 3)])
@pytest.mark.parametrize("name", ["alone", "against", "in shares"])
def test_a_game_does_not_depend_on_its_neighbours(name: str, num_worlds: int, threads: int, tmp_path: Path) -> None:
    uris = players(name)[1]
    config = SimulationConfig(
        name="arena/small",
        world=world(),
        num_episodes=6,
        policy_agents_pct=0.5 if uris else 1.0,
        npc_policy_uri=uris,
    )

    def result(**options: object) -> SimulationResult:
        npcs = [load_policy_from_uri(uri) for uri in uris]
        folder = str(tmp_path / "replays")
        return play(network("lstm"), npcs=npcs, config=config, replay_dir=folder, record_episodes=3, **options)

    assert_same(result(num_worlds=6), result(num_worlds=num_worlds, threads=threads))


@pytest.mark.parametrize(("architecture", "width"), [("fast", 64), ("fast", 40), ("lstm", 64), ("agalite", 64)])
@pytest.mark.parametrize("agents", [1, 5])
def test_logits_are_the_same_to_the_bit_in_every_batch(
    architecture: str, width: int, agents: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every tick of every episode, also with widths for which there are no kernels, and with few rows."""
    small = arena(num_agents=agents)
    small.max_steps = 3
    config = SimulationConfig(name="arena/small", world=small, num_episodes=5)
    env = VecEnv(FixedTasks([Task(small, 1)]), num_worlds=1)
    choice = policy_config(architecture).model_copy(update={"width": width})
    policy = make_policy(choice, env.space, seed=1, action_names=env.action_names)
    told: list[bytes] = []

    def sample(logits: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        told.extend(row.numpy().tobytes() for row in logits)
        return sample_actions(logits, noise)

    monkeypatch.setattr("metta.agent.actors.sample_actions", sample)
    found = []
    for num_worlds in (1, 3, 5):
        told.clear()
        play(PolicyActor(policy), config=config, num_worlds=num_worlds)
        # a world whose episodes are over is shown no tokens until the others are done
        found.append(Counter(told))
    assert found[0].total() == 5 * 3 * agents
    assert not found[0] - found[1] and found[0] == found[2]


class NeverResets(PolicyActor):
    """Takes its memory from one episode into the next."""

    def act(self, env, rows=None):
        env.terminals[:] = env.truncations[:] = False
        return super().act(env, rows)


def test_memory_is_forgotten_at_an_episodes_end_and_would_show_if_it_were_not() -> None:
    """An episode is the same whether it is the first or the second of its world."""
    second, first = (play(network("lstm"), episodes=2, num_worlds=number) for number in (1, 2))
    assert_same(second, first)
    agent = network("lstm")._agent
    forgetful = play(NeverResets(agent, key="network-lstm", version=1), episodes=2, num_worlds=1)
    np.testing.assert_array_equal(forgetful.rows.episodes[0].metrics, first.rows.episodes[0].metrics)
    assert (forgetful.rows.episodes[1].metrics != first.rows.episodes[1].metrics).any()


def test_actors_are_told_of_every_episodes_end() -> None:
    actor = Lengths()
    play(actor, episodes=4, num_worlds=2)
    assert actor.ends == 2 * 6  # of the first two worlds; after the last episodes nobody acts


@pytest.mark.parametrize(
    ("episodes", "threads", "num_worlds", "lanes"),
    [(64, 1, None, [32]), (64, 2, None, [32, 32]), (100, 2, None, [32, 32]), (9, 4, None, [4, 5]), (8, 4, None, [8]),
     (64, 16, None, [8] * 8), (64, 3, None, [21, 21, 22]), (64, 2, 20, [10, 10]), (1, 2, None, [1])],
)  # fmt: skip
def test_games_are_dealt_to_as_many_threads_as_they_can_keep_busy(
    episodes: int, threads: int, num_worlds: int | None, lanes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    dealt: list[int] = []
    start = Simulation._start

    def watched(self, tasks, world, num_worlds, actors):
        dealt.append(num_worlds)
        return start(self, tasks, world, num_worlds, actors)

    monkeypatch.setattr(Simulation, "_start", watched)
    config = SimulationConfig(name="arena/small", world=world(1), num_episodes=episodes)
    assert play(config=config, threads=threads, num_worlds=num_worlds).missing_episodes == 0
    assert sorted(dealt) == lanes


@pytest.mark.parametrize(("is_caller", "error"), [(False, ConfigError("broken")), (True, KeyboardInterrupt("broken"))])
def test_an_error_in_one_thread_stops_them_all(is_caller: bool, error: BaseException) -> None:
    class Breaks(RandomActor):
        """Fails in the calling thread, or in all others."""

        is_first = True

        def fresh(self) -> Breaks:
            other = Breaks()
            other.is_first = False
            return other

        def act(self, env, rows=None):
            if self.is_first == is_caller:
                raise error
            return super().act(env, rows)

    config = SimulationConfig(name="arena/long", world=world(10_000_000), num_episodes=2)
    with pytest.raises(type(error), match="broken"):
        play(Breaks(), config=config, threads=2)


def test_progress_goes_from_nothing_to_everything() -> None:
    seen: list[float] = []
    config = SimulationConfig(name="arena/small", world=world(), num_episodes=4)
    simulation = Simulation(config, RandomActor(), policy_key="run", policy_version=3, num_worlds=2)
    simulation.run(on_progress=seen.append)
    np.testing.assert_allclose(seen, np.arange(1, 61) / 60)


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
    assert episode.attributes["world.altar.heart.produced"] == str(int(end.world_stats["altar.heart.produced"]))
    assert episode.attributes["end"] == "truncated"


def test_episodes_that_do_not_finish_in_time_are_reported_missing(caplog: pytest.LogCaptureFixture) -> None:
    config = SimulationConfig(name="arena/slow", world=world(1_000_000), num_episodes=3, max_seconds=0.05)
    result = play(config=config, threads=2)
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
    assert {episode.attributes["asked_episodes"] for episode in result.rows.episodes} == {"4"}


def test_evaluation_seeds_are_a_fixed_list_apart_from_those_of_training() -> None:
    assert evaluation_seeds(8) == evaluation_seeds(64)[:8]
    assert len(set(evaluation_seeds(1000)) | set(evaluation_seeds(1000, base=1))) == 2000
    assert all(EVALUATION_NAMESPACE <= seed < 2**63 for seed in evaluation_seeds(1000))
    assert evaluation_seeds(1) == [8036571827545316312]  # scores of years are compared on them: never change this
    training = {int(episode_seed(1, world, episode)) for world in range(50) for episode in range(50)}
    assert max(training) < EVALUATION_NAMESPACE


def test_a_policy_and_another_share_the_agents_and_change_places() -> None:
    config = SimulationConfig(
        name="arena/half", world=world(), num_episodes=4, policy_agents_pct=0.5, npc_policy_uri="mock://noop"
    )
    npc = load_policy_from_uri("mock://noop")
    result = play(config=config, npcs=[npc], num_worlds=3)
    players = np.stack([episode.policies for episode in result.rows.episodes])
    assert players.sum(axis=1).tolist() == [3, 3, 3, 3]
    assert players.sum(axis=0).tolist() == [2, 2, 2, 2, 2, 2]
    noops = list(result.rows.metric_names).index("action.noop.success")
    for episode in result.rows.episodes:
        assert (episode.metrics[episode.policies == 1, noops] == 30).all()
        assert (episode.metrics[episode.policies == 0, noops] < 15).all()
    assert set(result.rows.policies) == {("run", 3), ("noop", 0)}
    pd.testing.assert_frame_equal(metrics(result), metrics(play(config=config, npcs=[npc], num_worlds=1)))


def test_a_share_and_an_opponent_go_together() -> None:
    for options in ({"policy_agents_pct": 0.5}, {"npc_policy_uri": "mock://noop"}):
        with pytest.raises(ValueError, match="go together"):
            SimulationConfig(name="arena/x", world=world(), **options)


@pytest.mark.parametrize("uris", [["mock://noop", "mock://random"], ["mock://noop", "mock://noop"]])
def test_several_others_share_the_agents_that_are_left(uris: list[str]) -> None:
    config = SimulationConfig(
        name="arena/thirds", world=world(), num_episodes=12, policy_agents_pct=1 / 3, npc_policy_uri=uris
    )
    npcs = [load_policy_from_uri(uri) for uri in uris]
    result = play(network("lstm"), config=config, npcs=npcs)
    who = np.stack([episode.policies for episode in result.rows.episodes])
    assert all((who == player).sum(axis=0).tolist() == [4] * 6 for player in range(3))
    assert result.rows.policies[1:] == [(npc.key, 0) for npc in npcs]
    noops = list(result.rows.metric_names).index("action.noop.success")
    for episode in result.rows.episodes:
        assert (episode.metrics[episode.policies == 1, noops] == 30).all()
        assert (episode.metrics[episode.policies == 2, noops] == 30).all() == (uris[1] == "mock://noop")


def test_one_other_may_be_given_as_a_text_or_a_list_and_nobody_leaves_the_env_as_it_was() -> None:
    text, one, two = (
        SimulationConfig(name="arena/x", world=world(), policy_agents_pct=0.5, npc_policy_uri=uris)
        for uris in ("mock://noop", ["mock://noop"], ["mock://noop", "mock://random"])
    )
    assert text == one and text.env() == one.env() != two.env()
    assert (text.npc_policy_uris, two.npc_policy_uris) == (["mock://noop"], ["mock://noop", "mock://random"])
    alone, empty = (SimulationConfig(name="arena/x", world=world(), npc_policy_uri=uris) for uris in (None, []))
    assert alone == empty and alone.npc_policy_uris == []
    content = json.loads(alone.model_dump_json(include={"world", "policy_agents_pct", "npc_policy_uri"}))
    assert list(content) == ["world", "policy_agents_pct", "npc_policy_uri"] and content["npc_policy_uri"] is None


def test_a_world_of_one_agent_cannot_be_shared() -> None:
    with pytest.raises(ValueError, match="a world of one agent cannot be shared"):
        SimulationConfig(name="a/b", world=arena(num_agents=1), policy_agents_pct=0.5, npc_policy_uri="mock://noop")


@pytest.mark.parametrize("num_worlds", [1, 3])
def test_the_replay_is_that_of_a_scored_episode(tmp_path: Path, num_worlds: int) -> None:
    result = play(episodes=3, num_worlds=num_worlds, replay_dir=str(tmp_path), record_episodes=2)
    first, second, third = result.rows.episodes
    assert [first.replay_url, second.replay_url, third.replay_url] == [*result.replay_urls, None]
    agents = [entry for entry in read_replay(result.replay_urls[1]).data["objects"] if entry.get("is_agent")]
    totals = [entry["total_reward"][-1][1] if isinstance(entry["total_reward"], list) else 0.0 for entry in agents]
    reward = list(result.rows.metric_names).index("reward")
    np.testing.assert_allclose(totals, second.metrics[:, reward], atol=1e-5)


def test_recording_changes_no_result(tmp_path: Path) -> None:
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
