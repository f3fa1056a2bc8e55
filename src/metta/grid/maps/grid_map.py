"""What every builder returns: a map as small numbers, and the names that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metta.errors import MapError

EMPTY = 0  # code of an empty cell, in every map
WALL = 1  # code of a wall, in every map
FIRST_NAME = 2  # code of the first name of the map's own

AGENT_PREFIX = "agent."  # an agent of team 3 is called "agent.3"
MAX_TEAM = 255  # observations show a team as one byte


class GridMap(NamedTuple):
    """A map of H x W cells. `names[codes[row, column]]` says what stands there.

    Names are "empty" (always code 0), "wall" (always code 1), the names of objects, and "agent.<team>". The names of
    a builder's maps depend on its configuration alone, never on the seed.
    """

    codes: NDArray[np.int16]  # [H, W]
    names: tuple[str, ...]

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.codes.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.codes.shape[1])

    def counts(self) -> dict[str, int]:
        """Return how many cells hold each name."""
        numbers = np.bincount(self.codes.ravel(), minlength=len(self.names))
        return {name: int(number) for name, number in zip(self.names, numbers, strict=True)}

    def to_names(self) -> NDArray[np.str_]:
        """Return the names as an array [H, W]."""
        return np.array(self.names)[self.codes]


class MapLimits(NamedTuple):
    """The most that any map of a configuration can be, whatever the seed."""

    height: int
    width: int
    counts: dict[str, int]  # name -> the largest number of cells that hold it; without "empty"


def agent_name(team: int) -> str:
    """Return the name under which agents of a team stand on maps."""
    return f"{AGENT_PREFIX}{team}"


def agent_team(name: str) -> int | None:
    """Return the team of an agent's name, or None if the name is not an agent's."""
    team = name.removeprefix(AGENT_PREFIX)
    return int(team) if team != name and team.isdecimal() else None


def agents_by_name(agents: int | dict[int, int]) -> dict[str, int]:
    """Return name -> number for the `agents` of a map's configuration (a bare number: team 0)."""
    teams = {0: agents} if isinstance(agents, int) else agents
    return {agent_name(team): number for team, number in teams.items()}


def from_names(rows: Sequence[Sequence[str]] | NDArray[np.str_]) -> GridMap:
    """Return the map of a rectangle of names, `rows[row][column]`.

    Raises MapError when the rows have different lengths, there are none, or a cell holds no name.
    """
    _check_rows(rows)
    if len(rows) == 0 or len(rows[0]) == 0:
        raise MapError("given rows without cells; allowed: at least one row and one column")
    names = ["empty", "wall"]
    index = {"empty": EMPTY, "wall": WALL}
    codes = np.empty((len(rows), len(rows[0])), np.int16)
    for r, row in enumerate(rows):
        if len(row) != codes.shape[1]:
            raise MapError(f"row {r + 1} has {len(row)} cells, row 1 has {codes.shape[1]}; allowed: rows of one length")
        for c, name in enumerate(row):
            if not isinstance(name, str):
                raise MapError(
                    f"row {r + 1}, column {c + 1}: given {name!r:.40}; allowed: names, as 'empty', 'wall', 'agent.0'"
                )
            name = str(name)
            if name not in index:
                index[name] = len(names)
                names.append(name)
            codes[r, c] = index[name]
    return GridMap(codes, tuple(names))


def _check_rows(rows: object) -> None:
    """Raise MapError for what is no rectangle of cells: lines of text would be read letter by letter."""
    if isinstance(rows, np.ndarray) and rows.ndim != 2:
        raise MapError(f"given an array of {rows.ndim} dimensions; allowed: two, [rows, columns]")
    if not isinstance(rows, Sequence | np.ndarray):
        raise MapError(f"given {type(rows).__name__}; allowed: rows of names")
    for r, row in enumerate(rows):
        if isinstance(row, str):
            raise MapError(
                'given rows that are text; allowed: rows of names, or a drawing in one text: "\\n".join(rows)'
            )
        if not isinstance(row, Sequence | np.ndarray):
            raise MapError(f"row {r + 1}: given {row!r:.40}; allowed: a list of names")


def with_names(part: GridMap, names: tuple[str, ...]) -> NDArray[np.int16]:
    """Return the codes [H, W] of a map under another table of names, which holds all of its own."""
    if part.names == names:
        return part.codes
    index = {name: code for code, name in enumerate(names)}
    return np.array([index[name] for name in part.names], np.int16)[part.codes]


def all_names(parts: Sequence[GridMap]) -> tuple[str, ...]:
    """Return one table of names for several maps, in the order in which they appear."""
    if all(part.names == parts[0].names for part in parts):
        return parts[0].names
    return tuple(dict.fromkeys(name for part in parts for name in part.names))
