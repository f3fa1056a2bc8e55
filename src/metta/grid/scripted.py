"""Yardstick agents: they remember what their window showed them and walk the shortest paths to what is worth most.

`ArenaScripted` carries goods up a chain of converters (mine, generator, altar); `NavigationScripted` collects what
lies about. Both are one planner with other weights. Each agent plans from its own memory alone: the map cells and the
converters that have been inside its window, its own place and inventory, and the clock. It never fights.
"""

# E worlds  A agents  N = E * A  C padded cells of a world  O objects  G kinds  R resources

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from metta.errors import ConfigError
from metta.grid.compile import CompiledWorld
from metta.grid.config import ConverterConfig, WorldConfig
from metta.grid.jit import builder
from metta.grid.rng import PURPOSE_SCRIPTED, random_below
from metta.grid.world import (
    AGENT_FROZEN,
    AGENT_ORIENTATION,
    AGENT_POSITION,
    CELL_EMPTY,
    CELL_FIRST_OBJECT,
    OBJECT_KIND,
    OBJECT_PHASE,
    PHASE_IDLE,
    WORLD_SEED,
    WORLD_STEP,
    State,
)

# What a cell of the memory says: UNSEEN, FREE, BLOCKED, or FIRST_THING + row of `objects`.
UNSEEN = -1
FREE = 0
BLOCKED = 1
FIRST_THING = 2

FAR = 1 << 30
NEVER = 1 << 30


class PlayedEnv(Protocol):
    """What a scripted agent looks at (`VecEnv` has it)."""

    compiled: CompiledWorld
    state: State


class ScriptedAgent(Protocol):
    """Plays every agent of every world of an environment."""

    def act(self, env: PlayedEnv) -> NDArray[np.int32]:
        """Return the next action of each agent, int32 [N], row = world * A + agent."""

    def reset(self, worlds: Iterable[int] | None = None) -> None:
        """Forget these worlds, or all; a world whose clock stands at 0 is forgotten in any case."""


class Weights(NamedTuple):
    """How a planner weighs what it knows; ticks are ticks of the world."""

    patience: float  # what was seen t ticks ago counts patience / (patience + t): others may have taken it
    rivalry: float  # factor for what an agent in sight is nearer to
    explore: float  # worth of unseen cells, in hearts a tick, divided by the distance to the nearest
    backlog: float  # inputs that a converter may hold before nobody brings more
    slowness: float  # a conversion that will be done in t ticks counts slowness / (slowness + t)
    upward: float  # factor for each step that a good is further up the chain: finish what was begun
    plenty: float  # taking more of what one holds h units of counts plenty / (plenty + h)
    reach: int  # steps within which things are looked for first
    stage_ticks: float  # ticks that a good needs for each step up the chain; later than that it is not begun


class Chain(NamedTuple):
    """What a world's converters are good for. Heart's worth: the share of one target unit that a unit makes."""

    worth: NDArray[np.float32]  # [R] heart's worth of a unit; 0 for what leads nowhere
    stage: NDArray[np.int32]  # [R] converters between a resource and the target: 0 for the target itself
    inputs: NDArray[np.int32]  # [G, R] recipe; zeros for kinds that lead nowhere
    outputs: NDArray[np.int32]  # [G, R]
    conversion: NDArray[np.int32]  # [G]
    cooldown: NDArray[np.int32]  # [G]
    max_output: NDArray[np.int32]  # [G]
    max_conversions: NDArray[np.int32]  # [G]
    actions: NDArray[np.int32]  # [7] flat ids of noop, get_items, put_items, move to N S W E; -1: not offered


class Memory(NamedTuple):
    """What each agent has seen."""

    cells: NDArray[np.int16]  # [N, C]
    seen_at: NDArray[np.int32]  # [N, O] tick, -1: never
    kind: NDArray[np.int32]  # [N, O] at that tick, as all that follows
    held: NDArray[np.uint8]  # [N, O, R]
    is_busy: NDArray[np.bool_]  # [N, O]
    next_output: NDArray[np.int32]  # [N, O] guess of the first tick at which a new output can be taken, or NEVER


