"""From `WorldConfig` to read-only `Rules` arrays; every mistake of the user is reported here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metta.errors import ConfigError, MapError, within
from metta.grid import ruleset as rs
from metta.grid import stats
from metta.grid.check import (
    check_config,
    check_map,
    check_stats,
    templates_of,
    unknown,
    verbs_of,
)
from metta.grid.config import AgentConfig, BoxConfig, ConverterConfig, ObjectConfig, WallConfig, WorldConfig
from metta.grid.maps import GridMap, MapLimits, agent_team, build_map, map_limits
from metta.grid.own_rules import Tables, write_own_rules
from metta.grid.reset import (
    AN_AGENT,
    MEANING_FIELDS,
    MEANING_KIND,
    MEANING_TEAM,
    MEANING_TEAM_INDEX,
    MEANING_TEMPLATE,
    NOTHING,
)
from metta.grid.ruleset import Rules, allocate_buffers
from metta.grid.world import CELL_FIRST_OBJECT, MARGIN, Sizes, allocate_state
from metta.grid.world_stats import ConverterStats, converter_stats_of

MAX_OBJECTS = 32767 - CELL_FIRST_OBJECT  # codes of cells are int16
MAX_CACHED = 256  # compiled worlds kept

DIRECTION_NAMES = ("north", "south", "west", "east", "northwest", "northeast", "southwest", "southeast")


class Feature(NamedTuple):
    """A kind of token: its id in observations, its name, and what its values are divided by."""

    id: int
    name: str
    divisor: float


@dataclass(frozen=True, eq=False)
class CompiledWorld:
    """A world ready to run: its rules as arrays, its names, and the most that its maps can be."""

    config: WorldConfig
    rules: Rules  # leading axis 1
    features: tuple[Feature, ...]
    action_names: tuple[str, ...]
    object_types: dict[int, str]  # type id -> name of the object; 0 -> "agent"
    object_names: tuple[str, ...]  # by kind
    resource_names: tuple[str, ...]
    stat_names: tuple[str, ...]  # columns of State.stats
    object_stat_names: tuple[str, ...]  # columns of State.object_stats
    world_stat_names: tuple[str, ...]  # columns of State.world_stats
    converter_stats: ConverterStats  # sums over State.object_stats
    team_names: tuple[str, ...]  # by AGENT_TEAM_INDEX
    teams: tuple[int, ...]  # the same, as numbers
    sizes: Sizes
    _meanings: dict[tuple[str, ...], NDArray[np.int32]] = field(default_factory=dict, repr=False)

    def build_map(self, seed: int) -> GridMap:
        """Return the map of the episode with this seed. Raises MapError when things do not fit."""
        with within("map"):
            return build_map(self.config.map, seed)

    def meanings(self, names: tuple[str, ...]) -> NDArray[np.int32]:
        """Return what each name of a map stands for, int32 [names, MEANING_FIELDS]; raises MapError if unknown."""
        if names not in self._meanings:
            self._meanings[names] = self._find_meanings(names)
        return self._meanings[names]

    def _find_meanings(self, names: tuple[str, ...]) -> NDArray[np.int32]:
        meanings = np.zeros((len(names), MEANING_FIELDS), np.int32)
        for i, name in enumerate(names):
            team = agent_team(name)
            if name == "empty" or (name == "wall" and name not in self.object_names):
                meanings[i, MEANING_KIND] = NOTHING
            elif team is not None:
                index, team = template_of(self.config, team)
                if team not in self.teams:
                    allowed = f"allowed: {', '.join(map(str, self.teams))}"
                    raise MapError(f"given an agent of team {team}; {allowed}", path="map")
                meanings[i, MEANING_KIND] = AN_AGENT
                meanings[i, MEANING_TEMPLATE] = index
                meanings[i, MEANING_TEAM] = team
                meanings[i, MEANING_TEAM_INDEX] = self.teams.index(team)
            elif name in self.object_names:
                meanings[i, MEANING_KIND] = self.object_names.index(name)
            else:
                raise MapError(unknown(name, "object", self.object_names), path="map")
        return meanings


_compiled: OrderedDict[str, CompiledWorld] = OrderedDict()
_numbers = count(1)


def compile_world(config: WorldConfig) -> CompiledWorld:
    """Return the compiled world; equal configurations give the same object, safe from later changes of `config`.

    Raises ConfigError, or MapError for the map, with the path of the mistake, what was given and what is allowed.
    """
    key = config.model_dump_json(warnings=False)
    if key not in _compiled:
        _compiled[key] = _compile(config.model_copy(deep=True))
        if len(_compiled) > MAX_CACHED:
            _compiled.popitem(last=False)
    _compiled.move_to_end(key)
    return _compiled[key]


def _compile(config: WorldConfig) -> CompiledWorld:
    check_config(config)
    with within("map"):
        limits = map_limits(config.map)
    objects = objects_of(config, limits)
    check_map(config, objects, limits)
    action_names, actions = flat_actions(config)
    teams = teams_of(config, limits)
    team_names = tuple(stats.team_name(team) for team in teams)
    stat_names = stats.agent_stat_names(config.resources, team_names, tuple(objects))
    check_stats(config, stat_names)
    sizes = sizes_of(
        config, limits, objects, num_actions=len(action_names), num_stats=len(stat_names), num_teams=len(teams)
    )
    rules = allocate_rules(sizes, 1)
    write_world_rules(rules, config, objects, len(teams))
    rules.world[0, rs.RULE_NUMBER] = next(_numbers)
    rules.actions[0] = actions
    write_verbs(rules, config)
    write_templates(rules, config, stat_names)
    write_kinds(rules, config, objects)
    write_own_rules(rules, config, tuple(objects), lambda: tables_of(rules, sizes))
    for array in rules:
        array.flags.writeable = False
    return CompiledWorld(
        config=config,
        rules=rules,
        features=features_of(config),
        action_names=action_names,
        object_types={0: "agent"} | {thing.type_id: name for name, thing in objects.items()},
        object_names=tuple(objects),
        resource_names=tuple(config.resources),
        stat_names=tuple(stat_names),
        object_stat_names=tuple(stats.object_stat_names(config.resources)),
        world_stat_names=tuple(stats.world_stat_names(tuple(objects))),
        converter_stats=converter_stats_of(objects, config.resources),
        team_names=team_names,
        teams=teams,
        sizes=sizes,
    )


def objects_of(config: WorldConfig, limits: MapLimits) -> dict[str, ObjectConfig]:
    """Return the objects by name; a map with walls has them, though the configuration does not say what a wall is."""
    if "wall" in config.objects or limits.counts.get("wall", 0) == 0:
        return dict(config.objects)
    if any(thing.type_id == 1 for thing in config.objects.values()):
        taken = next(name for name, thing in config.objects.items() if thing.type_id == 1)
        raise ConfigError(
            "given 1, the type id of walls, which the map has; allowed: 2 to 255, or an object called wall",
            path=f"objects.{taken}.type_id",
        )
    return {**config.objects, "wall": WallConfig()}


def template_of(config: WorldConfig, team: int) -> tuple[int, int]:
    """Return (index of the template, team) of an agent whose symbol names `team`.

    The first of `agents` with that team; else `agent`, in the team that the symbol names (team 0: in its own).
    """
    for i, agent in enumerate(config.agents):
        if agent.team == team:
            return i, team
    return len(config.agents), team or config.agent.team


def teams_of(config: WorldConfig, limits: MapLimits) -> tuple[int, ...]:
    """Return the teams that the map's agents are in, ascending."""
    named = [team for name in limits.counts if (team := agent_team(name)) is not None]
    return tuple(sorted({template_of(config, team)[1] for team in named}))


