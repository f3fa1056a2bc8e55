"""`RequestStore`: everything that must survive. Each method is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator
from contextlib import contextmanager, nullcontext
from threading import Lock

from sqlalchemy import Connection, Engine, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from metta.eval.eval_service.claims import Claim, NewRequest
from metta.eval.eval_service.models import OPEN, Request, Result, State, StoredSuite, Unit, utc_now
from metta.eval.eval_service.queries import WAITING, count_of, has_state, same_attempt
from metta.eval.eval_service.rests import UnitKey
from metta.eval.eval_service.schemas import RequestView
from metta.eval.eval_service.views import request_view


class RequestStore:
    """Requests, their units and results. Safe to use from several threads."""

    def __init__(self, engine: Engine, *, stats_uri: Callable[[str], str]) -> None:
        """`stats_uri`: where the episodes of a request with this id are kept."""
        self._reading = sessionmaker(engine)
        self._sessions = sessionmaker(engine.execution_options(writes=True))
        # SQLite has one writer at a time, and lets others sleep for a while: here they go on at once.
        self._turn: Lock | nullcontext[None] = Lock() if engine.dialect.name == "sqlite" else nullcontext()
        self._stats_uri = stats_uri

    @contextmanager
    def _writing(self, connection: Connection | None = None) -> Iterator[Session]:
        with (
            self._turn,
            Session(connection) if connection is not None else self._sessions() as session,
            session.begin(),
        ):
            yield session

    # Asking

    def ask(self, new: NewRequest) -> tuple[RequestView, bool]:
        """Keep a request; return it and whether it is new.

        A request that is there already is returned as it is. What failed or was cancelled of it is queued again, and
        simulations of which episodes are missing.
        """
        try:
            return self._ask(new)
        except IntegrityError:  # another thread asked for the same at the same moment
            return self._ask(new)

    def _ask(self, new: NewRequest) -> tuple[RequestView, bool]:
        with self._writing() as session:
            number = session.scalar(select(Request.number).where(Request.id == new.id))
            if number is None:
                return self._insert(session, new), True
            lacks = Unit.result.has(Result.missing_episodes > 0)
            again = Unit.state.in_([State.FAILED, State.CANCELLED]) | ((Unit.state == State.DONE) & lacks)
            values = {"state": State.QUEUED, "deaths": 0, "reason": None, "started_at": None, "finished_at": None}
            query = update(Unit).where(Unit.request == number, again).values(values)
            session.execute(query, execution_options={"synchronize_session": False})
            found = self._found(session, new.id)
            assert found is not None
            return found, False

    def _insert(self, session: Session, new: NewRequest) -> RequestView:
        """Write a request's rows: plain inserts, which take a third of the time of the mapper's."""
        if session.scalar(select(StoredSuite.hash).where(StoredSuite.hash == new.suite_hash)) is None:
            suite = {"hash": new.suite_hash, "name": new.suite.name, "content": new.suite.model_dump_json()}
            session.execute(insert(StoredSuite), suite)
        row = {
            "id": new.id,
            "created_at": utc_now(),
            "policy_uri": new.policy.uri,
            "policy_key": new.policy.key,
            "policy_version": new.policy.version,
            "policy_checksum": new.policy.checksum,
            "opponents": {uri: policy.model_dump() for uri, policy in new.opponents.items()},
            "suite_hash": new.suite_hash,
            "program": new.program,
        }
        number = session.scalar(insert(Request).values(row).returning(Request.number))
        assert number is not None
        names = [simulation.name for simulation in new.suite.simulations]
        queued = {"state": State.QUEUED, "attempt": 0, "deaths": 0}
        session.execute(
            insert(Unit),
            [
                {"request": number, "simulation": name, "position": position, **queued}
                for position, name in enumerate(names)
            ],
        )
        units = [Unit(simulation=name, **queued) for name in names]
        request = Request(number=number, **row, suite=StoredSuite(name=new.suite.name), units=units)
        return self._view(request)

    # Reading

    def ping(self) -> None:
        """Raises sqlalchemy's DBAPIError if the database does not answer."""
        with self._reading() as session:
            session.execute(select(1))

    def get(self, request_id: str) -> RequestView | None:
        """Return a request; None: there is none."""
        with self._reading() as session:
            return self._found(session, request_id)

    def page(
        self, *, limit: int, before: int | None = None, state: str | None = None, policy_key: str | None = None
    ) -> list[RequestView]:
        """Return at most `limit` requests, newest first, with a number below `before` if given."""
        query = select(Request).order_by(Request.number.desc()).limit(limit)
        if before is not None:
            query = query.where(Request.number < before)
        if policy_key is not None:
            query = query.where(Request.policy_key == policy_key)
        if state is not None:
            query = query.where(has_state(State(state)))
        with self._reading() as session:
            return [self._view(request) for request in session.scalars(query)]

    def _found(self, session: Session, request_id: str) -> RequestView | None:
        request = session.scalars(select(Request).where(Request.id == request_id)).one_or_none()
        return None if request is None else self._view(request)

    def _view(self, request: Request) -> RequestView:
        return request_view(request, stats_uri=self._stats_uri(request.id))

    # Playing

    def requeue(self, *, but: Container[tuple[str, str]] = (), connection: Connection | None = None) -> int:
        """Queue again what is said to be played and is not: all but the (request id, simulation) in `but`.

        `connection`: as for `claim`.
        """
        with self._writing(connection) as session:
            query = select(Unit, Request.id).join(Request, Request.number == Unit.request).with_for_update(of=Unit)
            lost = [
                unit
                for unit, request_id in session.execute(query.where(Unit.state == State.RUNNING))
                if (request_id, unit.simulation) not in but
            ]
            for unit in lost:
                unit.state, unit.started_at = State.QUEUED, None
            return len(lost)

    def needed_copies(self) -> set[str]:
        """Return the checksums of all policies that play in what has not ended."""
        query = select(Request.policy_checksum, Request.opponents).where(Request.units.any(Unit.state.in_(OPEN)))
        with self._reading() as session:
            needed = session.execute(query).all()
        return {own for own, _ in needed} | {one["checksum"] for _, others in needed for one in others.values()}

    def claim(self, *, but: Collection[UnitKey] = (), connection: Connection | None = None) -> Claim | None:
        """Return the oldest unit that waits and is not in `but`, now running; None if there is none.

        `connection`: the session that holds the place of the one service. Not for two threads at a time.
        """
        waiting = WAITING.where(tuple_(Unit.request, Unit.simulation).not_in(list(but))) if but else WAITING
        while True:
            with self._writing(connection) as session:
                unit = session.execute(waiting).one_or_none()
                if unit is None:
                    return None
                claim = Claim(**unit._asdict() | {"attempt": unit.attempt + 1})
                values = {"state": State.RUNNING, "started_at": utc_now(), "attempt": claim.attempt}
                its_own = (Unit.request == claim.request, Unit.simulation == claim.simulation)
                if count_of(session, update(Unit).where(*its_own, Unit.state == State.QUEUED).values(values)) == 1:
                    return claim  # else it was cancelled this very moment

    def release(self, claim: Claim) -> bool:
        """Queue a unit again that is not played to its end, and is no failure. False: it was cancelled meanwhile."""
        with self._writing() as session:
            return count_of(session, same_attempt(update(Unit), claim).values(state=State.QUEUED, started_at=None)) == 1

    def finish(self, claim: Claim, result: Result) -> bool:
        """Keep a result and end its unit, both or neither. False: it was cancelled, and the result is not taken.

        A result of an earlier time, of which more episodes were missing, is replaced.
        """
        with self._writing() as session:
            if not self._end(session, claim, state=State.DONE, reason=None):
                return False
            result.request, result.simulation = claim.request, claim.simulation
            before = session.get(Result, (claim.request, claim.simulation))
            if before is None or result.missing_episodes <= before.missing_episodes:
                session.merge(result)
            return True

    def fail(self, claim: Claim, reason: str) -> bool:
        """End a unit for good. False: it was cancelled meanwhile."""
        with self._writing() as session:
            return self._end(session, claim, state=State.FAILED, reason=reason)

    def died(self, claim: Claim, reason: str, *, max_retries: int) -> str | None:
        """Count a worker's death; return the unit's state then: queued again, or failed. None: it was cancelled."""
        with self._writing() as session:
            unit = session.scalars(same_attempt(select(Unit), claim).with_for_update()).one_or_none()
            if unit is None:
                return None
            unit.deaths += 1
            is_over = unit.deaths > max_retries
            unit.state = State.FAILED if is_over else State.QUEUED
            unit.reason = f"given up after {unit.deaths} attempts, the last one: {reason}" if is_over else reason
            unit.finished_at = utc_now() if is_over else None
            return str(unit.state)

    def cancel(self, request_id: str) -> RequestView | None:
        """End what has not ended of a request; return it, None if there is none."""
        with self._writing() as session:
            numbers = select(Request.number).where(Request.id == request_id).scalar_subquery()
            values = {"state": State.CANCELLED, "finished_at": utc_now()}
            session.execute(update(Unit).where(Unit.request == numbers, Unit.state.in_(OPEN)).values(values))
            return self._found(session, request_id)

    def _end(self, session: Session, claim: Claim, *, state: State, reason: str | None) -> bool:
        values = {"state": state, "reason": reason, "finished_at": utc_now()}
        return count_of(session, same_attempt(update(Unit), claim).values(values)) == 1
