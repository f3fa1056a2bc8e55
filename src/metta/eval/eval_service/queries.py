"""The store's longer queries, and parts of queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CursorResult, select
from sqlalchemy.orm import Session

from metta.eval.eval_service.claims import Claim
from metta.eval.eval_service.models import OPEN, Request, State, StoredSuite, Unit

# The oldest unit that waits, with the columns of a `Claim`.
WAITING = (
    select(
        Unit.request,
        Request.id.label("request_id"),
        Unit.simulation,
        Unit.attempt,
        Unit.deaths,
        Request.policy_uri,
        Request.policy_key,
        Request.policy_version,
        Request.policy_checksum,
        Request.opponents,
        Request.program,
        StoredSuite.content.label("suite"),
    )
    .join(Request, Request.number == Unit.request)
    .join(StoredSuite, StoredSuite.hash == Request.suite_hash)
    .where(Unit.state == State.QUEUED)
    .order_by(Unit.request, Unit.position)
    .limit(1)
)


def same_attempt(query: Any, claim: Claim) -> Any:
    """Narrow a query to the claimed unit, if it is still the claim's."""
    return query.where(
        Unit.request == claim.request,
        Unit.simulation == claim.simulation,
        Unit.state == State.RUNNING,
        Unit.attempt == claim.attempt,
    )


def count_of(session: Session, query: Any) -> int:
    """Do an update; return how many rows it changed."""
    result = session.execute(query)
    assert isinstance(result, CursorResult)
    return int(result.rowcount)


def has_state(state: State) -> Any:
    """Return the condition that a request is in `state`, as `schemas.overall_state` has it."""

    def any_unit(states: Sequence[State]) -> Any:
        return Request.units.any(Unit.state.in_(states))

    ended = ~any_unit(OPEN)
    return {
        State.QUEUED: ~any_unit([other for other in State if other != State.QUEUED]),
        State.RUNNING: any_unit(OPEN) & any_unit([other for other in State if other != State.QUEUED]),
        State.FAILED: ended & any_unit([State.FAILED]),
        State.CANCELLED: ended & any_unit([State.CANCELLED]) & ~any_unit([State.FAILED]),
        State.DONE: ended & ~any_unit([State.FAILED, State.CANCELLED]),
    }[state]
