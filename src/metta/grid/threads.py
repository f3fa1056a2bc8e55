"""Stepping a batch on several threads, without Numba's parallel layer and its start-up.

Helpers wait on a semaphore inside compiled code, so that waking them needs no interpreter; every thread then takes the
next few worlds from a shared counter until none is left. Who steps which world changes nothing in a game. Where the
system has no such semaphores the helpers are the threads of an ordinary pool.
"""

from __future__ import annotations

import atexit
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from numpy.typing import NDArray

from metta.grid.fetch import fetch_windows, fetch_world
from metta.grid.handles import buffers_at, rules_at, state_at
from metta.grid.jit import builder, rule
from metta.grid.ruleset import Buffers, Rules
from metta.grid.semaphores import SEMAPHORE_WORDS, add_atomically, make_semaphore, post, post_from_python, wait
from metta.grid.step import step_world
from metta.grid.world import State

# Words of a job
JOB_START = 0  # a semaphore: helpers wait for it
JOB_DONE = SEMAPHORE_WORDS  # a semaphore: the lead waits for it
JOB_NEXT = 2 * SEMAPHORE_WORDS  # first world that nobody has taken; on a cache line of its own
JOB_RULES = 3 * SEMAPHORE_WORDS  # addresses of handles
JOB_STATE = JOB_RULES + 1
JOB_BUFFERS = JOB_RULES + 2
JOB_NUM_WORLDS = JOB_RULES + 3
JOB_CHUNK = JOB_RULES + 4  # worlds taken at once
JOB_HELPERS = JOB_RULES + 5
JOB_STOP = JOB_RULES + 6
JOB_WORDS = 4 * SEMAPHORE_WORDS

ROLE_LEAD = 0  # wakes the helpers, works, and waits for them
ROLE_HELP = 1  # works whenever it is woken
ROLE_ONCE = 2  # works once, alone or in a pool

CHUNKS_PER_THREAD = 8


@rule
def step_some(rules: Rules, state: State, buffers: Buffers, first: int, last: int) -> None:
    """Play one tick of the active worlds among `first` .. `last - 1`."""
    for e in range(first, last):
        if e + 2 < last:
            fetch_world(rules, state, buffers, e + 2)
        if e + 1 < last:
            fetch_windows(rules, state, e + 1)
        if buffers.active[e]:
            step_world(rules, state, buffers, e)


@builder
def work(job: NDArray[np.int64], role: int) -> None:
    """Play a role in a job: the only entry into compiled stepping, so that it is compiled once."""
    while True:
        if role == ROLE_LEAD:
            for _ in range(job[JOB_HELPERS]):
                post(job, JOB_START)
        elif role == ROLE_HELP:
            wait(job, JOB_START)
            if job[JOB_STOP]:
                return
        rules, state, buffers = rules_at(job[JOB_RULES]), state_at(job[JOB_STATE]), buffers_at(job[JOB_BUFFERS])
        num_worlds, chunk = job[JOB_NUM_WORLDS], job[JOB_CHUNK]
        first = add_atomically(job, JOB_NEXT, chunk)
        while first < num_worlds:
            step_some(rules, state, buffers, first, min(first + chunk, num_worlds))
            first = add_atomically(job, JOB_NEXT, chunk)
        if role == ROLE_HELP:
            post(job, JOB_DONE)
        else:
            if role == ROLE_LEAD:
                for _ in range(job[JOB_HELPERS]):
                    wait(job, JOB_DONE)
            return


def step_batch(rules: int, state: int, buffers: int, *, num_worlds: int, threads: int) -> None:
    """Play one tick of the active worlds of a batch, whose handles lie at these addresses."""
    if threads == 1:
        job = np.zeros(JOB_WORDS, np.int64)
        job[JOB_RULES : JOB_CHUNK + 1] = rules, state, buffers, num_worlds, num_worlds
        work(job, ROLE_ONCE)
    else:
        _crew(os.getpid(), threads).step(rules, state, buffers, num_worlds)


class _Crew:
    """The caller's thread and its helpers, who stay for the next step. One step at a time."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._job = np.zeros(JOB_WORDS, np.int64)
        self._busy = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._helpers: list[threading.Thread] = []
        if make_semaphore(self._job[JOB_START:]) and make_semaphore(self._job[JOB_DONE:]):
            self._job[JOB_HELPERS] = threads - 1
            arguments = (self._job, ROLE_HELP)
            self._helpers = [threading.Thread(target=work, args=arguments, daemon=True) for _ in range(threads - 1)]
            atexit.register(self._stop)
        else:
            self._pool = ThreadPoolExecutor(threads - 1)

    def step(self, rules: int, state: int, buffers: int, num_worlds: int) -> None:
        with self._busy:
            chunk = -(-num_worlds // (CHUNKS_PER_THREAD * self._threads))
            self._job[JOB_RULES : JOB_CHUNK + 1] = rules, state, buffers, num_worlds, chunk
            self._job[JOB_NEXT] = 0
            if self._pool is not None:
                parts = [self._pool.submit(work, self._job, ROLE_ONCE) for _ in range(self._threads - 1)]
                work(self._job, ROLE_ONCE)
                for part in parts:
                    part.result()
                return
            for helper in self._helpers:
                if helper.ident is None:
                    helper.start()
            work(self._job, ROLE_LEAD)

    def _stop(self) -> None:
        self._job[JOB_STOP] = 1
        for helper in self._helpers:
            if helper.ident is not None:
                post_from_python(self._job[JOB_START:])
        for helper in self._helpers:
            if helper.ident is not None:
                helper.join(timeout=1.0)


@cache
def _crew(process: int, threads: int) -> _Crew:
    """Return the crew of a process; threads do not survive a fork, so a child makes its own."""
    return _Crew(threads)
