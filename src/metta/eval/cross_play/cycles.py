"""Who beats whom as a graph: what can be compared at all, what is ordered, and what goes round in circles.

A graph is bool [N, N]: `edges[i, j]` leads from i to j. Policies are few, so the plain closure (N^3) is enough.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Graph = NDArray[np.bool_]


def reachable(edges: Graph) -> Graph:
    """Return the transitive closure: `[i, j]` says whether a path leads from i to j; everybody reaches itself.

    Warshall, "A theorem on Boolean matrices", Journal of the ACM 9 (1962).
    """
    closure: Graph = edges | np.eye(len(edges), dtype=np.bool_)
    for middle in range(len(edges)):
        closure |= closure[:, [middle]] & closure[[middle], :]
    return closure


def strong_components(edges: Graph) -> list[list[int]]:
    """Return the sets of policies that all reach each other, each sorted, by their smallest member."""
    closure = reachable(edges)
    together = closure & closure.T
    return [np.flatnonzero(row).tolist() for number, row in enumerate(together) if not row[:number].any()]


def find_cycles(edges: Graph) -> list[list[int]]:
    """Return cycles of the graph: every one of three, and the shortest of each component that has none of three.

    A cycle begins at its smallest member and each member leads to the next, the last to the first. A component of more
    than one policy always holds a cycle; if everybody is decided against everybody, it holds one of three (Moon,
    "Topics on Tournaments", 1968). No edge of the graph may lead both ways.
    """
    found = []
    for members in strong_components(edges):
        triangles = [cycle for triple in combinations(members, 3) if (cycle := _triangle(edges, triple))]
        found += triangles
        if len(members) > 1 and not triangles:
            found.append(_shortest_cycle(edges, members))
    return found


def _triangle(edges: Graph, triple: tuple[int, ...]) -> list[int]:
    """Return the triple in the order of its cycle; an empty list if it is none."""
    a, b, c = triple
    for order in ([a, b, c], [a, c, b]):
        if all(edges[order[k], order[(k + 1) % 3]] for k in range(3)):
            return order
    return []


def _shortest_cycle(edges: Graph, members: list[int]) -> list[int]:
    """Return a shortest cycle through policies of a strongly connected component."""
    cycles = [_path_back(edges, start) for start in members]
    shortest = min(cycles, key=len)
    first = shortest.index(min(shortest))
    return shortest[first:] + shortest[:first]


def _path_back(edges: Graph, start: int) -> list[int]:
    """Return a shortest way from `start` to itself, breadth first."""
    paths = [[start]]
    seen: set[int] = set()
    for path in paths:
        for following in np.flatnonzero(edges[path[-1]]).tolist():
            if following == start:
                return path
            if following not in seen:
                seen.add(following)
                paths.append([*path, following])
    raise AssertionError("a strongly connected component leads back to its start")
