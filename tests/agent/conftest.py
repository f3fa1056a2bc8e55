"""Spaces and tokens of small grid worlds, made without a world."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from metta.envs import TokenSpace
from metta.grid import Feature

FEATURES = [
    "type_id", "agent:group", "agent:frozen", "agent:orientation", "agent:color", "converting", "swappable",
    "episode_completion_pct", "last_action", "last_action_arg", "last_reward", "agent:glyph", "resource_rewards",
    "agent:visitation_counts", "inv:ore_red", "inv:heart",
]  # fmt: skip
ACTIONS = ["noop", "move_0", "move_1", "get_items", "change_glyph_0", "change_glyph_1", "change_glyph_2"]


def make_space(
    *,
    features: list[str] = FEATURES,
    objects: dict[int, str] | None = None,
    actions: list[str] = ACTIONS,
    height: int = 5,
    width: int = 3,
    num_tokens: int = 40,
) -> TokenSpace:
    objects = {0: "agent", 1: "wall", 2: "mine_red", 8: "altar"} if objects is None else objects
    table = tuple(Feature(i, name, 1.0) for i, name in enumerate(features))
    return TokenSpace(num_tokens, height, width, table, objects, tuple(actions))


def make_tokens(space: TokenSpace, num_samples: int, seed: int = 0) -> Tensor:
    """Random tokens uint8 [N, K, 3], of ids and values the space has and of some that it has not; some lists full."""
    rng = np.random.default_rng(seed)
    tokens = np.full((num_samples, space.num_tokens, 3), 255, np.uint8)
    for sample in tokens:
        count = rng.integers(0, space.num_tokens + 1)
        rows, columns = rng.integers(0, space.height, count), rng.integers(0, space.width, count)
        sample[:count, 0] = rows * 16 + columns
        sample[:count, 1] = rng.integers(0, len(space.features) + 1, count)
        sample[:count, 2] = np.where(rng.random(count) < 0.8, rng.integers(0, 10, count), rng.integers(0, 256, count))
    return torch.from_numpy(tokens)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors here are tiny: starting threads for them costs seconds on a busy machine. The same numbers every time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def space() -> TokenSpace:
    return make_space()


@pytest.fixture
def space_of() -> Callable[..., TokenSpace]:
    return make_space


@pytest.fixture
def tokens_of() -> Callable[..., Tensor]:
    return make_tokens
