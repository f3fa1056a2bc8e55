"""The kernels: a tick of all worlds is four launches, `act`, `observe`, `settle` and `begin`.

The rules of a world run in one thread, since each may depend on the one before; every agent's observation has a thread
of its own; a world that begins anew is copied by a block of threads. Kernels get addresses of tables (handles.py);
under Numba's simulator, which runs them as plain Python, they get the tuples themselves.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from metta.grid import handles
from metta.grid.cuda.episodes import begin_episode, draw_episode, end_tick, keep_last_tick
from metta.grid.jit import settings
from metta.grid.observe import completion_value, count_tokens, has_usual_globals, observe_agent
from metta.grid.rng import PURPOSE_POLICY, stream_key, stream_u32, unit_float
from metta.grid.rules.visits import count_visits
from metta.grid.ruleset import RULE_NUM_TOKENS
from metta.grid.step import act, settle, start, take_turns
from metta.grid.world import WORLD_SEED, WORLD_STEP

cuda: Any = import_module("numba.cuda")  # of numba-cuda where that is installed; its names are made when it is loaded
SIMULATED = bool(settings.ENABLE_CUDASIM)


def _itself(table: Any) -> Any:
    return table


rules_at: Any = _itself if SIMULATED else handles.rules_at
state_at: Any = _itself if SIMULATED else handles.state_at
buffers_at: Any = _itself if SIMULATED else handles.buffers_at
episodes_at: Any = _itself if SIMULATED else handles.episodes_at

# Threads of a block. The simulator makes a thread of Python's for each, so there are few.
WORLD_THREADS = 3 if SIMULATED else 32  # one warp, so that few worlds too are spread over the whole GPU
AGENT_THREADS = 3 if SIMULATED else 128
COPY_THREADS = 3 if SIMULATED else 256


class Kernel(NamedTuple):
    """A function for the GPU, what it takes, how many threads make a block, and how many worlds or agents it serves."""

    name: str
    function: Any
    num_arguments: int  # all int64
    threads: int
    items: int


def act_kernel(rules_table: int, state_table: int, buffers_table: int) -> None:
    """Play the part of the tick before the observations; one thread a world."""
    rules, state, buffers = rules_at(rules_table), state_at(state_table), buffers_at(buffers_table)
    e = cuda.grid(1)
    if e < state.worlds.shape[0]:
        act(rules, state, buffers, e)


def start_kernel(rules_table: int, state_table: int, buffers_table: int) -> None:
    """With rules of the user's own (own.py): the part of `act` before the first of them; one thread a world."""
    rules, state = rules_at(rules_table), state_at(state_table)
    e = cuda.grid(1)
    if e < state.worlds.shape[0]:
        start(rules, state, e)


def turns_kernel(rules_table: int, state_table: int, buffers_table: int) -> None:
    """With rules of the user's own: the part of `act` between those before and those after the turns."""
    rules, state, buffers = rules_at(rules_table), state_at(state_table), buffers_at(buffers_table)
    e = cuda.grid(1)
    if e < state.worlds.shape[0]:
        take_turns(rules, state, buffers, e)


def visits_kernel(rules_table: int, state_table: int, buffers_table: int) -> None:
    """With rules of the user's own: the part of `act` after the last of them."""
    rules, state = rules_at(rules_table), state_at(state_table)
    e = cuda.grid(1)
    if e < state.worlds.shape[0]:
        count_visits(rules, state, e)


def observe_kernel(rules_table: int, state_table: int, buffers_table: int, episodes_table: int) -> None:
    """Write the observations; one thread an agent."""
    rules, state, buffers = rules_at(rules_table), state_at(state_table), buffers_at(buffers_table)
    episodes = episodes_at(episodes_table)
    i = cuda.grid(1)
    num_agents = state.agents.shape[1]
    if i < state.worlds.shape[0] * num_agents:
        e = i // num_agents
        a = i % num_agents
        completion = completion_value(rules, state, e)
        usual = has_usual_globals(rules, e)
        episodes.wanted[e, a] = observe_agent(rules, state, buffers, e, a, completion, usual)


