"""Shortest ways over what an agent remembers of a map: breadth first, from where it stands.

Most of a yardstick agent's time is spent here, hence what looks roundabout: a cell counts as visited if it carries the
number of this walk, so that nothing is cleared before the next one, and the first cell is treated apart, so that the
others need no question about other agents.
"""

# A agents  C padded cells of a world  O objects

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metta.grid.jit import rule
from metta.grid.world import AGENT_POSITION, WORLD_STRIDE, State

# What a remembered cell holds: UNSEEN, FREE, BLOCKED, or FIRST_THING + row of `objects`.
UNSEEN = -1
FREE = 0
BLOCKED = 1
FIRST_THING = 2

FAR = 1 << 30


class Ways(NamedTuple):
    """The ways from one cell; filled anew for each agent."""

    visited: NDArray[np.int64]  # [C] number of the last walk that came here
    queue: NDArray[np.int32]  # [C] cells in the order in which they were reached
    first: NDArray[np.int8]  # [C] by place in the queue: direction of the first step towards that cell
    thing_visited: NDArray[np.int64]  # [O] number of the last walk that found it
    thing_steps: NDArray[np.int32]  # [O] steps to a cell beside it
    thing_first: NDArray[np.int8]  # [O] first direction; where steps are 0, the direction of the thing
    reached: NDArray[np.int32]  # [O] rows of the things found, the nearest first
    counter: NDArray[np.int64]  # [1] number of the last walk
    offsets: NDArray[np.int64]  # [4] of a step, in the order in which directions are tried


def make_ways(num_cells: int, num_objects: int) -> Ways:
    """Return ways for worlds of this size."""
    return Ways(
        visited=np.zeros(num_cells, np.int64),
        queue=np.empty(num_cells, np.int32),
        first=np.empty(num_cells, np.int8),
        thing_visited=np.zeros(num_objects, np.int64),
        thing_steps=np.empty(num_objects, np.int32),
        thing_first=np.empty(num_objects, np.int8),
        reached=np.empty(num_objects, np.int32),
        counter=np.zeros(1, np.int64),
        offsets=np.empty(4, np.int64),
    )


@rule
def walk(
    known: NDArray[np.int16], state: State, ways: Ways, e: int, a: int, turn: int, reach: float, num_things: int
) -> tuple[int, int, int]:
    """Find the ways to everything within `reach` steps over what an agent knows; unseen cells are free.

    `known` [N, C] holds the remembered cells of agent n = e * A + a in row n, and not more than `num_things` things:
    once those and an unseen cell are found, the walk is over.
    Returns how many things were reached, the steps to the nearest unseen cell (or FAR), and the first direction there.
    Where other agents stand beside the agent the way is blocked. `turn` is the direction that is tried first.
    """
    visited, queue, offsets = ways.visited, ways.queue, ways.offsets
    ways.counter[0] += 1
    number = ways.counter[0]
    n = e * state.agents.shape[1] + a
    start = int(state.agents[e, a, AGENT_POSITION])
    visited[start] = number
    tail, num_reached, unseen_first = first_steps(known, state, ways, e, n, start, turn)
    unseen_steps = 1 if unseen_first >= 0 else FAR
    head, steps = 0, 1
    while head < tail and steps < reach and (num_reached < num_things or unseen_steps == FAR):
        level = tail  # the cells from here on are one step further
        while head < level:
            cell = queue[head]
            first = ways.first[head]
            head += 1
            for i in range(4):
                target = cell + offsets[i]
                what = known[n, target]
                if what >= FIRST_THING:
                    num_reached += find_thing(ways, what - FIRST_THING, number, steps, first, num_reached)
                elif what != BLOCKED and visited[target] != number:
                    visited[target] = number
                    queue[tail] = target
                    ways.first[tail] = first
                    tail += 1
                    if what == UNSEEN and unseen_steps == FAR:
                        unseen_steps, unseen_first = steps + 1, int(first)
        steps += 1
    return num_reached, unseen_steps, unseen_first


@rule
def first_steps(
    known: NDArray[np.int16], state: State, ways: Ways, e: int, n: int, start: int, turn: int
) -> tuple[int, int, int]:
    """Begin a walk; return the cells in the queue, the things found, and the direction of an unseen cell, or -1."""
    stride = int(state.worlds[e, WORLD_STRIDE])
    number = ways.counter[0]
    tail, num_reached, unseen_first = 0, 0, -1
    for i in range(4):
        direction = (i + turn) % 4
        ways.offsets[i] = -stride if direction == 0 else stride if direction == 1 else 2 * direction - 5
        target = start + ways.offsets[i]
        what = int(known[n, target])
        if what >= FIRST_THING:
            num_reached += find_thing(ways, what - FIRST_THING, number, 0, direction, num_reached)
        elif what != BLOCKED and state.cells[e, target] >= 0:
            ways.visited[target] = number
            ways.queue[tail] = target
            ways.first[tail] = direction
            tail += 1
            if what == UNSEEN and unseen_first < 0:
                unseen_first = direction
    return tail, num_reached, unseen_first


@rule
def find_thing(ways: Ways, o: int, number: int, steps: int, first: int, num_reached: int) -> int:
    """Write down the way to a thing, if it is the first one; return whether it is."""
    if ways.thing_visited[o] == number:
        return 0
    ways.thing_visited[o] = number
    ways.thing_steps[o] = steps
    ways.thing_first[o] = first
    ways.reached[num_reached] = o
    return 1
