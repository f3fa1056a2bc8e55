"""The state of many worlds: a few wide arrays, with field numbers as named constants.

Letters: E worlds, A agents, H W map without margin, M margin, O objects, R resources, S agent stats.
Nothing here depends on sizes, so nothing is compiled again for another map. No torch, no files.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Cells are stored with a margin of cells that lie off the map, wide enough for the largest window (15) and for an
# attack (3 forward, 2 aside): no rule ever checks a bound. Smaller maps of a batch are padded the same way.
MARGIN = 7

# A cell's code (int16).
CELL_EMPTY = 0  # nothing
CELL_OUTSIDE = -32768  # off the map: a wall to every action, no tokens
# code < 0           agent number -code - 1
# 0 < code < 256     a plain wall (not swappable) of object kind code - 1; it has no row in `objects`
# code >= 256        row code - 256 of `objects`: converters, boxes, swappable walls
CELL_FIRST_OBJECT = 256

# `agents[e, a, field]`, int32
AGENT_POSITION = 0  # flat index into the world's padded cells: (row + M) * (W + 2M) + column + M
AGENT_ORIENTATION = 1  # 0 north, 1 south, 2 west, 3 east, 4 NW, 5 NE, 6 SW, 7 SE
AGENT_FROZEN = 2  # ticks left
AGENT_TEAM = 3
AGENT_COLOR = 4
AGENT_GLYPH = 5
AGENT_LAST_ACTION = 6  # the flat action id as sent in the tick before, any int32; at reset 0
AGENT_LAST_VERB = 7  # verb of the last action carried out, -1 before the first
AGENT_STILL = 8  # carried-out actions in a row after which the agent stood where it stood
AGENT_BOX = 9  # row of the agent's own box in `objects`, -1 if none stands
AGENT_TEMPLATE = 10  # index into Rules' agent templates
AGENT_TEAM_INDEX = 11  # index into the compiled world's `team_names`
AGENT_STOOD = 12  # where it stood after its last carried-out action; at reset where it stands
AGENT_FIELDS = 13

# `objects[e, o, field]`, int32
OBJECT_KIND = 0  # index into Rules' object kinds; -1: the row is not in use
OBJECT_POSITION = 1  # as AGENT_POSITION; -1: not on the map
OBJECT_PHASE = 2  # PHASE_*
OBJECT_READY_AT = 3  # tick at which the phase ends
OBJECT_CONVERSIONS = 4  # conversions started so far
OBJECT_COLOR = 5
OBJECT_OWNER = 6  # boxes: agent id, -1 if the map placed it
OBJECT_FIELDS = 7

PHASE_IDLE = 0
PHASE_CONVERTING = 1
PHASE_COOLING = 2

# `worlds[e, field]`, int64
WORLD_STEP = 0  # ticks played in this episode
WORLD_SEED = 1  # the episode's seed
WORLD_HEIGHT = 2  # rows of this world's map, without margin
WORLD_WIDTH = 3
WORLD_NUM_OBJECTS = 4  # rows of `objects` in use
WORLD_END_AT = 5  # the tick at which this episode ends, 0 = endless; max_steps, or earlier if staggered
WORLD_STRIDE = 6  # columns of `cells` with both margins: the distance between a cell and the one below
WORLD_FIRST_BOX = 7  # row of `objects` that agent 0's own box takes, agent a's is a rows further; -1: no such rows
WORLD_NEXT_READY = 8  # no converter's phase ends before this tick
WORLD_FIELDS = 9

NEVER = 2**62  # a tick that does not come


class State(NamedTuple):
    """The whole state of E worlds. Copying these arrays copies the worlds."""

    cells: NDArray[np.int16]  # [E, H+2M, W+2M]
    agents: NDArray[np.int32]  # [E, A, AGENT_FIELDS]
    inventory: NDArray[np.uint8]  # [E, A, R]
    objects: NDArray[np.int32]  # [E, O, OBJECT_FIELDS]
    object_inventory: NDArray[np.uint8]  # [E, O, R]
    worlds: NDArray[np.int64]  # [E, WORLD_FIELDS]
    rewards: NDArray[np.float32]  # [E, A] this tick's reward
    episode_rewards: NDArray[np.float32]  # [E, A] sum over the episode
    stat_rewards: NDArray[np.float32]  # [E, A] the last tick's sum of stat contributions
    stats: NDArray[np.int32]  # [E, A, S] agent counters
    object_stats: NDArray[np.int32]  # [E, O, converter stats]
    world_stats: NDArray[np.int64]  # [E, world stats] tokens_written, tokens_dropped, tokens_free_space
    visits: NDArray[np.uint16]  # [E, A, cells] visitation counts; [E, A, 0] when off
    # What follows repeats the above in a form that is quick to read; rules/cells.py and rules/looks.py keep it true.
    occupancy: NDArray[np.uint32]  # [E, words] one bit a cell: does something stand there (rules/cells.py)
    looks: NDArray[np.uint8]  # [E, things, bytes] the ready-made tokens of each thing (rules/looks.py)
    look_sizes: NDArray[np.int32]  # [E, things] how many tokens


class Sizes(NamedTuple):
    """How large the arrays of a batch must be; every field is a count."""

    agents: int
    resources: int
    actions: int
    tokens: int
    window_height: int
    window_width: int
    height: int  # of the largest map, without margin
    width: int
    objects: int  # rows of `objects`
    kinds: int
    templates: int
    stat_rewards: int
    stats: int
    teams: int
    look: int  # tokens of the thing that shows most
    visits: int  # 1 if visitation counts are kept, else 0


def largest(a: Sizes, b: Sizes) -> Sizes:
    """Return sizes in which both fit."""
    return Sizes(*(max(x, y) for x, y in zip(a, b, strict=True)))


LOOK_CHUNK = 8  # tokens are copied by eights, see observe.py


def allocate_state(sizes: Sizes, num_worlds: int) -> State:
    """Return the state of worlds that have yet to begin, all zeros."""
    E, A, R, O = num_worlds, sizes.agents, sizes.resources, sizes.objects  # noqa: E741
    height, width = sizes.height + 2 * MARGIN, sizes.width + 2 * MARGIN
    num_looks = A + sizes.kinds + O
    look_bytes = 3 * LOOK_CHUNK * -(-sizes.look // LOOK_CHUNK)
    return State(
        cells=np.zeros((E, height, width), np.int16),
        agents=np.zeros((E, A, AGENT_FIELDS), np.int32),
        inventory=np.zeros((E, A, R), np.uint8),
        objects=np.zeros((E, O, OBJECT_FIELDS), np.int32),
        object_inventory=np.zeros((E, O, R), np.uint8),
        worlds=np.zeros((E, WORLD_FIELDS), np.int64),
        rewards=np.zeros((E, A), np.float32),
        episode_rewards=np.zeros((E, A), np.float32),
        stat_rewards=np.zeros((E, A), np.float32),
        stats=np.zeros((E, A, sizes.stats), np.int32),
        object_stats=np.zeros((E, O, 4 * R + OBJECT_STAT_EVENTS), np.int32),
        world_stats=np.zeros((E, WORLD_STAT_TOKENS + sizes.kinds), np.int64),
        visits=np.zeros((E, A, height * width * sizes.visits), np.uint16),
        occupancy=np.zeros((E, height * width // 16 + 2), np.uint32),
        looks=np.zeros((E, num_looks, look_bytes), np.uint8),
        look_sizes=np.zeros((E, num_looks), np.int32),
    )


OBJECT_STAT_EVENTS = 6  # columns of `object_stats` after the resources' (stats.py)
WORLD_STAT_TOKENS = 3  # columns of `world_stats` before the objects' (stats.py)


def inner_cells(state: State, world: int) -> NDArray[np.int16]:
    """Return a view of a world's own cells, int16 [H, W], without margin and padding."""
    height, width = state.worlds[world, WORLD_HEIGHT], state.worlds[world, WORLD_WIDTH]
    return state.cells[world, MARGIN : MARGIN + height, MARGIN : MARGIN + width]
