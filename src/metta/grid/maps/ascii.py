"""Maps drawn as text."""

from __future__ import annotations

import textwrap
from functools import lru_cache

from metta.errors import MapError, nearest
from metta.grid.maps.config import AsciiMapConfig
from metta.grid.maps.grid_map import GridMap, MapLimits, from_names
from metta.grid.maps.symbols import SYMBOLS


def build_ascii(config: AsciiMapConfig, seed: int = 0) -> GridMap:
    """Return the map that `config.text` draws; the seed changes nothing.

    Blank lines before and after, and indentation common to all lines, are not part of the map: at its left edge and
    in its first and last row draw empty cells as `.`.
    Raises MapError with line and column for an unknown symbol, with the line for one of another length.
    """
    drawn = _parse(config.text, tuple(config.legend.items()))
    return GridMap(drawn.codes.copy(), drawn.names)


def ascii_limits(config: AsciiMapConfig) -> MapLimits:
    """Return what the drawing holds."""
    drawn = build_ascii(config)
    counts = {name: number for name, number in drawn.counts().items() if name != "empty"}
    return MapLimits(drawn.height, drawn.width, counts)


@lru_cache(maxsize=256)
def _parse(text: str, legend: tuple[tuple[str, str], ...]) -> GridMap:
    for symbol, name in legend:
        if len(symbol) != 1:
            raise MapError(f"given {symbol!r} for {name!r}; allowed: one character a symbol", path="legend")
    table = SYMBOLS | dict(legend)
    lines = text.expandtabs(1).splitlines()
    skipped = 0
    while lines and not lines[0].strip():
        del lines[0]
        skipped += 1
    while lines and not lines[-1].strip():
        del lines[-1]
    if not lines:
        raise MapError("given an empty text; allowed: at least one cell, as '@'", path="text")
    indent = _common_indent(lines)
    width = len(lines[0])
    rows: list[list[str]] = []
    for number, line in enumerate(lines, start=skipped + 1):
        if len(line) != width:
            raise MapError(
                f"line {number} has {len(line) - indent} cells, line {skipped + 1} has {width - indent}; "
                "allowed: lines of one length (draw empty cells as '.')",
                path="text",
            )
        row = []
        for column, symbol in enumerate(line[indent:], start=indent + 1):
            if symbol not in table:
                raise MapError(_unknown_symbol(symbol, number, column, table), path="text")
            row.append(table[symbol])
        rows.append(row)
    return from_names(rows)


def _common_indent(lines: list[str]) -> int:
    dedented = textwrap.dedent("\n".join(lines)).split("\n")
    return len(lines[0]) - len(dedented[0])


def _unknown_symbol(symbol: str, line: int, column: int, table: dict[str, str]) -> str:
    swapped = symbol.swapcase()
    hint = f" (did you mean {swapped} for {table[swapped]}?)" if swapped in table else nearest(symbol, table)
    known = " ".join(f"{key}={name}" for key, name in table.items() if key != " ")
    return f"line {line}, column {column}: given {symbol!r}{hint}; allowed: {known}; a legend adds more"
