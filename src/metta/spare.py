"""Processes that load what training needs while this one still does, to become its other ranks.

Loading torch and all of ours takes seconds; one after the other, a run of two processes would begin twice as late. The
command line starts them before it loads anything itself; those that are not needed are let go.
"""

from __future__ import annotations

import atexit
import subprocess
import sys

_spare: list[subprocess.Popen[bytes]] = []


def start_spare(count: int) -> None:
    """Start `count` processes that wait for orders."""
    _spare.extend(start_rank_process() for _ in range(count))


def take_rank_process() -> subprocess.Popen[bytes]:
    """Return a process that waits for its order (one line on its standard input): a spare one, or a new one."""
    return _spare.pop() if _spare else start_rank_process()


def start_rank_process() -> subprocess.Popen[bytes]:
    """Start a process that will be a rank. It ends when its standard input does."""
    command = [sys.executable, "-m", "metta.rl.rank_process"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)


@atexit.register
def let_go() -> None:
    """End the processes that nobody took."""
    while _spare:
        process = _spare.pop()
        process.kill()  # it has done nothing yet
        process.communicate()
