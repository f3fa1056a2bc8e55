"""How a yardstick agent remembers and decides: the compiled part of scripted.py; the ways there are ways.py's.

An agent knows its own place, orientation, inventory and the clock, and what its window has shown it, now and before.
"""

# E worlds  A agents  N = E * A  C padded cells of a world  O objects  G kinds  R resources

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metta.grid.jit import kernel, rule
from metta.grid.rng import PURPOSE_SCRIPTED, random_below
from metta.grid.ways import BLOCKED, FAR, FIRST_THING, FREE, UNSEEN, Ways, walk
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


# Rows of `Chain.weights`, in the order of `Weights`
PATIENCE = 0
RIVALRY = 1
EXPLORE = 2
BACKLOG = 3
SLOWNESS = 4
PLENTY = 5
REACH = 6
STAGE_TICKS = 7


class Weights(NamedTuple):
    """How a planner weighs what it knows."""

    patience: float  # what was seen t ticks ago counts patience / (patience + t): others may have taken it
    rivalry: float  # factor for each agent in sight that is nearer, 0..1
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
    input_ids: NDArray[np.int32]  # [G, R + 1] which resources those are, ascending, then -1
    output_ids: NDArray[np.int32]  # [G, R + 1]
    best_output: NDArray[np.int32]  # [G] the output of most worth, the first of them
    kinds: NDArray[np.int32]  # [G, 3]
    actions: NDArray[np.int32]  # [7] flat ids of noop, get_items, put_items, moves north, south, west, east; -1: none
    window: NDArray[np.int32]  # [2] rows, columns
    max_steps: NDArray[np.int32]  # [1] 0: endless
    weights: NDArray[np.float64]  # [8] `Weights`


class Memory(NamedTuple):
    """What each agent has seen."""

    cells: NDArray[np.int16]  # [N, C]
    seen_at: NDArray[np.int32]  # [N, O] tick, -1: never
    kind: NDArray[np.int32]  # [N, O] at that tick, as is all that follows
    held: NDArray[np.uint8]  # [N, O, R]
    is_busy: NDArray[np.bool_]  # [N, O]
    started_at: NDArray[np.int32]  # [N, O] tick at which it was last seen to begin a conversion, or -NEVER
    next_output: NDArray[np.int32]  # [N, O] guess of the first clock at which a new output can be taken, or NEVER


class Crowd(NamedTuple):
    """Where a world's agents stand; the rivals of one agent, filled anew for each."""

    rows: NDArray[np.int64]  # [A]
    columns: NDArray[np.int64]  # [A]
    rival_rows: NDArray[np.int64]  # [A]
    rival_columns: NDArray[np.int64]  # [A]


@kernel
def plan_worlds(
    chain: Chain,
    memory: Memory,
    ways: Ways,
    crowd: Crowd,
    state: State,
    forgotten: NDArray[np.bool_],
    actions: NDArray[np.int32],
) -> None:
    """Let every agent look, remember and decide; `forgotten` [E] is read, `actions` int32 [N] is written.

    A frozen agent looks and waits. Worlds that have yet to begin get noops.
    """
    A = state.agents.shape[1]
    for e in range(state.cells.shape[0]):
        for a in range(A):
            n = e * A + a
            actions[n] = max(chain.actions[ACT_NOOP], 0)
            if state.worlds[e, WORLD_STRIDE] == 0:
                continue
            if a == 0:
                locate(crowd, state, e)
            if forgotten[e]:
                forget(memory, n, int(state.worlds[e, WORLD_STRIDE]))
            look(chain, memory, state, e, a)
            if state.agents[e, a, AGENT_FROZEN] == 0:
                actions[n] = plan(chain, memory, state, ways, crowd, e, a)


@rule
def forget(memory: Memory, n: int, stride: int) -> None:
    """Empty an agent's memory. The outermost ring of the padding is blocked, so that no way leads off the array."""
    num_cells = memory.cells.shape[1]
    for cell in range(num_cells):
        is_ring = cell < stride or cell >= num_cells - stride or cell % stride == 0 or cell % stride == stride - 1
        memory.cells[n, cell] = BLOCKED if is_ring else UNSEEN
    for o in range(memory.seen_at.shape[1]):
        memory.seen_at[n, o] = -1
        memory.started_at[n, o] = -NEVER
        memory.next_output[n, o] = NEVER


@rule
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


@rule
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


@rule
def locate(crowd: Crowd, state: State, e: int) -> None:
    """Write down where a world's agents stand."""
    stride = int(state.worlds[e, WORLD_STRIDE])
    for a in range(state.agents.shape[1]):
        crowd.rows[a] = state.agents[e, a, AGENT_POSITION] // stride
        crowd.columns[a] = state.agents[e, a, AGENT_POSITION] % stride


