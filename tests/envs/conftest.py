"""What several tests of this room share."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def through_a_safe_file() -> Callable[[Any], Any]:
    """Return a function that saves plain data as a checkpoint does, and loads it with PyTorch's safe default."""
    torch = pytest.importorskip("torch")

    def convert(value: Any, kind: type, function: Callable[[Any], Any]) -> Any:
        if isinstance(value, dict):
            return {key: convert(item, kind, function) for key, item in value.items()}
        if isinstance(value, list):
            return [convert(item, kind, function) for item in value]
        return function(value) if isinstance(value, kind) else value

    def save_and_load(value: Any) -> Any:
        file = io.BytesIO()
        torch.save(convert(value, np.ndarray, torch.from_numpy), file)
        file.seek(0)
        return convert(torch.load(file, weights_only=True), torch.Tensor, lambda tensor: tensor.numpy())

    return save_and_load
