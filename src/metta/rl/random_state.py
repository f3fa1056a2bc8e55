"""The global random generators as one part of a checkpoint, for losses and hooks that draw from them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


class RandomState:
    """Saves and restores the generators of Python, NumPy's legacy interface and torch (CPU and every GPU).

    The trainer itself draws from none of them: its noise and its minibatches depend on seeds and counters alone.
    """

    def state_dict(self) -> dict[str, Any]:
        version, internal, gauss = random.getstate()
        name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
        state: dict[str, Any] = {
            "python": [version, list(internal), gauss],
            "numpy": [name, np.asarray(keys), position, has_gauss, cached],
            "torch": torch.get_rng_state(),
        }
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state_all()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        name, keys, position, has_gauss, cached = state["numpy"]
        np.random.set_state((name, keys, position, has_gauss, cached))
        torch.set_rng_state(state["torch"])
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"])


def seed_everything(seed: int) -> None:
    """Seed the global generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
