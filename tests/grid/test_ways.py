"""Shortest ways: against a slow search from each first step."""

from __future__ import annotations

import numpy as np
import pytest

from metta.envs.tasks import FixedTasks, Task
from metta.envs.vec_env import VecEnv
from metta.grid.jit import kernel
from metta.grid.maps.config import AsciiMapConfig
from metta.grid.ways import BLOCKED, FAR, FIRST_THING, FREE, UNSEEN, make_ways, walk
from metta.grid.world import AGENT_POSITION
from metta.grid.worlds import navigation_on

OFFSETS = ((-1, 0), (1, 0), (0, -1), (0, 1))


@kernel
def walk_once(known, state, ways, turn, reach, num_things, out):
    out[0], out[1], out[2] = walk(known, state, ways, 0, 0, turn, reach, num_things)


def steps_from(known, cell):
    """Return {cell: steps} over all that is not blocked and no thing."""
    steps, queue = {cell: 0}, [cell]
    for i, j in queue:
        for di, dj in OFFSETS:
            target = i + di, j + dj
            if known[target] in (FREE, UNSEEN) and target not in steps:
                steps[target] = steps[i, j] + 1
                queue.append(target)
    return steps


def slow_ways(known, start, turn, reach):
    """Return {thing: (steps, direction)} and the steps and direction to the nearest unseen cell."""
    ways = {}  # cell -> (steps, rank of the first direction)
    things = {}
    for rank in range(4):
        cell = tuple(np.add(start, OFFSETS[(rank + turn) % 4]))
        if known[cell] >= FIRST_THING:
            things[int(known[cell])] = 0, rank
        elif known[cell] != BLOCKED:
            for target, steps in steps_from(known, cell).items():
                ways[target] = min(ways.get(target, (FAR, 0)), (steps + 1, rank))
    ways.pop(start, None)
    for cell, (steps, rank) in ways.items():
        for offset in OFFSETS:
            what = int(known[tuple(np.add(cell, offset))])
            if what >= FIRST_THING and steps < reach:
                things[what] = min(things.get(what, (FAR, 0)), (steps, rank))
    unseen = min((way for cell, way in ways.items() if known[cell] == UNSEEN and way[0] <= reach), default=(FAR, None))
    named = {what - FIRST_THING: (steps, (rank + turn) % 4) for what, (steps, rank) in things.items()}
    return named, (unseen[0], None if unseen[1] is None else (unseen[1] + turn) % 4)


@pytest.mark.parametrize("seed", range(40))
def test_the_nearest_way_is_found_and_among_equals_the_first_direction_tried(seed):
    rng = np.random.default_rng(seed)
    env = VecEnv(FixedTasks([Task(navigation_on(AsciiMapConfig(text="@......\n" + ".......\n" * 6)), 0)]), num_worlds=1)
    env.reset()
    height, width = env.state.cells.shape[1:]
    known = rng.choice([UNSEEN, FREE, FREE, FREE, BLOCKED], (height, width)).astype(np.int16)
    known[[0, -1]] = known[:, [0, -1]] = BLOCKED
    num_things = int(rng.integers(0, 8))
    cells = rng.choice((height - 2) * (width - 2), num_things, replace=False)
    known[1 + cells // (width - 2), 1 + cells % (width - 2)] = FIRST_THING + np.arange(num_things)
    start = int(rng.integers(8, 12)), int(rng.integers(8, 12))
    known[start] = FREE
    env.state.agents[0, 0, AGENT_POSITION] = start[0] * width + start[1]
    env.state.cells[...] = 0
    ways = make_ways(height * width, num_things)
    for turn in range(4):  # in one memory, which nobody clears between two walks
        for reach in (2.0, 5.0, 1e9):
            out = np.zeros(3, np.int64)
            walk_once(known.reshape(1, -1), env.state, ways, turn, reach, num_things, out)
            found = {o: (int(ways.thing_steps[o]), int(ways.thing_first[o])) for o in ways.reached[: out[0]].tolist()}
            things, unseen = slow_ways(known, start, turn, reach)
            assert found == things
            assert (int(out[1]), None if out[1] == FAR else int(out[2])) == unseen
            order = [found[o][0] for o in ways.reached[: out[0]].tolist()]
            assert order == sorted(order)
