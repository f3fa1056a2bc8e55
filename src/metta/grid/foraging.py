"""How a yardstick agent remembers, finds its way and decides: the compiled part of scripted.py.

An agent knows its own place, orientation, inventory and the clock, and what its window has shown it, now and before.
"""

# E worlds  A agents  N = E * A  C padded cells of a world  O objects  G kinds  R resources

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metta.grid.jit import builder
from metta.grid.rng import PURPOSE_SCRIPTED, random_below
from metta.grid.world import (
    AGENT_FROZEN,
    AGENT_ORIENTATION,
    AGENT_POSITION,
    CELL_EMPTY,
    CELL_FIRST_OBJECT,
    CELL_OUTSIDE,
    OBJECT_KIND,
    OBJECT_PHASE,
    OBJECT_POSITION,
    PHASE_IDLE,
    WORLD_SEED,
    WORLD_STEP,
    WORLD_STRIDE,
    State,
)

# What a remembered cell holds: UNSEEN, FREE, BLOCKED, or FIRST_THING + row of `objects`.
UNSEEN = -1
FREE = 0
BLOCKED = 1
FIRST_THING = 2

FAR = 1 << 30
NEVER = 1 << 30

# Rows of `Chain.actions`
ACT_NOOP = 0
ACT_GET = 1
ACT_PUT = 2
ACT_MOVE = 3  # + direction 0..3

# Fields of `Chain.kinds`
CONVERSION_TICKS = 0
COOLDOWN = 1
MAX_OUTPUT = 2


class Weights(NamedTuple):
    """How a planner weighs what it knows."""

    patience: float  # what was seen t ticks ago counts patience / (patience + t): others may have taken it
    rivalry: float  # factor for each agent in sight that is nearer
    explore: float  # worth of the nearest unseen cell, in units of the target resource
    backlog: float  # conversions' worth of goods in a converter at which nobody brings more
    slowness: float  # what a converter begins in t ticks counts slowness / (slowness + t)
    plenty: float  # taking more of what one holds h units of counts plenty / (plenty + h)
    reach: float  # steps within which things are looked for first
    stage_ticks: float  # ticks that a good needs to be taken or put once; what cannot be finished is not begun


class Chain(NamedTuple):
    """What a world's converters are good for, counted back from the target resource."""

    worth: NDArray[np.float32]  # [R] units of the target that one unit makes; 0 for what leads nowhere
    stage: NDArray[np.int32]  # [R] converters between a resource and the target: 0 for the target itself
    inputs: NDArray[np.int32]  # [G, R] recipes; zeros for kinds that lead nowhere
    outputs: NDArray[np.int32]  # [G, R]
    kinds: NDArray[np.int32]  # [G, 3]
    actions: NDArray[np.int32]  # [7] flat ids of noop, get_items, put_items, moves north, south, west, east; -1: none
    window: NDArray[np.int32]  # [2] rows, columns
    max_steps: int  # 0: endless


class Memory(NamedTuple):
    """What each agent has seen."""

    cells: NDArray[np.int16]  # [N, C]
    seen_at: NDArray[np.int32]  # [N, O] tick, -1: never
    kind: NDArray[np.int32]  # [N, O] at that tick, as is all that follows
    held: NDArray[np.uint8]  # [N, O, R]
    is_busy: NDArray[np.bool_]  # [N, O]
    started_at: NDArray[np.int32]  # [N, O] tick at which it was last seen to begin a conversion, or -NEVER
    next_output: NDArray[np.int32]  # [N, O] guess of the first clock at which a new output can be taken, or NEVER


class Paths(NamedTuple):
    """Shortest ways from one cell; filled anew for each agent."""

    steps: NDArray[np.int32]  # [C] -1: not reached
    first: NDArray[np.int8]  # [C] direction of the first step
    queue: NDArray[np.int32]  # [C]
    thing_steps: NDArray[np.int32]  # [O] steps to a cell beside it, or FAR
    thing_first: NDArray[np.int8]  # [O] first direction; where steps are 0, the direction of the thing
    reached: NDArray[np.int32]  # [O] rows of the things found, the nearest first


