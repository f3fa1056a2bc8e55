"""`Stopwatch`: named, nested phases; what each took in this epoch and since the run began, over resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stopwatch:
    """Sums wall-clock seconds by phase. A phase started inside another is charged to both, as `outer/inner`.

    Not for threads: one stopwatch belongs to one loop. `clock` is injected in tests.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._stack: list[str] = []
        self._cumulative: dict[str, float] = {}
        self._lap: dict[str, float] = {}
        self._started = clock()
        self._lap_started = self._started
        self._before = 0.0  # seconds of the runs that this one resumes

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

    def lap_elapsed(self) -> float:
        """Return seconds since the last `lap`."""
        return self._clock() - self._lap_started

    def lap(self) -> dict[str, float]:
        """Return the seconds of each phase since the last lap, and begin a new one."""
        lap, self._lap = self._lap, {}
        self._lap_started = self._clock()
        return lap

    def lap_seconds(self) -> dict[str, float]:
        """Return the seconds of each phase in the lap that is under way."""
        return dict(self._lap)

    def cumulative(self) -> dict[str, float]:
        """Return the seconds of each phase since the run first began."""
        return dict(self._cumulative)

    def remaining(self, done: float, total: float) -> float | None:
        """Estimate the seconds until `done` reaches `total` at the average rate so far; None before any is done."""
        if done <= 0:
            return None
        return max(0.0, (total - done) * self.elapsed() / done)

    def state_dict(self) -> dict[str, Any]:
        return {"elapsed": self.elapsed(), "cumulative": dict(self._cumulative)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._before = float(state["elapsed"])
        self._started = self._lap_started = self._clock()
        self._cumulative = {str(name): float(seconds) for name, seconds in state["cumulative"].items()}
        self._lap = {}


def format_seconds(seconds: float) -> str:
    """Return `42s`, `3m05s` or `2h03m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
