"""`Dispatcher`: takes units from the store, has them played, and writes down what came of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import DataError, SQLAlchemyError

from metta.errors import MettaError
from metta.eval.eval_service.config import EvalServiceConfig
from metta.eval.eval_service.engine import OneService, plain
from metta.eval.eval_service.models import Result, State
from metta.eval.eval_service.play import PlayAnswer, PlayOrder
from metta.eval.eval_service.players import CancelledError, Player, WorkerDiedError
from metta.eval.eval_service.store import Claim, RequestStore
from metta.eval.suites import Suite

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
        self._is_stopping = False
        self._played: dict[tuple[str, str], float] = {}  # of what is being played, the share that has been
        # Attempts that are under way -> what is set to end them. Two of one simulation, if it was cancelled and asked
        # for again at once.
        self._playing: dict[Claim, threading.Event] = {}
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
            self._work.notify_all()

    def end(self, request_id: str) -> None:
        """End the games of a request that was cancelled."""
        with self._lock:
            for claim, stop in self._playing.items():
                if claim.request_id == request_id:
                    stop.set()

    def share_played(self, request_id: str, simulation: str) -> float | None:
        """Return how much of a simulation has been played, 0 to 1; None: nobody says."""
        return self._played.get((request_id, simulation))

    def stop(self) -> None:
        """End all games; the next start plays them again."""
        self._is_stopping = True
        with self._lock:
            for stop in self._playing.values():
                stop.set()
        self.wake()
        for thread in self._threads:
            thread.join()

    def _run(self, player: Player) -> None:
        try:
            while not self._is_stopping:
                claimed = self._persist(self._claim)
                if claimed is not None:
                    self._settle(claimed[0], player, claimed[1])
                    continue
                with self._work:
                    if not self._is_stopping:
                        self._work.wait(IDLE_SECONDS)
        finally:
            player.close()

    def _claim(self) -> tuple[Claim, threading.Event] | None:
        """Claiming and saying so are one step: whoever cancels later finds it."""
        with self._lock:
            self._one_service.hold()
            if self._is_unsure:
                self._store.requeue(but={(claim.request_id, claim.simulation) for claim in self._playing})
                # What is spared may be an attempt that is being ended, while a later one of it was lost: look again.
                self._is_unsure = bool(self._playing)
            claim = None if self._is_stopping else self._store.claim()
            if claim is None:
                return None
            stop = self._playing[claim] = threading.Event()
            return claim, stop

    def _settle(self, claim: Claim, player: Player, stop: threading.Event) -> None:
        """Play a unit and write down what came of it."""
        unit = claim.request_id, claim.simulation
        where = "/".join(unit)
        try:
            answer = player.play(self._order(claim), stop, partial(self._note, unit))
            if answer.breakdown is not None:
                raise WorkerDiedError(answer.breakdown)
            if answer.refusal is not None:
                logger.warning("%s failed: %s", where, answer.refusal)
                self._persist(lambda: self._store.fail(claim, keepable(str(answer.refusal))))
            else:
                self._persist(lambda: self._store.finish(claim, _result(answer)))
        except CancelledError:  # or the service stops, or it was asked for again a moment later
            self._persist(lambda: self._store.release(claim))
        except Exception as error:  # whatever it is: this thread has to go on, and the unit is tried again
            is_known = isinstance(error, WorkerDiedError | MettaError)
            reason = keepable(str(error) if is_known else f"{type(error).__name__}: {error}")
            deaths = self._config.max_deaths
            state = self._persist(lambda: self._store.died(claim, reason, max_deaths=deaths))
            logger.warning("%s was not played: %s%s", where, reason, _what_then(state))
        finally:
            with self._lock:
                del self._playing[claim]
                self._played.pop(unit, None)

    def _note(self, unit: tuple[str, str], share: float) -> None:
        self._played[unit] = share

    def _order(self, claim: Claim) -> PlayOrder:
        suite = Suite.model_validate_json(claim.suite)
        simulation = next(simulation for simulation in suite.simulations if simulation.name == claim.simulation)
        return PlayOrder(
            program=claim.program,
            simulation=simulation,
            policy=claim.policy_path or claim.policy_uri,
            policy_key=claim.policy_key,
            policy_version=claim.policy_version,
            policy_checksum=claim.policy_checksum,
            opponents=claim.opponents,
            data_dir=self._config.data_dir,
            replay_dir=self._config.replay_uri(claim.request_id),
            stats_uri=self._config.stats_uri(claim.request_id),
            threads=self._config.threads,
        )

    def _persist(self, transaction: Callable[[], T]) -> T | None:
        """Do a transaction, again and again while the database cannot be reached; None when the service stops."""
        while True:
            try:
                return transaction()
            except DataError:  # it will never be kept
                raise
            except (SQLAlchemyError, MettaError) as error:
                logger.warning("the database: %s; trying again", plain(error))
                self._is_unsure = True
            with self._work:
                if self._is_stopping:
                    return None
                self._work.wait(RETRY_SECONDS)


def _result(answer: PlayAnswer) -> Result:
    return Result(
        score=None if answer.score is None else answer.score.model_dump(),
        missing_episodes=answer.missing_episodes,
        replay_urls=answer.replay_urls,
        seconds=answer.seconds,
        agent_steps=answer.agent_steps,
    )


def keepable(reason: str) -> str:
    """Return a reason that every database can keep, whatever a dying process has written."""
    return reason.replace("\0", "\ufffd").encode(errors="replace").decode()[:MAX_REASON]


def _what_then(state: str | None) -> str:
    return {State.QUEUED.value: "; it is played again", State.FAILED.value: "; given up"}.get(str(state), "")
