"""Randomness: fixed for all time, independent of what came before, evenly spread."""

from __future__ import annotations

import numpy as np

from metta.grid.rng import episode_seed, random_below, random_float, random_u32


def plain_mix(value):
    for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
        value = (value ^ value >> shift) * factor % 2**32
    return value ^ value >> 15


def plain_u32(*keys):
    """The same generator, written without regard to speed."""
    seed, tick, purpose, index, extra = keys
    parts = [seed >> 32, tick, purpose, index, extra]
    key = seed % 2**32
    for part in parts:
        key = plain_mix((plain_mix((part + 0x1E3779B9) % 2**32) + key) % 2**32)
    return key


def test_numbers_equal_a_plain_generator():
    rng = np.random.default_rng(0)
    for _ in range(200):
        keys = [int(rng.integers(0, 2**63)), *(int(n) for n in rng.integers(0, 2**31, 4))]
        assert random_u32(*keys) == plain_u32(*keys)


def test_every_key_matters():
    base = [5, 4, 3, 2, 1]
    numbers = {random_u32(*base)}
    for i in range(5):
        numbers.add(random_u32(*(key + (j == i) for j, key in enumerate(base))))
    assert len(numbers) == 6


def test_the_upper_half_of_a_seed_matters():
    assert random_u32(1, 0, 0, 0, 0) != random_u32(1 + 2**32, 0, 0, 0, 0)


def test_floats_are_in_the_unit_interval_and_evenly_spread():
    numbers = np.array([random_float(1, tick, 4, agent, 0) for tick in range(100) for agent in range(100)])
    assert numbers.dtype == np.float32 or numbers.dtype == np.float64
    assert numbers.min() >= 0 and numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01
    assert abs(np.histogram(numbers, 10, (0, 1))[0] - 1000).max() < 150


def test_numbers_below_n_are_evenly_spread():
    counts = np.bincount([random_below(9, tick, 1, 0, 0, 6) for tick in range(6000)], minlength=6)
    assert len(counts) == 6
    assert abs(counts - 1000).max() < 120


def test_neighbouring_indices_are_not_correlated():
    numbers = np.array([[random_float(seed, 0, 1, i, 0) for i in range(20)] for seed in range(500)])
    correlations = np.corrcoef(numbers.T) - np.eye(20)
    assert abs(correlations).max() < 0.2


def test_episode_seeds_differ_and_fit_an_int64():
    seeds = {episode_seed(*key) for key in np.ndindex(8, 16, 8)}
    assert len(seeds) == 8 * 16 * 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_seeds_of_runs_never_change():
    """A checkpoint that is resumed, and a run that is repeated, play the games of before."""
    assert [episode_seed(*key) for key in ((0, 0, 0), (1, 2, 3), (7, 4095, 10**6))] == [
        731073099033934219, 340054174223549411, 2269398695748908536,
    ]  # fmt: skip
