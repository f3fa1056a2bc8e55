"""Comparing what checkpoints hold."""

from __future__ import annotations

import numpy as np
import torch


def assert_same(left: object, right: object, at: str = "") -> None:
    """Both are equal bit for bit."""
    if isinstance(left, dict):
        assert isinstance(right, dict) and left.keys() == right.keys(), at
        for name, value in left.items():
            assert_same(value, right[name], f"{at}.{name}")
    elif isinstance(left, list | tuple):
        assert isinstance(right, list | tuple) and len(left) == len(right), at
        for i, (one, other) in enumerate(zip(left, right, strict=True)):
            assert_same(one, other, f"{at}[{i}]")
    elif isinstance(left, torch.Tensor):
        assert isinstance(right, torch.Tensor) and torch.equal(left, right), at
    elif isinstance(left, np.ndarray):
        assert isinstance(right, np.ndarray) and left.tobytes() == right.tobytes(), at
    else:
        assert left == right, at
