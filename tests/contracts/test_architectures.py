"""What every architecture in the table must do, over every kind of observation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from metta.agent import ARCHITECTURES, PolicyAgent, load_policy, make_policy, save_policy
from metta.agent.sampling import log_prob_entropy, sample_actions
from metta.envs import BoxSpace, DiscreteSpace, Space, TokenSpace
from metta.grid import Feature

ACTIONS = ("noop", "move_0", "move_1", "get_items")
NAMES = ("type_id", "agent:orientation", "last_action", "last_reward", "inv:ore_red", "inv:heart")
SPACES: dict[str, Space] = {
    "tokens": TokenSpace(
        20, 5, 5, tuple(Feature(i, name, 1.0) for i, name in enumerate(NAMES)), {0: "agent", 1: "wall"}, ACTIONS
    ),
    "box": BoxSpace((3, 2), "float32", -1.0, 1.0),
    "discrete": DiscreteSpace(7),
}
B, T = 6, 9

architectures = pytest.mark.parametrize("architecture", list(ARCHITECTURES))
spaces = pytest.mark.parametrize("kind", list(SPACES))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors here are tiny: starting threads for them costs seconds on a busy machine. The same numbers every time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def make(architecture: str, kind: str, seed: int = 0) -> PolicyAgent:
    return make_policy(architecture, SPACES[kind], seed, action_names=ACTIONS)


def observe(kind: str, *shape: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    if kind == "box":
        return torch.from_numpy(rng.normal(size=(*shape, 3, 2)).astype(np.float32))
    if kind == "discrete":
        return torch.from_numpy(rng.integers(0, 7, shape))
    tokens = np.full((*shape, 20, 3), 255, np.uint8)
    tokens[..., :12, 0] = rng.integers(0, 5, (*shape, 12)) * 16 + rng.integers(0, 5, (*shape, 12))
    tokens[..., :12, 1] = rng.integers(0, len(NAMES), (*shape, 12))
    tokens[..., :12, 2] = rng.integers(0, 4, (*shape, 12))
    return torch.from_numpy(tokens)


def acted_state(agent: PolicyAgent, kind: str) -> dict[str, Tensor]:
    """The state after a few ticks of play."""
    state, no_reset = agent.initial_state(B), torch.zeros(B, dtype=torch.bool)
    with torch.no_grad():
        for t in range(4):
            state = agent.step(observe(kind, B, seed=100 + t), state, no_reset).state
    return state


@architectures
@spaces
def test_shapes_and_types_are_those_of_the_contract(architecture: str, kind: str) -> None:
    agent = make(architecture, kind)
    state = agent.initial_state(B)
    out = agent.step(observe(kind, B), state, torch.ones(B, dtype=torch.bool))
    assert out.logits.shape == (B, len(ACTIONS)) == (B, agent.num_actions)
    assert out.values.shape == (B,)
    assert out.logits.dtype == out.values.dtype == torch.float32
    assert {name: tensor.shape for name, tensor in out.state.items()} == {n: s.shape for n, s in state.items()}
    assert all(tensor.shape[0] == B and not tensor.any() for tensor in state.values())
    replay = agent.sequence(observe(kind, B, T), state, torch.zeros(B, T, dtype=torch.bool))
    assert replay.logits.shape == (B, T, len(ACTIONS))
    assert replay.values.shape == (B, T)


@architectures
@spaces
@pytest.mark.parametrize("resets", ["none", "some", "all"])
def test_a_replayed_sequence_equals_the_steps_that_were_acted(architecture: str, kind: str, resets: str) -> None:
    agent = make(architecture, kind)
    observations = observe(kind, B, T)
    generator = torch.Generator().manual_seed(3)
    reset = torch.rand(B, T, generator=generator) < {"none": 0.0, "some": 0.2, "all": 1.1}[resets]
    first = acted_state(agent, kind)
    with torch.no_grad():
        replay = agent.sequence(observations, first, reset)
        state, logits, values = first, [], []
        for t in range(T):
            out = agent.step(observations[:, t], state, reset[:, t])
            state = out.state
            logits.append(out.logits)
            values.append(out.values)
    torch.testing.assert_close(replay.logits, torch.stack(logits, 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(replay.values, torch.stack(values, 1), atol=1e-5, rtol=1e-5)


@architectures
@spaces
def test_a_segment_continues_where_the_one_before_ended(architecture: str, kind: str) -> None:
    agent = make(architecture, kind)
    observations, state = observe(kind, B, T), acted_state(agent, kind)
    reset = torch.zeros(B, T, dtype=torch.bool)
    with torch.no_grad():
        whole = agent.sequence(observations, state, reset).logits
        for t in range(4):
            state = agent.step(observations[:, t], state, reset[:, t]).state
        rest = agent.sequence(observations[:, 4:], state, reset[:, 4:]).logits
    torch.testing.assert_close(rest, whole[:, 4:], atol=1e-5, rtol=0)


@architectures
@spaces
def test_a_reset_leaves_nothing_of_the_episode_before(architecture: str, kind: str) -> None:
    agent = make(architecture, kind)
    observations = observe(kind, B)
    ones = torch.ones(B, dtype=torch.bool)
    with torch.no_grad():
        after_play = agent.step(observations, acted_state(agent, kind), ones)
        fresh = agent.step(observations, agent.initial_state(B), ~ones)
    assert torch.equal(after_play.logits, fresh.logits)
    assert torch.equal(after_play.values, fresh.values)


@architectures
def test_memory_matters_exactly_where_there_is_a_state(architecture: str) -> None:
    agent = make(architecture, "tokens")
    no_reset = torch.zeros(B, dtype=torch.bool)
    with torch.no_grad():
        remembered = agent.step(observe("tokens", B), acted_state(agent, "tokens"), no_reset).values
        fresh = agent.step(observe("tokens", B), agent.initial_state(B), no_reset).values
    assert torch.equal(remembered, fresh) == (not agent.initial_state(1))


@architectures
@spaces
def test_gradient_arrives_at_every_parameter(architecture: str, kind: str) -> None:
    agent = make(architecture, kind)
    replay = agent.sequence(observe(kind, B, T), acted_state(agent, kind), torch.zeros(B, T, dtype=torch.bool))
    (replay.logits.square().sum() + replay.values.square().sum()).backward()
    for name, parameter in agent.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@architectures
@spaces
def test_gradients_are_those_of_the_steps(architecture: str, kind: str) -> None:
    agent = make(architecture, kind)
    observations, first = observe(kind, B, T), acted_state(agent, kind)
    reset = torch.rand(B, T, generator=torch.Generator().manual_seed(1)) < 0.2
    grads = []
    for way in ("sequence", "steps"):
        agent.zero_grad()
        if way == "sequence":
            values = agent.sequence(observations, first, reset).values
        else:
            state, listed = first, []
            for t in range(T):
                out = agent.step(observations[:, t], state, reset[:, t])
                state = out.state
                listed.append(out.values)
            values = torch.stack(listed, 1)
        values.square().sum().backward()
        grads.append({name: p.grad.clone() for name, p in agent.named_parameters() if p.grad is not None})
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name], atol=1e-4, rtol=1e-4, msg=name)


@architectures
@spaces
def test_saved_and_loaded_it_says_the_same_to_the_bit(architecture: str, kind: str, tmp_path: Path) -> None:
    agent = make(architecture, kind, seed=5)
    path = tmp_path / "policy.pt"
    save_policy(path, agent, run="run", epoch=3, agent_step=12, metrics={"score": -1.5})
    loaded = load_policy(path)
    assert (loaded.architecture, loaded.config, loaded.space) == (agent.architecture, agent.config, agent.space)
    assert (loaded.features, loaded.object_types) == (agent.features, agent.object_types)
    assert loaded.action_names == agent.action_names
    state, reset = acted_state(agent, kind), torch.zeros(B, dtype=torch.bool)
    with torch.no_grad():
        ours = agent.step(observe(kind, B), state, reset)
        theirs = loaded.step(observe(kind, B), state, reset)
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.values, theirs.values)
    assert all(torch.equal(ours.state[name], theirs.state[name]) for name in ours.state)


@architectures
def test_it_plays_the_same_where_ids_and_action_order_differ(architecture: str) -> None:
    agent = make(architecture, "tokens")
    own = SPACES["tokens"]
    assert isinstance(own, TokenSpace)
    ids = {0: 9, 1: 4, 2: 30, 3: 7, 4: 0, 5: 1}
    features = tuple(Feature(ids[i], name, 1.0) for i, name in enumerate(NAMES))
    actions = ("get_items", "move_1", "noop", "move_0")
    world = TokenSpace(20, 5, 5, features, {3: "agent", 200: "wall"}, actions)
    values = {0: {0: 3, 1: 200}, 2: {own.action_names.index(name): i for i, name in enumerate(actions)}}
    here = observe("tokens", B, T)
    there = here.clone()
    for feature, new_id in ids.items():
        at = here[..., 1] == feature
        there[..., 1][at] = new_id
        for value, new_value in values.get(feature, {}).items():
            there[..., 2][at & (here[..., 2] == value)] = new_value
        if feature == 0:  # types 2 and 3 do not exist here; in that world 3 does
            there[..., 2][at & (here[..., 2] > 1)] = 99
    state, reset = agent.initial_state(B), torch.zeros(B, T, dtype=torch.bool)
    elsewhere = agent.connected_to(world)
    with torch.no_grad():
        ours, theirs = agent.sequence(here, state, reset), elsewhere.sequence(there, state, reset)
    order = [own.action_names.index(name) for name in actions]
    torch.testing.assert_close(theirs.logits, ours.logits[..., order])
    torch.testing.assert_close(theirs.values, ours.values)
    torch.testing.assert_close(agent.sequence(here, state, reset).logits, ours.logits)  # ours was left as it was


@architectures
def test_the_same_seed_makes_the_same_policy_and_leaves_global_randomness_alone(architecture: str) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first, second, other = (make(architecture, "tokens", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@architectures
def test_a_fresh_policy_is_nearly_uniform(architecture: str) -> None:
    agent = make(architecture, "tokens")
    with torch.no_grad():
        out = agent.step(observe("tokens", B), agent.initial_state(B), torch.ones(B, dtype=torch.bool))
    actions, log_probs = sample_actions(out.logits, torch.rand(B))
    again, entropy = log_prob_entropy(out.logits, actions)
    assert torch.equal(log_probs, again)
    assert (entropy > 0.99 * np.log(len(ACTIONS))).all()


@architectures
def test_prepared_observations_say_the_same_as_raw_ones(architecture: str) -> None:
    agent = make(architecture, "tokens")
    observations, state = observe("tokens", B, T), agent.initial_state(B)
    room = agent.prepared_room(T, B)
    assert room is not None
    for t in range(T):
        agent.prepare(observations[:, t], out=room[t])
    reset = torch.zeros(B, T, dtype=torch.bool)
    with torch.no_grad():
        raw, prepared = agent.sequence(observations, state, reset), agent.sequence(room.transpose(0, 1), state, reset)
        step = agent.step(room[0], state, reset[:, 0])
    assert torch.equal(raw.logits, prepared.logits)
    torch.testing.assert_close(step.logits, raw.logits[:, 0], atol=1e-5, rtol=0)