@rule
def find_rivals(chain: Chain, crowd: Crowd, a: int) -> int:
    """Write down the places of the other agents in an agent's window; return their number."""
    num_rivals = 0
    for b in range(crowd.rows.shape[0]):
        rows, columns = abs(crowd.rows[b] - crowd.rows[a]), abs(crowd.columns[b] - crowd.columns[a])
        if b != a and rows <= chain.window[0] // 2 and columns <= chain.window[1] // 2:
            crowd.rival_rows[num_rivals] = crowd.rows[b]
            crowd.rival_columns[num_rivals] = crowd.columns[b]
            num_rivals += 1
    return num_rivals


@rule
def plan(chain: Chain, memory: Memory, state: State, ways: Ways, crowd: Crowd, e: int, a: int) -> int:
    """Return an agent's flat action: from what is within reach, else from all that is known; noop or a step if none."""
    now = int(state.worlds[e, WORLD_STEP])
    turn = random_below(int(state.worlds[e, WORLD_SEED]), now // 8, PURPOSE_SCRIPTED, a, 0, 4)
    num_rivals = find_rivals(chain, crowd, a)
    num_things = num_seen(memory, e * state.agents.shape[1] + a)
    reach = chain.weights[REACH]
    for _ in range(2):
        num_reached, unseen_steps, unseen_first = walk(memory.cells, state, ways, e, a, turn, reach, num_things)
        action = decide(chain, memory, state, ways, crowd, e, a, num_reached, num_rivals, unseen_steps, unseen_first)
        if action >= 0:
            return action
        reach = float(FAR)
    if chain.actions[ACT_NOOP] >= 0:
        return int(chain.actions[ACT_NOOP])
    return int(chain.actions[ACT_MOVE + turn])


@rule
def num_seen(memory: Memory, n: int) -> int:
    """Return how many things an agent has ever seen, those too that are gone."""
    num_things = 0
    for o in range(memory.seen_at.shape[1]):
        num_things += memory.seen_at[n, o] >= 0
    return num_things


@rule
def decide(
    chain: Chain,
    memory: Memory,
    state: State,
    ways: Ways,
    crowd: Crowd,
    e: int,
    a: int,
    num_reached: int,
    num_rivals: int,
    unseen_steps: int,
    unseen_first: int,
) -> int:
    """Return the action towards the most worth per tick: taking, bringing, or exploring; -1 if there is nothing.

    Every taking and every bringing counts the worth of the goods that it moves one step on. Rivals only lessen a
    worth, so they are looked for only where it would be the best without them.
    """
    best, best_row, best_first = np.float32(0.0), -1, -1
    if unseen_steps < FAR:
        best = np.float32(chain.weights[EXPLORE] / (unseen_steps + 1.0))
        best_row, best_first = ACT_MOVE, unseen_first
    for i in range(num_reached):
        o = int(ways.reached[i])
        first = int(ways.thing_first[o])
        steps = int(ways.thing_steps[o])
        steps += int(steps > 0 or first != state.agents[e, a, AGENT_ORIENTATION])  # one more to turn towards it
        worth, wait = worth_of_taking(chain, memory, state, e, a, o, steps)
        if np.float32(worth / (steps + wait + 1)) > best:
            worth *= rivalry(chain, crowd, state, e, o, steps, num_rivals)
            score = np.float32(worth / (steps + wait + 1))
            if score > best:
                best, best_first = score, first
                best_row = ACT_MOVE if steps > 0 else (ACT_NOOP if wait > 0 else ACT_GET)
        worth, puts = worth_of_bringing(chain, memory, state, e, a, o, steps)
        if worth > 0.0:
            score = np.float32(worth / (steps + puts))
            if score > best:
                best, best_first = score, first
                best_row = ACT_MOVE if steps > 0 else ACT_PUT
    if best_row < 0:
        return -1
    return int(chain.actions[best_row + (best_first if best_row == ACT_MOVE else 0)])


@rule
def worth_of_taking(
    chain: Chain, memory: Memory, state: State, e: int, a: int, o: int, steps: int
) -> tuple[float, int]:
    """Return the worth of what a converter will hold when the agent comes, and the ticks to wait there for it."""
    n = e * state.agents.shape[1] + a
    now = int(state.worlds[e, WORLD_STEP])
    kind = int(memory.kind[n, o])
    best = int(chain.best_output[kind])
    worth = chain.worth[best]
    if chain.outputs[kind, best] == 0 or worth == 0.0:
        return 0.0, 0
    stage = int(chain.stage[best])
    if is_too_late(chain, now + steps, 2 * stage):
        return 0.0, 0
    held, per_conversion, i = 0, 0, 0
    while chain.output_ids[kind, i] >= 0:
        r = int(chain.output_ids[kind, i])
        held += int(memory.held[n, o, r])
        per_conversion += int(chain.outputs[kind, r])
        i += 1
    ready = int(memory.next_output[n, o])
    made, wait = 0, 0
    stock = num_conversions(chain, memory, n, o, kind) if ready < NEVER else 0
    if stock > 0:
        if now + steps >= ready:
            cycle = int(chain.kinds[kind, CONVERSION_TICKS] + chain.kinds[kind, COOLDOWN])
            made = min((now + steps - ready) // cycle + 1, stock) * per_conversion
            limit = int(chain.kinds[kind, MAX_OUTPUT])
            if limit >= 0:
                made = min(made, max(limit - held, 0))
        elif held == 0:
            made, wait = per_conversion, ready - now - steps
    certainty = chain.weights[PATIENCE] / (chain.weights[PATIENCE] + now - int(memory.seen_at[n, o]))
    appetite = chain.weights[PLENTY] / (chain.weights[PLENTY] + int(state.inventory[e, a, best])) if stage > 0 else 1.0
    return (held + made) * float(worth) * certainty * appetite, wait


@rule
def num_conversions(chain: Chain, memory: Memory, n: int, o: int, kind: int) -> int:
    """Return how many conversions a converter can finish with what it holds, the one under way included."""
    stock, i = 1 << 20, 0  # no inputs: any number
    while chain.input_ids[kind, i] >= 0:
        r = int(chain.input_ids[kind, i])
        stock = min(stock, int(memory.held[n, o, r]) // int(chain.inputs[kind, r]))
        i += 1
    done_at = int(memory.started_at[n, o] + chain.kinds[kind, CONVERSION_TICKS])
    return stock + int(memory.seen_at[n, o] < done_at or chain.kinds[kind, COOLDOWN] == 0)  # one is being made


@rule
def worth_of_bringing(
    chain: Chain, memory: Memory, state: State, e: int, a: int, o: int, steps: int
) -> tuple[float, int]:
    """Return the worth of putting what the agent holds into a converter, and the number of puts."""
    n = e * state.agents.shape[1] + a
    kind = int(memory.kind[n, o])
    puts, waiting, stage, i = 0, 0, 0, 0
    worth = 0.0  # of one put
    while chain.input_ids[kind, i] >= 0:
        r = int(chain.input_ids[kind, i])
        need = int(chain.inputs[kind, r])
        owned = int(state.inventory[e, a, r])
        waiting = max(waiting, int(memory.held[n, o, r]) // need)
        if owned > 0:
            puts = max(puts, (owned + need - 1) // need)
            worth += min(owned, need) * float(chain.worth[r])
            stage = max(stage, int(chain.stage[r]))
        i += 1
    if puts == 0:
        return 0.0, 1
    i = 0
    while chain.output_ids[kind, i] >= 0:
        r = int(chain.output_ids[kind, i])
        if chain.inputs[kind, r] == 0:
            waiting = max(waiting, int(memory.held[n, o, r]))
        i += 1
    puts = min(puts, int(chain.weights[BACKLOG]) - waiting)
    now = int(state.worlds[e, WORLD_STEP])
    if puts <= 0 or chain.actions[ACT_PUT] < 0 or is_too_late(chain, now + steps, 2 * stage - 1):
        return 0.0, 1
    cycle = int(chain.kinds[kind, CONVERSION_TICKS] + chain.kinds[kind, COOLDOWN])
    total = 0.0
    for k in range(puts):
        total += worth * chain.weights[SLOWNESS] / (chain.weights[SLOWNESS] + (waiting + k) * cycle)
    return total, puts


@rule
def is_too_late(chain: Chain, clock: int, moves: int) -> bool:
    """Whether goods that are to be taken or put `moves` more times will not become a target unit in this episode."""
    return bool(chain.max_steps[0] > 0 and clock + moves * chain.weights[STAGE_TICKS] >= chain.max_steps[0])


@rule
def rivalry(chain: Chain, crowd: Crowd, state: State, e: int, o: int, steps: int, num_rivals: int) -> float:
    """Return the weight `rivalry` to the power of the number of agents in the window that are nearer to an object."""
    stride = int(state.worlds[e, WORLD_STRIDE])
    row, column = divmod(int(state.objects[e, o, OBJECT_POSITION]), stride)
    factor = 1.0
    for i in range(num_rivals):
        if abs(crowd.rival_rows[i] - row) + abs(crowd.rival_columns[i] - column) - 1 < steps:
            factor *= chain.weights[RIVALRY]
    return factor
