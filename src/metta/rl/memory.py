"""Freed memory that stays with the process: training frees and takes the same megabytes in every minibatch."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt, from malloc.h
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc refuses more; blocks above are still given back at once
_KEPT = 1 << 30  # bytes at the heap's end that may stay unused


def keep_freed_memory() -> bool:
    """Tell the C library not to give freed blocks back to the system; return whether it takes orders (glibc does).

    By default a block of more than 128 KiB is given back when it is freed, and each of its pages is cleared and mapped
    anew when it is taken again: 5 ms for the gradient of the table, where adding to it takes 1 ms (LOG.md). The process
    stays as large as it once was.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
