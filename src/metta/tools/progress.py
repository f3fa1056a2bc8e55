"""Says how far something long has come: one line that is rewritten on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self, TextIO

FIRST_SECONDS = 2.0  # what takes less needs no progress
FIRST_FILE_SECONDS = 5.0  # and where no terminal takes the line away again
TERMINAL_SECONDS = 0.2  # between two lines on a terminal
FILE_SECONDS = 30.0  # and elsewhere


class Progress:
    """Call it as often as you like with what is being done and the share that is done, 0 to 1.

    A share of 0 says that it begins: a terminal shows that at once, for the first tick may have to wait for a compiler.
    """

    def __init__(self, stream: TextIO, *, first_seconds: float = FIRST_SECONDS) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._name = ""
        self._first_seconds = first_seconds
        self._began = self._next = 0.0
        self._has_line = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._clear()

    def __call__(self, name: str, share: float) -> None:
        now = time.monotonic()
        if name != self._name:
            self._name, self._began = name, now
            self._next = now + max(self._first_seconds, 0.0 if self._is_terminal else FIRST_FILE_SECONDS)
            if share == 0 and self._is_terminal:
                self._write(f"  {name}: beginning")
                return
        if now < self._next:
            return
        self._next = now + (TERMINAL_SECONDS if self._is_terminal else FILE_SECONDS)
        left = (now - self._began) * (1 - share) / share if share > 0 else float("inf")
        self._write(f"  {name}: {share:.0%}, {left:.0f} s left" if share > 0 else f"  {name}: beginning")

    def _write(self, text: str) -> None:
        if self._is_terminal:
            self._stream.write(f"\r\x1b[K{text}")
            self._has_line = True
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def _clear(self) -> None:
        if self._has_line:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
