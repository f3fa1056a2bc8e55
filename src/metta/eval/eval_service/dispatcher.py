"""`Dispatcher`: takes units from the store, has them played, and writes down what came of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import DataError, SQLAlchemyError

from metta.errors import MettaError
from metta.eval.eval_service.claims import Claim
from metta.eval.eval_service.config import EvalServiceConfig
from metta.eval.eval_service.engine import OneService, plain
from metta.eval.eval_service.losses import Losses
from metta.eval.eval_service.models import State
from metta.eval.eval_service.orders import order_of, result_of
from metta.eval.eval_service.outage import Outage
from metta.eval.eval_service.players import CancelledError, OrderLostError, Player, PlayersAwayError, WorkerDiedError
from metta.eval.eval_service.rests import Rests
from metta.eval.eval_service.store import RequestStore

logger = logging.getLogger(__name__)

T = TypeVar("T")

IDLE_SECONDS = 5.0  # a request wakes a thread at once; this is for the unforeseen
MAX_REASON = 2000  # characters
RETRY_SECONDS = 1.0  # between attempts to reach a database that has gone away


class Dispatcher:
    """As many threads as units are played at a time; each has a player of its own."""

    def __init__(
        self,
        store: RequestStore,
        config: EvalServiceConfig,
        *,
        make_player: Callable[[int], Player],
        num_players: int,
        one_service: OneService,
    ) -> None:
        self._store, self._config, self._one_service = store, config, one_service
        self._lock, self._work = threading.Lock(), threading.Condition()
        self._num_wakes = 0
        self._stopping = threading.Event()
        self._outage, self._rests = Outage(), Rests(config.retry_seconds)
        self._losses = Losses()
        self._played: dict[tuple[str, str], float] = {}  # of what is being played, the share that has been
        # Attempts that are under way -> what is set to end them. Two of one simulation, if it was cancelled and asked
        # for again at once.
        self._playing: dict[Claim, threading.Event] = {}
        self._trouble: str | None = None  # with the database
        self._is_unsure = False  # a transaction's end was not heard of: what it claimed may be played by nobody
        self._threads = [
            threading.Thread(target=self._run, args=(make_player(number),), name=f"player-{number}", daemon=True)
            for number in range(num_players)
        ]

    def start(self) -> None:
        """Begin with what the service before this one left unfinished."""
        count = self._store.requeue()
        if count:
            logger.warning("%d simulations were being played when the service ended; they are queued again", count)
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Say that there is something to do."""
        with self._work:
            self._num_wakes += 1
            self._work.notify_all()

    def end(self, request_id: str) -> None:
        """End the games of a request that was cancelled."""
        with self._lock:
            for claim, stop in self._playing.items():
                if claim.request_id == request_id:
                    stop.set()

    def end_rests(self, request: int) -> None:
        """Let what has died of a request be played at once: somebody wants it, or nobody."""
        self._rests.end_of(request)
        self._losses.end_of(request)
        self.wake()

    def seconds_of_rest(self, request: int, simulation: str) -> float:
        """Return how long it is until a simulation that has died is played again; 0: it does not rest."""
        return self._rests.left((request, simulation))

    def share_played(self, request_id: str, simulation: str) -> float | None:
        """Return how much of a simulation has been played, 0 to 1; None: nobody says."""
        return self._played.get((request_id, simulation))

    def outage(self) -> str | None:
        """Return why nothing can be played at present; None: it can."""
        return self._trouble or self._outage.reason

    def stop(self) -> None:
        """End all games; the next start plays them again."""
        self._stopping.set()
        with self._lock:
            for stop in self._playing.values():
                stop.set()
        self.wake()
        for thread in self._threads:
            thread.join()

    def _run(self, player: Player) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._play_next(player)
                except Exception:  # a mistake of ours: without this thread less would be played, and nobody told
                    logger.exception("a player has met an unforeseen error; it goes on")
                    self._is_unsure = True  # what it had claimed is played by nobody
                    self._wait(RETRY_SECONDS, self._num_wakes)
        finally:
            player.close()

    def _play_next(self, player: Player) -> None:
        """Play a unit, or wait until there may be one."""
        seen = self._num_wakes  # who is woken from here on looks again before it sleeps
        pause = self._outage.seconds_to_wait(player, self._stopping)
        claimed = None if pause else self._persist(self._claim)
        if claimed is not None:
            self._settle(claimed[0], player, claimed[1])
        else:
            self._wait(pause or self._rests.seconds_left(IDLE_SECONDS), seen)

    def _wait(self, seconds: float, seen: int) -> None:
        with self._work:
            self._work.wait_for(lambda: self._stopping.is_set() or self._num_wakes != seen, seconds)

    def _claim(self) -> tuple[Claim, threading.Event] | None:
        """Claiming and saying so are one step: whoever cancels later finds it."""
        with self._lock:
            if self._one_service.hold():
                self._is_unsure = True  # another service may have begun something meanwhile, and ended
            if self._is_unsure:
                playing = {(claim.request_id, claim.simulation) for claim in self._playing}
                self._store.requeue(but=playing, connection=self._one_service.connection)
                # What is spared may be an attempt that is being ended, while a later one of it was lost: look again.
                self._is_unsure = bool(self._playing)
            claim = None if self._stopping.is_set() else self._next()
            if claim is None:
                return None
            stop = self._playing[claim] = threading.Event()
            return claim, stop

    def _next(self) -> Claim | None:
        return self._store.claim(but=self._rests.resting(), connection=self._one_service.connection)

    def _settle(self, claim: Claim, player: Player, stop: threading.Event) -> None:
        """Play a unit and write down what came of it."""
        unit = claim.request_id, claim.simulation
        where = "/".join(unit)
        try:
            answer = player.play(order_of(claim, self._config), stop, partial(self._note, unit))
            self._outage.heard()
            self._losses.end(claim.unit)
            if answer.breakdown is not None:
                raise WorkerDiedError(answer.breakdown)
            if answer.refusal is not None:
                logger.warning("%s failed: %s", where, answer.refusal)
                self._persist(lambda: self._store.fail(claim, keepable(str(answer.refusal))))
            else:
                self._persist(lambda: self._store.finish(claim, result_of(answer)))
        except CancelledError:  # or the service stops, or it was asked for again a moment later
            self._persist(lambda: self._store.release(claim))
        except PlayersAwayError as error:
            self._outage.begin(str(error))
            if isinstance(error, OrderLostError) and self._is_suspect(claim):
                self._died(claim, keepable(str(error)))
            else:
                self._persist(lambda: self._store.release(claim))
        except Exception as error:  # whatever it is: this thread has to go on, and the unit is tried again
            is_known = isinstance(error, WorkerDiedError | MettaError)
            self._died(claim, keepable(str(error) if is_known else f"{type(error).__name__}: {error}"))
        finally:
            with self._lock:
                del self._playing[claim]
                self._played.pop(unit, None)

    def _is_suspect(self, claim: Claim) -> bool:
        """Whether the connection, made again every time, was lost with this unit more often than can be chance."""
        return self._losses.count(claim.unit) > max(1, self._config.max_retries)

    def _died(self, claim: Claim, reason: str) -> None:
        """Count a death; the rest begins before another thread can see the unit."""
        pause = self._rests.begin(claim.unit, deaths=claim.deaths + 1)
        state = self._persist(lambda: self._store.died(claim, reason, max_retries=self._config.max_retries))
        if state != State.QUEUED:
            self._rests.end(claim.unit)
            self._losses.end(claim.unit)
        what_then = {State.QUEUED.value: f"; it is played again in {pause:g} s", State.FAILED.value: "; given up"}
        then = what_then.get(str(state), "")
        logger.warning("%s/%s was not played: %s%s", claim.request_id, claim.simulation, reason, then)

    def _note(self, unit: tuple[str, str], share: float) -> None:
        self._played[unit] = share

    def _persist(self, transaction: Callable[[], T]) -> T | None:
        """Do a transaction, again and again while the database cannot be reached; None when the service stops."""
        while True:
            try:
                done = transaction()
                self._trouble = None
                return done
            except DataError:  # it will never be kept
                raise
            except (SQLAlchemyError, MettaError) as error:
                self._tell(f"the database: {plain(error)}")
                self._is_unsure = True
            if self._stopping.is_set():
                return None
            self._wait(RETRY_SECONDS, self._num_wakes)

    def _tell(self, trouble: str) -> None:
        """Log a trouble once, however often it is met until it is over."""
        if trouble != self._trouble:
            logger.warning("%s; trying again", trouble)
        self._trouble = trouble


def keepable(reason: str) -> str:
    """Return a reason that every database can keep, whatever a dying process has written."""
    return reason.replace("\0", "\ufffd").encode(errors="replace").decode()[:MAX_REASON]
