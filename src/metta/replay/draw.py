"""A tick as things on cells: what the terminal, pictures and live play draw. From a replay, or from a running world."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metta.errors import ReplayError
from metta.grid import CompiledWorld
from metta.grid.maps import SYMBOL_OF, GridMap, agent_name, agent_team
from metta.grid.maps.grid_map import FIRST_NAME, WALL
from metta.grid.maps.symbols import UNKNOWN_SYMBOL
from metta.grid.world import (
    AGENT_FROZEN,
    AGENT_LAST_ACTION,
    AGENT_ORIENTATION,
    AGENT_POSITION,
    AGENT_TEAM,
    CELL_FIRST_OBJECT,
    MARGIN,
    OBJECT_KIND,
    OBJECT_PHASE,
    OBJECT_POSITION,
    PHASE_IDLE,
    WORLD_NUM_OBJECTS,
    WORLD_STEP,
    WORLD_STRIDE,
    State,
    inner_cells,
)
from metta.replay.format import NOWHERE, Replay, is_series


@dataclass(frozen=True)
class Thing:
    """An object other than a plain wall."""

    name: str
    symbol: str
    row: int
    column: int
    inventory: dict[str, int]
    is_busy: bool = False  # converting or cooling down


@dataclass(frozen=True)
class AgentMark:
    """An agent, and what it did in the tick that led here."""

    agent_id: int
    team: int
    symbol: str
    row: int
    column: int
    orientation: int  # 0 north, 1 south, 2 west, 3 east, 4 NW, 5 NE, 6 SW, 7 SE
    is_frozen: bool
    inventory: dict[str, int]
    action: str
    action_success: bool
    reward: float
    total_reward: float


@dataclass(frozen=True)
class Frame:
    """One step of a world of H x W cells."""

    height: int
    width: int
    step: int
    last_step: int  # of the replay; 0: not known
    walls: NDArray[np.bool_]  # [H, W]
    things: list[Thing] = field(default_factory=list)
    agents: list[AgentMark] = field(default_factory=list)

    def symbols(self) -> list[list[str]]:
        """Return one symbol a cell, `[row][column]`: agents over things over walls."""
        cells = [["#" if wall else "." for wall in row] for row in self.walls.tolist()]
        for thing in self.things:
            cells[thing.row][thing.column] = thing.symbol
        for agent in self.agents:
            cells[agent.row][agent.column] = agent.symbol
        return cells

    def text(self) -> str:
        """Return the map as lines of symbols."""
        return "\n".join("".join(row) for row in self.symbols())


class ReplayFrames:
    """The frames of a replay by step; `frames[step]` for 0 <= step < len(frames)."""

    def __init__(self, replay: Replay) -> None:
        data = replay.data
        self.width, self.height = (int(side) for side in data["map_size"])
        self.num_steps = replay.num_steps
        self._data = data
        self._walls = np.zeros((self.height, self.width), bool)
        self._agents: list[_Tracks] = []
        self._things: list[_Tracks] = []
        for entry in data["objects"]:
            tracks = _Tracks(entry)
            is_constant = not is_series("location", entry.get("location"))
            if "agent_id" in entry or entry.get("is_agent"):
                self._agents.append(tracks)
            elif is_constant and not entry.get("is_swappable") and self._name(entry.get("type_id", 0)) == "wall":
                row, column = _place(entry.get("location"))
                if self._is_on_map(row, column):
                    self._walls[row, column] = True
            else:
                self._things.append(tracks)
        self._agents.sort(key=lambda tracks: int(tracks.at("agent_id", 0, 0)))

    def __len__(self) -> int:
        return self.num_steps

    def __getitem__(self, step: int) -> Frame:
        if not 0 <= step < self.num_steps:
            raise IndexError(f"step {step} of a replay with steps 0..{self.num_steps - 1}")
        frame = Frame(self.height, self.width, step, self.num_steps - 1, self._walls)
        for tracks in self._things:
            row, column = _place(tracks.at("location", step, NOWHERE))
            if self._is_on_map(row, column):
                frame.things.append(self._thing(tracks, step, row, column))
        for number, tracks in enumerate(self._agents):
            row, column = _place(tracks.at("location", step, NOWHERE))
            if self._is_on_map(row, column):
                frame.agents.append(self._agent(tracks, step, row, column, number))
        return frame

    def total_rewards(self) -> list[float]:
        """Return each agent's reward over the whole replay."""
        last = self.num_steps - 1
        return [float(tracks.at("total_reward", last, 0.0)) for tracks in self._agents]

    def _thing(self, tracks: _Tracks, step: int, row: int, column: int) -> Thing:
        name = self._name(tracks.at("type_id", step, 0))
        is_busy = bool(tracks.at("is_converting", step, False) or tracks.at("is_cooling_down", step, False))
        return Thing(name, SYMBOL_OF.get(name, UNKNOWN_SYMBOL), row, column, self._inventory(tracks, step), is_busy)

    def _agent(self, tracks: _Tracks, step: int, row: int, column: int, number: int) -> AgentMark:
        team = int(tracks.at("group_id", step, 0))
        actions, action = self._data["action_names"], int(tracks.at("action_id", step, 0))
        return AgentMark(
            agent_id=int(tracks.at("agent_id", step, number)),
            team=team,
            symbol=agent_symbol(team),
            row=row,
            column=column,
            orientation=int(tracks.at("orientation", step, 0)),
            is_frozen=bool(tracks.at("is_frozen", step, False)),
            inventory=self._inventory(tracks, step),
            action=actions[action] if 0 <= action < len(actions) else str(action),
            action_success=bool(tracks.at("action_success", step, False)),
            reward=float(tracks.at("current_reward", step, 0.0)),
            total_reward=float(tracks.at("total_reward", step, 0.0)),
        )

    def _inventory(self, tracks: _Tracks, step: int) -> dict[str, int]:
        """Return amounts by name; also of the older form, a list of item numbers with repeats."""
        names = self._data["item_names"]
        held: dict[str, int] = {}
        for item in tracks.at("inventory", step, []):
            number, amount = item if isinstance(item, list) else (item, 1)
            name = names[number] if number < len(names) else f"item {number}"
            held[name] = held.get(name, 0) + int(amount)
        return held

    def _name(self, type_id: int) -> str:
        names = self._data["type_names"]
        return str(names[type_id]) if 0 <= type_id < len(names) and names[type_id] else f"type {type_id}"

    def _is_on_map(self, row: int, column: int) -> bool:
        return 0 <= row < self.height and 0 <= column < self.width


