"""Who beats whom, so that with a chance of 95 % all of it is right at once.

A pair is **decided** if its games could hardly have come about between equals. Equals win a seed by so much as often
as they lose it by so much: each seed's result could as well have had the other sign (Fisher 1935, The Design of
Experiments, section 21). How often signs dealt out by chance give a result as clear as the one found is counted
exactly, for all 2^seeds of them: where many pairs are tested, far less than one in twenty must be told from nothing.

With N policies there are N (N - 1) / 2 pairs, and 1 in 20 of equal ones would seem decided by itself: enough for
circles that are not there. So p-values are corrected for the number of pairs (Holm 1979, A simple sequentially
rejective multiple test procedure): the chance that any equals are decided is at most 5 %. A circle that is not there
in truth holds at least one wrong decision, so false circles are no more likely, however many triples there are.

What that leaves out: two who are no equals and yet win half of the games each, one of them often by little, the other
seldom by much. That they differ is true of them; who of them is better, few seeds may tell wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metta.eval.cross_play.cycles import Graph
from metta.eval.resampling import Values
from metta.eval.significance import LEVEL, holm

_UNITS = 4  # results are quarters: two games a seed, ties half


def decide(strata: Sequence[Values]) -> Graph:
    """Return who beats whom, bool [N, N].

    `strata`: as `rating.rate` takes them, float64 [E, N, N] quarters or NaN. What stands in one row of several
    simulations was played on one seed, and is one result.
    """
    number = strata[0].shape[1]
    results = _results(strata)
    met = _met(strata)
    pairs = [(i, j) for i in range(number) for j in range(i) if met[i, j]]
    beats: Graph = np.zeros((number, number), np.bool_)
    for (i, j), p_value in zip(pairs, holm([sign_p(results[:, i, j]) for i, j in pairs]), strict=True):
        if p_value < LEVEL:
            i_won = results[:, i, j].sum() > 0
            beats[i, j], beats[j, i] = i_won, not i_won
    return beats


def sign_p(results: NDArray[np.int64]) -> float:
    """Return the two-sided p-value of whole numbers [E] under changes of their signs; exact. 1 if all are 0."""
    sizes, counts = np.unique(np.abs(results[results != 0]), return_counts=True)
    chances = np.ones(1)  # of every sum, from the least to the greatest
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        steps = np.zeros(2 * size * count + 1)
        steps[:: 2 * size] = [math.comb(count, plus) / 2**count for plus in range(count + 1)]
        chances = np.convolve(chances, steps)
    found = abs(int(results.sum()))
    return min(1.0, 2 * float(chances[len(chances) // 2 + found :].sum()))


def fewest_seeds(pairs: int) -> int:
    """Return on how many seeds one of so many pairs must meet, at least, to be decided: all of them won."""
    return math.ceil(1 + math.log2(pairs / LEVEL))


def _results(strata: Sequence[Values]) -> NDArray[np.int64]:
    """Return by how much the row did better on each seed, in quarters, int64 [E, N, N]; 0 where they did not meet."""
    seeds = max(map(len, strata))
    results = np.zeros((seeds, *strata[0].shape[1:]), np.int64)
    for games in strata:
        quarters = _UNITS * (np.nan_to_num(games, nan=0.5) - 0.5)
        assert np.abs(quarters - np.rint(quarters)).max(initial=0) < 1e-9, "shares of games are quarters"
        results[: len(games)] += np.rint(quarters).astype(np.int64)
    return results


def _met(strata: Sequence[Values]) -> Graph:
    met: Graph = np.any([~np.isnan(games).all(axis=0) for games in strata], axis=0)
    return met
