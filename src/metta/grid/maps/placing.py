"""Putting things on empty cells at random: anywhere, or only where everything stays reachable."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from metta.errors import MapError
from metta.grid.jit import builder
from metta.grid.maps.grid_map import EMPTY, FIRST_NAME, WALL, GridMap, MapLimits, agents_by_name
from metta.grid.maps.random import STAGE_AGENTS, STAGE_OBJECTS, STAGE_RETRY, derive_seed, draw_below, map_stream

Codes = NDArray[np.int16]

NUM_ATTEMPTS = 16  # maps that are drawn before a builder says that things do not fit


class Placement:
    """The names of a map and how many of each are to be placed, in order: objects first, then agents."""

    def __init__(self, objects: dict[str, int], agents: dict[str, int]) -> None:
        self.agents = agents
        self.objects = {name: number for name, number in objects.items() if name != "empty"}
        own = [name for name in self.objects if name != "wall"] + list(self.agents)
        self.names = ("empty", "wall", *own)
        self._index = {name: code for code, name in enumerate(self.names)}
        self.object_codes = self._codes(self.objects)  # int16 [objects], the code of every object to place
        self.agent_codes = self._codes(self.agents)  # int16 [agents]

    def limits(self, height: int, width: int) -> MapLimits:
        """Return the limits of a map of this size with all of this on it, whose other cells may all be walls."""
        counts = {**self.objects, **self.agents}
        counts["wall"] = height * width - sum(number for name, number in counts.items() if name != "wall")
        return MapLimits(height, width, counts)

    def _codes(self, numbers: dict[str, int]) -> NDArray[np.int16]:
        codes = np.array([self._index[name] for name in numbers], np.int16)
        return np.repeat(codes, np.array(list(numbers.values()), np.int64))


def placement_of(objects: dict[str, int], agents: int | dict[int, int]) -> Placement:
    """Return the placement of these numbers, the same one for the same numbers: nobody changes it."""
    return _known_placement(tuple(objects.items()), tuple(agents_by_name(agents).items()))


@lru_cache(maxsize=64)
def _known_placement(objects: tuple[tuple[str, int], ...], agents: tuple[tuple[str, int], ...]) -> Placement:
    return Placement(dict(objects), dict(agents))


@builder
def place_anywhere(codes: Codes, what: Codes, seed: int, stage: int) -> int:
    """Put `what` int16 [n] on random empty cells of `codes` int16 [H, W]; return how many were placed.

    A Fisher-Yates shuffle of the empty cells that stops after n draws.
    """
    H, W = codes.shape
    free = np.empty(H * W, np.int32)
    num_free = 0
    for row in range(H):
        for column in range(W):
            if codes[row, column] == EMPTY:
                free[num_free] = row * W + column
                num_free += 1
    key = map_stream(seed, stage)
    placed = min(len(what), num_free)
    for i in range(placed):
        j = i + draw_below(key, i, num_free - i)
        cell = free[j]
        free[j] = free[i]
        codes[cell // W, cell % W] = what[i]
    return placed


@builder
def _is_open(codes: Codes, row: int, column: int) -> bool:
    H, W = codes.shape
    return bool(0 <= row < H and 0 <= column < W and codes[row, column] == EMPTY)


@builder
def keeps_connected(codes: Codes, row: int, column: int) -> bool:
    """Whether filling an empty cell leaves the empty cells around it connected without it.

    Looks at the eight neighbours only: the open ones among the four at its sides must be joined by open corners
    between them. That is enough for the whole map to stay connected (and more than enough: a cell that closes a long
    ring is refused too). A cell with no open side is refused: what stood there could not be reached.
    """
    north = _is_open(codes, row - 1, column)
    south = _is_open(codes, row + 1, column)
    west = _is_open(codes, row, column - 1)
    east = _is_open(codes, row, column + 1)
    sides = int(north) + int(south) + int(west) + int(east)
    joints = (
        int(north and east and _is_open(codes, row - 1, column + 1))
        + int(east and south and _is_open(codes, row + 1, column + 1))
        + int(south and west and _is_open(codes, row + 1, column - 1))
        + int(west and north and _is_open(codes, row - 1, column - 1))
    )
    return sides >= 1 and sides - joints <= 1


@builder
def _num_open_sides(codes: Codes, row: int, column: int) -> int:
    return (
        int(_is_open(codes, row - 1, column))
        + int(_is_open(codes, row + 1, column))
        + int(_is_open(codes, row, column - 1))
        + int(_is_open(codes, row, column + 1))
    )


@builder
def _walls_in_neighbour(codes: Codes, row: int, column: int) -> bool:
    """Whether some object beside this cell has this cell as its only open side."""
    H, W = codes.shape
    for step in range(4):
        r = row + (step == 1) - (step == 0)
        c = column + (step == 3) - (step == 2)
        if 0 <= r < H and 0 <= c < W and codes[r, c] >= FIRST_NAME and _num_open_sides(codes, r, c) <= 1:
            return True
    return False


@builder
def may_fill(codes: Codes, row: int, column: int) -> bool:
    """Whether a wall or object may stand on this cell with every empty cell and every object still reachable."""
    if codes[row, column] != EMPTY or _walls_in_neighbour(codes, row, column):
        return False
    return keeps_connected(codes, row, column)


@builder
def place_reachable(codes: Codes, what: Codes, seed: int, stage: int) -> int:
    """Put `what` int16 [n] on random cells of `codes` int16 [H, W] so that all stays reachable; return how many."""
    H, W = codes.shape
    free = np.empty(H * W, np.int32)
    num_free = 0
    for row in range(H):
        for column in range(W):
            if codes[row, column] == EMPTY:
                free[num_free] = row * W + column
                num_free += 1
    key = map_stream(seed, stage)
    placed = 0
    for i in range(num_free):
        if placed == len(what):
            break
        j = i + draw_below(key, i, num_free - i)
        cell = free[j]
        free[j] = free[i]
        if may_fill(codes, cell // W, cell % W):
            codes[cell // W, cell % W] = what[placed]
            placed += 1
    return placed


def place_all(codes: NDArray[np.int16], placement: Placement, seed: int, *, reachable: bool, builder: str) -> None:
    """Put a map's objects, then its agents, on empty cells of `codes` [H, W], in place.

    With `reachable` every object keeps an open side that every agent can walk to.
    Raises MapError with the numbers when they do not fit.
    """
    H, W = codes.shape
    num_free = int(np.count_nonzero(codes == EMPTY))
    objects, agents = placement.object_codes, placement.agent_codes
    if len(objects) + len(agents) > num_free:
        raise MapError(
            f"{builder} map of {H} x {W} cells has room for {num_free} things: given {len(objects)} objects "
            f"and {len(agents)} agents; make it larger or place fewer"
        )
    place = place_reachable if reachable else place_anywhere
    placed = int(place(codes, objects, seed, STAGE_OBJECTS))
    if placed < len(objects):
        raise MapError(
            f"{builder} map of {H} x {W} cells: given {len(objects)} objects, but only {placed} fit so that all can be "
            "reached; make it larger or place fewer"
        )
    placed = int(place_anywhere(codes, agents, seed, STAGE_AGENTS))
    if placed < len(agents):
        raise MapError(f"{builder} map of {H} x {W} cells: given {len(agents)} agents, only {placed} fit")


def furnish(draw: Callable[[int], Codes], placement: Placement, seed: int, *, builder: str) -> GridMap:
    """Return the first of up to 16 maps on which everything fits so that it can be reached.

    `draw(seed)` returns the walls [H, W]. The first map is that of `seed` itself, the others are drawn from it.
    Raises MapError with the numbers when none has room.
    """
    for attempt in range(NUM_ATTEMPTS):
        own_seed = int(derive_seed(seed, STAGE_RETRY, attempt)) if attempt else seed
        codes = draw(own_seed)
        try:
            place_all(codes, placement, own_seed, reachable=True, builder=builder)
        except MapError:
            if attempt == NUM_ATTEMPTS - 1:
                raise
        else:
            break
    return GridMap(codes, placement.names)


def walled(height: int, width: int, *, border: int = 0) -> NDArray[np.int16]:
    """Return an empty room of `height` x `width` cells within a wall of thickness `border`."""
    codes = np.zeros((height + 2 * border, width + 2 * border), np.int16)
    if border:
        codes[:border] = codes[-border:] = WALL
        codes[:, :border] = codes[:, -border:] = WALL
    return codes