def flat_actions(config: WorldConfig) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Return the names of the flat action list, and (verb, argument) of each, int32 [actions, 2]."""
    directions = DIRECTION_NAMES[: 8 if config.allow_diagonals else 4]
    numbers = {"attack": 9, "change_color": 4, "change_glyph": config.actions.change_glyph.number_of_glyphs}
    names: list[str] = []
    rows: list[tuple[int, int]] = []
    for verb, (name, action) in enumerate(verbs_of(config)):
        assert name == rs.VERBS[verb]
        arguments: Sequence[str] = [""]
        if name in ("move", "rotate"):
            arguments = [f"_{direction}" for direction in directions]
        elif name in numbers:
            arguments = [f"_{i}" for i in range(numbers[name])]
        if action.enabled:
            names += [name + argument for argument in arguments]
            rows += [(verb, i) for i in range(len(arguments))]
    if not names:
        allowed = f"allowed: at least one of {', '.join(rs.VERBS)}"
        raise ConfigError(f"given none that is enabled; {allowed}", path="actions")
    return tuple(names), np.array(rows, np.int32)


def features_of(config: WorldConfig) -> tuple[Feature, ...]:
    """Return the feature table (docs/world.md, section 5); its order is that of the ids."""
    table: list[tuple[str, float]] = [
        ("type_id", 1),
        ("agent:group", 10),
        ("agent:frozen", 1),
        ("agent:orientation", 1),
        ("agent:color", 255),
        ("converting", 1),
        ("swappable", 1),
        ("episode_completion_pct", 255),
        ("last_action", 10),
        ("last_action_arg", 10),
        ("last_reward", 100),
        ("agent:glyph", 255),
        ("resource_rewards", 255),
        ("agent:visitation_counts", 1000),
    ]
    prefixes = ("inv", "input", "output") if config.recipe_details_obs else ("inv",)
    table += [(f"{prefix}:{resource}", 100) for prefix in prefixes for resource in config.resources]
    return tuple(Feature(i, name, float(divisor)) for i, (name, divisor) in enumerate(table))


def sizes_of(
    config: WorldConfig,
    limits: MapLimits,
    objects: Mapping[str, ObjectConfig],
    *,
    num_actions: int,
    num_stats: int,
    num_teams: int,
) -> Sizes:
    """Return how large the arrays must be for every map of this world."""
    num_objects = sum(
        limits.counts.get(name, 0)
        for name, thing in objects.items()
        if not (isinstance(thing, WallConfig) and not thing.swappable)
    )
    if any(isinstance(thing, BoxConfig) for thing in objects.values()):
        num_objects += config.num_agents
    if num_objects > MAX_OBJECTS:
        raise MapError(f"given {num_objects} objects that are no plain walls; allowed: up to {MAX_OBJECTS}", path="map")
    R = len(config.resources)
    return Sizes(
        agents=config.num_agents,
        resources=R,
        actions=num_actions,
        tokens=config.observation.num_tokens,
        window_height=config.observation.height,
        window_width=config.observation.width,
        height=limits.height,
        width=limits.width,
        objects=num_objects,
        kinds=len(objects),
        templates=len(config.agents) + 1,
        stat_rewards=max(len(agent.rewards.stats) for _, agent in templates_of(config)),
        stats=num_stats,
        teams=num_teams,
        look=max(6 + R, 3 + (3 * R if config.recipe_details_obs else R)),
        visits=int(config.observation.visitation_counts),
    )


def allocate_rules(sizes: Sizes, num_worlds: int) -> Rules:
    """Return rules that have yet to be written, all zeros, for worlds in a state of the same sizes."""
    E, R, P, G, N = num_worlds, sizes.resources, sizes.templates, sizes.kinds, sizes.stat_rewards
    V = len(rs.VERBS)
    cells, sets = window_tables(sizes.window_height, sizes.window_width, sizes.width + 2 * MARGIN)
    return Rules(
        world=np.zeros((E, rs.RULE_FIELDS), np.int64),
        actions=np.zeros((E, sizes.actions, 2), np.int32),
        verbs=np.zeros((E, V, rs.VERB_FIELDS), np.int32),
        verb_resources=np.zeros((E, V, 3, R), np.uint8),
        templates=np.zeros((E, P, rs.TEMPLATE_FIELDS), np.int32),
        template_floats=np.zeros((E, P, 2), np.float32),
        template_resources=np.zeros((E, P, 2, R), np.uint8),
        inventory_rewards=np.zeros((E, P, 2, R), np.float32),
        stat_rewards=np.zeros((E, P, 2, N), np.float32),
        stat_reward_columns=np.zeros((E, P, N), np.int32),
        kinds=np.zeros((E, G, rs.KIND_FIELDS), np.int32),
        kind_resources=np.zeros((E, G, 3, R), np.uint8),
        window_cells=cells,
        window_sets=sets,
    )


def one_row_for_all(compiled: CompiledWorld, sizes: Sizes, num_worlds: int) -> Rules:
    """Return rules by which all worlds of a batch play: E rows that are one in memory, which nobody may write.

    Thousands of rows that say the same would drive each other out of the caches (LOG.md).
    """
    row = allocate_rules(sizes, 1)
    write_rules_row(row, 0, compiled)
    rows = {
        name: array if name in rs.SHARED_FIELDS else np.broadcast_to(array, (num_worlds, *array.shape[1:]))
        for name, array in row._asdict().items()
    }
    return Rules(**rows)


def tables_of(rules: Rules, sizes: Sizes) -> Tables:
    """Return arrays of the types that a world's have, by which functions are compiled."""
    return rules, allocate_state(sizes, 1), allocate_buffers(sizes, 1)


