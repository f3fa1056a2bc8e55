"""The exponential functions of the kernels, measured against NumPy's in float64."""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from metta.agent.kernels import functions

SPREAD = np.concatenate(
    [np.linspace(-87, 88, 200_001), np.geomspace(1e-30, 1, 20_001), -np.geomspace(1e-30, 1, 20_001)]
)


def looped(function: Callable[..., float], values: NDArray[np.floating]) -> NDArray[np.float32]:
    """The function of each value, as a loop of a kernel finds it."""

    @numba.njit(fastmath={"contract"}, error_model="numpy")
    def loop(given, found):
        for i in range(len(given)):
            found[i] = function(given[i])

    found = np.empty(len(values), np.float32)
    loop(values.astype(np.float32), found)
    return found


@pytest.mark.parametrize(
    ("function", "exact"),
    [
        (functions.exp, np.exp),
        (functions.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
        (functions.tanh, np.tanh),
    ],
    ids=["exp", "sigmoid", "tanh"],
)
def test_errors_are_below_two_ten_millionths_of_the_value(function: Callable[..., float], exact: Callable) -> None:
    expected = exact(SPREAD.astype(np.float32).astype(np.float64))
    np.testing.assert_allclose(looped(function, SPREAD), expected, rtol=2e-7, atol=0)


def test_far_out_they_reach_their_limits_and_what_is_no_number_stays_none() -> None:
    far = np.array([-np.inf, -1e9, -100.0, 1e9, np.inf, np.nan])
    np.testing.assert_array_equal(looped(functions.exp, far)[:3], 0.0)
    assert (looped(functions.exp, far)[3:5] > 1e38).all()
    np.testing.assert_allclose(looped(functions.sigmoid, far)[:5], [0, 0, 0, 1, 1], atol=1e-37)
    np.testing.assert_array_equal(looped(functions.tanh, far)[:5], [-1, -1, -1, 1, 1])
    assert all(np.isnan(looped(f, far)[5]) for f in (functions.exp, functions.sigmoid, functions.tanh))