ACT_NOOP, ACT_GET, ACT_PUT, ACT_MOVE = 0, 1, 2, 3  # rows of Chain.actions; ACT_MOVE + direction

ARENA_WEIGHTS = Weights(
    patience=300.0,
    rivalry=0.4,
    explore=0.5,
    backlog=5.0,
    slowness=100.0,
    upward=1.2,
    plenty=10.0,
    reach=16,
    stage_ticks=15.0,
)
NAVIGATION_WEIGHTS = Weights(
    patience=1e9,
    rivalry=0.4,
    explore=0.01,
    backlog=1.0,
    slowness=100.0,
    upward=1.0,
    plenty=1e9,
    reach=1000,
    stage_ticks=0.0,
)


class _Planner:
    """A memory for each agent, and the plan that is made from it every tick."""

    weights: Weights

    def __init__(self, compiled: CompiledWorld, num_worlds: int, *, weights: Weights | None = None) -> None:
        self.compiled = compiled
        self.num_worlds = num_worlds
        self.weights = weights or type(self).weights
        self.chain = chain_of(compiled)
        self._memory: Memory | None = None
        self._forgotten = np.ones(num_worlds, np.bool_)
        self._actions = np.zeros(num_worlds * compiled.config.num_agents, np.int32)

    def reset(self, worlds: Iterable[int] | None = None) -> None:
        """Forget these worlds, or all; a world whose clock stands at 0 is forgotten in any case."""
        self._forgotten[list(worlds) if worlds is not None else slice(None)] = True

    def act(self, env: PlayedEnv) -> NDArray[np.int32]:
        """Return the next action of each agent, int32 [N]."""
        state = env.state
        E, H, W = state.cells.shape
        N, O, R = E * state.agents.shape[1], state.objects.shape[1], state.inventory.shape[2]  # noqa: E741
        if self._memory is None or self._memory.cells.shape[1] != H * W or self._memory.seen_at.shape != (N, O):
            self._memory = _allocate(N, H * W, O, R)
            self._forgotten[:] = True
        observation = self.compiled.config.observation
        self._forgotten |= state.worlds[:, WORLD_STEP] == 0
        plan_worlds(
            self.chain,
            self.weights,
            self._memory,
            state.cells.reshape(E, H * W),
            state.agents,
            state.inventory,
            state.objects,
            state.object_inventory,
            state.worlds,
            self._forgotten,
            observation.height,
            observation.width,
            W,
            self.compiled.config.max_steps,
            self._actions,
        )
        self._forgotten[:] = False
        return self._actions.copy()


class ArenaScripted(_Planner):
    """Goes from mine to generator to altar, always to what moves the most goods a step on per tick of the way."""

    weights = ARENA_WEIGHTS


class NavigationScripted(_Planner):
    """Walks to what it has seen and nobody has taken, the nearest first, else to the nearest unseen cell."""

    weights = NAVIGATION_WEIGHTS


def make_scripted(compiled: CompiledWorld, num_worlds: int) -> ScriptedAgent:
    """Return the scripted agent for what a world offers: the arena's if something can be put somewhere useful.

    Raises ConfigError when nothing in the world makes or holds a heart, or agents cannot walk and take.
    """
    chain = chain_of(compiled)
    if chain.actions[ACT_GET] < 0 or (chain.actions[ACT_MOVE : ACT_MOVE + 4] < 0).any():
        raise ConfigError("the scripted agent needs the actions move and get_items; this world does not offer them")
    if not chain.outputs.any():
        raise ConfigError(
            "the scripted agent collects hearts, or what pays best; no object of this world makes or holds any"
        )
    arena = chain.inputs.any() and chain.actions[ACT_PUT] >= 0
    return (ArenaScripted if arena else NavigationScripted)(compiled, num_worlds)


