"""Who beats whom as a graph, against looking at every path and every order."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from metta.eval.cross_play.cycles import Graph, find_cycles, reachable, strong_components


def graph(number: int, *edges: tuple[int, int]) -> Graph:
    found = np.zeros((number, number), np.bool_)
    for winner, loser in edges:
        found[winner, loser] = True
    return found


def random_graph(seed: int, number: int = 6) -> Graph:
    """Every pair is decided one way, the other, or not at all."""
    generator = np.random.default_rng(seed)
    found = np.zeros((number, number), np.bool_)
    for i in range(number):
        for j in range(i):
            winner = generator.integers(3)
            found[i, j], found[j, i] = winner == 0, winner == 1
    return found


def is_cycle(edges: Graph, order: tuple[int, ...]) -> bool:
    return all(edges[order[k], order[(k + 1) % len(order)]] for k in range(len(order)))


@pytest.mark.parametrize("seed", range(20))
def test_who_can_be_reached_is_who_some_path_leads_to(seed: int) -> None:
    edges = random_graph(seed)
    powers = np.linalg.matrix_power((edges | np.eye(6, dtype=np.bool_)).astype(int), 6) > 0
    np.testing.assert_array_equal(reachable(edges), powers)


@pytest.mark.parametrize("seed", range(20))
def test_every_cycle_of_three_is_found_and_everything_that_is_found_is_a_cycle(seed: int) -> None:
    edges = random_graph(seed)
    found = {tuple(cycle) for cycle in find_cycles(edges)}
    threes = {order for order in permutations(range(6), 3) if order[0] == min(order) and is_cycle(edges, order)}
    assert threes == {cycle for cycle in found if len(cycle) == 3}
    assert all(is_cycle(edges, cycle) and cycle[0] == min(cycle) for cycle in found)


@pytest.mark.parametrize("seed", range(20))
def test_there_is_a_cycle_exactly_where_several_policies_reach_each_other(seed: int) -> None:
    edges = random_graph(seed)
    members = [component for component in strong_components(edges) if len(component) > 1]
    cycles = find_cycles(edges)
    assert all(any(set(cycle) <= set(component) for cycle in cycles) for component in members)
    assert bool(members) == bool(cycles)


def test_a_longer_cycle_is_found_where_there_is_none_of_three() -> None:
    assert find_cycles(graph(6, (4, 1), (1, 3), (3, 2), (2, 4), (0, 5))) == [[1, 3, 2, 4]]


def test_of_longer_cycles_a_shortest_is_told() -> None:
    ring = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)]
    assert find_cycles(graph(6, *ring, (2, 5), (5, 0))) == [[0, 1, 2, 5]]


def test_an_order_holds_no_cycle() -> None:
    assert find_cycles(graph(4, *((i, j) for i in range(4) for j in range(i + 1, 4)))) == []
    assert find_cycles(graph(3)) == []
    assert strong_components(graph(3, (0, 1))) == [[0], [1], [2]]
