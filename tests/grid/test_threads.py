"""Several threads: the same games, whoever steps which world, and no helper is left behind."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from metta.grid import threads
from metta.grid.cpu import step_worlds
from metta.grid.worlds import arena

NUM_WORLDS = 7


def play(games, num_threads, *, ticks=40):
    batch = games.begin(arena(), seed=1, num_worlds=NUM_WORLDS)
    rng = np.random.default_rng(0)
    for _ in range(ticks):
        batch.buffers.actions[:] = rng.integers(0, len(batch.compiled.action_names), batch.buffers.actions.shape)
        step_worlds(batch.rules, batch.state, batch.buffers, num_threads)
    return b"".join(games.visible(batch, e) for e in range(NUM_WORLDS))


@pytest.mark.parametrize("num_threads", [2, 3, 64])
def test_the_number_of_threads_changes_nothing(games, num_threads):
    assert play(games, num_threads) == play(games, 1)


def test_systems_without_semaphores_use_an_ordinary_pool(games, monkeypatch):
    expected = play(games, 1)
    monkeypatch.setattr(threads, "make_semaphore", lambda words: False)
    threads._crew.cache_clear()
    try:
        assert play(games, 2) == expected
    finally:
        threads._crew.cache_clear()


def test_two_batches_can_be_stepped_from_two_threads(games):
    expected = play(games, 1)
    results = []
    players = [threading.Thread(target=lambda: results.append(play(games, 2))) for _ in range(2)]
    for player in players:
        player.start()
    for player in players:
        player.join()
    assert results == [expected, expected]


def test_a_process_ends_though_its_helpers_wait(games):
    program = (
        "from metta.envs import SingleTask, VecEnv\n"
        "from metta.grid.worlds import navigation\n"
        "import numpy as np\n"
        "env = VecEnv(SingleTask(navigation(), seed=1), num_worlds=4, threads=2)\n"
        "env.reset()\n"
        "env.step(np.zeros(4, np.int32))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], check=False, timeout=60, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_forked_process_makes_helpers_of_its_own():
    program = (
        "import os, sys\n"
        "from metta.envs import SingleTask, VecEnv\n"
        "from metta.grid.worlds import navigation\n"
        "import numpy as np\n"
        "env = VecEnv(SingleTask(navigation(), seed=1), num_worlds=4, threads=2)\n"
        "env.reset()\n"
        "env.step(np.zeros(4, np.int32))\n"
        "child = os.fork()\n"
        "env.step(np.zeros(4, np.int32))\n"
        "if child == 0:\n"
        "    os._exit(7)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    result = subprocess.run(command, check=False, timeout=60, capture_output=True, text=True)
    assert result.returncode == 7, result.stderr