def chain_of(compiled: CompiledWorld) -> Chain:
    """Return what the world's converters are good for, counted back from its target resource."""
    config = compiled.config
    resources = compiled.resource_names
    G, R = len(compiled.object_names), len(resources)
    converters = {
        kind: thing
        for kind, name in enumerate(compiled.object_names)
        if isinstance(thing := config.objects.get(name), ConverterConfig)
    }
    inputs, outputs = np.zeros((G, R), np.int32), np.zeros((G, R), np.int32)
    for kind, thing in converters.items():
        for name, amount in thing.input_resources.items():
            inputs[kind, resources.index(name)] = amount
        for name, amount in thing.output_resources.items():
            outputs[kind, resources.index(name)] = amount
    worth, stage = np.zeros(R, np.float32), np.zeros(R, np.int32)
    target = _target(config)
    if target is not None:
        worth[resources.index(target)] = 1.0
    for distance in range(1, R + 1):
        before = worth.copy()
        for kind in converters:
            gain = float(outputs[kind] @ before)
            for r in np.flatnonzero(inputs[kind]):
                share = gain / float(inputs[kind].sum())
                if share > worth[r] and before[r] == 0:
                    worth[r], stage[r] = share, distance
    useless = outputs @ worth == 0
    inputs[useless], outputs[useless] = 0, 0
    table = np.zeros((4, G), np.int32)
    for kind, thing in converters.items():
        table[:, kind] = thing.conversion_ticks, thing.cooldown, thing.max_output, thing.max_conversions
    names = ["noop", "get_items", "put_items", "move_north", "move_south", "move_west", "move_east"]
    index = {name: number for number, name in enumerate(compiled.action_names)}
    actions = np.array([index.get(name, -1) for name in names], np.int32)
    return Chain(worth, stage, inputs, outputs, table[0], table[1], table[2], table[3], actions)


def _target(config: WorldConfig) -> str | None:
    """Return the resource that the agents are after: hearts, or what is paid best."""
    if "heart" in config.resources:
        return "heart"
    paid = {name: weight for name, weight in config.agent.rewards.inventory.items() if weight > 0}
    return max(paid, key=lambda name: paid[name]) if paid else None


def _allocate(N: int, C: int, O: int, R: int) -> Memory:  # noqa: N803, E741
    return Memory(
        cells=np.full((N, C), UNSEEN, np.int16),
        seen_at=np.full((N, O), -1, np.int32),
        kind=np.full((N, O), -1, np.int32),
        held=np.zeros((N, O, R), np.uint8),
        is_busy=np.zeros((N, O), np.bool_),
        next_output=np.full((N, O), NEVER, np.int32),
    )


@builder
def plan_worlds(
    chain: Chain,
    weights: Weights,
    memory: Memory,
    cells: NDArray[np.int16],
    agents: NDArray[np.int32],
    inventory: NDArray[np.uint8],
    objects: NDArray[np.int32],
    object_inventory: NDArray[np.uint8],
    worlds: NDArray[np.int64],
    forgotten: NDArray[np.bool_],
    window_height: int,
    window_width: int,
    stride: int,
    max_steps: int,
    actions: NDArray[np.int32],
) -> None:
    """Let every agent look, remember and decide; `cells` int16 [E, C], `actions` int32 [N] is written."""
    C = cells.shape[1]
    A = agents.shape[1]
    distance = np.empty(C, np.int32)
    first = np.empty(C, np.int8)
    queue = np.empty(C, np.int32)
    thing_distance = np.empty(objects.shape[1], np.int32)
    thing_first = np.empty(objects.shape[1], np.int8)
    reached = np.empty(objects.shape[1], np.int32)
    for e in range(cells.shape[0]):
        now = worlds[e, WORLD_STEP]
        for a in range(A):
            n = e * A + a
            if forgotten[e]:
                memory.cells[n, :] = UNSEEN
                memory.cells[n, :stride] = BLOCKED  # the outermost ring of the margin: no way leads off the array
                memory.cells[n, C - stride :] = BLOCKED
                memory.cells[n, ::stride] = BLOCKED
                memory.cells[n, stride - 1 :: stride] = BLOCKED
                memory.seen_at[n, :] = -1
                memory.next_output[n, :] = NEVER
            position = agents[e, a, AGENT_POSITION]
            look(
                chain,
                memory,
                n,
                cells[e],
                objects[e],
                object_inventory[e],
                position,
                now,
                window_height,
                window_width,
                stride,
            )
            if agents[e, a, AGENT_FROZEN] > 0:
                actions[n] = max(chain.actions[ACT_NOOP], 0)
                continue
            turn = random_below(worlds[e, WORLD_SEED], now >> 3, PURPOSE_SCRIPTED, a, 0, 4)
            for reach in (int(weights.reach), FAR):
                num_reached, unseen_distance, unseen_first = walk(
                    memory.cells[n],
                    cells[e],
                    position,
                    stride,
                    turn,
                    reach,
                    distance,
                    first,
                    queue,
                    thing_distance,
                    thing_first,
                    reached,
                )
                actions[n] = decide(
                    chain,
                    weights,
                    memory,
                    n,
                    cells[e],
                    agents[e],
                    inventory[e, a],
                    objects[e],
                    a,
                    now,
                    max_steps,
                    stride,
                    window_height,
                    window_width,
                    thing_distance,
                    thing_first,
                    reached,
                    num_reached,
                    unseen_distance,
                    unseen_first,
                )
                if actions[n] >= 0:
                    break
            if actions[n] < 0:
                idle = int(chain.actions[ACT_NOOP])
                actions[n] = idle if idle >= 0 else int(chain.actions[ACT_MOVE + turn])


