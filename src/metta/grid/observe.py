"""Observations: what each agent sees, as tokens (docs/world.md, section 5).

Most of a tick is spent here. The cells of the window that hold something come as bits out of `occupancy`; a table
turns the bits of six cells at once into the order of observation; then the ready-made tokens of each thing
(rules/looks.py) are copied, eight at a time, with their place bytes filled in. Against a writer that looks at every
cell of the window and writes byte by byte this takes a third of the time (LOG.md). The plain version stands in
tests/grid/test_observe.py, and both agree in every byte.
"""

from __future__ import annotations

import numpy as np

from metta.grid.jit import rule
from metta.grid.rules.looks import (
    FEATURE_COMPLETION,
    FEATURE_LAST_ACTION,
    FEATURE_LAST_ACTION_ARG,
    FEATURE_LAST_REWARD,
    FEATURE_RESOURCE_REWARDS,
    FEATURE_VISITS,
)
from metta.grid.ruleset import (
    CHUNK_BITS,
    RANK_BITS,
    RULE_MAX_STEPS,
    RULE_NUM_TOKENS,
    RULE_SHOW_COMPLETION,
    RULE_SHOW_LAST_ACTION,
    RULE_SHOW_LAST_REWARD,
    RULE_SHOW_RESOURCE_REWARDS,
    RULE_SHOW_VISITS,
    RULE_WINDOW_HEIGHT,
    RULE_WINDOW_WIDTH,
    TEMPLATE_RESOURCE_REWARDS,
    WINDOW_CHUNKS,
    WINDOW_OFFSET,
    WINDOW_PLACES,
    Buffers,
    Rules,
)
from metta.grid.stats import TOKENS_DROPPED, TOKENS_FREE_SPACE, TOKENS_WRITTEN
from metta.grid.words import load_word, store_word, trailing_zeros
from metta.grid.world import (
    AGENT_LAST_ACTION,
    AGENT_POSITION,
    AGENT_TEMPLATE,
    CELL_FIRST_OBJECT,
    LOOK_CHUNK,
    WORLD_STEP,
    WORLD_STRIDE,
    State,
)

EMPTY_BYTE = 255
CHUNK_MASK = (1 << CHUNK_BITS) - 1


@rule
def observe(rules: Rules, state: State, buffers: Buffers, e: int) -> None:
    """Write the observations of all agents of a world, and count tokens."""
    num_tokens = int(rules.world[e, RULE_NUM_TOKENS])
    completion = completion_value(rules, state, e)
    usual = has_usual_globals(rules, e)
    written = 0
    dropped = 0
    for a in range(state.agents.shape[1]):
        n = observe_agent(rules, state, buffers, e, a, completion, usual)
        dropped += max(n - num_tokens, 0)
        written += min(n, num_tokens)
    count_tokens(rules, state, e, written, dropped)


@rule
def observe_agent(rules: Rules, state: State, buffers: Buffers, e: int, a: int, completion: int, usual: bool) -> int:
    """Write the observation of one agent; return how many tokens there are, those without room too."""
    num_tokens = int(rules.world[e, RULE_NUM_TOKENS])
    if usual:
        n = write_usual_globals(rules, state, buffers, e, a, completion)
    else:
        n = write_globals(rules, state, buffers, e, a, completion)
    n = write_window(rules, state, buffers, e, a, n)
    clear_tail(buffers, e, a, min(n, num_tokens), num_tokens)
    return n


@rule
def count_tokens(rules: Rules, state: State, e: int, written: int, dropped: int) -> None:
    """Count the tokens of a world's observations."""
    state.world_stats[e, TOKENS_WRITTEN] += written
    state.world_stats[e, TOKENS_DROPPED] += dropped
    state.world_stats[e, TOKENS_FREE_SPACE] += state.agents.shape[1] * int(rules.world[e, RULE_NUM_TOKENS]) - written