def settle_kernel(
    rules_table: int,
    state_table: int,
    buffers_table: int,
    episodes_table: int,
    run_seed: int,
    first_world: int,
    num_maps: int,
    max_steps: int,
    stagger: int,
) -> None:
    """Play the part of the tick after the observations; where an episode is over draw the next; one thread a world."""
    rules, state, buffers = rules_at(rules_table), state_at(state_table), buffers_at(buffers_table)
    episodes = episodes_at(episodes_table)
    e = cuda.grid(1)
    if e < state.worlds.shape[0]:
        num_tokens = int(rules.world[e, RULE_NUM_TOKENS])
        written = 0
        dropped = 0
        for a in range(state.agents.shape[1]):
            n = int(episodes.wanted[e, a])
            dropped += max(n - num_tokens, 0)
            written += min(n, num_tokens)
        count_tokens(rules, state, e, written, dropped)
        settle(rules, state, buffers, e)
        end_tick(state, buffers, episodes, e)
        if episodes.ended[e]:
            draw_episode(episodes, e, run_seed, first_world, num_maps, max_steps, stagger)


def begin_kernel(state_table: int, buffers_table: int, pool_table: int, views_table: int, episodes_table: int) -> None:
    """Keep the last tick of the episodes that ended and begin the next ones; one block a world."""
    state, buffers, episodes = state_at(state_table), buffers_at(buffers_table), episodes_at(episodes_table)
    pool, views = state_at(pool_table), buffers_at(views_table)
    e, lane, lanes = int(cuda.blockIdx.x), int(cuda.threadIdx.x), int(cuda.blockDim.x)
    if episodes.ended[e]:
        keep_last_tick(state, buffers, episodes, e, lane, lanes)
        begin_episode(state, buffers, pool, views, episodes, e, lane, lanes)


def draw_kernel(
    episodes_table: int, run_seed: int, first_world: int, num_maps: int, max_steps: int, stagger: int
) -> None:
    """Draw the episode of every world anew, as a reset asks for; one thread a world."""
    episodes = episodes_at(episodes_table)
    e = cuda.grid(1)
    if e < episodes.numbers.shape[0]:
        draw_episode(episodes, e, run_seed, first_world, num_maps, max_steps, stagger)


def noise_kernel(state_table: int, episodes_table: int) -> None:
    """Fill `episodes.noise` with numbers in [0, 1), as envs/noise.py does; one thread an agent."""
    state, episodes = state_at(state_table), episodes_at(episodes_table)
    i = cuda.grid(1)
    num_agents = state.agents.shape[1]
    if i < state.worlds.shape[0] * num_agents:
        e = i // num_agents
        key = stream_key(int(state.worlds[e, WORLD_SEED]), int(state.worlds[e, WORLD_STEP]), PURPOSE_POLICY)
        episodes.noise[e, i % num_agents] = unit_float(stream_u32(key, i % num_agents, 0))


ACT = Kernel("act", act_kernel, 3, WORLD_THREADS, WORLD_THREADS)
START = Kernel("start", start_kernel, 3, WORLD_THREADS, WORLD_THREADS)
TURNS = Kernel("turns", turns_kernel, 3, WORLD_THREADS, WORLD_THREADS)
VISITS = Kernel("visits", visits_kernel, 3, WORLD_THREADS, WORLD_THREADS)
OBSERVE = Kernel("observe", observe_kernel, 4, AGENT_THREADS, AGENT_THREADS)
SETTLE = Kernel("settle", settle_kernel, 9, WORLD_THREADS, WORLD_THREADS)
BEGIN = Kernel("begin", begin_kernel, 5, COPY_THREADS, 1)
DRAW = Kernel("draw", draw_kernel, 6, WORLD_THREADS, WORLD_THREADS)
NOISE = Kernel("noise", noise_kernel, 2, AGENT_THREADS, AGENT_THREADS)

KERNELS = (ACT, START, TURNS, VISITS, OBSERVE, SETTLE, BEGIN, DRAW, NOISE)
