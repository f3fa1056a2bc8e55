"""Episodes on the device: which one a world plays, how one ends, and how the next one begins.

The host is not asked. A pool of worlds that have just begun, one for each map, lies beside the batch; a reset copies
the one that the next episode's seed picks. What is known of an episode at its last tick stays until the next one ends.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metta.grid.jit import rule
from metta.grid.rng import episode_seed, pool_index, staggered_length
from metta.grid.ruleset import Buffers
from metta.grid.world import (
    OBJECT_FIELDS,
    OBJECT_STAT_EVENTS,
    WORLD_END_AT,
    WORLD_FIELDS,
    WORLD_SEED,
    WORLD_STAT_TOKENS,
    WORLD_STEP,
    Sizes,
    State,
)


class Episodes(NamedTuple):
    """The episodes of E worlds. N agents a world, K tokens."""

    numbers: NDArray[np.int64]  # [E] how many episodes the world has ended since its reset
    seeds: NDArray[np.int64]  # [E] of the episode that is played
    maps: NDArray[np.int64]  # [E] its map, as an index into the pool
    end_at: NDArray[np.int64]  # [E] the tick at which it ends
    staggered: NDArray[np.bool_]  # [E] whether it was shortened
    wanted: NDArray[np.int32]  # [E, A] tokens of this tick's observations, those without room too
    noise: NDArray[np.float32]  # [E, A] for the agents' next actions, when asked for
    ended: NDArray[np.bool_]  # [E] whether this tick was an episode's last
    # Of the episode that ended last, at its last tick:
    last_lengths: NDArray[np.int64]  # [E]
    last_truncated: NDArray[np.bool_]  # [E]
    last_staggered: NDArray[np.bool_]  # [E]
    last_observations: NDArray[np.uint8]  # [E, A, K * 3]
    last_stats: NDArray[np.int32]  # [E, A, S]
    last_rewards: NDArray[np.float32]  # [E, A]
    last_inventory: NDArray[np.uint8]  # [E, A, R]
    last_world_stats: NDArray[np.int64]  # [E, world stats]
    last_objects: NDArray[np.int32]  # [E, O, OBJECT_FIELDS]
    last_object_stats: NDArray[np.int32]  # [E, O, converter stats]


def allocate_episodes(sizes: Sizes, num_worlds: int) -> Episodes:
    """Return arrays of zeros."""
    E, A = num_worlds, sizes.agents
    return Episodes(
        numbers=np.zeros(E, np.int64),
        seeds=np.zeros(E, np.int64),
        maps=np.zeros(E, np.int64),
        end_at=np.zeros(E, np.int64),
        staggered=np.zeros(E, np.bool_),
        wanted=np.zeros((E, A), np.int32),
        noise=np.zeros((E, A), np.float32),
        ended=np.zeros(E, np.bool_),
        last_lengths=np.zeros(E, np.int64),
        last_truncated=np.zeros(E, np.bool_),
        last_staggered=np.zeros(E, np.bool_),
        last_observations=np.zeros((E, A, 3 * sizes.tokens), np.uint8),
        last_stats=np.zeros((E, A, sizes.stats), np.int32),
        last_rewards=np.zeros((E, A), np.float32),
        last_inventory=np.zeros((E, A, sizes.resources), np.uint8),
        last_world_stats=np.zeros((E, WORLD_STAT_TOKENS + sizes.kinds), np.int64),
        last_objects=np.zeros((E, sizes.objects, OBJECT_FIELDS), np.int32),
        last_object_stats=np.zeros((E, sizes.objects, 4 * sizes.resources + OBJECT_STAT_EVENTS), np.int32),
    )


@rule
def end_tick(state: State, buffers: Buffers, episodes: Episodes, e: int) -> None:
    """Note whether an episode ended, and how; the end of a shortened one is a truncation."""
    is_over = bool(buffers.terminals[e, 0]) or bool(buffers.truncations[e, 0])
    episodes.ended[e] = is_over
    if is_over:
        if episodes.staggered[e]:
            for a in range(state.agents.shape[1]):
                buffers.truncations[e, a] = True
                buffers.terminals[e, a] = False
        episodes.last_lengths[e] = state.worlds[e, WORLD_STEP]
        episodes.last_truncated[e] = buffers.truncations[e, 0]
        episodes.last_staggered[e] = episodes.staggered[e]
        episodes.numbers[e] += 1


@rule
def draw_episode(
    episodes: Episodes, e: int, run_seed: int, first_world: int, num_maps: int, max_steps: int, stagger: int
) -> None:
    """Draw the episode that a world plays next: what `SingleTask.next_task` and `VecEnv` would say."""
    seed = episode_seed(run_seed, first_world + e, int(episodes.numbers[e]))
    end_at = max_steps
    if stagger != 0 and episodes.numbers[e] == 0 and max_steps > 0:
        end_at = staggered_length(seed, max_steps)
    episodes.seeds[e] = seed
    episodes.maps[e] = pool_index(seed, num_maps)
    episodes.end_at[e] = end_at
    episodes.staggered[e] = end_at < max_steps


@rule
def keep_last_tick(state: State, buffers: Buffers, episodes: Episodes, e: int, lane: int, lanes: int) -> None:
    """Copy what is asked about an episode that ended; every `lanes`-th item from `lane` on."""
    copy_rows(episodes.last_observations, e, buffers.observations, e, lane, lanes)
    copy_rows(episodes.last_stats, e, state.stats, e, lane, lanes)
    copy_row(episodes.last_rewards, e, state.episode_rewards, e, lane, lanes)
    copy_rows(episodes.last_inventory, e, state.inventory, e, lane, lanes)
    copy_row(episodes.last_world_stats, e, state.world_stats, e, lane, lanes)
    copy_rows(episodes.last_objects, e, state.objects, e, lane, lanes)
    copy_rows(episodes.last_object_stats, e, state.object_stats, e, lane, lanes)


@rule
def begin_episode(
    state: State, buffers: Buffers, pool: State, views: Buffers, episodes: Episodes, e: int, lane: int, lanes: int
) -> None:
    """Let a world be its map's in the pool, and show what its agents see first; every `lanes`-th item from `lane` on.

    The last tick's rewards and flags stay. No item is touched by two lanes, so none waits for another.
    """
    p = int(episodes.maps[e])
    copy_row(state.cells, e, pool.cells, p, lane, lanes)
    copy_rows(state.agents, e, pool.agents, p, lane, lanes)
    copy_rows(state.inventory, e, pool.inventory, p, lane, lanes)
    copy_rows(state.objects, e, pool.objects, p, lane, lanes)
    copy_rows(state.object_inventory, e, pool.object_inventory, p, lane, lanes)
    copy_row(state.episode_rewards, e, pool.episode_rewards, p, lane, lanes)
    copy_row(state.stat_rewards, e, pool.stat_rewards, p, lane, lanes)
    copy_rows(state.stats, e, pool.stats, p, lane, lanes)
    copy_rows(state.object_stats, e, pool.object_stats, p, lane, lanes)
    copy_row(state.world_stats, e, pool.world_stats, p, lane, lanes)
    copy_rows(state.visits, e, pool.visits, p, lane, lanes)
    copy_row(state.occupancy, e, pool.occupancy, p, lane, lanes)
    copy_rows(state.looks, e, pool.looks, p, lane, lanes)
    copy_row(state.look_sizes, e, pool.look_sizes, p, lane, lanes)
    copy_rows(buffers.observations, e, views.observations, p, lane, lanes)
    copy_row(buffers.token_counts, e, views.token_counts, p, lane, lanes)
    if lane == 0:
        for field in range(WORLD_FIELDS):
            state.worlds[e, field] = pool.worlds[p, field]
        state.worlds[e, WORLD_SEED] = episodes.seeds[e]
        state.worlds[e, WORLD_END_AT] = episodes.end_at[e]


@rule
def copy_row(target: NDArray[Any], e: int, source: NDArray[Any], p: int, lane: int, lanes: int) -> None:
    """Copy a lane's items of `source[p]`, one dimension, to `target[e]`."""
    for i in range(lane, target.shape[1], lanes):
        target[e, i] = source[p, i]


@rule
def copy_rows(target: NDArray[Any], e: int, source: NDArray[Any], p: int, lane: int, lanes: int) -> None:
    """Copy a lane's items of `source[p]`, two dimensions, to `target[e]`."""
    width = target.shape[2]
    for i in range(lane, target.shape[1] * width, lanes):
        target[e, i // width, i % width] = source[p, i // width, i % width]
