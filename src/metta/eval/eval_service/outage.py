"""`Outage`: whether what plays can be reached, and when to try again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from threading import Event

from metta.eval.eval_service.models import utc_now
from metta.eval.eval_service.players import CancelledError, Player, PlayersAwayError

logger = logging.getLogger(__name__)

FIRST_SECONDS = 1.0  # until it is tried again; each time twice as long
LONGEST_SECONDS = 60.0


class Outage:
    """Lets one thread at a time try to reach what plays, after longer and longer pauses until something was played."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._next_try = 0.0
        self._since = utc_now()
        self.reason: str | None = None  # why nothing can be played now; None: it can

    def seconds_to_wait(self, player: Player, stop: Event) -> float:
        """Return 0 once `player` can play, else how long to wait before this is asked again."""
        with self._lock:
            left = self._next_try - self._clock()
            if self.reason is not None and left > 0:
                return left
            try:
                player.prepare(stop)
            except PlayersAwayError as error:
                return self._begin(str(error))
            except CancelledError:
                return LONGEST_SECONDS
            if self.reason is not None:
                logger.warning("it is there again: what is queued is played")
            self.reason = None
            return 0.0

    def begin(self, reason: str) -> None:
        """Say that it went away while something was being played."""
        with self._lock:
            if self.reason is None:  # else another thread has said so
                self._begin(reason)

    def heard(self) -> None:
        """Say that something was played: the next pause is a short one."""
        self._failures = 0

    def _begin(self, reason: str) -> float:
        pause = min(FIRST_SECONDS * 2.0 ** min(self._failures, 20), LONGEST_SECONDS)
        logger.warning("nothing can be played: %s; trying again in %g s", reason, pause)
        if self.reason is None:
            self._since = utc_now()
        self.reason = f"{reason} (since {self._since:%Y-%m-%d %H:%M:%S} UTC; it is tried again and again)"
        self._failures, self._next_try = self._failures + 1, self._clock() + pause
        return pause
