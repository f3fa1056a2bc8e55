"""Randomness without state: every number is a hash of (episode seed, tick, purpose, index, extra).

Plain 32-bit integer arithmetic. Multipliers stay below 2**31, so products of a 32-bit number fit a signed 64-bit one:
the same bits in Numba, on a GPU and in plain Python. The mixing function is `[16 21f0aaad 15 735a2d97 15]` of
https://github.com/skeeto/hash-prospector (public domain), whose bias is the lowest known of its form.
"""

from __future__ import annotations

import numpy as np

from metta.grid.jit import builder

PURPOSE_ORDER = 1  # the order in which agents act
PURPOSE_RESOURCE_LOSS = 2
PURPOSE_MAP = 3  # map builders
PURPOSE_POLICY = 4  # sampling of actions
PURPOSE_STAGGER = 5  # ages at which training worlds start
PURPOSE_SEED = 6  # episode seeds
PURPOSE_SCRIPTED = 7  # scripted agents
PURPOSE_TASK = 8  # choice of tasks
PURPOSE_POOL = 9  # pools of maps: their seeds, and which of them an episode plays

MASK = 0xFFFFFFFF
GOLDEN = 0x1E3779B9


@builder
def mix32(value: int) -> int:
    """Return a 32-bit hash of a 32-bit number (a bijection)."""
    value = ((value >> 16) ^ value) * 0x21F0AAAD & MASK
    value = ((value >> 15) ^ value) * 0x735A2D97 & MASK
    return (value >> 15) ^ value


@builder
def combine32(key: int, value: int) -> int:
    """Return a new 32-bit key from a key and the low 32 bits of a value."""
    return mix32((mix32((value + GOLDEN) & MASK) + key) & MASK)


@builder
def stream_key(seed: int, tick: int, purpose: int) -> int:
    """Return the key of a stream: the part of `random_u32` that does not depend on index and extra."""
    key = combine32(seed & MASK, (seed >> 32) & MASK)
    return combine32(combine32(key, tick & MASK), purpose)


@builder
def stream_u32(key: int, index: int, extra: int) -> int:
    """Return number (index, extra) of a stream, 0..2**32-1."""
    return combine32(combine32(key, index & MASK), extra & MASK)


@builder
def random_u32(seed: int, tick: int, purpose: int, index: int, extra: int) -> int:
    """Return a uniform 32-bit number, 0..2**32-1."""
    return stream_u32(stream_key(seed, tick, purpose), index, extra)


@builder
def below(bits: int, n: int) -> int:
    """Return a number 0..n-1 from 32 random bits; n at most 2**31 (the bias is at most n / 2**32)."""
    return (bits * n) >> 32


@builder
def random_below(seed: int, tick: int, purpose: int, index: int, extra: int, n: int) -> int:
    """Return a number 0..n-1; n at most 2**31."""
    return below(random_u32(seed, tick, purpose, index, extra), n)


@builder
def unit_float(bits: int) -> np.float32:
    """Return a float32 in [0, 1) from 32 random bits: 24 of them, exact."""
    return np.float32(bits >> 8) * np.float32(1.0 / 16777216.0)


@builder
def random_float(seed: int, tick: int, purpose: int, index: int, extra: int) -> np.float32:
    """Return a uniform float32 in [0, 1)."""
    return unit_float(random_u32(seed, tick, purpose, index, extra))


@builder
def episode_seed(run_seed: int, world: int, episode: int) -> int:
    """Return the seed of an episode in training, 0..2**62-1; evaluation's seeds lie above (sim/seeds.py).

    `world` counts on over the processes of a run, so the seeds do not depend on how many there are.
    """
    return stream_seed(stream_key(run_seed, 0, PURPOSE_SEED), world, episode)


@builder
def pool_seed(run_seed: int, index: int) -> int:
    """Return the seed of one map of a run's pool, 0..2**62-1."""
    return stream_seed(stream_key(run_seed, 0, PURPOSE_POOL), 0, index)


@builder
def pool_index(seed: int, num_maps: int) -> int:
    """Return which map of a pool the episode with this seed plays."""
    return random_below(seed, 0, PURPOSE_POOL, 0, 0, num_maps)


@builder
def staggered_length(seed: int, max_steps: int) -> int:
    """Return how long the shortened first episode of a training world lasts, 1..max_steps."""
    return 1 + random_below(seed, 0, PURPOSE_STAGGER, 0, 0, max_steps)


@builder
def stream_seed(key: int, index: int, number: int) -> int:
    """Return a seed of a stream, 0..2**62-1."""
    high = stream_u32(key, index, 2 * number)
    low = stream_u32(key, index, 2 * number + 1)
    return (high >> 2) << 32 | low
