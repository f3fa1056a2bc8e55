"""A policy connected to a world whose ids, window or actions differ."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from metta.agent import PolicyAgent, make_policy
from metta.agent.sampling import sample_actions
from metta.envs import BoxSpace, DiscreteSpace, TokenSpace
from metta.errors import PolicyMismatchError
from metta.grid import Feature


@pytest.fixture
def agent(space: TokenSpace) -> PolicyAgent:
    return make_policy("fast", space, 0)


def values(agent: PolicyAgent, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return agent.step(tokens, {}, torch.zeros(len(tokens), dtype=torch.bool)).values


def logits(agent: PolicyAgent, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return agent.step(tokens, {}, torch.zeros(len(tokens), dtype=torch.bool)).logits


def token(place: tuple[int, int], feature: int, value: int) -> Tensor:
    return torch.tensor([[[place[0] * 16 + place[1], feature, value]]], dtype=torch.uint8)


def test_unknown_features_objects_and_actions_are_dropped_with_one_warning_that_lists_them(
    agent: PolicyAgent, space: TokenSpace, caplog: pytest.LogCaptureFixture
) -> None:
    world = replace(
        space,
        features=(*space.features, Feature(40, "inv:gold", 1.0)),
        object_types={**space.object_types, 77: "bank"},
        action_names=(*space.action_names, "dance"),
    )
    with caplog.at_level(logging.WARNING):
        elsewhere = agent.connected_to(world, allow_missing_actions=True)
    assert len(caplog.records) == 1
    assert all(text in caplog.text for text in ("feature inv:gold", "object bank", "action dance"))
    nothing = values(elsewhere, torch.full((1, 1, 3), 255, dtype=torch.uint8))
    for unknown in (token((1, 1), 40, 5), token((1, 1), 0, 77), token((2, 1), 8, len(space.action_names))):
        assert torch.equal(values(elsewhere, unknown), nothing)


def test_the_same_is_not_told_twice_of_the_worlds_of_one_evaluation(
    agent: PolicyAgent, space: TokenSpace, caplog: pytest.LogCaptureFixture
) -> None:
    def world(feature: str) -> TokenSpace:
        return replace(space, features=(*space.features, Feature(40, feature, 1.0)))

    with caplog.at_level(logging.WARNING):
        for feature in ("inv:gold", "inv:gold", "inv:silver"):
            agent.connected_to(world(feature)).connected_to(world(feature))
    assert ["inv:gold" in record.getMessage() for record in caplog.records] == [True, False]


def test_a_known_world_gives_no_warning(
    agent: PolicyAgent, space: TokenSpace, caplog: pytest.LogCaptureFixture
) -> None:
    agent.initialize_to_environment(space)
    assert not caplog.records


def test_the_mapping_is_made_afresh_for_each_world(
    agent: PolicyAgent, space: TokenSpace, tokens_of: Callable[..., Tensor]
) -> None:
    tokens = tokens_of(space, 20)
    before = values(agent, tokens)
    shifted = replace(space, features=tuple(f._replace(id=f.id + 50) for f in space.features))
    agent.initialize_to_environment(shifted)
    assert not torch.allclose(values(agent, tokens), before), "the old ids mean nothing there"
    agent.initialize_to_environment(space)
    assert torch.equal(values(agent, tokens), before)


def test_a_feature_table_alone_is_enough(
    agent: PolicyAgent, space: TokenSpace, tokens_of: Callable[..., Tensor]
) -> None:
    tokens = tokens_of(space, 20)
    tokens[..., 1][tokens[..., 1] == len(space.features)] = 200  # leave the unknown id unknown
    before = values(agent, tokens)
    moved = tokens.clone()
    there = moved[..., 0] != 255
    moved[..., 1][there] = moved[..., 1][there] ^ 1
    features = [f._replace(id=f.id ^ 1) for f in space.features]
    agent.initialize_to_environment(features, space.action_names, "cpu")
    assert torch.equal(values(agent, moved), before)


def test_two_connections_of_one_policy_share_weights_and_nothing_else(
    agent: PolicyAgent, space: TokenSpace, tokens_of: Callable[..., Tensor]
) -> None:
    tokens = tokens_of(space, 20)
    reversed_actions = space.action_names[::-1]
    here, there = agent.connected_to(space), agent.connected_to(space, reversed_actions)
    assert here.encoder.table is there.encoder.table is agent.encoder.table
    assert torch.equal(logits(here, tokens), logits(agent, tokens))
    assert here.connection.action_names != there.connection.action_names
    with torch.no_grad():
        agent.value_head.bias += 1.0  # a training step
    assert torch.equal(values(here, tokens), values(agent, tokens))


def test_an_action_that_the_world_lacks_is_not_among_the_logits(
    agent: PolicyAgent, space: TokenSpace, tokens_of: Callable[..., Tensor]
) -> None:
    tokens = tokens_of(space, 20)
    fewer = tuple(name for name in space.action_names if name != "move_0")
    elsewhere = agent.connected_to(replace(space, action_names=fewer))
    assert elsewhere.num_actions == len(fewer)
    keep = [i for i, name in enumerate(space.action_names) if name != "move_0"]
    tokens[..., 2][tokens[..., 1] == 8] = 0  # the last action was noop in both
    assert torch.equal(logits(elsewhere, tokens), logits(agent, tokens)[:, keep])


def test_an_action_that_the_policy_lacks_is_an_error_that_names_it_unless_allowed(
    agent: PolicyAgent, space: TokenSpace, tokens_of: Callable[..., Tensor]
) -> None:
    more = ("dance", *space.action_names, "sing")
    with pytest.raises(PolicyMismatchError, match="dance, sing"):
        agent.initialize_to_environment(replace(space, action_names=more))
    agent.initialize_to_environment(replace(space, action_names=more), allow_missing_actions=True)
    out = logits(agent, tokens_of(space, 500))
    probabilities = torch.softmax(out, -1)
    assert not probabilities[:, [0, -1]].any()
    actions, _ = sample_actions(out, torch.linspace(0, 1, 500).clamp(max=1 - 2**-24))
    assert set(actions.tolist()) <= set(range(1, len(more) - 1))


def test_a_policy_that_knows_no_action_of_the_world_is_refused(agent: PolicyAgent, space: TokenSpace) -> None:
    with pytest.raises(PolicyMismatchError, match="none of the world's actions"):
        agent.connected_to(replace(space, action_names=("dance",)), allow_missing_actions=True)


@pytest.mark.parametrize(("height", "width"), [(3, 3), (5, 3), (11, 7)])
def test_places_are_matched_by_their_offset_from_the_centre(
    agent: PolicyAgent, space: TokenSpace, height: int, width: int
) -> None:
    elsewhere = agent.connected_to(replace(space, height=height, width=width))
    nothing = values(agent, torch.full((1, 1, 3), 255, dtype=torch.uint8))
    seen = 0
    for row in range(height):
        for column in range(width):
            own = row - height // 2 + space.height // 2, column - width // 2 + space.width // 2
            said = values(elsewhere, token((row, column), 0, 8))
            if 0 <= own[0] < space.height and 0 <= own[1] < space.width:
                assert torch.equal(said, values(agent, token(own, 0, 8)))
                seen += 1
            else:
                assert torch.equal(said, nothing)
    assert seen == min(height, space.height) * min(width, space.width)
    there = token((height // 2, width // 2), 8, 1)
    assert torch.equal(values(elsewhere, there), values(agent, token((2, 1), 8, 1)))


def test_another_kind_of_observation_is_refused(agent: PolicyAgent) -> None:
    with pytest.raises(PolicyMismatchError, match="tokens of a grid world"):
        agent.connected_to(DiscreteSpace(3), ("noop",))
    box = make_policy("fast", BoxSpace((4,), "float32", -1, 1), action_names=["left", "right"])
    with pytest.raises(PolicyMismatchError, match="trained on such observations"):
        box.connected_to(BoxSpace((5,), "float32", -1, 1))
    box.connected_to(BoxSpace((4,), "float64", -9, 9))
