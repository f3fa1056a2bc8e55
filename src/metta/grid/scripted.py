"""Yardstick agents: they remember what their window showed them and walk the shortest ways to what is worth most.

`ArenaScripted` carries goods up a chain of converters (mine, generator, altar); `NavigationScripted` collects what
lies about. Both are one planner (foraging.py) with other weights. They never fight, and see no more than a policy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from metta.errors import PolicyMismatchError
from metta.grid.compile import CompiledWorld
from metta.grid.config import ConverterConfig, WorldConfig
from metta.grid.foraging import ACT_GET, ACT_MOVE, ACT_PUT, NEVER, Chain, Crowd, Memory, Weights, plan_worlds
from metta.grid.ways import UNSEEN, Ways, make_ways
from metta.grid.world import WORLD_STEP, State

_ACTIONS = ("noop", "get_items", "put_items", "move_north", "move_south", "move_west", "move_east")

# Tried out on easy arenas: 21 hearts an agent became 26, most of it by exploring rather than waiting at a converter.
ARENA_WEIGHTS = Weights(
    patience=150.0, rivalry=0.4, explore=1.5, backlog=5.0, slowness=100.0, plenty=6.0, reach=16.0, stage_ticks=15.0
)
NAVIGATION_WEIGHTS = Weights(
    patience=1e9, rivalry=0.4, explore=1e-4, backlog=1.0, slowness=1.0, plenty=1e9, reach=1e9, stage_ticks=0.0
)


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

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of what it remembers, as plain data."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with what `state_dict` returned."""


class Forager:
    """A memory for each agent of `num_worlds` worlds that play by the rules of `compiled`."""

    def __init__(self, compiled: CompiledWorld, num_worlds: int, *, weights: Weights) -> None:
        self.compiled = compiled
        self.num_worlds = num_worlds
        self.weights = weights
        self._chain = chain_of(compiled, weights)
        self._ways: Ways | None = None  # working space, as is the crowd
        self._crowd = Crowd(*(np.zeros(compiled.config.num_agents, np.int64) for _ in Crowd._fields))
        self._memory: Memory | None = None
        self._forgotten = np.ones(num_worlds, np.bool_)

    def reset(self, worlds: Iterable[int] | None = None) -> None:
        """Forget these worlds, or all; a world whose clock stands at 0 is forgotten in any case."""
        self._forgotten[list(worlds) if worlds is not None else slice(None)] = True

    def act(self, env: PlayedEnv) -> NDArray[np.int32]:
        """Return the next action of each agent, int32 [N]."""
        # E worlds  A agents  N = E * A  C padded cells  O objects
        state = env.state
        E, A, O = state.cells.shape[0], state.agents.shape[1], state.objects.shape[1]  # noqa: E741
        C = state.cells[0].size
        memory, ways = self._memory, self._ways
        if memory is None or memory.cells.shape != (E * A, C) or memory.seen_at.shape[1] != O:
            memory = self._memory = _empty_memory(E * A, C, O, state.inventory.shape[2])
            self._forgotten[:] = True
        if ways is None or len(ways.visited) != C or len(ways.reached) != O:
            ways = self._ways = make_ways(C, O)
        self._forgotten |= state.worlds[:, WORLD_STEP] == 0
        actions = np.empty(E * A, np.int32)
        plan_worlds(self._chain, memory, ways, self._crowd, state, self._forgotten, actions)
        self._forgotten[:] = False
        return actions

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of what every agent remembers; no memory before the first `act`."""
        memory = None if self._memory is None else {n: array.copy() for n, array in self._memory._asdict().items()}
        return {"memory": memory, "forgotten": self._forgotten.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with what `state_dict` returned."""
        memory = state["memory"]
        self._memory = None if memory is None else Memory(**{name: array.copy() for name, array in memory.items()})
        self._forgotten = state["forgotten"].copy()


class ArenaScripted(Forager):
    """Goes from mine to generator to altar, always to what moves the most goods a step on per tick."""

    def __init__(self, compiled: CompiledWorld, num_worlds: int, *, weights: Weights = ARENA_WEIGHTS) -> None:
        super().__init__(compiled, num_worlds, weights=weights)


class NavigationScripted(Forager):
    """Walks to what it has seen and nobody has taken, the nearest first, else to the nearest unseen cell."""

    def __init__(self, compiled: CompiledWorld, num_worlds: int, *, weights: Weights = NAVIGATION_WEIGHTS) -> None:
        super().__init__(compiled, num_worlds, weights=weights)


