"""One symbol a thing, for maps drawn as text (docs/world.md, section 7)."""

from __future__ import annotations

from metta.grid.maps.grid_map import agent_name

SYMBOLS: dict[str, str] = {
    ".": "empty",
    " ": "empty",
    "#": "wall",
    "@": agent_name(0),
    **{str(team): agent_name(team) for team in range(1, 10)},
    "s": "block",
    "m": "mine_red",
    "b": "mine_blue",
    "g": "mine_green",
    "n": "generator_red",
    "B": "generator_blue",
    "G": "generator_green",
    "_": "altar",
    "o": "armory",
    "S": "lasery",
    "L": "lab",
    "F": "factory",
    "T": "temple",
    "x": "box",
}

SYMBOL_OF: dict[str, str] = {name: symbol for symbol, name in SYMBOLS.items() if symbol != " "}
"""Name -> the symbol that draws it; empty cells are drawn as `.`."""

UNKNOWN_SYMBOL = "?"  # draws whatever has no symbol of its own