@builder
def plan_worlds(
    chain: Chain,
    weights: Weights,
    memory: Memory,
    state: State,
    forgotten: NDArray[np.bool_],
    actions: NDArray[np.int32],
) -> None:
    """Let every agent look, remember and decide. `state.cells` [E, C], `forgotten` [E], `actions` int32 [N] is written.

    A frozen agent looks and waits. Worlds that have yet to begin get noops.
    """
    A, O, C = state.agents.shape[1], state.objects.shape[1], state.cells.shape[1]  # noqa: E741
    paths = Paths(
        np.empty(C, np.int32),
        np.empty(C, np.int8),
        np.empty(C, np.int32),
        np.empty(O, np.int32),
        np.empty(O, np.int8),
        np.empty(O, np.int32),
    )
    for e in range(state.cells.shape[0]):
        for a in range(A):
            n = e * A + a
            actions[n] = max(chain.actions[ACT_NOOP], 0)
            if state.worlds[e, WORLD_STRIDE] == 0:
                continue
            if forgotten[e]:
                forget(memory, n, int(state.worlds[e, WORLD_STRIDE]))
            look(chain, memory, state, e, a)
            if state.agents[e, a, AGENT_FROZEN] == 0:
                actions[n] = plan(chain, weights, memory, state, paths, e, a)


@builder
def forget(memory: Memory, n: int, stride: int) -> None:
    """Empty an agent's memory. The outermost ring of the padding is blocked, so that no way leads off the array."""
    cells = memory.cells[n]
    cells[:] = UNSEEN
    cells[:stride] = BLOCKED
    cells[len(cells) - stride :] = BLOCKED
    cells[::stride] = BLOCKED
    cells[stride - 1 :: stride] = BLOCKED
    memory.seen_at[n, :] = -1
    memory.started_at[n, :] = -NEVER
    memory.next_output[n, :] = NEVER


@builder
def look(chain: Chain, memory: Memory, state: State, e: int, a: int) -> None:
    """Remember what stands in an agent's window."""
    n = e * state.agents.shape[1] + a
    stride = int(state.worlds[e, WORLD_STRIDE])
    position = int(state.agents[e, a, AGENT_POSITION])
    half_height, half_width = int(chain.window[0]) // 2, int(chain.window[1]) // 2
    for row in range(-half_height, half_height + 1):
        for column in range(-half_width, half_width + 1):
            cell = position + row * stride + column
            code = int(state.cells[e, cell])
            if code == CELL_EMPTY or CELL_OUTSIDE < code < 0:
                memory.cells[n, cell] = FREE
            elif code < CELL_FIRST_OBJECT:
                memory.cells[n, cell] = BLOCKED
            else:
                memory.cells[n, cell] = FIRST_THING + code - CELL_FIRST_OBJECT
                remember(chain, memory, state, e, n, code - CELL_FIRST_OBJECT)


