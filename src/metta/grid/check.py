"""Mistakes between the fields of a `WorldConfig`: each message has the path, what was given and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import ValidationError

from metta.config import allowed, path_in
from metta.errors import ConfigError, MapError, nearest
from metta.grid.config import ActionConfig, AgentConfig, AttackConfig, ConverterConfig, ObjectConfig, WorldConfig
from metta.grid.maps import MapLimits, agent_team, path_of_name
from metta.grid.maps.grid_map import MAX_TEAM

MAX_OBJECT_KINDS = 255
RESERVED_NAMES = ("agent", "empty")


def check_config(config: WorldConfig) -> None:
    """Raise ConfigError for the first mistake that shows without building a map."""
    check_fields(config)
    check_observation(config)
    check_resources(config)
    for path, name in resources_named(config):
        if name not in config.resources:
            raise ConfigError(unknown(name, "resource", config.resources), path=f"{path}.{name}")
    for verb, action in verbs_of(config):
        check_action(f"actions.{verb}", action)
    check_objects(config)
    if config.actions.place_box.enabled and not any(thing.type == "box" for thing in config.objects.values()):
        raise ConfigError(
            f"given objects without a box: {shown(config.objects)}; "
            'allowed: an object of type "box", as objects.box = {"type": "box"}',
            path="actions.place_box.enabled",
        )


def check_fields(config: WorldConfig) -> None:
    """Raise ConfigError when a field was changed behind the model's back, as by an assignment into a dictionary."""
    try:
        WorldConfig.model_validate(config.model_dump(warnings=False))
    except ValidationError as error:
        first = error.errors()[0]
        path = path_in(config.model_dump(warnings=False), first["loc"])
        raise ConfigError(f"given {first['input']!r}; {allowed(first['msg'])}", path=path) from error


def check_observation(config: WorldConfig) -> None:
    """Raise ConfigError when the window has no centre."""
    for side in ("height", "width"):
        size = getattr(config.observation, side)
        if size % 2 == 0:
            raise ConfigError(f"given {size}; allowed: odd numbers from 3 to 15", path=f"observation.{side}")


def check_resources(config: WorldConfig) -> None:
    """Raise ConfigError when two resources have one name, or one has none."""
    for i, name in enumerate(config.resources):
        if not name:
            raise ConfigError("given an empty name; allowed: at least one character", path=f"resources.{i}")
        if name in config.resources[:i]:
            raise ConfigError(f"given {name!r} a second time; allowed: each resource once", path=f"resources.{i}")


def check_action(path: str, action: ActionConfig) -> None:
    """Raise ConfigError when an action could consume more than it requires."""
    if action.required_resources is None:
        return
    for name, amount in action.consumed_resources.items():
        required = action.required_resources.get(name, 0)
        if required < amount:
            raise ConfigError(
                f"given {required}, but consumed_resources takes {amount}; allowed: {amount} to 255",
                path=f"{path}.required_resources.{name}",
            )


def check_objects(config: WorldConfig) -> None:
    """Raise ConfigError when objects cannot be told apart."""
    if len(config.objects) > MAX_OBJECT_KINDS:
        raise ConfigError(f"given {len(config.objects)} of them; allowed: up to {MAX_OBJECT_KINDS}", path="objects")
    names: dict[int, str] = {}
    for name, thing in config.objects.items():
        if name in RESERVED_NAMES or not name or agent_team(name) is not None:
            raise ConfigError(
                "given a name that is taken; allowed: any but agent, agent.<team> and empty", path=f"objects.{name}"
            )
        if thing.type_id in names:
            free = next(i for i in range(1, 256) if i not in {other.type_id for other in config.objects.values()})
            raise ConfigError(
                f"given {thing.type_id}, which objects.{names[thing.type_id]} has already; "
                f"allowed: 1 to 255, each once (the first free one is {free})",
                path=f"objects.{name}.type_id",
            )
        names[thing.type_id] = name
    boxes = [name for name, thing in config.objects.items() if thing.type == "box"]
    if len(boxes) > 1:
        raise ConfigError(f"given a second box beside objects.{boxes[0]}; allowed: one", path=f"objects.{boxes[1]}")


def check_stats(config: WorldConfig, stat_names: Iterable[str]) -> None:
    """Raise ConfigError when a reward is promised for a statistic that does not exist."""
    known = [*stat_names, "reward"]
    for path, agent in templates_of(config):
        for table in ("stats", "stats_max"):
            for name in getattr(agent.rewards, table):
                if name not in known:
                    raise ConfigError(unknown(name, "stat", known), path=f"{path}.rewards.{table}.{name}")


def check_map(config: WorldConfig, objects: dict[str, ObjectConfig], limits: MapLimits) -> None:
    """Raise MapError when a map places what does not exist, or another number of agents."""
    for name, number in limits.counts.items():
        if (agent_team(name) or 0) > MAX_TEAM:
            path = path_of_name(config.map, name)
            raise MapError(f"given {name!r}; allowed: teams 0 to {MAX_TEAM}", path=f"map.{path}" if path else "map")
        if agent_team(name) is None and name not in objects and (name != "wall" or number > 0):
            path = path_of_name(config.map, name)
            raise MapError(unknown(name, "object", objects), path=f"map.{path}" if path else "map")
    placed = sum(number for name, number in limits.counts.items() if agent_team(name) is not None)
    if placed != config.num_agents:
        raise wrong_number_of_agents(config, placed)


def wrong_number_of_agents(config: WorldConfig, placed: int) -> MapError:
    """Return the error for a map that places another number of agents than the world has."""
    return MapError(
        f"given {config.num_agents}, but the map places {placed}; allowed: both the same, as num_agents={placed}",
        path="num_agents",
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


def unknown(name: str, what: str, known: Iterable[str]) -> str:
    """Return the message for a name that does not exist."""
    known = list(known)
    return f"no such {what}; given {name!r}; allowed: {shown(known)}{nearest(name, known)}"


def shown(names: Iterable[str], most: int = 24) -> str:
    """Return a readable list of names, cut where it would be too long to read."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none"
