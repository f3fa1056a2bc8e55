"""Mistakes between the fields of a `WorldConfig`: each message has the path, what was given and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from pydantic import ValidationError

from metta.errors import ConfigError, MapError, nearest
from metta.grid.config import ActionConfig, AgentConfig, AttackConfig, ConverterConfig, ObjectConfig, WorldConfig
from metta.grid.maps import MapLimits, agent_team

MAX_OBJECT_KINDS = 255
RESERVED_NAMES = ("agent", "empty")


def check_config(config: WorldConfig) -> None:
    """Raise ConfigError for the first mistake that shows without building a map."""
    check_fields(config)
    check_observation(config)
    check_resources(config)
    for path, name in resources_named(config):
        if name not in config.resources:
            raise ConfigError(unknown(path, name, "resource", config.resources))
    for verb, action in verbs_of(config):
        check_action(f"actions.{verb}", action)
    check_objects(config)
    if config.actions.place_box.enabled and not any(thing.type == "box" for thing in config.objects.values()):
        raise ConfigError(
            f"actions.place_box: enabled, but objects has no box; given {shown(config.objects)}; "
            'allowed: an object of type "box", as objects.box = {"type": "box"}'
        )
    for path, agent in templates_of(config):
        check_agent(path, agent)


def check_fields(config: WorldConfig) -> None:
    """Raise ConfigError when a field was changed behind the model's back, as by an assignment into a dictionary."""
    try:
        WorldConfig.model_validate(config.model_dump(warnings=False))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: given {first['input']!r}; {first['msg']}") from error


def check_observation(config: WorldConfig) -> None:
    """Raise ConfigError when the window has no centre."""
    for side in ("height", "width"):
        size = getattr(config.observation, side)
        if size % 2 == 0:
            raise ConfigError(f"observation.{side}: given {size}, an even number; allowed: odd numbers from 3 to 15")


def check_resources(config: WorldConfig) -> None:
    """Raise ConfigError when two resources have one name, or one has none."""
    for i, name in enumerate(config.resources):
        if not name:
            raise ConfigError(f"resources.{i}: given an empty name; allowed: any text of at least one character")
        if name in config.resources[:i]:
            raise ConfigError(f"resources.{i}: given {name!r} a second time; allowed: each resource once")


def check_action(path: str, action: ActionConfig) -> None:
    """Raise ConfigError when an action could consume more than it requires."""
    if action.required_resources is None:
        return
    for name, amount in action.consumed_resources.items():
        required = action.required_resources.get(name, 0)
        if required < amount:
            raise ConfigError(
                f"{path}.required_resources.{name}: given {required}, but consumed_resources takes {amount}; "
                f"allowed: {amount} to 255"
            )


def check_objects(config: WorldConfig) -> None:
    """Raise ConfigError when objects cannot be told apart."""
    if len(config.objects) > MAX_OBJECT_KINDS:
        raise ConfigError(f"objects: given {len(config.objects)} of them; allowed: up to {MAX_OBJECT_KINDS}")
    names: dict[int, str] = {}
    for name, thing in config.objects.items():
        if name in RESERVED_NAMES or not name or agent_team(name) is not None:
            raise ConfigError(f"objects.{name}: the name is taken; allowed: any but agent, agent.<team> and empty")
        if thing.type_id in names:
            free = next(i for i in range(1, 256) if i not in {other.type_id for other in config.objects.values()})
            raise ConfigError(
                f"objects.{name}.type_id: given {thing.type_id}, which objects.{names[thing.type_id]} has already; "
                f"allowed: 1 to 255, each once (the first free one is {free})"
            )
        names[thing.type_id] = name
    boxes = [name for name, thing in config.objects.items() if thing.type == "box"]
    if len(boxes) > 1:
        raise ConfigError(f"objects.{boxes[1]}: a second box beside objects.{boxes[0]}; allowed: one box")


def check_agent(path: str, agent: AgentConfig) -> None:
    """Raise ConfigError when a reward is not a number."""
    for table in ("inventory", "inventory_max", "stats", "stats_max"):
        for name, value in getattr(agent.rewards, table).items():
            if not math.isfinite(value):
                raise ConfigError(f"{path}.rewards.{table}.{name}: given {value}; allowed: finite numbers")


def check_stats(config: WorldConfig, stat_names: Iterable[str]) -> None:
    """Raise ConfigError when a reward is promised for a statistic that does not exist."""
    known = [*stat_names, "reward"]
    for path, agent in templates_of(config):
        for table in ("stats", "stats_max"):
            for name in getattr(agent.rewards, table):
                if name not in known:
                    raise ConfigError(unknown(f"{path}.rewards.{table}", name, "stat", known))


def check_map(config: WorldConfig, objects: dict[str, ObjectConfig], limits: MapLimits) -> None:
    """Raise MapError when a map places what does not exist, or another number of agents."""
    for name, number in limits.counts.items():
        if agent_team(name) is None and name not in objects and (name != "wall" or number > 0):
            raise MapError(unknown("map", name, "object", objects))
    placed = sum(number for name, number in limits.counts.items() if agent_team(name) is not None)
    if placed != config.num_agents:
        raise wrong_number_of_agents(config, placed)


def wrong_number_of_agents(config: WorldConfig, placed: int) -> MapError:
    """Return the error for a map that places another number of agents than the world has."""
    return MapError(
        f"num_agents: given {config.num_agents}, but the map places {placed}; allowed: both the same, "
        f"as num_agents={placed}"
    )


def verbs_of(config: WorldConfig) -> Iterator[tuple[str, ActionConfig]]:
    """Yield every verb with its configuration, in order."""
    for verb in type(config.actions).model_fields:
        yield verb, getattr(config.actions, verb)


def templates_of(config: WorldConfig) -> Iterator[tuple[str, AgentConfig]]:
    """Yield every agent template with its path."""
    yield "agent", config.agent
    for i, agent in enumerate(config.agents):
        yield f"agents.{i}", agent


def resources_named(config: WorldConfig) -> Iterator[tuple[str, str]]:
    """Yield (path of the table, name) for every place at which the configuration names a resource."""
    for verb, action in verbs_of(config):
        for table in ("required_resources", "consumed_resources"):
            yield from ((f"actions.{verb}.{table}", name) for name in getattr(action, table) or {})
        if isinstance(action, AttackConfig):
            yield from ((f"actions.{verb}.defense_resources", name) for name in action.defense_resources)
    for path, agent in templates_of(config):
        for table in ("resource_limits", "initial_inventory"):
            yield from ((f"{path}.{table}", name) for name in getattr(agent, table))
        for table in ("inventory", "inventory_max"):
            yield from ((f"{path}.rewards.{table}", name) for name in getattr(agent.rewards, table))
    for name, thing in config.objects.items():
        if isinstance(thing, ConverterConfig):
            yield from ((f"objects.{name}.input_resources", resource) for resource in thing.input_resources)
            yield from ((f"objects.{name}.output_resources", resource) for resource in thing.output_resources)


def unknown(path: str, name: str, what: str, known: Iterable[str]) -> str:
    """Return the message for a name that does not exist."""
    known = list(known)
    return f"{path}.{name}: no such {what}; given {name!r}; allowed: {shown(known)}{nearest(name, known)}"


def shown(names: Iterable[str], most: int = 24) -> str:
    """Return a readable list of names, cut where it would be too long to read."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none"