def write_rules_row(rules: Rules, e: int, compiled: CompiledWorld) -> None:
    """Let world `e` play by the rules of `compiled`; the arrays are large enough (`Sizes`)."""
    if rules.world[e, rs.RULE_NUMBER] == compiled.rules.world[0, rs.RULE_NUMBER]:
        return
    arrays: Iterable[tuple[str, NDArray[Any], NDArray[Any]]] = zip(Rules._fields, rules, compiled.rules, strict=True)
    for name, target, source in arrays:
        if name in rs.SHARED_FIELDS:
            continue
        if target.shape[1:] == source.shape[1:]:
            target[e] = source[0]
        else:
            target[e] = 0
            index: Any = (e, *(slice(size) for size in source.shape[1:]))
            target[index] = source[0]


def check_compatible(a: CompiledWorld, b: CompiledWorld) -> None:
    """Raise ConfigError unless both worlds can be played side by side, in one batch and by one policy."""
    shared = {
        "resources": (a.resource_names, b.resource_names),
        "features": (a.features, b.features),
        "actions": (a.action_names, b.action_names),
        "num_agents": (a.config.num_agents, b.config.num_agents),
        "observation.height": (a.config.observation.height, b.config.observation.height),
        "observation.width": (a.config.observation.width, b.config.observation.width),
        "observation.num_tokens": (a.config.observation.num_tokens, b.config.observation.num_tokens),
    }
    for path, (first, second) in shared.items():
        if first != second:
            raise ConfigError(f"given {second} beside {first}; allowed: worlds of one batch have the same", path=path)


