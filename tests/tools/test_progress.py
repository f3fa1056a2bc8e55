"""Progress: one line that is rewritten on a terminal, few lines elsewhere."""

from __future__ import annotations

import io

import pytest

from metta.tools.progress import Progress


class Stream(io.StringIO):
    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def run(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool, seconds: int) -> str:
    """What is said of a simulation that takes `seconds`, a hundred ticks a second."""
    now = [0.0]
    monkeypatch.setattr("metta.tools.progress.time.monotonic", lambda: now[0])
    stream = Stream(is_terminal=is_terminal)
    with Progress(stream) as progress:
        for tick in range(1, seconds * 100 + 1):
            now[0] = tick / 100
            progress("arena/basic", tick / (seconds * 100))
    return stream.getvalue()


def test_what_is_short_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, is_terminal=True, seconds=2) == run(monkeypatch, is_terminal=False, seconds=5) == ""


def test_in_a_file_there_is_a_line_after_five_seconds_and_every_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = run(monkeypatch, is_terminal=False, seconds=100).splitlines()
    assert lines == [
        "  arena/basic: 5%, 95 s left",
        "  arena/basic: 35%, 65 s left",
        "  arena/basic: 65%, 35 s left",
        "  arena/basic: 95%, 5 s left",
    ]


def test_on_a_terminal_one_line_is_rewritten_and_taken_away_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = run(monkeypatch, is_terminal=True, seconds=10).split("\r\x1b[K")
    assert drawn[0] == drawn[-1] == "" and drawn[1] == "  arena/basic: 20%, 8 s left"
    assert 30 < len(drawn) < 45 and not any("\n" in line for line in drawn)


@pytest.mark.parametrize(("is_terminal", "shown"), [(True, "\r\x1b[K  scripted: beginning\r\x1b[K"), (False, "")])
def test_a_terminal_shows_at_once_that_something_begins(is_terminal: bool, shown: str) -> None:
    stream = Stream(is_terminal=is_terminal)
    with Progress(stream) as progress:
        progress("scripted", 0.0)
    assert stream.getvalue() == shown
