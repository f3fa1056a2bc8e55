"""The first layer over tokens: learned rows summed over the tokens that are there.

It equals a dense layer over the window (one plane for each value of a category, one for each amount), with its bias
and its relu, at the cost of the tokens alone. Categories have a row per value and place; amounts have a row per place,
scaled by log2(1 + v), so the divisors of the feature table are not needed here. Rows belong to names (of features,
objects, actions), never to the ids of one world: `TokenLayout.luts` says how the ids of any world address them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from metta.agent.token_kernels import ALWAYS, AMOUNT_BITS, DROP, ORDER_LIMIT, WHERE_GLOBAL, WHERE_ORDER, WHERE_PLACE
from metta.agent.token_rows import DecodedTokens, TokenLuts, decode_tokens, sum_decoded_rows
from metta.envs import TokenSpace

logger = logging.getLogger(__name__)

TABLE_DEVIATION = 0.1  # of the rows at the start

# Tokens of these describe the whole world or the agent itself; they always sit at the window's centre.
GLOBAL_FEATURES = frozenset(
    {"episode_completion_pct", "last_action", "last_action_arg", "last_reward", "resource_rewards"}
)
ORDERED_FEATURES = frozenset({"agent:visitation_counts"})
SIGNED_FEATURES = frozenset({"last_reward"})

MAX_GROUPS = 10  # teams that have rows of their own

# What identifies a value of a category: a name where ids differ between worlds, else the value itself.
ValueKey = str | int


@dataclass(frozen=True)
class FeatureRows:
    """The rows of one feature: `first`, then one block for each value (amounts: one block), a block `stride` long."""

    name: str
    first: int
    where: int
    stride: int
    values: tuple[ValueKey, ...] | None  # None: an amount

    @property
    def num_rows(self) -> int:
        """Rows in all."""
        return self.stride * (1 if self.values is None else len(self.values))


@dataclass(frozen=True)
class TokenLayout:
    """Which row of the table means what: fixed when a policy is made, and saved with it as its space."""

    space: TokenSpace
    features: tuple[FeatureRows, ...]
    num_rows: int

    @classmethod
    def of(cls, space: TokenSpace) -> TokenLayout:
        """Lay out the rows for `space`: features in id order, values in order, places row by row."""
        features: list[FeatureRows] = []
        first = ALWAYS + 1  # the row before is everyone's: the bias
        for feature in sorted(space.features):
            where, stride = _where(feature.name, space)
            rows = FeatureRows(feature.name, first, where, stride, _values(feature.name, space))
            features.append(rows)
            first += rows.num_rows
        assert first << AMOUNT_BITS < -DROP, f"{first} rows are too many for their codes"
        return cls(space, tuple(features), first)

    def luts(self, world: TokenSpace) -> tuple[TokenLuts, list[str]]:
        """Return how the tokens of `world` address these rows, and what of `world` is unknown here and dropped.

        Features are matched by name, values of `type_id` by object name, those of `last_action` by action name, places
        by their offset from the window's centre.
        """
        code = np.full((256, 256), DROP, np.int32)
        where = np.full(256, WHERE_GLOBAL, np.uint8)
        known = {rows.name: rows for rows in self.features}
        unknown: list[str] = []
        for feature in sorted(world.features):
            rows = known.get(feature.name)
            if rows is None:
                unknown.append(f"feature {feature.name}")
                continue
            where[feature.id] = rows.where
            if rows.values is None:
                code[feature.id, 1:] = (rows.first << AMOUNT_BITS) + np.arange(1, 256)
                code[feature.id, 1:] += 256 * (feature.name in SIGNED_FEATURES)
                continue
            keys = _world_keys(feature.name, world)
            index = {key: (rows.first + i * rows.stride << AMOUNT_BITS) + 1 for i, key in enumerate(rows.values)}
            for value, key in keys.items():
                code[feature.id, value] = index.get(key, DROP)
            names = [key for key in keys.values() if isinstance(key, str)]
            unknown += [f"{_kind(feature.name)} {name}" for name in names if name not in index]
        arrays = (code, _places(self.space, world), where)
        return TokenLuts(*(torch.from_numpy(array) for array in arrays)), unknown


def _where(name: str, space: TokenSpace) -> tuple[int, int]:
    """Return WHERE_* and the length of a block of rows."""
    if name in GLOBAL_FEATURES:
        return WHERE_GLOBAL, 1
    if name in ORDERED_FEATURES:
        return WHERE_ORDER, ORDER_LIMIT
    return WHERE_PLACE, space.height * space.width


def _values(name: str, space: TokenSpace) -> tuple[ValueKey, ...] | None:
    """Return the values of a category that have rows; None for an amount. Rows that nothing can show are spared."""
    match name:
        case "type_id":
            return tuple(space.object_types[type_id] for type_id in sorted(space.object_types))
        case "last_action":
            return tuple(space.action_names)
        case "agent:group":
            return tuple(range(MAX_GROUPS))
        case "agent:frozen" | "converting":
            return (0, 1)
        case "swappable":
            return (1,)
        case "agent:orientation":
            return tuple(range(8))
        case "agent:glyph":
            return tuple(range(1, sum(action.startswith("change_glyph_") for action in space.action_names)))
        case "resource_rewards":
            return tuple(range(256))
    return None


def _world_keys(name: str, world: TokenSpace) -> dict[int, ValueKey]:
    """Return what each value of a category means in `world`."""
    match name:
        case "type_id":
            return dict(world.object_types)
        case "last_action":
            return dict(enumerate(world.action_names[:256]))
    return {value: value for value in range(256)}


def _kind(name: str) -> str:
    return "object" if name == "type_id" else "action"


def _places(own: TokenSpace, world: TokenSpace) -> NDArray[np.int32]:
    """Return int32 [2, 256] by place byte of `world`, for `TokenLuts`: the own place at the same offset, global: 0."""
    places = np.full((2, 256), DROP, np.int32)
    places[WHERE_GLOBAL] = 0
    for row in range(world.height):
        for column in range(world.width):
            own_row = row - world.height // 2 + own.height // 2
            own_column = column - world.width // 2 + own.width // 2
            if 0 <= own_row < own.height and 0 <= own_column < own.width:
                places[WHERE_PLACE, row * 16 + column] = own_row * own.width + own_column << AMOUNT_BITS
    return places


class TokenEncoder(nn.Module):
    """Tokens uint8 [..., K, 3], or the same decoded, to float32 [..., width]: the relu of the sum of their rows."""

    def __init__(self, space: TokenSpace, width: int) -> None:
        super().__init__()
        self.layout = TokenLayout.of(space)
        self.width = width
        self.table = nn.Parameter(torch.randn(self.layout.num_rows, width) * TABLE_DEVIATION)
        with torch.no_grad():
            self.table[ALWAYS] = 0

    def forward(self, observations: Tensor | DecodedTokens, luts: TokenLuts | None) -> Tensor:
        """Sum the rows; `luts` says how the world's tokens address them (not needed for decoded ones)."""
        return sum_decoded_rows(self.table, self.prepare(observations, luts), relu=True)

    def prepare(
        self, observations: Tensor | DecodedTokens, luts: TokenLuts | None, *, out: DecodedTokens | None = None
    ) -> DecodedTokens:
        """Decode tokens into rows and scales; what is decoded already is returned as it is."""
        if isinstance(observations, DecodedTokens):
            return observations
        assert luts is not None
        return decode_tokens(observations, luts, out=out)