class _Tracks:
    """The keys of one object over time."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self._entry = entry
        self._steps = {key: [change[0] for change in value] for key, value in entry.items() if is_series(key, value)}

    def at(self, key: str, step: int, default: Any) -> Any:
        """Return the value of `key` at a step; `default` before its first change, or when the key is missing."""
        steps = self._steps.get(key)
        if steps is None:
            return self._entry.get(key, default)
        index = bisect_right(steps, step) - 1
        return self._entry[key][index][1] if index >= 0 else default


def frame_of_map(grid_map: GridMap, *, legend: dict[str, str] | None = None) -> Frame:
    """Return the frame of a map that nobody plays on yet; `legend`: further symbols, symbol -> name."""
    symbol_of = SYMBOL_OF | {name: symbol for symbol, name in (legend or {}).items()}
    frame = Frame(grid_map.height, grid_map.width, 0, 0, grid_map.codes == WALL)
    for row, column in np.argwhere(grid_map.codes >= FIRST_NAME).tolist():
        name = grid_map.names[grid_map.codes[row, column]]
        symbol, team = symbol_of.get(name, UNKNOWN_SYMBOL), agent_team(name)
        if team is None:
            frame.things.append(Thing(name, symbol, row, column, {}))
        else:
            mark = AgentMark(len(frame.agents), team, symbol, row, column, 0, False, {}, "noop", True, 0.0, 0.0)
            frame.agents.append(mark)
    return frame


def frame_of_world(
    compiled: CompiledWorld, state: State, world: int, *, action_success: NDArray[np.bool_] | None = None
) -> Frame:
    """Return the frame of a running world as it stands; `action_success` bool [A] of its agents, if known."""
    inner, stride = inner_cells(state, world), int(state.worlds[world, WORLD_STRIDE])
    height, width = inner.shape
    walls = (inner > 0) & (inner < CELL_FIRST_OBJECT)
    frame = Frame(height, width, int(state.worlds[world, WORLD_STEP]), compiled.config.max_steps, walls)
    resources = compiled.resource_names
    for row in range(int(state.worlds[world, WORLD_NUM_OBJECTS])):
        fields = state.objects[world, row]
        if fields[OBJECT_KIND] >= 0 and fields[OBJECT_POSITION] >= 0:
            name = compiled.object_names[int(fields[OBJECT_KIND])]
            r, c = divmod(int(fields[OBJECT_POSITION]), stride)
            held = _held(resources, state.object_inventory[world, row])
            symbol = SYMBOL_OF.get(name, UNKNOWN_SYMBOL)
            is_busy = bool(fields[OBJECT_PHASE] != PHASE_IDLE)
            frame.things.append(Thing(name, symbol, r - MARGIN, c - MARGIN, held, is_busy))
    for number, fields in enumerate(state.agents[world]):
        r, c = divmod(int(fields[AGENT_POSITION]), stride)
        action = int(fields[AGENT_LAST_ACTION])
        is_known = 0 <= action < len(compiled.action_names)
        frame.agents.append(
            AgentMark(
                agent_id=number,
                team=int(fields[AGENT_TEAM]),
                symbol=agent_symbol(int(fields[AGENT_TEAM])),
                row=r - MARGIN,
                column=c - MARGIN,
                orientation=int(fields[AGENT_ORIENTATION]),
                is_frozen=bool(fields[AGENT_FROZEN] > 0),
                inventory=_held(resources, state.inventory[world, number]),
                action=compiled.action_names[action] if is_known else str(action),
                action_success=bool(action_success[number]) if action_success is not None else True,
                reward=float(state.rewards[world, number]),
                total_reward=float(state.episode_rewards[world, number]),
            )
        )
    return frame


def agent_symbol(team: int) -> str:
    """Return the symbol of a team's agents."""
    return SYMBOL_OF.get(agent_name(team), UNKNOWN_SYMBOL)


def _held(names: tuple[str, ...], amounts: NDArray[np.uint8]) -> dict[str, int]:
    return {name: int(amount) for name, amount in zip(names, amounts, strict=True) if amount}


def _place(location: Any) -> tuple[int, int]:
    """Return (row, column) of a location `[x, y, ...]`."""
    if not isinstance(location, list) or len(location) < 2:
        raise ReplayError(f"the replay is damaged: a location is [x, y, layer]; given {location!r}")
    return int(location[1]), int(location[0])
