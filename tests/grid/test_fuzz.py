"""Millions of actions of any size: no crash, and not a byte written beside the arrays."""

from __future__ import annotations

import random

import numpy as np
import pytest

from metta.grid.cpu import reset_world, step_worlds
from metta.grid.world import AGENT_POSITION, CELL_OUTSIDE
from metta.grid.worlds import arena

GUARD = 256  # bytes on either side of every array
NUM_WORLDS = 24


def guarded(arrays, guards):
    """Return a copy of a tuple of arrays in memory that is surrounded by known bytes, which are added to `guards`."""
    copies = {}
    for name, array in arrays._asdict().items():
        memory = np.full(array.nbytes + 2 * GUARD, 0xA5, np.uint8)
        copy = memory[GUARD : GUARD + array.nbytes].view(array.dtype).reshape(array.shape)
        copy[...] = array
        copies[name] = copy
        guards += [memory[:GUARD], memory[GUARD + array.nbytes :]]
    return type(arrays)(**copies)


def fuzzed(games, config, seed):
    """Return a batch in guarded memory, in worlds of several seeds, and its guards."""
    game = games.begin(config, seed=seed, num_worlds=NUM_WORLDS)
    guards: list[np.ndarray] = []
    game = game._replace(state=guarded(game.state, guards), buffers=guarded(game.buffers, guards))
    for e in range(NUM_WORLDS):
        begin_again(game, e, seed + e)
    return game, guards


def begin_again(game, e, seed):
    compiled = game.compiled
    reset_world(compiled, game.rules, game.state, game.buffers, e, compiled.build_map(seed), seed=seed)


def any_actions(rng, shape, num_actions):
    """Return int32 numbers: most of them actions, some just beside, some of any size, some the largest there are."""
    kinds = rng.integers(0, 10, shape)
    actions = rng.integers(0, num_actions, shape)
    actions = np.where(kinds == 0, rng.integers(-(2**31), 2**31, shape), actions)
    actions = np.where(kinds == 1, rng.choice([-(2**31), -1, num_actions, 2**31 - 1, 255, 256, -256], shape), actions)
    return actions.astype(np.int32)


def assert_whole(game, guards):
    assert all((guard == 0xA5).all() for guard in guards)
    state, num_agents = game.state, game.compiled.config.num_agents
    flat = state.cells.reshape(NUM_WORLDS, -1)
    for e in range(NUM_WORLDS):
        standing = np.flatnonzero((flat[e] < 0) & (flat[e] > CELL_OUTSIDE))
        assert sorted(-flat[e][standing] - 1) == list(range(num_agents))
        assert (flat[e][state.agents[e, :, AGENT_POSITION]] == -np.arange(num_agents) - 1).all()


def fuzz(game, guards, *, ticks, threads=2):
    rng = np.random.default_rng(1)
    shape = game.buffers.actions.shape
    for tick in range(ticks):
        game.buffers.actions[:] = any_actions(rng, shape, len(game.compiled.action_names))
        step_worlds(game.rules, game.state, game.buffers, threads)
        if tick % 50 == 0:
            begin_again(game, tick // 50 % NUM_WORLDS, tick)  # now and then a world begins anew
    assert_whole(game, guards)


def test_a_million_actions_of_any_size_corrupt_nothing_in_the_arena(games):
    game, guards = fuzzed(games, arena(), 0)
    fuzz(game, guards, ticks=1 + 1_000_000 // game.buffers.actions.size)
    assert np.isfinite(game.state.rewards).all()


@pytest.mark.parametrize("seed", range(25))
def test_tens_of_thousands_corrupt_nothing_in_any_world(games, seed):
    game, guards = fuzzed(games, games.wide_config(seed), seed)
    fuzz(game, guards, ticks=200, threads=1 + seed % 2)


def test_the_guards_would_notice(games):
    """One byte beside an array, which is what this test is about."""
    game, guards = fuzzed(games, games.wide_config(0), 0)
    assert_whole(game, guards)
    guards[random.Random(0).randrange(len(guards))][0] = 0
    with pytest.raises(AssertionError):
        assert_whole(game, guards)
