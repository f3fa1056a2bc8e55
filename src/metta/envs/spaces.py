"""Observation spaces as plain data: what a policy is built for."""

from __future__ import annotations

from dataclasses import dataclass

from metta.grid.compile import Feature


@dataclass(frozen=True)
class TokenSpace:
    """`uint8 [num_tokens, 3]` tokens of a grid world (docs/world.md, section 5), with the tables that explain them."""

    num_tokens: int
    height: int
    width: int
    features: tuple[Feature, ...]
    object_types: dict[int, str]
    action_names: tuple[str, ...]


@dataclass(frozen=True)
class BoxSpace:
    """A real vector or image, `dtype [*shape]`."""

    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float


@dataclass(frozen=True)
class DiscreteSpace:
    """One of `n` numbers."""

    n: int


Space = TokenSpace | BoxSpace | DiscreteSpace
