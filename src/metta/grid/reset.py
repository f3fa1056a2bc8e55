"""The beginning of an episode: a map becomes a world."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metta.grid.jit import kernel, rule
from metta.grid.observe import observe
from metta.grid.rules.cells import fill_cell
from metta.grid.rules.converters import try_to_start
from metta.grid.rules.looks import look_of_agent, look_of_kind, look_of_object
from metta.grid.rules.rewards import stat_contributions
from metta.grid.ruleset import (
    CLASS_CONVERTER,
    CLASS_WALL,
    KIND_CLASS,
    KIND_COLOR,
    KIND_INITIAL_COUNT,
    KIND_SWAPPABLE,
    PLANE_INITIAL,
    PLANE_IS_OUTPUT,
    RULE_BOX_KIND,
    RULE_NUM_KINDS,
    Buffers,
    Rules,
)
from metta.grid.stats import FIRST_OBJECT_COUNT
from metta.grid.world import (
    AGENT_BOX,
    AGENT_LAST_VERB,
    AGENT_POSITION,
    AGENT_STOOD,
    AGENT_TEAM,
    AGENT_TEAM_INDEX,
    AGENT_TEMPLATE,
    CELL_EMPTY,
    CELL_FIRST_OBJECT,
    CELL_OUTSIDE,
    MARGIN,
    NEVER,
    OBJECT_COLOR,
    OBJECT_KIND,
    OBJECT_OWNER,
    OBJECT_POSITION,
    WORLD_END_AT,
    WORLD_FIRST_BOX,
    WORLD_HEIGHT,
    WORLD_NEXT_READY,
    WORLD_NUM_OBJECTS,
    WORLD_SEED,
    WORLD_STEP,
    WORLD_STRIDE,
    WORLD_WIDTH,
    State,
)

# `meanings[name, field]`: what a name of a map stands for
MEANING_KIND = 0  # kind of object; NOTHING, or AN_AGENT
MEANING_TEMPLATE = 1
MEANING_TEAM = 2
MEANING_TEAM_INDEX = 3
MEANING_FIELDS = 4

NOTHING = -1
AN_AGENT = -2


@kernel
def begin_world(
    rules: Rules,
    state: State,
    buffers: Buffers,
    e: int,
    codes: NDArray[np.int16],
    meanings: NDArray[np.int32],
    stride: int,
    seed: int,
    end_at: int,
) -> int:
    """Build world `e` from a map `codes [H, W]` whose codes index `meanings`, and write its first observations.

    Agents and objects are numbered in reading order. Returns the number of agents that the map places; if that is not
    the number that the world has, nothing is written; nor if the objects need more rows than there are (returns -1).
    """
    placed = count_agents(rules, state, e, codes, meanings)
    if placed != state.agents.shape[1]:
        return placed
    clear_world(rules, state, buffers, e)
    state.worlds[e, WORLD_STEP] = 0
    state.worlds[e, WORLD_SEED] = seed
    state.worlds[e, WORLD_HEIGHT] = codes.shape[0]
    state.worlds[e, WORLD_WIDTH] = codes.shape[1]
    state.worlds[e, WORLD_END_AT] = end_at
    state.worlds[e, WORLD_STRIDE] = stride
    state.worlds[e, WORLD_NEXT_READY] = NEVER
    num_agents = 0
    num_objects = 0
    for i in range(codes.shape[0]):
        for j in range(codes.shape[1]):
            position = (i + MARGIN) * stride + j + MARGIN
            name = int(codes[i, j])
            kind = int(meanings[name, MEANING_KIND])
            if kind == AN_AGENT:
                place_agent(rules, state, e, num_agents, position, meanings, name)
                num_agents += 1
            elif kind == NOTHING:
                state.cells[e, position] = CELL_EMPTY
            else:
                num_objects += place_object(rules, state, e, num_objects, position, kind)
    add_box_rows(rules, state, e, num_objects)
    start_converters(rules, state, e)
    observe(rules, state, buffers, e)
    return placed


@rule
def count_agents(rules: Rules, state: State, e: int, codes: NDArray[np.int16], meanings: NDArray[np.int32]) -> int:
    """Return how many agents a map places, or -1 if it places more objects than there are rows for."""
    placed = 0
    num_rows = state.agents.shape[1] if rules.world[e, RULE_BOX_KIND] >= 0 else 0
    for i in range(codes.shape[0]):
        for j in range(codes.shape[1]):
            kind = int(meanings[codes[i, j], MEANING_KIND])
            placed += kind == AN_AGENT
            num_rows += kind >= 0 and takes_row(rules, e, kind)
    return placed if num_rows <= state.objects.shape[1] else -1


@rule
def takes_row(rules: Rules, e: int, kind: int) -> bool:
    """Return whether objects of a kind have rows in `objects`: all but plain walls."""
    return bool(rules.kinds[e, kind, KIND_CLASS] != CLASS_WALL or rules.kinds[e, kind, KIND_SWAPPABLE] != 0)


@rule
def fill_row(array: NDArray[Any], e: int, value: int) -> None:
    """Set every item of `array[e]`, one dimension."""
    for i in range(array.shape[1]):
        array[e, i] = value


@rule
def fill_rows(array: NDArray[Any], e: int, value: int) -> None:
    """Set every item of `array[e]`, two dimensions."""
    for i in range(array.shape[1]):
        for j in range(array.shape[2]):
            array[e, i, j] = value


@rule
def clear_world(rules: Rules, state: State, buffers: Buffers, e: int) -> None:
    """Put every array of a world into its first state."""
    fill_row(state.cells, e, CELL_OUTSIDE)
    fill_row(state.occupancy, e, 0)
    fill_rows(state.agents, e, 0)
    fill_rows(state.inventory, e, 0)
    fill_rows(state.objects, e, 0)
    fill_rows(state.object_inventory, e, 0)
    fill_row(state.rewards, e, 0)
    fill_row(state.episode_rewards, e, 0)
    fill_row(state.stat_rewards, e, 0)
    fill_rows(state.stats, e, 0)
    fill_rows(state.object_stats, e, 0)
    fill_row(state.world_stats, e, 0)
    fill_rows(state.visits, e, 0)
    fill_rows(state.looks, e, 0)
    fill_row(state.look_sizes, e, 0)
    fill_row(buffers.terminals, e, False)
    fill_row(buffers.truncations, e, False)
    fill_row(buffers.action_success, e, False)
    for o in range(state.objects.shape[1]):
        state.objects[e, o, OBJECT_KIND] = -1
        state.objects[e, o, OBJECT_POSITION] = -1
        state.objects[e, o, OBJECT_OWNER] = -1
    for kind in range(rules.world[e, RULE_NUM_KINDS]):
        look_of_kind(rules, state, e, kind, state.agents.shape[1] + kind)


@rule
def place_agent(
    rules: Rules, state: State, e: int, a: int, position: int, meanings: NDArray[np.int32], name: int
) -> None:
    """Put an agent onto the map with what its template gives it."""
    template = int(meanings[name, MEANING_TEMPLATE])
    state.agents[e, a, AGENT_POSITION] = position
    state.agents[e, a, AGENT_STOOD] = position
    state.agents[e, a, AGENT_TEMPLATE] = template
    state.agents[e, a, AGENT_TEAM] = meanings[name, MEANING_TEAM]
    state.agents[e, a, AGENT_TEAM_INDEX] = meanings[name, MEANING_TEAM_INDEX]
    state.agents[e, a, AGENT_LAST_VERB] = -1
    state.agents[e, a, AGENT_BOX] = -1
    for r in range(state.inventory.shape[2]):
        state.inventory[e, a, r] = rules.template_resources[e, template, PLANE_INITIAL, r]
    state.stat_rewards[e, a] = stat_contributions(rules, state, e, a)
    fill_cell(state, e, position, -a - 1)
    look_of_agent(state, e, a)


@rule
def place_object(rules: Rules, state: State, e: int, o: int, position: int, kind: int) -> int:
    """Put an object onto the map; return 1 if it takes row `o` of `objects`, 0 for a plain wall."""
    state.world_stats[e, FIRST_OBJECT_COUNT + kind] += 1
    if not takes_row(rules, e, kind):
        fill_cell(state, e, position, kind + 1)
        return 0
    state.objects[e, o, OBJECT_KIND] = kind
    state.objects[e, o, OBJECT_POSITION] = position
    state.objects[e, o, OBJECT_COLOR] = rules.kinds[e, kind, KIND_COLOR]
    fill_cell(state, e, position, CELL_FIRST_OBJECT + o)
    if rules.kinds[e, kind, KIND_CLASS] == CLASS_CONVERTER:
        for r in range(state.inventory.shape[2]):
            if rules.kind_resources[e, kind, PLANE_IS_OUTPUT, r]:
                state.object_inventory[e, o, r] = rules.kinds[e, kind, KIND_INITIAL_COUNT]
    return 1


@rule
def add_box_rows(rules: Rules, state: State, e: int, num_objects: int) -> None:
    """Reserve a row of `objects` for each agent's own box, if there are boxes."""
    has_boxes = rules.world[e, RULE_BOX_KIND] >= 0
    state.worlds[e, WORLD_FIRST_BOX] = num_objects if has_boxes else -1
    state.worlds[e, WORLD_NUM_OBJECTS] = num_objects + (state.agents.shape[1] if has_boxes else 0)


@rule
def start_converters(rules: Rules, state: State, e: int) -> None:
    """Let every converter try to start, in order of rows, and write how every object looks."""
    for o in range(state.worlds[e, WORLD_NUM_OBJECTS]):
        if state.objects[e, o, OBJECT_KIND] >= 0:
            try_to_start(rules, state, e, o)
            look_of_object(rules, state, e, o)