def make_scripted(compiled: CompiledWorld, num_worlds: int) -> ScriptedAgent:
    """Return the scripted agent for what a world offers: the arena's if something can be put somewhere useful.

    Raises PolicyMismatchError when agents cannot walk and take, or no object makes or holds what they are after.
    """
    chain = chain_of(compiled)
    if chain.actions[ACT_GET] < 0 or (chain.actions[ACT_MOVE:] < 0).any():
        raise PolicyMismatchError("the scripted agent walks and takes: it needs the actions move and get_items")
    if not chain.outputs.any():
        raise PolicyMismatchError("the scripted agent collects hearts, or what pays best; no object here has any")
    if chain.inputs.any() and chain.actions[ACT_PUT] >= 0:
        return ArenaScripted(compiled, num_worlds)
    return NavigationScripted(compiled, num_worlds)


def chain_of(compiled: CompiledWorld, weights: Weights = ARENA_WEIGHTS) -> Chain:
    """Return what the world's converters are good for, counted back from its target resource."""
    config = compiled.config
    resources = compiled.resource_names
    G, R = len(compiled.object_names), len(resources)
    inputs, outputs, kinds = np.zeros((G, R), np.int32), np.zeros((G, R), np.int32), np.zeros((G, 3), np.int32)
    for kind, name in enumerate(compiled.object_names):
        thing = config.objects.get(name)
        if isinstance(thing, ConverterConfig):
            inputs[kind] = [thing.input_resources.get(resource, 0) for resource in resources]
            outputs[kind] = [thing.output_resources.get(resource, 0) for resource in resources]
            kinds[kind] = thing.conversion_ticks, thing.cooldown, thing.max_output
    worth, stage = _worth(inputs, outputs, _target(config, resources))
    useless = outputs @ worth == 0
    inputs[useless], outputs[useless] = 0, 0
    index = {name: number for number, name in enumerate(compiled.action_names)}
    return Chain(
        worth=worth,
        stage=stage,
        inputs=inputs,
        outputs=outputs,
        input_ids=_ids(inputs),
        output_ids=_ids(outputs),
        best_output=np.where(outputs > 0, worth, -1.0).argmax(axis=1).astype(np.int32),
        kinds=kinds,
        actions=np.array([index.get(name, -1) for name in _ACTIONS], np.int32),
        window=np.array([config.observation.height, config.observation.width], np.int32),
        max_steps=np.array([config.max_steps], np.int32),
        weights=np.array(weights, np.float64),
    )


def _ids(amounts: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the columns of `amounts` [G, R] that are not 0, ascending, then -1, int32 [G, R + 1]."""
    ids = np.full((amounts.shape[0], amounts.shape[1] + 1), -1, np.int32)
    for row, numbers in zip(ids, amounts, strict=True):
        used = np.flatnonzero(numbers)
        row[: len(used)] = used
    return ids


def _worth(
    inputs: NDArray[np.int32], outputs: NDArray[np.int32], target: int | None
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return how much of the target a unit of each resource [R] makes, and by how many conversions [R]."""
    worth, stage = np.zeros(inputs.shape[1], np.float32), np.zeros(inputs.shape[1], np.int32)
    if target is None:
        return worth, stage
    worth[target] = 1.0
    for distance in range(1, len(worth)):
        before = worth.copy()
        for kind in np.flatnonzero(inputs.any(axis=1)):
            share = float(outputs[kind] @ before) / float(inputs[kind].sum())
            better = (inputs[kind] > 0) & (before == 0) & (share > worth)
            worth[better], stage[better] = share, distance
    return worth, stage


def _target(config: WorldConfig, resources: tuple[str, ...]) -> int | None:
    """Return the resource that the agents are after: hearts, or what pays best."""
    if "heart" in resources:
        return resources.index("heart")
    paid = {name: weight for name, weight in config.agent.rewards.inventory.items() if weight > 0}
    return resources.index(max(paid, key=lambda name: paid[name])) if paid else None


def _empty_memory(num_agents: int, num_cells: int, num_objects: int, num_resources: int) -> Memory:
    return Memory(
        cells=np.full((num_agents, num_cells), UNSEEN, np.int16),
        seen_at=np.full((num_agents, num_objects), -1, np.int32),
        kind=np.full((num_agents, num_objects), -1, np.int32),
        held=np.zeros((num_agents, num_objects, num_resources), np.uint8),
        is_busy=np.zeros((num_agents, num_objects), np.bool_),
        started_at=np.full((num_agents, num_objects), -NEVER, np.int32),
        next_output=np.full((num_agents, num_objects), NEVER, np.int32),
    )