def write_world_rules(rules: Rules, config: WorldConfig, objects: Mapping[str, ObjectConfig], num_teams: int) -> None:
    """Write the fields that are the world's own."""
    boxes = [kind for kind, thing in enumerate(objects.values()) if isinstance(thing, BoxConfig)]
    R = len(config.resources)
    first_team_stat = stats.STAT_RESOURCES + 4 * R
    num_team_stats = len(stats.team_stat_names(config.resources, [str(i) for i in range(num_teams)]))
    values = {
        rs.RULE_MAX_STEPS: config.max_steps,
        rs.RULE_TRUNCATES: config.episode_truncates,
        rs.RULE_WINDOW_HEIGHT: config.observation.height,
        rs.RULE_WINDOW_WIDTH: config.observation.width,
        rs.RULE_NUM_TOKENS: config.observation.num_tokens,
        rs.RULE_SHOW_COMPLETION: config.observation.episode_completion_pct,
        rs.RULE_SHOW_LAST_ACTION: config.observation.last_action,
        rs.RULE_SHOW_LAST_REWARD: config.observation.last_reward,
        rs.RULE_SHOW_RESOURCE_REWARDS: config.observation.resource_rewards,
        rs.RULE_SHOW_VISITS: config.observation.visitation_counts,
        rs.RULE_SHOW_RECIPES: config.recipe_details_obs,
        rs.RULE_DIAGONALS: config.allow_diagonals,
        rs.RULE_LOSS: round(config.resource_loss_prob * 2**32),
        rs.RULE_BOX_KIND: boxes[0] if boxes else -1,
        rs.RULE_HAS_DEFENSE: any(config.actions.attack.defense_resources.values()),
        rs.RULE_NUM_STAT_REWARDS: rules.stat_reward_columns.shape[2],
        rs.RULE_SHARES: any(agent.group_reward_pct > 0 for _, agent in templates_of(config)),
        rs.RULE_NUM_TEAMS: num_teams,
        rs.RULE_NUM_KINDS: len(objects),
        rs.RULE_STAT_TEAMS: first_team_stat,
        rs.RULE_STAT_SWAPS: first_team_stat + num_team_stats,
    }
    for index, value in values.items():
        rules.world[0, index] = int(value)


