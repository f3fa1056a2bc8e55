"""A map as text, one symbol a cell."""

from __future__ import annotations

from metta.grid.maps.grid_map import GridMap
from metta.grid.maps.symbols import SYMBOL_OF, UNKNOWN_SYMBOL


def map_text(grid_map: GridMap, *, legend: dict[str, str] | None = None) -> str:
    """Return the lines of a map; `legend` gives further symbols (symbol -> name), unknown things are drawn as `?`."""
    symbol_of = SYMBOL_OF | {name: symbol for symbol, name in (legend or {}).items()}
    symbols = [symbol_of.get(name, UNKNOWN_SYMBOL) for name in grid_map.names]
    return "\n".join("".join(symbols[code] for code in row) for row in grid_map.codes.tolist())
