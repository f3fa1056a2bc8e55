"""What is counted of a world in one episode, by name; converters are summed by kind: `altar.heart.produced`."""

# O objects  N names

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metta.errors import ConfigError
from metta.grid.config import ConverterConfig, ObjectConfig
from metta.grid.jit import builder
from metta.grid.stats import ADDED, CONSUMED, object_stat_names, world_stat_names
from metta.grid.world import OBJECT_KIND


class ConverterStats(NamedTuple):
    """Which sums over `State.object_stats` have names: those that the recipes of the converters let grow."""

    names: tuple[str, ...]  # <object>.<stat>
    kinds: NDArray[np.int64]  # [N] the kind of object whose converters are summed
    columns: NDArray[np.int64]  # [N] of `State.object_stats`


def converter_stats_of(objects: Mapping[str, ObjectConfig], resources: Sequence[str]) -> ConverterStats:
    """Return the named sums of a world's converters: of an input what is added and consumed, and so on.

    Raises ConfigError when two sums would have one name, as `k` with `b.c` and `k.b` with `c`.
    """
    stats = object_stat_names(resources)
    converters = [(kind, name, thing) for kind, (name, thing) in enumerate(objects.items())
                  if isinstance(thing, ConverterConfig)]  # fmt: skip
    found = [
        (f"{name}.{stat}", kind, column, name)
        for kind, name, thing in converters
        for column, stat in enumerate(stats)
        if can_grow(column, thing, resources)
    ]
    check_names(objects, [stat for stat, *_ in found], [name for *_, name in found])
    return ConverterStats(
        names=tuple(stat for stat, *_ in found),
        kinds=np.array([kind for _, kind, _, _ in found], np.int64),
        columns=np.array([column for _, _, column, _ in found], np.int64),
    )


def can_grow(column: int, thing: ConverterConfig, resources: Sequence[str]) -> bool:
    """Return whether a converter may ever count in a column: in a resource's only if its recipe names it."""
    resource, what = divmod(column, 4)
    if resource >= len(resources):
        return True
    return resources[resource] in (thing.input_resources if what in (ADDED, CONSUMED) else thing.output_resources)


def check_names(objects: Mapping[str, ObjectConfig], names: Sequence[str], owners: Sequence[str]) -> None:
    """Raise ConfigError when a sum has the name of another, or of what else is counted of a world."""
    owner_of: dict[str, str] = dict.fromkeys(world_stat_names(tuple(objects)), "the world")
    for name, owner in zip(names, owners, strict=True):
        if name in owner_of:
            raise ConfigError(
                f"given a name by which its statistic {name!r} is called as one of {owner_of[name]}; allowed: another",
                path=f"objects.{owner}",
            )
        owner_of[name] = f"objects.{owner}"


def sum_converter_stats(
    stats: ConverterStats, objects: NDArray[np.int32], object_stats: NDArray[np.int32]
) -> dict[str, float]:
    """Return the sums over a world's converters so far, by name; the arrays are its rows of `State`'s."""
    sums = _sums(stats.kinds, stats.columns, objects, object_stats)
    return dict(zip(stats.names, sums.tolist(), strict=True))


@builder
def _sums(
    kinds: NDArray[np.int64], columns: NDArray[np.int64], objects: NDArray[np.int32], object_stats: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Return the sums [N]: in numpy they cost more than all else that is told of a small world's episode."""
    sums = np.zeros(len(kinds), np.float64)
    for o in range(len(objects)):
        for n in range(len(kinds)):
            if objects[o, OBJECT_KIND] == kinds[n]:
                sums[n] += object_stats[o, columns[n]]
    return sums