def write_verbs(rules: Rules, config: WorldConfig) -> None:
    """Write what each verb requires and consumes."""
    for verb, (_, action) in enumerate(verbs_of(config)):
        consumed = action.consumed_resources
        required = consumed if action.required_resources is None else action.required_resources
        planes = rules.verb_resources[0, verb]
        write_amounts(planes[rs.PLANE_REQUIRED], required, config.resources)
        write_amounts(planes[rs.PLANE_CONSUMED], consumed, config.resources)
        rules.verbs[0, verb, rs.VERB_REQUIRES] = any(required.values())
        rules.verbs[0, verb, rs.VERB_CONSUMES] = any(consumed.values())
    defense = rules.verb_resources[0, rs.VERB_ATTACK, rs.PLANE_DEFENSE]
    write_amounts(defense, config.actions.attack.defense_resources, config.resources)


def write_templates(rules: Rules, config: WorldConfig, stat_names: Sequence[str]) -> None:
    """Write the agent templates: `agents` in order, then `agent`."""
    for p, agent in enumerate([*config.agents, config.agent]):
        rules.templates[0, p, rs.TEMPLATE_FREEZE_DURATION] = agent.freeze_duration
        rules.templates[0, p, rs.TEMPLATE_RESOURCE_REWARDS] = resource_rewards_mask(agent, config.resources)
        rules.template_floats[0, p, rs.TEMPLATE_FAILURE_PENALTY] = agent.action_failure_penalty
        rules.template_floats[0, p, rs.TEMPLATE_GROUP_PCT] = agent.group_reward_pct
        limits = {name: agent.resource_limits.get(name, agent.default_resource_limit) for name in config.resources}
        write_amounts(rules.template_resources[0, p, rs.PLANE_LIMIT], limits, config.resources)
        write_amounts(rules.template_resources[0, p, rs.PLANE_INITIAL], agent.initial_inventory, config.resources)
        rewards = rules.inventory_rewards[0, p]
        rewards[rs.PLANE_CAP] = np.inf
        write_amounts(rewards[rs.PLANE_WEIGHT], agent.rewards.inventory, config.resources)
        write_amounts(rewards[rs.PLANE_CAP], agent.rewards.inventory_max, config.resources)
        write_stat_rewards(rules, p, agent, stat_names)


def write_stat_rewards(rules: Rules, p: int, agent: AgentConfig, stat_names: Sequence[str]) -> None:
    """Write what a template is paid for statistics, in alphabetical order; what is left over weighs nothing."""
    rules.stat_rewards[0, p, rs.PLANE_CAP] = np.inf
    for i, (name, weight) in enumerate(sorted(agent.rewards.stats.items())):
        rules.stat_reward_columns[0, p, i] = -1 if name == "reward" else stat_names.index(name)
        rules.stat_rewards[0, p, rs.PLANE_WEIGHT, i] = weight
        rules.stat_rewards[0, p, rs.PLANE_CAP, i] = agent.rewards.stats_max.get(name, np.inf)