@builder
def remember(chain: Chain, memory: Memory, state: State, e: int, n: int, o: int) -> None:
    """Remember how an object looks now, and guess when it will have something new to take.

    An agent sees whether a converter is busy, not for how long. It knows the hour if it watched it start or finish;
    else it expects to have come in the middle, and waits a little longer when nothing appears.
    """
    now = int(state.worlds[e, WORLD_STEP])
    kind = int(state.objects[e, o, OBJECT_KIND])
    is_busy = state.objects[e, o, OBJECT_PHASE] != PHASE_IDLE
    is_watched = memory.seen_at[n, o] == now - 1 and memory.kind[n, o] == kind
    before, after = 0, 0
    for r in range(state.object_inventory.shape[2]):
        if chain.outputs[kind, r] > 0:
            before += int(memory.held[n, o, r])
            after += int(state.object_inventory[e, o, r])
        memory.held[n, o, r] = state.object_inventory[e, o, r]
    conversion = int(chain.kinds[kind, CONVERSION_TICKS])
    cycle = conversion + int(chain.kinds[kind, COOLDOWN])
    guess = int(memory.next_output[n, o])
    if not is_busy:
        guess = NEVER
        memory.started_at[n, o] = -NEVER
    else:
        if is_watched and after > before:
            memory.started_at[n, o] = now - conversion
        elif (is_watched and not memory.is_busy[n, o]) or now == 0:
            memory.started_at[n, o] = now
        # An output that appears at the beginning of a tick can be taken by an action chosen one clock earlier.
        done = int(memory.started_at[n, o]) + conversion - 1
        if done >= 0:
            guess = done + max(now - done + cycle - 1, 0) // cycle * cycle
        elif guess == NEVER:
            guess = now + cycle // 2
        elif guess < now:
            guess = now + max(cycle // 8, 1)
    memory.next_output[n, o] = guess
    memory.seen_at[n, o] = now
    memory.kind[n, o] = kind
    memory.is_busy[n, o] = is_busy


@builder
def plan(chain: Chain, weights: Weights, memory: Memory, state: State, paths: Paths, e: int, a: int) -> int:
    """Return an agent's flat action: from what is within reach, else from all that is known; noop or a step if none."""
    now = int(state.worlds[e, WORLD_STEP])
    turn = random_below(int(state.worlds[e, WORLD_SEED]), now // 8, PURPOSE_SCRIPTED, a, 0, 4)
    for reach in (weights.reach, float(FAR)):
        num_reached, unseen_steps, unseen_first = walk(memory, state, paths, e, a, turn, reach)
        action = decide(chain, weights, memory, state, paths, e, a, num_reached, unseen_steps, unseen_first)
        if action >= 0:
            return action
    if chain.actions[ACT_NOOP] >= 0:
        return int(chain.actions[ACT_NOOP])
    return int(chain.actions[ACT_MOVE + turn])


@builder
def walk(memory: Memory, state: State, paths: Paths, e: int, a: int, turn: int, reach: float) -> tuple[int, int, int]:
    """Find the ways to everything within `reach` steps: breadth first over what is known, unseen cells being free.

    Returns how many things were reached, the steps to the nearest unseen cell (or FAR), and the first direction there.
    Where other agents stand beside the agent the way is blocked. `turn` is the direction that is tried first.
    """
    known = memory.cells[e * state.agents.shape[1] + a]
    stride = int(state.worlds[e, WORLD_STRIDE])
    start = int(state.agents[e, a, AGENT_POSITION])
    paths.steps[:] = -1
    paths.thing_steps[:] = FAR
    paths.steps[start] = 0
    paths.queue[0] = start
    head, tail, num_reached = 0, 1, 0
    unseen_steps, unseen_first = FAR, -1
    while head < tail and paths.steps[paths.queue[head]] < reach:
        cell = int(paths.queue[head])
        head += 1
        for i in range(4):
            direction = (i + turn) % 4
            target = cell + (-stride if direction == 0 else stride if direction == 1 else 2 * direction - 5)
            first = direction if cell == start else int(paths.first[cell])
            what = int(known[target])
            if what >= FIRST_THING:
                o = what - FIRST_THING
                if paths.thing_steps[o] == FAR:
                    paths.thing_steps[o] = paths.steps[cell]
                    paths.thing_first[o] = first
                    paths.reached[num_reached] = o
                    num_reached += 1
            elif what != BLOCKED and paths.steps[target] < 0 and (cell != start or state.cells[e, target] >= 0):
                paths.steps[target] = paths.steps[cell] + 1
                paths.first[target] = first
                paths.queue[tail] = target
                tail += 1
                if what == UNSEEN and unseen_steps == FAR:
                    unseen_steps, unseen_first = int(paths.steps[target]), first
    return num_reached, unseen_steps, unseen_first


@builder
def decide(
    chain: Chain,
    weights: Weights,
    memory: Memory,
    state: State,
    paths: Paths,
    e: int,
    a: int,
    num_reached: int,
    unseen_steps: int,
    unseen_first: int,
) -> int:
    """Return the action towards the most worth per tick: taking, bringing, or exploring; -1 if there is nothing.

    Every taking and every bringing counts the worth of the goods that it moves one step on.
    """
    best, best_row, best_first = np.float32(0.0), -1, -1
    if unseen_steps < FAR:
        best = np.float32(weights.explore / (unseen_steps + 1.0))
        best_row, best_first = ACT_MOVE, unseen_first
    for i in range(num_reached):
        o = int(paths.reached[i])
        first = int(paths.thing_first[o])
        steps = int(paths.thing_steps[o])
        steps += int(steps > 0 or first != state.agents[e, a, AGENT_ORIENTATION])  # one more to turn towards it
        worth, wait = worth_of_taking(chain, weights, memory, state, e, a, o, steps)
        if worth > 0.0:
            worth *= rivalry(chain, weights, state, e, a, o, steps)
            score = np.float32(worth / (steps + wait + 1))
            if score > best:
                best, best_first = score, first
                best_row = ACT_MOVE if steps > 0 else (ACT_NOOP if wait > 0 else ACT_GET)
        worth, puts = worth_of_bringing(chain, weights, memory, state, e, a, o, steps)
        if worth > 0.0:
            score = np.float32(worth / (steps + puts))
            if score > best:
                best, best_first = score, first
                best_row = ACT_MOVE if steps > 0 else ACT_PUT
    if best_row < 0:
        return -1
    return int(chain.actions[best_row + (best_first if best_row == ACT_MOVE else 0)])


@builder
def worth_of_taking(
    chain: Chain, weights: Weights, memory: Memory, state: State, e: int, a: int, o: int, steps: int
) -> tuple[float, int]:
    """Return the worth of what a converter will hold when the agent comes, and the ticks to wait there for it."""
    n = e * state.agents.shape[1] + a
    now = int(state.worlds[e, WORLD_STEP])
    kind = int(memory.kind[n, o])
    held, per_conversion, owned, stage = 0, 0, 0, 0
    worth = np.float32(0.0)
    stock = 1 << 20  # conversions that its inputs suffice for; no inputs: any number
    for r in range(chain.worth.shape[0]):
        if chain.outputs[kind, r] > 0:
            held += int(memory.held[n, o, r])
            per_conversion += int(chain.outputs[kind, r])
            if chain.worth[r] > worth:
                worth = chain.worth[r]
                stage = int(chain.stage[r])
                owned = int(state.inventory[e, a, r])
        if chain.inputs[kind, r] > 0:
            stock = min(stock, int(memory.held[n, o, r]) // int(chain.inputs[kind, r]))
    if worth == 0.0 or is_too_late(chain, weights, now + steps, 2 * stage):
        return 0.0, 0
    ready = int(memory.next_output[n, o])
    done_at = int(memory.started_at[n, o] + chain.kinds[kind, CONVERSION_TICKS])
    stock += int(memory.seen_at[n, o] < done_at or chain.kinds[kind, COOLDOWN] == 0)  # one is being made
    made, wait = 0, 0
    if ready < NEVER and stock > 0:
        if now + steps >= ready:
            cycle = int(chain.kinds[kind, CONVERSION_TICKS] + chain.kinds[kind, COOLDOWN])
            made = min((now + steps - ready) // cycle + 1, stock) * per_conversion
            limit = int(chain.kinds[kind, MAX_OUTPUT])
            if limit >= 0:
                made = min(made, max(limit - held, 0))
        elif held == 0:
            made, wait = per_conversion, ready - now - steps
    certainty = weights.patience / (weights.patience + now - int(memory.seen_at[n, o]))
    appetite = weights.plenty / (weights.plenty + owned) if stage > 0 else 1.0
    return (held + made) * float(worth) * certainty * appetite, wait


@builder
def worth_of_bringing(
    chain: Chain, weights: Weights, memory: Memory, state: State, e: int, a: int, o: int, steps: int
) -> tuple[float, int]:
    """Return the worth of putting what the agent holds into a converter, and the number of puts."""
    n = e * state.agents.shape[1] + a
    kind = int(memory.kind[n, o])
    puts, waiting, stage = 0, 0, 0
    worth = 0.0  # of one put
    for r in range(chain.worth.shape[0]):
        need = int(chain.inputs[kind, r])
        owned = int(state.inventory[e, a, r])
        if need > 0:
            waiting = max(waiting, int(memory.held[n, o, r]) // need)
            if owned > 0:
                puts = max(puts, (owned + need - 1) // need)
                worth += min(owned, need) * float(chain.worth[r])
                stage = max(stage, int(chain.stage[r]))
        elif chain.outputs[kind, r] > 0:
            waiting = max(waiting, int(memory.held[n, o, r]))
    puts = min(puts, int(weights.backlog) - waiting)
    now = int(state.worlds[e, WORLD_STEP])
    if puts <= 0 or chain.actions[ACT_PUT] < 0 or is_too_late(chain, weights, now + steps, 2 * stage - 1):
        return 0.0, 1
    cycle = int(chain.kinds[kind, CONVERSION_TICKS] + chain.kinds[kind, COOLDOWN])
    total = 0.0
    for i in range(puts):
        total += worth * weights.slowness / (weights.slowness + (waiting + i) * cycle)
    return total, puts


@builder
def is_too_late(chain: Chain, weights: Weights, clock: int, moves: int) -> bool:
    """Whether goods that are to be taken or put `moves` more times will not become a target unit in this episode."""
    return chain.max_steps > 0 and clock + moves * weights.stage_ticks >= chain.max_steps


@builder
def rivalry(chain: Chain, weights: Weights, state: State, e: int, a: int, o: int, steps: int) -> float:
    """Return `weights.rivalry` to the power of the number of agents in the window that are nearer to an object."""
    stride = int(state.worlds[e, WORLD_STRIDE])
    here = int(state.agents[e, a, AGENT_POSITION])
    there = int(state.objects[e, o, OBJECT_POSITION])
    factor = 1.0
    for b in range(state.agents.shape[1]):
        other = int(state.agents[e, b, AGENT_POSITION])
        rows, columns = abs(other // stride - here // stride), abs(other % stride - here % stride)
        if b == a or rows > chain.window[0] // 2 or columns > chain.window[1] // 2:
            continue
        if abs(other // stride - there // stride) + abs(other % stride - there % stride) - 1 < steps:
            factor *= weights.rivalry
    return factor
