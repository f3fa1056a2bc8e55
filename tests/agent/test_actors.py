"""Who plays: networks, mocks, the scripted agent."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metta.agent import Actor, PolicyActor, load_policy_from_uri, make_policy
from metta.agent.mocks import RandomActor
from metta.agent.sampling import sample_actions
from metta.envs import SingleTask, VecEnv
from metta.errors import PolicyMismatchError
from metta.grid.worlds import easy_arena, navigation

NUM_WORLDS = 3


@pytest.fixture
def env() -> VecEnv:
    config = easy_arena()
    config.max_steps = 12
    return VecEnv(SingleTask(config, seed=3), num_worlds=NUM_WORLDS)


def play(env: VecEnv, actor: Actor, ticks: int, *, rows: np.ndarray | None = None) -> np.ndarray:
    """The actions of each tick, [ticks, n]; agents outside of `rows` do nothing."""
    env.reset()
    actor.reset(env)
    taken = []
    for _ in range(ticks):
        actions = actor.act(env, rows)
        everyone = np.zeros(env.num_agents, np.int32)
        everyone[slice(None) if rows is None else rows] = actions
        taken.append(actions)
        env.step(everyone)
    return np.array(taken)


@pytest.mark.parametrize("uri", ["mock://random", "mock://noop", "mock://scripted"])
def test_mocks_play_valid_actions_over_episodes(env: VecEnv, uri: str) -> None:
    actions = play(env, load_policy_from_uri(uri), 15)
    assert actions.shape == (15, env.num_agents)
    assert actions.min() >= 0 and actions.max() < env.num_actions
    if uri == "mock://noop":
        assert not actions.any()
    else:
        assert len(np.unique(actions)) > 3


def test_the_random_actor_uses_every_action_alike(env: VecEnv) -> None:
    actions = play(env, RandomActor(), 150)
    shares = np.bincount(actions.reshape(-1), minlength=env.num_actions) / actions.size
    np.testing.assert_allclose(shares, 1 / env.num_actions, atol=0.015)


@pytest.mark.parametrize("architecture", ["fast", "lstm", "agalite"])
def test_a_network_plays_the_same_game_alone_as_in_a_batch(env: VecEnv, architecture: str) -> None:
    agent = make_policy(architecture, env.space, 0)
    with torch.no_grad():
        agent.policy_head.weight.mul_(300)  # let it mean what it says
    together = play(env, PolicyActor(agent), 20)
    alone = play(VecEnv(SingleTask(env.task_source.config, seed=3), num_worlds=1), PolicyActor(agent), 20)
    np.testing.assert_array_equal(together[:, : env.agents_per_world], alone)


def test_two_actors_share_the_rows_of_one_environment(env: VecEnv) -> None:
    agent = make_policy("lstm", env.space, 0)
    rows = np.arange(0, env.num_agents, 2)
    env.reset()
    some, other = PolicyActor(agent), PolicyActor(agent)
    some.reset(env)
    other.reset(env)
    for _ in range(14):
        everyone = np.zeros(env.num_agents, np.int32)
        everyone[rows] = some.act(env, rows)
        everyone[rows + 1] = other.act(env, rows + 1)
        env.step(everyone)
    both = play(env, PolicyActor(agent), 14)
    np.testing.assert_array_equal(everyone, both[-1])


def test_memory_is_empty_at_the_first_tick_of_every_episode(env: VecEnv) -> None:
    agent = make_policy("lstm", env.space, 0)
    seen: list[bool] = []
    original = type(agent).step

    class Spy(type(agent)):
        def step(self, observations, state, reset):
            seen.append(bool(reset.all()))
            assert bool(reset.any()) == bool(reset.all())  # all worlds end together here
            return original(self, observations, state, reset)

    agent.__class__ = Spy
    play(env, PolicyActor(agent), 30)
    assert [tick for tick, reset in enumerate(seen) if reset] == [0, 12, 24]


def test_the_same_policy_in_two_worlds_keeps_two_maps(env: VecEnv) -> None:
    agent = make_policy("fast", env.space, 0)
    elsewhere = VecEnv(SingleTask(navigation(), seed=3), num_worlds=1)
    arena, walk = PolicyActor(agent), PolicyActor(agent)
    expected = play(env, PolicyActor(agent), 5)
    env.reset()
    arena.reset(env)
    elsewhere.reset()
    walk.reset(elsewhere)
    for tick in range(5):
        moves = walk.act(elsewhere)
        assert moves.max() < elsewhere.num_actions
        elsewhere.step(moves)
        actions = arena.act(env)
        np.testing.assert_array_equal(actions, expected[tick])
        env.step(actions)


def test_a_world_with_other_actions_is_refused_unless_allowed(env: VecEnv) -> None:
    elsewhere = VecEnv(SingleTask(navigation(), seed=3), num_worlds=1)
    elsewhere.reset()
    env.reset()
    walker = make_policy("fast", elsewhere.space, 0)
    with pytest.raises(PolicyMismatchError, match="attack_0"):
        PolicyActor(walker).reset(env)
    actions = play(env, PolicyActor(walker, allow_missing_actions=True), 10)
    assert set(np.unique(actions)) <= {env.action_names.index(name) for name in elsewhere.action_names}


def test_a_policy_plays_as_its_file_will_whatever_precision_it_is_trained_in(
    env: VecEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, told = make_policy("lstm", env.space, 0), []

    def sample(logits: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        told.append(logits.clone())
        return sample_actions(logits, noise)

    monkeypatch.setattr("metta.agent.actors.sample_actions", sample)
    for precision in (torch.float32, torch.bfloat16):
        agent.precision = precision
        play(env, PolicyActor(agent), 3)
        assert agent.precision == precision
    assert all(torch.equal(one, other) for one, other in zip(told[:3], told[3:], strict=True))
