"""Single keys from a terminal, without waiting for Enter."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from types import TracebackType

_SEQUENCES = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1b[H": "home",
    b"\x1b[F": "end",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
    b"\t": "tab",
    b" ": "space",
    b"\r": "enter",
    b"\n": "enter",
    b"\x1b": "escape",
}


def has_terminal() -> bool:
    """Whether someone sits at both ends: keys come from a terminal, and what is drawn goes to one."""
    return sys.stdin.isatty() and sys.stdout.isatty()


class Keyboard:
    """Keys of the terminal while the block lasts; the terminal is put back as it was however the block ends."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self._typed = b""  # read, and not yet handed out: keys can come faster than they are asked for

    def __enter__(self) -> Keyboard:
        self._before = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def key(self, *, timeout_seconds: float | None) -> str | None:
        """Return the next key: a letter, or `up`, `space`...; None when none came in time (None waits for ever)."""
        if not self._typed:
            ready, _, _ = select.select([self._descriptor], [], [], timeout_seconds)
            if not ready:
                return None
            self._typed = os.read(self._descriptor, 1024)
            if not self._typed:
                return "q"  # the terminal has gone
        length = max((len(known) for known in _SEQUENCES if self._typed.startswith(known)), default=1)
        data, self._typed = self._typed[:length], self._typed[length:]
        return _SEQUENCES.get(data) or data.decode(errors="replace")
