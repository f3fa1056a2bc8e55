"""Worlds drawn as text: `scene("@.#", ...)` is one world, acted in by name and looked at by name."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metta.grid import CompiledWorld, WorldConfig, compile_world
from metta.grid.compile import allocate_rules
from metta.grid.cpu import reset_world, step_worlds
from metta.grid.maps import SYMBOL_OF, SYMBOLS
from metta.grid.ruleset import VERBS, allocate_buffers
from metta.grid.world import (
    AGENT_ORIENTATION,
    AGENT_POSITION,
    CELL_FIRST_OBJECT,
    MARGIN,
    OBJECT_KIND,
    OBJECT_POSITION,
    allocate_state,
)
from metta.grid.worlds import standard_objects


class Scene:
    """One world of one batch; agents are numbered in reading order."""

    def __init__(self, text: str, *, seed: int = 0, **fields: Any) -> None:
        self.config = scene_config(text, **fields)
        self.compiled: CompiledWorld = compile_world(self.config)
        self.rules = allocate_rules(self.compiled.sizes, 1)
        self.state = allocate_state(self.compiled.sizes, 1)
        self.buffers = allocate_buffers(self.compiled.sizes, 1)
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Begin again."""
        grid_map = self.compiled.build_map(seed)
        reset_world(self.compiled, self.rules, self.state, self.buffers, 0, grid_map, seed=seed)

    def do(self, *actions: str | int, times: int = 1) -> Scene:
        """Play a tick: one action for each agent, those left out do nothing; a number is sent as it is."""
        ids = [self.action(action) for action in actions]
        noop = self.action("noop")
        self.buffers.actions[0] = ids + [noop] * (self.config.num_agents - len(ids))
        for _ in range(times):
            step_worlds(self.rules, self.state, self.buffers)
        return self

    def action(self, name: str | int) -> int:
        """Return the flat id of an action."""
        return name if isinstance(name, int) else self.compiled.action_names.index(name)

    def drawn(self) -> str:
        """Return the map as text."""
        lines = []
        inside = self.state.cells[0, MARGIN:-MARGIN, MARGIN:-MARGIN]
        for row in inside:
            lines.append("".join(self.symbol(int(code)) for code in row))
        return "\n".join(lines)

    def symbol(self, code: int) -> str:
        if code == 0:
            return "."
        if code < 0:
            return "@" if self.config.num_agents == 1 else str(-code - 1)
        kind = code - 1 if code < CELL_FIRST_OBJECT else self.state.objects[0, code - CELL_FIRST_OBJECT, OBJECT_KIND]
        return SYMBOL_OF[self.compiled.object_names[kind]]

    def held(self, agent: int = 0) -> dict[str, int]:
        """Return what an agent holds, without zeros."""
        return {
            name: int(n) for name, n in zip(self.config.resources, self.state.inventory[0, agent], strict=True) if n
        }

    def inside(self, name: str, number: int = 0) -> dict[str, int]:
        """Return what an object holds, without zeros."""
        amounts = self.state.object_inventory[0, self.row(name, number)]
        return {name: int(n) for name, n in zip(self.config.resources, amounts, strict=True) if n}

    def row(self, name: str, number: int = 0) -> int:
        """Return the row of the number-th object of a name."""
        kinds, places = self.state.objects[0, :, OBJECT_KIND], self.state.objects[0, :, OBJECT_POSITION]
        return int(np.flatnonzero((kinds == self.compiled.object_names.index(name)) & (places >= 0))[number])

    def object_field(self, name: str, field: int, number: int = 0) -> int:
        return int(self.state.objects[0, self.row(name, number), field])

    def object_stat(self, name: str, stat: str, number: int = 0) -> int:
        return int(self.state.object_stats[0, self.row(name, number), self.compiled.object_stat_names.index(stat)])

    def stat(self, name: str, agent: int = 0) -> int:
        return int(self.state.stats[0, agent, self.compiled.stat_names.index(name)])

    def stats(self, agent: int = 0) -> dict[str, int]:
        """Return an agent's statistics, without zeros."""
        row = self.state.stats[0, agent]
        return {name: int(n) for name, n in zip(self.compiled.stat_names, row, strict=True) if n}

    def world_stat(self, name: str) -> int:
        return int(self.state.world_stats[0, self.compiled.world_stat_names.index(name)])

    def reward(self, agent: int = 0) -> float:
        return float(self.state.rewards[0, agent])

    def succeeded(self, agent: int = 0) -> bool:
        return bool(self.buffers.action_success[0, agent])

    def field(self, field: int, agent: int = 0) -> int:
        return int(self.state.agents[0, agent, field])

    def facing(self, agent: int = 0) -> str:
        return ("N", "S", "W", "E", "NW", "NE", "SW", "SE")[self.field(AGENT_ORIENTATION, agent)]

    def place(self, agent: int = 0) -> tuple[int, int]:
        """Return (row, column) of an agent."""
        row, column = divmod(self.field(AGENT_POSITION, agent), self.state.cells.shape[2])
        return row - MARGIN, column - MARGIN

    def tokens(self, agent: int = 0) -> list[tuple[int, int, str, int]]:
        """Return an agent's tokens: (row, column) relative to the agent, name, value."""
        window = self.config.observation
        n = self.buffers.token_counts[0, agent]
        names = {feature.id: feature.name for feature in self.compiled.features}
        return [
            (
                int(place) // 16 - window.height // 2,
                int(place) % 16 - window.width // 2,
                names[int(feature)],
                int(value),
            )
            for place, feature, value in self.buffers.observations[0, agent, :n]
        ]

    def shown(self, name: str, agent: int = 0) -> list[int]:
        """Return the values of all tokens of a feature, in order."""
        return [value for _, _, feature, value in self.tokens(agent) if feature == name]


def scene_config(
    text: str, *, legend: dict[str, str] | None = None, standard: bool = True, **fields: Any
) -> WorldConfig:
    """Return a world with a drawn map, the standard objects and all actions; `fields` replace or add."""
    symbols = SYMBOLS | (legend or {})
    names = [symbols.get(symbol, "") for symbol in text]
    objects: dict[str, Any] = {**(standard_objects() if standard else {}), **fields.pop("objects", {})}
    actions: dict[str, Any] = {verb: {"enabled": verb != "place_box" or "box" in objects} for verb in VERBS}
    actions["change_glyph"]["number_of_glyphs"] = 4
    for verb, changes in fields.pop("actions", {}).items():
        actions[verb].update(changes)
    fields.setdefault("num_agents", sum(name.startswith("agent.") for name in names))
    return WorldConfig.model_validate(
        {
            "objects": {
                name: thing if isinstance(thing, dict) else thing.model_dump() for name, thing in objects.items()
            },
            "actions": actions,
            "map": {"type": "ascii", "text": text, "legend": legend or {}},
            **fields,
        }
    )


@pytest.fixture
def scene() -> Callable[..., Scene]:
    """Return the maker of scenes."""
    return Scene


@pytest.fixture(scope="session")
def games() -> Any:
    """Return the module of random games (pytest imports test files, not their neighbours)."""
    spec = importlib.util.spec_from_file_location("random_games", Path(__file__).parent / "random_games.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
