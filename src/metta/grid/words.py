"""What a processor does in one instruction and plain Python must spell out: words, zeros, and fetching ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metta.grid import handles
from metta.grid.jit import JIT_ENABLED

Bytes = NDArray[np.uint8]


def _trailing_zeros(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def _load_word(array: Bytes, e: int, i: int, at: int) -> int:
    return int.from_bytes(array[e, i, at : at + 8].tobytes(), "little")


def _store_word(array: Bytes, e: int, i: int, at: int, word: int) -> None:
    array[e, i, at : at + 8] = np.frombuffer((word & (2**64 - 1)).to_bytes(8, "little"), np.uint8)


def _prefetch(array: NDArray[Any], index: tuple[int, ...]) -> None:
    """Plain Python has no caches to fill."""


def _choose(plain: Any, compiled: Any) -> Any:
    return compiled if JIT_ENABLED else plain


trailing_zeros: Callable[[int], int] = _choose(_trailing_zeros, handles.trailing_zeros)
"""The number of the lowest bit that is set; the argument is not 0."""

load_word: Callable[[Bytes, int, int, int], int] = _choose(_load_word, handles.load_word)
"""Bytes `array[e, i, at : at + 8]` as one little-endian number; rows and `at` are multiples of 8."""

store_word: Callable[[Bytes, int, int, int, int], None] = _choose(_store_word, handles.store_word)
"""Write the low 64 bits of a number to bytes `array[e, i, at : at + 8]`, little-endian."""

prefetch: Callable[[NDArray[Any], tuple[int, ...]], None] = _choose(_prefetch, handles.prefetch)
"""Ask the processor to bring `array[index]` into its caches; changes nothing but the time."""
