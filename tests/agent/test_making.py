"""The table of architectures, and policies for spaces without tokens."""

from __future__ import annotations

import pytest
import torch
from pydantic import TypeAdapter

from metta.agent import ARCHITECTURES, PolicyChoice, PolicyConfig, make_policy
from metta.agent.agalite import AgaliteConfig
from metta.agent.architectures import policy_config
from metta.agent.fast import FastConfig
from metta.agent.lstm import LstmConfig
from metta.config import Config
from metta.envs import BoxSpace, DiscreteSpace, TokenSpace
from metta.errors import ConfigError


class Tool(Config):
    policy: PolicyChoice = FastConfig()


def test_a_tool_takes_any_architecture_with_its_own_fields() -> None:
    assert type(Tool().policy) is FastConfig
    chosen = Tool.model_validate({"policy": {"architecture": "lstm", "hidden": "32"}}).policy
    assert isinstance(chosen, LstmConfig)
    assert chosen.hidden == 32
    assert isinstance(Tool.model_validate({"policy": {"architecture": "agalite"}}).policy, AgaliteConfig)
    assert Tool.model_validate(Tool(policy=chosen).model_dump()).policy == chosen


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_every_name_in_the_table_is_a_choice_and_makes_its_own_class(name: str, space: TokenSpace) -> None:
    config = TypeAdapter[PolicyConfig](PolicyChoice).validate_python({"architecture": name})
    assert type(config) is ARCHITECTURES[name].config_class is ARCHITECTURES[name].agent_class.config_class
    agent = make_policy(name, space)
    assert type(agent) is ARCHITECTURES[name].agent_class
    assert (agent.architecture, agent.config) == (name, config)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("fats", "no architecture 'fats'.*did you mean fast.*fast, lstm, agalite"),
        ({"architecture": "lstm", "hiden": 3}, "policy.hiden: lstm has no such setting.*did you mean hidden"),
        ({"architecture": "fast", "width": 0}, "policy.width: .*greater than or equal to 1.*given 0"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(choice: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        policy_config(choice)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no.such.Module", "no policy class 'no.such.Module'"),
        ("metta.agent.fast.NoSuch", "no policy class"),
        ("metta.agent.fast.FastConfig", "is not a PolicyAgent class"),
    ],
)
def test_a_class_that_is_not_there_or_no_policy_is_named(path: str, message: str, space: TokenSpace) -> None:
    with pytest.raises(ConfigError, match=message):
        make_policy(path, space)


def test_a_space_without_action_names_needs_them_given() -> None:
    with pytest.raises(ConfigError, match="action_names must be given"):
        make_policy("fast", DiscreteSpace(4))


def test_images_of_bytes_are_read_as_shares_of_255() -> None:
    real = make_policy("fast", BoxSpace((4, 4, 3), "float32", 0.0, 1.0), action_names=["a", "b"])
    image = make_policy("fast", BoxSpace((4, 4, 3), "uint8", 0, 255), action_names=["a", "b"])
    pixels = torch.randint(0, 256, (5, 4, 4, 3), dtype=torch.uint8)
    reset = torch.ones(5, dtype=torch.bool)
    torch.testing.assert_close(image.step(pixels, {}, reset).values, real.step(pixels.float() / 255, {}, reset).values)


def test_moving_the_weights_moves_the_connection(space: TokenSpace) -> None:
    agent = make_policy("fast", space)
    agent.initialize_to_environment(space, space.action_names[::-1])
    agent.to("meta")
    assert agent.connection.luts is not None and agent.connection.action_index is not None
    assert {table.device.type for table in agent.connection.luts} == {"meta"}
    assert agent.connection.action_index.device.type == agent.device.type == "meta"
