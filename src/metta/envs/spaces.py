"""Observation spaces as plain data: what a policy is built for."""

from __future__ import annotations

from dataclasses import dataclass

from metta.grid.compile import CompiledWorld, Feature


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


def token_space(compiled: CompiledWorld) -> TokenSpace:
    """Return the space of what an agent of this world sees."""
    observation = compiled.config.observation
    return TokenSpace(
        num_tokens=observation.num_tokens,
        height=observation.height,
        width=observation.width,
        features=compiled.features,
        object_types=dict(compiled.object_types),
        action_names=compiled.action_names,
    )
