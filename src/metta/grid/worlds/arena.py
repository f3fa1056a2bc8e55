"""The arena: mines, generators, altars, and others who want the same (docs/world.md, section 8)."""

from __future__ import annotations

import math

from metta.errors import ConfigError
from metta.grid.config import (
    ActionConfig,
    ActionsConfig,
    AgentConfig,
    AttackConfig,
    ConverterConfig,
    RewardsConfig,
    WorldConfig,
)
from metta.grid.maps.config import InstancesMapConfig, ScatterMapConfig
from metta.grid.worlds.objects import standard_objects

AGENTS_PER_INSTANCE = 6


def arena(combat: bool = True, num_agents: int = 24) -> WorldConfig:
    """Return the arena: 25 x 25 instances of up to 6 agents, 10 mines, 5 generators and 5 altars each.

    Without `combat` an attack costs 100 lasers, more than an agent can hold, so that the list of actions stays the
    same. With another `num_agents` there are as many instances as 6 agents an instance need, or the next larger
    number of which each gets the same share; every instance keeps its objects.
    Raises ConfigError when `num_agents` is below 1.
    """
    if num_agents < 1:
        raise ConfigError(f"num_agents: given {num_agents}, an arena has at least 1 agent")
    instances = math.ceil(num_agents / AGENTS_PER_INSTANCE)
    while num_agents % instances:
        instances += 1
    return WorldConfig(
        num_agents=num_agents,
        max_steps=1000,
        agent=AgentConfig(
            default_resource_limit=50,
            resource_limits={"heart": 255},
            rewards=RewardsConfig(inventory={"heart": 1.0}),
        ),
        actions=ActionsConfig(
            put_items=ActionConfig(enabled=True),
            attack=AttackConfig(
                enabled=True,
                consumed_resources={"laser": 1 if combat else 100},
                defense_resources={"armor": 1},
            ),
        ),
        objects=standard_objects("wall", "mine_red", "generator_red", "altar", "lasery", "armory"),
        map=InstancesMapConfig(
            instances=instances,
            border=6,
            instance=ScatterMapConfig(
                width=25,
                height=25,
                agents=num_agents // instances,
                objects={"wall": 10, "altar": 5, "mine_red": 10, "generator_red": 5, "lasery": 1, "armory": 1},
            ),
        ),
    )


def easy_arena(combat: bool = True, num_agents: int = 24) -> WorldConfig:
    """Return the easy arena: rewards on the way to a heart, and one battery a heart instead of three."""
    config = arena(combat=combat, num_agents=num_agents)
    config.agent.rewards = RewardsConfig(
        inventory={"ore_red": 0.1, "battery_red": 0.8, "laser": 0.5, "armor": 0.5, "blueprint": 0.5, "heart": 1.0},
        inventory_max={
            "ore_red": 1.0,
            "battery_red": 1.0,
            "laser": 1.0,
            "armor": 1.0,
            "blueprint": 1.0,
            "heart": 100.0,
        },
    )
    altar = config.objects["altar"]
    assert isinstance(altar, ConverterConfig)
    altar.input_resources = {"battery_red": 1}
    return config