def resource_rewards_mask(agent: AgentConfig, resources: Sequence[str]) -> int:
    """Return one bit for each of the first 8 resources with a positive weight, first resource = highest bit."""
    return sum(128 >> i for i, name in enumerate(resources[:8]) if agent.rewards.inventory.get(name, 0.0) > 0)


def write_kinds(rules: Rules, config: WorldConfig, objects: Mapping[str, ObjectConfig]) -> None:
    """Write the kinds of objects."""
    for kind, thing in enumerate(objects.values()):
        row = rules.kinds[0, kind]
        row[rs.KIND_TYPE_ID] = thing.type_id
        if isinstance(thing, WallConfig):
            row[rs.KIND_CLASS] = rs.CLASS_WALL
            row[rs.KIND_SWAPPABLE] = thing.swappable
        elif isinstance(thing, BoxConfig):
            row[rs.KIND_CLASS] = rs.CLASS_BOX
        else:
            write_converter(row, rules.kind_resources[0, kind], thing, config.resources)


def write_converter(
    row: NDArray[np.int32], planes: NDArray[np.uint8], thing: ConverterConfig, resources: Sequence[str]
) -> None:
    """Write one kind of converter."""
    row[rs.KIND_CLASS] = rs.CLASS_CONVERTER
    row[rs.KIND_MAX_OUTPUT] = thing.max_output
    row[rs.KIND_MAX_CONVERSIONS] = thing.max_conversions
    row[rs.KIND_CONVERSION_TICKS] = thing.conversion_ticks
    row[rs.KIND_COOLDOWN] = thing.cooldown
    row[rs.KIND_INITIAL_COUNT] = thing.initial_resource_count
    row[rs.KIND_COLOR] = thing.color
    write_amounts(planes[rs.PLANE_INPUT], thing.input_resources, resources)
    write_amounts(planes[rs.PLANE_OUTPUT], thing.output_resources, resources)
    write_amounts(planes[rs.PLANE_IS_OUTPUT], dict.fromkeys(thing.output_resources, 1), resources)


@cache
def window_tables(height: int, width: int, stride: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `Rules.window_cells` and `Rules.window_sets` for a window of this size on maps of this `WORLD_STRIDE`.

    `sets[(pair * height + row) * WINDOW_CHUNKS + chunk, bits]` holds, in two words, which of the ranks from
    2 * RANK_BITS * pair on belong to the cells of a row's chunk whose bits are set.
    """
    cells = np.zeros((height * width, 4), np.int64)
    sets = np.zeros((2 * height * rs.WINDOW_CHUNKS, 2**rs.CHUNK_BITS, 2), np.int64)
    for rank, (row, column) in enumerate(cells_in_order(height, width)):
        cells[rank, rs.WINDOW_OFFSET] = row * stride + column
        places = np.zeros(24, np.uint8)
        places[::3] = row * 16 + column
        cells[rank, rs.WINDOW_PLACES :] = places.view("<i8")
        chunk, bit = divmod(column, rs.CHUNK_BITS)
        word, member = divmod(rank, rs.RANK_BITS)
        holding = (np.arange(2**rs.CHUNK_BITS) >> bit) & 1 == 1
        sets[((word // 2) * height + row) * rs.WINDOW_CHUNKS + chunk, holding, word % 2] |= 1 << member
    cells.flags.writeable = sets.flags.writeable = False
    return cells, sets


def cells_in_order(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield (row, column) of a window's cells in growing Manhattan distance from its centre."""
    cells = [(row, column) for row in range(height) for column in range(width)]
    yield from sorted(cells, key=lambda cell: (abs(cell[0] - height // 2) + abs(cell[1] - width // 2), cell))


def write_amounts(target: NDArray[np.generic], amounts: Mapping[str, float], resources: Sequence[str]) -> None:
    """Write amounts by resource name into an array indexed by resource."""
    for name, amount in amounts.items():
        target[resources.index(name)] = amount
