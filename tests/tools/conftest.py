"""Small worlds and what runs a command at a terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from metta.grid import WorldConfig
from metta.grid.maps.config import AsciiMapConfig
from metta.grid.worlds import navigation_on

MAP = """
#########
#@....._#
#.......#
#########
""".strip()


@pytest.fixture
def world() -> WorldConfig:
    """One agent, an altar at the end of its row, 6 ticks."""
    return navigation_on(AsciiMapConfig(text=MAP), max_steps=6)


@pytest.fixture
def at_terminal(tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs `metta` at a pseudo-terminal, types, and returns what was drawn."""

    def run(*words: str, typed: bytes, ready: bytes) -> str:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "metta.cli", *words]
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "150", "LINES": "50"}
        process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=environment, close_fds=True
        )
        os.close(theirs)
        drawn, has_typed, deadline = b"", False, time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if select.select([ours], [], [], 0.2)[0]:
                    drawn += os.read(ours, 65_536)
                elif process.poll() is not None:
                    break
            except OSError:  # the other end is closed
                break
            if not has_typed and ready in drawn:
                os.write(ours, typed)
                has_typed = True
        os.close(ours)
        assert process.wait(timeout=30) == 0, drawn.decode(errors="replace")
        return drawn.decode(errors="replace")

    return run
