"""Keys from a terminal."""

from __future__ import annotations

import os
import pty
import termios
from collections.abc import Iterator

import pytest

from metta.tools.keyboard import Keyboard


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a pseudo-terminal: where a person types, and where a program reads."""
    typist, reader = pty.openpty()
    yield typist, reader
    os.close(typist)
    os.close(reader)


def test_keys_come_one_by_one_however_fast_they_are_typed(terminal: tuple[int, int]) -> None:
    typist, reader = terminal
    with Keyboard(reader) as keyboard:
        os.write(typist, b"\x1b[C\x1b[Aq \t")
        keys = [keyboard.key(timeout_seconds=1) for _ in range(5)]
        assert keys == ["right", "up", "q", "space", "tab"]
        assert keyboard.key(timeout_seconds=0) is None


def test_a_lone_escape_is_a_key(terminal: tuple[int, int]) -> None:
    typist, reader = terminal
    with Keyboard(reader) as keyboard:
        os.write(typist, b"\x1b")
        assert keyboard.key(timeout_seconds=1) == "escape"


def test_the_terminal_is_put_back_as_it_was_even_after_an_error(terminal: tuple[int, int]) -> None:
    reader = terminal[1]
    before = termios.tcgetattr(reader)
    with pytest.raises(ValueError), Keyboard(reader):
        assert termios.tcgetattr(reader) != before
        raise ValueError
    assert termios.tcgetattr(reader) == before
