"""Random numbers for maps: streams of the world's generator, one for each stage of the building."""

from __future__ import annotations

from metta.grid.jit import builder
from metta.grid.rng import PURPOSE_MAP, below, stream_key, stream_u32

# The stage says what a number is drawn for, so that no builder uses one number twice.
STAGE_INSTANCE = 1
STAGE_SIZE = 2
STAGE_WALLS = 3
STAGE_DOORS = 4
STAGE_OBJECTS = 5
STAGE_AGENTS = 6
STAGE_RETRY = 7


@builder
def map_stream(seed: int, stage: int) -> int:
    """Return the key of a stage's stream."""
    return stream_key(seed, stage, PURPOSE_MAP)


@builder
def draw_below(key: int, index: int, n: int) -> int:
    """Return number `index` of a stream, 0..n-1."""
    return below(stream_u32(key, index, 0), n)


@builder
def draw_between(key: int, index: int, low: int, high: int) -> int:
    """Return number `index` of a stream, low..high, both included."""
    return low + below(stream_u32(key, index, 0), high - low + 1)


@builder
def derive_seed(seed: int, stage: int, index: int) -> int:
    """Return a seed (0..2**63-1) of its own for part `index` of a map."""
    key = map_stream(seed, stage)
    return (stream_u32(key, index, 1) >> 1) << 32 | stream_u32(key, index, 2)
