"""Plain data (numbers, texts, lists, dictionaries, numpy arrays) to a digest: what a snapshot is made of."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Digest(Protocol):
    """A hash of `hashlib`."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""


def update_digest(digest: Digest, value: Any) -> None:
    """Add plain data to a digest: kinds, dtypes, shapes and contents; dictionaries by sorted key."""
    if isinstance(value, dict):
        digest.update(b"{%d" % len(value))
        for key in sorted(value, key=str):
            digest.update(repr(key).encode())
            update_digest(digest, value[key])
    elif isinstance(value, list | tuple):
        digest.update(b"[%d" % len(value))
        for item in value:
            update_digest(digest, item)
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    else:
        assert value is None or isinstance(value, bool | int | float | str), type(value)
        digest.update(repr(value).encode() + b";")