@rule
def completion_value(rules: Rules, state: State, e: int) -> int:
    """Return how much of the episode is over, in 255ths, rounded; 0 when endless."""
    max_steps = int(rules.world[e, RULE_MAX_STEPS])
    if max_steps == 0:
        return 0
    return min((510 * int(state.worlds[e, WORLD_STEP]) + max_steps) // (2 * max_steps), 255)


@rule
def reward_value(reward: np.float32) -> int:
    """Return 100 * reward in float32, rounded half away from zero, modulo 256; 0 where that cannot be said."""
    if reward == 0:
        return 0
    hundredfold = np.float64(np.float32(100.0) * np.float32(reward))
    size = abs(hundredfold)
    if not size < 2147483648.0:  # float32 has no odd multiples of 256 there; also infinities and NaN
        return 0
    rounded = int(size + 0.5)
    return (rounded if hundredfold >= 0 else -rounded) & 255


@rule
def put_token(buffers: Buffers, e: int, a: int, n: int, limit: int, place: int, feature: int, value: int) -> int:
    """Write one token if there is room; return the number of tokens that wanted to be written."""
    if n < limit:
        buffers.observations[e, a, 3 * n] = place
        buffers.observations[e, a, 3 * n + 1] = feature
        buffers.observations[e, a, 3 * n + 2] = value
    return n + 1


@rule
def write_globals(rules: Rules, state: State, buffers: Buffers, e: int, a: int, completion: int) -> int:
    """Write the global tokens in order of their ids, all placed at the centre; return their number."""
    limit = int(rules.world[e, RULE_NUM_TOKENS])
    place = (int(rules.world[e, RULE_WINDOW_HEIGHT]) >> 1) * 16 + (int(rules.world[e, RULE_WINDOW_WIDTH]) >> 1)
    n = 0
    if rules.world[e, RULE_SHOW_COMPLETION]:
        n = put_token(buffers, e, a, n, limit, place, FEATURE_COMPLETION, completion)
    if rules.world[e, RULE_SHOW_LAST_ACTION]:
        action = int(state.agents[e, a, AGENT_LAST_ACTION]) & 255
        n = put_token(buffers, e, a, n, limit, place, FEATURE_LAST_ACTION, action)
        n = put_token(buffers, e, a, n, limit, place, FEATURE_LAST_ACTION_ARG, 0)
    if rules.world[e, RULE_SHOW_LAST_REWARD]:
        n = put_token(buffers, e, a, n, limit, place, FEATURE_LAST_REWARD, reward_value(state.rewards[e, a]))
    if rules.world[e, RULE_SHOW_RESOURCE_REWARDS]:
        mask = int(rules.templates[e, int(state.agents[e, a, AGENT_TEMPLATE]), TEMPLATE_RESOURCE_REWARDS])
        n = put_token(buffers, e, a, n, limit, place, FEATURE_RESOURCE_REWARDS, mask)
    if rules.world[e, RULE_SHOW_VISITS]:
        n = write_visits(state, buffers, e, a, n, limit, place)
    return n


@rule
def has_usual_globals(rules: Rules, e: int) -> bool:
    """Return whether the global tokens are the four that are on by default, and there is room for them."""
    world = rules.world
    default = world[e, RULE_SHOW_COMPLETION] and world[e, RULE_SHOW_LAST_ACTION] and world[e, RULE_SHOW_LAST_REWARD]
    more = world[e, RULE_SHOW_RESOURCE_REWARDS] or world[e, RULE_SHOW_VISITS]
    return bool(default and not more and world[e, RULE_NUM_TOKENS] >= LOOK_CHUNK)


@rule
def write_usual_globals(rules: Rules, state: State, buffers: Buffers, e: int, a: int, completion: int) -> int:
    """Write the four global tokens that are on by default, as two words: what `write_globals` writes, but quicker."""
    place = int(rules.window_cells[0, WINDOW_PLACES]) & 255
    action = int(state.agents[e, a, AGENT_LAST_ACTION]) & 255
    reward = reward_value(state.rewards[e, a])
    first = place | FEATURE_COMPLETION << 8 | completion << 16 | place << 24 | FEATURE_LAST_ACTION << 32 | action << 40
    first |= place << 48 | FEATURE_LAST_ACTION_ARG << 56
    store_word(buffers.observations, e, a, 0, first)
    store_word(buffers.observations, e, a, 8, place << 8 | FEATURE_LAST_REWARD << 16 | reward << 24)
    return 4


@rule
def write_visits(state: State, buffers: Buffers, e: int, a: int, n: int, limit: int, place: int) -> int:
    """Write how often the agent stood here, above, below, left and right, each up to 255."""
    here = int(state.agents[e, a, AGENT_POSITION])
    stride = int(state.worlds[e, WORLD_STRIDE])
    n = put_token(buffers, e, a, n, limit, place, FEATURE_VISITS, min(int(state.visits[e, a, here]), 255))
    n = put_token(buffers, e, a, n, limit, place, FEATURE_VISITS, min(int(state.visits[e, a, here - stride]), 255))
    n = put_token(buffers, e, a, n, limit, place, FEATURE_VISITS, min(int(state.visits[e, a, here + stride]), 255))
    n = put_token(buffers, e, a, n, limit, place, FEATURE_VISITS, min(int(state.visits[e, a, here - 1]), 255))
    return put_token(buffers, e, a, n, limit, place, FEATURE_VISITS, min(int(state.visits[e, a, here + 1]), 255))


@rule
def write_window(rules: Rules, state: State, buffers: Buffers, e: int, a: int, n: int) -> int:
    """Write the tokens of every thing in the window; return how many tokens there are, those without room too."""
    occupancy, sets = state.occupancy, rules.window_sets
    height = int(rules.world[e, RULE_WINDOW_HEIGHT])
    width = int(rules.world[e, RULE_WINDOW_WIDTH])
    stride = int(state.worlds[e, WORLD_STRIDE])
    corner = int(state.agents[e, a, AGENT_POSITION]) - (height >> 1) * stride - (width >> 1)
    row_mask = (1 << width) - 1
    for pair in range((height * width + 2 * RANK_BITS - 1) // (2 * RANK_BITS)):
        first = 0
        second = 0
        for row in range(height):
            start = corner + row * stride
            bits = (int(occupancy[e, (start >> 4) + 1]) >> (start & 15)) & row_mask
            entry = (pair * height + row) * WINDOW_CHUNKS
            left = bits & CHUNK_MASK
            middle = (bits >> CHUNK_BITS) & CHUNK_MASK
            first |= int(sets[entry, left, 0]) | int(sets[entry + 1, middle, 0])
            second |= int(sets[entry, left, 1]) | int(sets[entry + 1, middle, 1])
            if width > 2 * CHUNK_BITS:
                first |= int(sets[entry + 2, bits >> (2 * CHUNK_BITS), 0])
                second |= int(sets[entry + 2, bits >> (2 * CHUNK_BITS), 1])
        n = write_things(rules, state, buffers, e, a, corner, first, 2 * RANK_BITS * pair, n)
        n = write_things(rules, state, buffers, e, a, corner, second, 2 * RANK_BITS * pair + RANK_BITS, n)
    return n


@rule
def write_things(
    rules: Rules, state: State, buffers: Buffers, e: int, a: int, corner: int, ranks: int, first_rank: int, n: int
) -> int:
    """Write the tokens of the things at a set of 63 ranks; return the number of tokens so far.

    The first eight tokens of a thing are copied as three words; what is written behind its last token is overwritten
    by the next thing, or cleared at the end. No branch here depends on what kind of thing it is.
    """
    window, cells, looks, look_sizes = rules.window_cells, state.cells, state.looks, state.look_sizes
    observations = buffers.observations
    limit = int(rules.world[e, RULE_NUM_TOKENS]) - LOOK_CHUNK
    num_agents = state.agents.shape[1]
    gap = CELL_FIRST_OBJECT - 1 - rules.kinds.shape[1]
    while ranks != 0:
        rank = first_rank + trailing_zeros(ranks)
        ranks &= ranks - 1
        code = int(cells[e, corner + int(window[rank, WINDOW_OFFSET])])
        is_agent = code >> 63  # all bits, or none
        is_object = (CELL_FIRST_OBJECT - 1 - code) >> 63
        row = (code ^ is_agent) + (~is_agent & (num_agents - 1 - (gap & is_object)))
        size = int(look_sizes[e, row])
        at = 3 * n
        if n + size <= limit:
            store_word(observations, e, a, at, load_word(looks, e, row, 0) | int(window[rank, WINDOW_PLACES]))
            store_word(observations, e, a, at + 8, load_word(looks, e, row, 8) | int(window[rank, WINDOW_PLACES + 1]))
            store_word(observations, e, a, at + 16, load_word(looks, e, row, 16) | int(window[rank, WINDOW_PLACES + 2]))
            if size > LOOK_CHUNK:
                write_rest(rules, state, buffers, e, a, row, size, rank, n)
        else:
            write_last_look(rules, state, buffers, e, a, row, min(size, limit + LOOK_CHUNK - n), rank, n)
        n += size
    return n


@rule
def write_rest(
    rules: Rules, state: State, buffers: Buffers, e: int, a: int, row: int, size: int, rank: int, n: int
) -> None:
    """Write the tokens of one thing from the ninth on, by eights."""
    for byte in range(3 * LOOK_CHUNK, 3 * size, 3 * LOOK_CHUNK):
        for word in range(3):
            places = int(rules.window_cells[rank, WINDOW_PLACES + word])
            at = byte + 8 * word
            store_word(buffers.observations, e, a, 3 * n + at, load_word(state.looks, e, row, at) | places)


@rule
def write_last_look(
    rules: Rules, state: State, buffers: Buffers, e: int, a: int, row: int, size: int, rank: int, n: int
) -> None:
    """Write as many tokens of one thing as there is room for, byte by byte."""
    place = int(rules.window_cells[rank, WINDOW_PLACES]) & 255
    for t in range(size):
        buffers.observations[e, a, 3 * (n + t)] = place
        buffers.observations[e, a, 3 * (n + t) + 1] = state.looks[e, row, 3 * t + 1]
        buffers.observations[e, a, 3 * (n + t) + 2] = state.looks[e, row, 3 * t + 2]


@rule
def clear_tail(buffers: Buffers, e: int, a: int, n: int, limit: int) -> None:
    """Empty the tokens behind the last one that the observation before this one, or `write_look`, has filled."""
    byte = 3 * n
    end = 3 * min(max(int(buffers.token_counts[e, a]), n + LOOK_CHUNK), limit)
    while byte + 8 <= end:
        store_word(buffers.observations, e, a, byte, -1)
        byte += 8
    while byte < end:
        buffers.observations[e, a, byte] = EMPTY_BYTE
        byte += 1
    buffers.token_counts[e, a] = n
