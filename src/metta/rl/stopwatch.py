"""`Stopwatch`: named, nested phases, laps, rates and the time left; over resumes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

LAPS = 100  # how many are remembered


class Lap(NamedTuple):
    """One turn of the loop."""

    seconds: float
    done: float  # how much was done in it, in whatever unit the caller counts


class Stopwatch:
    """Sums wall-clock seconds by phase. A phase started inside another is charged to both, as `outer/inner`.

    A lap is one turn of the loop (an epoch); the first of a process is not remembered: it compiles. Not for threads:
    one stopwatch belongs to one loop. `clock` is injected in tests.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._stack: list[str] = []
        self._cumulative: dict[str, float] = {}
        self._lap: dict[str, float] = {}
        self._started = clock()
        self._before = 0.0  # seconds of the runs that this one resumes
        self._laps: deque[Lap] = deque(maxlen=LAPS)
        self._mark: Lap | None = None  # seconds and work in all at the end of the last lap
        self._warm: Lap | None = None  # the same at the end of this process's first

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge the block's seconds to `name`, below the phase that is open around it."""
        path = f"{self._stack[-1]}/{name}" if self._stack else name
        self._stack.append(path)
        start = self._clock()
        try:
            yield
        finally:
            self._stack.pop()
            self.add(path, self._clock() - start)

    def add(self, path: str, seconds: float) -> None:
        """Charge `seconds` to the phase `path` (for loops too tight for a context manager)."""
        self._lap[path] = self._lap.get(path, 0.0) + seconds
        self._cumulative[path] = self._cumulative.get(path, 0.0) + seconds

    @property
    def path(self) -> str:
        """The phase that is open now, an empty text when none is."""
        return self._stack[-1] if self._stack else ""

    def elapsed(self) -> float:
        """Return seconds since the run first began, without the time during which it did not run."""
        return self._before + self._clock() - self._started

    def lap(self, done: float = 0.0) -> dict[str, float]:
        """Begin a new lap; return the seconds of each phase in the one that ends, with `done` in all done by now."""
        phases, self._lap = self._lap, {}
        mark = Lap(self.elapsed(), done)
        if self._mark is not None:
            self._laps.append(Lap(mark.seconds - self._mark.seconds, mark.done - self._mark.done))
        self._mark, self._warm = mark, self._warm or mark
        return phases

    def laps(self) -> list[Lap]:
        """Return the last laps, at most `LAPS`, oldest first."""
        return list(self._laps)

    def lap_seconds(self) -> dict[str, float]:
        """Return the seconds of each phase in the lap that is under way."""
        return dict(self._lap)

    def cumulative(self) -> dict[str, float]:
        """Return the seconds of each phase since the run first began."""
        return dict(self._cumulative)

    def rate(self) -> float | None:
        """Return how much was done a second over the last laps; None before one is remembered."""
        seconds = sum(lap.seconds for lap in self._laps)
        return sum(lap.done for lap in self._laps) / seconds if seconds > 0 else None

    def average_rate(self, done: float) -> float | None:
        """Return how much was done a second since the run first began, `done` being all of it."""
        seconds = self.elapsed()
        return done / seconds if seconds > 0 else None

    def remaining(self, done: float, total: float) -> float | None:
        """Estimate the seconds until `done` reaches `total`; None before anything is done.

        At the rate since this process's first lap had ended: evaluations and saves have the share in it that they will
        have, and what another machine did before a resume does not count.
        """
        warm = self._warm or Lap(self.elapsed(), done)
        seconds = self.elapsed() - warm.seconds
        recent = (done - warm.done) / seconds if seconds > 0 else None
        rate = recent or self.average_rate(done)
        return max(0.0, (total - done) / rate) if rate else None

    def state_dict(self) -> dict[str, Any]:
        return {
            "elapsed": self.elapsed(),
            "cumulative": dict(self._cumulative),
            "laps": [list(lap) for lap in self._laps],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._before, self._started = float(state["elapsed"]), self._clock()
        self._cumulative = {str(name): float(seconds) for name, seconds in state["cumulative"].items()}
        self._laps = deque((Lap(*lap) for lap in state["laps"]), maxlen=LAPS)
        self._lap, self._mark, self._warm = {}, None, None


def format_seconds(seconds: float) -> str:
    """Return `42s`, `3m05s` or `2h03m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