@builder
def look(
    chain: Chain,
    memory: Memory,
    n: int,
    cells: NDArray[np.int16],
    objects: NDArray[np.int32],
    object_inventory: NDArray[np.uint8],
    position: int,
    now: int,
    window_height: int,
    window_width: int,
    stride: int,
) -> None:
    """Remember what stands in the window around `position`."""
    row = position // stride
    column = position % stride
    for r in range(row - window_height // 2, row + window_height // 2 + 1):
        for c in range(column - window_width // 2, column + window_width // 2 + 1):
            place = r * stride + c
            code = int(cells[place])
            if code == CELL_EMPTY or -20000 < code < 0:
                memory.cells[n, place] = FREE
            elif code < CELL_FIRST_OBJECT:
                memory.cells[n, place] = BLOCKED
            else:
                o = code - CELL_FIRST_OBJECT
                memory.cells[n, place] = FIRST_THING + o
                remember(chain, memory, n, objects, object_inventory, o, now)


@builder
def remember(
    chain: Chain,
    memory: Memory,
    n: int,
    objects: NDArray[np.int32],
    object_inventory: NDArray[np.uint8],
    o: int,
    now: int,
) -> None:
    """Remember how an object looks now, and guess when it will have something new to take.

    An agent sees whether a converter is busy, not for how long. It knows the hour when it watched it start, or watched
    it finish; else it expects to have come in the middle.
    """
    kind = int(objects[o, OBJECT_KIND])
    is_busy = objects[o, OBJECT_PHASE] != PHASE_IDLE
    watched = memory.seen_at[n, o] == now - 1 and memory.kind[n, o] == kind
    before = 0
    after = 0
    for r in range(object_inventory.shape[1]):
        if chain.outputs[kind, r] > 0:
            before += int(memory.held[n, o, r])
            after += int(object_inventory[o, r])
    cycle = int(chain.conversion[kind]) + int(chain.cooldown[kind])
    guess = int(memory.next_output[n, o])
    if not is_busy:
        guess = NEVER
    elif watched and after > before:
        guess = now + cycle - 1
    elif (watched and not memory.is_busy[n, o]) or now == 0:
        guess = now + int(chain.conversion[kind]) - 1
    elif guess == NEVER:
        guess = now + cycle // 2
    elif guess < now - 1:
        guess = now + max(cycle // 8, 1)
    memory.next_output[n, o] = guess
    memory.seen_at[n, o] = now
    memory.kind[n, o] = kind
    memory.is_busy[n, o] = is_busy
    for r in range(object_inventory.shape[1]):
        memory.held[n, o, r] = object_inventory[o, r]


@builder
def walk(
    known: NDArray[np.int16],
    cells: NDArray[np.int16],
    position: int,
    stride: int,
    turn: int,
    reach: int,
    distance: NDArray[np.int32],
    first: NDArray[np.int8],
    queue: NDArray[np.int32],
    thing_distance: NDArray[np.int32],
    thing_first: NDArray[np.int8],
    reached: NDArray[np.int32],
) -> tuple[int, int, int]:
    """Find the way to everything: a breadth-first search over what is known; unseen cells count as free.

    Fills, for the objects in `reached[:num_reached]`, the steps to the cell beside them and the first direction of the
    way (when that is 0 steps, the direction of the object). Returns (num_reached, steps to the nearest unseen cell or
    FAR, first direction there). Cells beside the agent on which another agent stands are blocked.
    """
    distance[:] = -1
    thing_distance[:] = FAR
    distance[position] = 0
    first[position] = -1
    queue[0] = position
    head = 0
    tail = 1
    num_reached = 0
    unseen_distance = FAR
    unseen_first = -1
    while head < tail:
        cell = queue[head]
        head += 1
        if distance[cell] >= reach:
            break
        for i in range(4):
            d = (i + turn) % 4
            step = -stride if d == 0 else (stride if d == 1 else (-1 if d == 2 else 1))
            target = cell + step
            way = d if cell == position else int(first[cell])
            what = int(known[target])
            if what >= FIRST_THING:
                o = what - FIRST_THING
                if thing_distance[o] == FAR:
                    thing_distance[o] = distance[cell]
                    thing_first[o] = way
                    reached[num_reached] = o
                    num_reached += 1
                continue
            if what == BLOCKED or distance[target] >= 0 or (cell == position and cells[target] < 0):
                continue
            distance[target] = distance[cell] + 1
            first[target] = way
            queue[tail] = target
            tail += 1
            if what == UNSEEN and unseen_distance == FAR:
                unseen_distance = int(distance[target])
                unseen_first = way
    return num_reached, unseen_distance, unseen_first


@builder
def decide(
    chain: Chain,
    weights: Weights,
    memory: Memory,
    n: int,
    cells: NDArray[np.int16],
    agents: NDArray[np.int32],
    inventory: NDArray[np.uint8],
    objects: NDArray[np.int32],
    a: int,
    now: int,
    max_steps: int,
    stride: int,
    window_height: int,
    window_width: int,
    thing_distance: NDArray[np.int32],
    thing_first: NDArray[np.int8],
    reached: NDArray[np.int32],
    num_reached: int,
    unseen_distance: int,
    unseen_first: int,
) -> int:
    """Return the flat action that leads to the most hearts' worth of goods moved one step on, per tick; -1: none."""
    left = max_steps - now if max_steps > 0 else NEVER
    best = np.float32(0.0)
    best_way = -1
    best_action = -1
    orientation = int(agents[a, AGENT_ORIENTATION])
    if unseen_distance < FAR:
        best = np.float32(weights.explore / (unseen_distance + 1.0) / 100.0)
        best_way = unseen_first
        best_action = ACT_MOVE
    for i in range(num_reached):
        o = reached[i]
        kind = memory.kind[n, o]
        way = int(thing_first[o])
        steps = int(thing_distance[o])
        steps += int(steps > 0 or way != orientation)
        take, wait = worth_of_taking(chain, weights, memory, n, o, kind, inventory, now, steps, left)
        if take > 0.0:
            take *= rival_factor(weights, cells, agents, a, objects, o, steps, stride, window_height, window_width)
            score = take / np.float32(steps + wait + 1)
            if score > best:
                best = score
                best_way = way
                best_action = ACT_GET if wait == 0 else ACT_NOOP
                if steps > 0:
                    best_action = ACT_MOVE
        bring, puts = worth_of_bringing(chain, weights, memory, n, o, kind, inventory, steps, left)
        if bring > 0.0 and chain.actions[ACT_PUT] >= 0:
            score = bring / np.float32(steps + puts)
            if score > best:
                best = score
                best_way = way
                best_action = ACT_PUT if steps == 0 else ACT_MOVE
    if best_action == ACT_MOVE:
        return int(chain.actions[ACT_MOVE + best_way])
    return int(chain.actions[best_action]) if best_action >= 0 else -1


@builder
def worth_of_taking(
    chain: Chain,
    weights: Weights,
    memory: Memory,
    n: int,
    o: int,
    kind: int,
    inventory: NDArray[np.uint8],
    now: int,
    steps: int,
    left: int,
) -> tuple[float, int]:
    """Return the worth of what can be taken from a converter after `steps` ticks of walking, and how long to wait."""
    held = 0
    per_conversion = 0
    worth = np.float32(0.0)
    stage = 0
    owned = 0
    stock = 1 << 20  # conversions that its inputs suffice for
    for r in range(chain.worth.shape[0]):
        if chain.outputs[kind, r] > 0:
            held += int(memory.held[n, o, r])
            per_conversion += int(chain.outputs[kind, r])
            if chain.worth[r] > worth:
                worth = chain.worth[r]
                stage = int(chain.stage[r])
                owned = int(inventory[r])
        if chain.inputs[kind, r] > 0:
            stock = min(stock, int(memory.held[n, o, r]) // int(chain.inputs[kind, r]))
    if worth == 0.0 or left <= steps + np.float32(stage) * np.float32(2.0) * weights.stage_ticks:
        return np.float32(0.0), 0
    arrival = now + steps
    wait = 0
    made = 0
    ready = int(memory.next_output[n, o])
    stock += int(ready - int(memory.seen_at[n, o]) < int(chain.conversion[kind]))  # one is being made
    if ready < NEVER and stock > 0:
        cycle = int(chain.conversion[kind]) + int(chain.cooldown[kind])
        limit = int(chain.max_output[kind])
        if arrival >= ready:
            made = min((arrival - ready) // max(cycle, 1) + 1, stock) * per_conversion
            if limit >= 0:
                made = min(made, max(limit - held, 0))
        elif held == 0:
            wait = ready - arrival
            made = per_conversion
    age = np.float32(now - int(memory.seen_at[n, o]))
    amount = np.float32(held + made) * weights.patience / (weights.patience + age)
    if stage > 0:
        amount *= weights.plenty / (weights.plenty + np.float32(owned)) / weights.upward ** (2 * stage)
    return np.float32(amount * worth), wait


@builder
def worth_of_bringing(
    chain: Chain,
    weights: Weights,
    memory: Memory,
    n: int,
    o: int,
    kind: int,
    inventory: NDArray[np.uint8],
    steps: int,
    left: int,
) -> tuple[float, int]:
    """Return the worth of putting what one holds into a converter, and how many times to put."""
    puts = 0
    waiting = 0  # conversions that it has inputs or outputs for already
    worth = np.float32(0.0)
    stage = 0
    cycle = np.float32(chain.conversion[kind] + chain.cooldown[kind])
    for r in range(chain.worth.shape[0]):
        need = int(chain.inputs[kind, r])
        if need > 0:
            waiting = max(waiting, int(memory.held[n, o, r]) // need)
            if inventory[r] > 0:
                puts = max(puts, (int(inventory[r]) + need - 1) // need)
                worth += np.float32(min(int(inventory[r]), need)) * chain.worth[r]
                stage = max(stage, int(chain.stage[r]))
        elif chain.outputs[kind, r] > 0:
            waiting = max(waiting, int(memory.held[n, o, r]))
    room = int(weights.backlog) - waiting
    puts = min(puts, room)
    if puts <= 0 or left <= steps + np.float32(2 * stage - 1) * weights.stage_ticks:
        return np.float32(0.0), 1
    total = np.float32(0.0)
    for i in range(puts):
        total += worth * weights.slowness / (weights.slowness + np.float32(waiting + i) * cycle)
    return np.float32(total / weights.upward ** (2 * stage - 1)), puts


@builder
def rival_factor(
    weights: Weights,
    cells: NDArray[np.int16],
    agents: NDArray[np.int32],
    a: int,
    objects: NDArray[np.int32],
    o: int,
    steps: int,
    stride: int,
    window_height: int,
    window_width: int,
) -> float:
    """Return `weights.rivalry` for each other agent in the window that is nearer to the object, multiplied."""
    row = agents[a, AGENT_POSITION] // stride
    column = agents[a, AGENT_POSITION] % stride
    place = objects[o, 1]
    factor = np.float32(1.0)
    for b in range(agents.shape[0]):
        r = agents[b, AGENT_POSITION] // stride
        c = agents[b, AGENT_POSITION] % stride
        if b == a or abs(r - row) > window_height // 2 or abs(c - column) > window_width // 2:
            continue
        if abs(r - place // stride) + abs(c - place % stride) - 1 < steps:
            factor *= weights.rivalry
    return factor
