"""What the dispatcher needs of whatever plays, a worker process or a Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import Protocol

from metta.eval.eval_service.play import PlayAnswer, PlayOrder

POLL_SECONDS = 0.1


class WorkerDiedError(Exception):
    """Whatever played has ended without an answer; the message says how."""


class PlayersAwayError(Exception):
    """Nothing can be played at present, whatever the order; the message says why."""


class OrderLostError(PlayersAwayError):
    """The connection ended while an order was played, though what it led to was there: it may be the order's doing."""


class CancelledError(Exception):
    """The answer is no longer wanted; whatever played has been ended."""


class Player(Protocol):
    """Plays one order at a time."""

    def prepare(self, stop: Event) -> None:
        """Make sure that something can be played now; called before every order.

        Raises PlayersAwayError if not, CancelledError soon after `stop` is set.
        """

    def play(self, order: PlayOrder, stop: Event, on_progress: Callable[[float], None]) -> PlayAnswer:
        """Return the answer. `on_progress` may be called with the share that has been played, 0 to 1.

        Raises CancelledError soon after `stop` is set, WorkerDiedError if it died or hung, PlayersAwayError if what it
        needs went away, which is no fault of the order.
        """

    def close(self) -> None:
        """End what it has started."""


class Patience:
    """Says when to give up an order: when `stop` is set, or when it takes too long."""

    def __init__(self, stop: Event, timeout_seconds: float) -> None:
        self._stop, self._timeout_seconds = stop, timeout_seconds
        self._deadline = time.monotonic() + timeout_seconds

    def check(self) -> None:
        """Raises CancelledError or WorkerDiedError; the caller ends what plays."""
        if self._stop.is_set():
            raise CancelledError
        if time.monotonic() > self._deadline:
            raise WorkerDiedError(f"it was not done after {self._timeout_seconds:g} s (timeout_seconds)")
