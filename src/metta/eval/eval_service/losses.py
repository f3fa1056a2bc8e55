"""`Losses`: how often in a row the connection has ended while a unit was played, which may be the unit's own doing."""

from __future__ import annotations

import threading
from collections import Counter

from metta.eval.eval_service.rests import UnitKey


class Losses:
    """Counts for each unit since it was last heard of. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[UnitKey] = Counter()

    def count(self, unit: UnitKey) -> int:
        """Count a loss; return how many there were in a row."""
        with self._lock:
            self._counts[unit] += 1
            return self._counts[unit]

    def end_of(self, request: int) -> None:
        """Begin again for everything of a request."""
        with self._lock:
            for unit in [one for one in self._counts if one[0] == request]:
                del self._counts[unit]

    def end(self, unit: UnitKey) -> None:
        """Begin again: something was heard of the unit, or it is over."""
        with self._lock:
            self._counts.pop(unit, None)
