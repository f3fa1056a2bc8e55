"""`Rests`: what has died waits before it is played again, longer after each death."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LONGEST_SECONDS = 300.0

UnitKey = tuple[int, str]  # a request's number and a simulation


class Rests:
    """Units that are not to be played yet. By a clock that nobody can set; a restart of the service ends all rests."""

    def __init__(self, first_seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`first_seconds`: the rest after the first death; after each further one it is twice as long."""
        self._first_seconds, self._clock = first_seconds, clock
        self._lock = threading.Lock()
        self._until: dict[UnitKey, float] = {}

    def begin(self, unit: UnitKey, *, deaths: int) -> float:
        """Let a unit rest that has died so often; return for how many seconds."""
        seconds = min(self._first_seconds * 2.0 ** min(deaths - 1, 20), LONGEST_SECONDS)
        with self._lock:
            self._until[unit] = self._clock() + seconds
        return seconds

    def end(self, unit: UnitKey) -> None:
        """Let a unit be played at once, if it is asked for again."""
        with self._lock:
            self._until.pop(unit, None)

    def end_of(self, request: int) -> None:
        """Let everything of a request be played at once."""
        with self._lock:
            self._until = {unit: until for unit, until in self._until.items() if unit[0] != request}

    def left(self, unit: UnitKey) -> float:
        """Return for how many seconds more a unit rests; 0: it does not."""
        with self._lock:
            return max(0.0, self._until.get(unit, 0.0) - self._clock())

    def resting(self) -> list[UnitKey]:
        """Return the units that rest now."""
        with self._lock:
            now = self._clock()
            self._until = {unit: until for unit, until in self._until.items() if until > now}
            return list(self._until)

    def seconds_left(self, longest: float) -> float:
        """Return how long it is until a unit has rested, at most `longest`."""
        with self._lock:
            return max(0.0, min([longest, *(until - self._clock() for until in self._until.values())]))
