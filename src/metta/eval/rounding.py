"""Scores that differ by rounding alone are equal: a sum of the same rewards in another order is no better policy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Of the larger of two numbers. Rewards are summed in float32, tick by tick: each sum is rounded by at most 2^-24 of
# itself, and 1,000 roundings add up as steps of a random walk do, to sqrt(1000) / 2^24. The same 1,000 rewards in other
# orders differed by 1.6e-6 at most; one reward of 0.01 more is more than that.
SAME = 2.0**-19


def gap(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Return x - y, 0 where that is rounding: at most `SAME`, 2e-6, of the larger of the two."""
    one, other = np.asarray(x, np.float64), np.asarray(y, np.float64)
    difference = one - other
    gaps: NDArray[np.float64] = np.where(
        np.abs(difference) <= SAME * np.maximum(np.abs(one), np.abs(other)), 0.0, difference
    )
    return gaps
