"""Plays the games of a simulation in several threads at once. Each has an environment of its own: a lane."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from metta.agent.dense import fixed_weights
from metta.sim.games import Games

Start = Callable[[], Games]  # makes the games of a lane, in the lane's thread


def play_lanes(
    starts: Sequence[Start], *, max_seconds: float | None, on_tick: Callable[[int], None] | None = None
) -> list[Games]:
    """Play every lane until its games are over, or it has played for `max_seconds`; return them all.

    The calling thread plays the first lane, and calls `on_tick` with the agent-steps that this lane has played. An
    error in one lane, or Ctrl-C, stops them all.
    """
    stop = threading.Event()
    # Threads made here and now, not a pool that stays: torch gives every new thread the number of threads set last.
    helpers = max(1, len(starts) - 1)
    with _one_torch_thread(), ThreadPoolExecutor(helpers, thread_name_prefix="simulation") as pool:
        others = [pool.submit(_play, start, max_seconds, stop, None) for start in starts[1:]]
        first = _play(starts[0], max_seconds, stop, on_tick)
        return [first, *(other.result() for other in others)]


def _play(
    start: Start, max_seconds: float | None, stop: threading.Event, on_tick: Callable[[int], None] | None
) -> Games:
    try:
        with fixed_weights():
            games = start()
            deadline = time.monotonic() + (float("inf") if max_seconds is None else max_seconds)
            while games.is_on and time.monotonic() < deadline and not stop.is_set():
                games.tick()
                if on_tick is not None:
                    on_tick(games.agent_steps)
            return games
    except BaseException:
        stop.set()
        raise


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Let networks compute on one thread: a row's sums come out the same however many rows there are.

    It is faster too: acting is many small products, and with two threads on two busy cores each of them waits for a
    thread that is not running (64 episodes of the easy arena beside other work: 4 s; with two threads 15 to 50 s).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
