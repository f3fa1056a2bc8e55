"""What brings the tables of an older version to the present one, a step for each version.

A step names tables and columns as they were at its time, never by `models`, which goes on changing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import JSON, Connection, DateTime, column, select, table, text, update

from metta.eval.eval_service.models import SCHEMA_VERSION, utc_now

logger = logging.getLogger(__name__)

NOT_COPIED = (
    "the metta that took this request kept no copy of the opponents {names}, so what was asked for cannot be played; "
    "ask again"
)


def migrate(connection: Connection, version: int) -> None:
    """Bring the tables from `version` to SCHEMA_VERSION, in the transaction of `connection`: all steps or none."""
    for step in range(version, SCHEMA_VERSION):
        STEPS[step](connection)
    connection.execute(update(table("eval_service_schema", column("version"))).values(version=SCHEMA_VERSION))
    logger.warning("the database had version %d of the service's tables; it has %d now", version, SCHEMA_VERSION)


def _from_1(connection: Connection) -> None:
    """Opponents get names and copies, as the policy has; the path of a policy's copy follows from its checksum.

    A request whose opponents have no copy cannot be played: what is open of it fails, what is done stays.
    """
    names = ("number", "policy_uri", "policy_key", "policy_version", "policy_checksum")
    requests = table("eval_requests", *map(column, names), column("opponents", JSON))
    rows = connection.execute(select(requests)).all()
    copied = {
        row.policy_checksum: {"uri": row.policy_uri, "key": row.policy_key, "version": row.policy_version}
        for row in rows
    }
    for row in rows:
        if row.opponents:
            opponents = {uri: _opponent_of_2(uri, checksum, copied) for uri, checksum in row.opponents.items()}
            connection.execute(
                update(requests).where(requests.c.number == row.number).values({requests.c.opponents: opponents})
            )
            lacking = [uri for uri, one in opponents.items() if one["checksum"] not in copied and not _is_mock(one)]
            if lacking:
                _fail_open(connection, row.number, NOT_COPIED.format(names=", ".join(lacking)))
    connection.execute(text("ALTER TABLE eval_requests DROP COLUMN policy_path"))


def _opponent_of_2(uri: str, checksum: str, copied: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return an opponent with the name of its copy; without one, with what the address says."""
    named = copied.get(checksum, {"uri": uri, "key": uri.removeprefix("mock://"), "version": 0})
    return {**named, "checksum": checksum}


def _is_mock(opponent: Mapping[str, Any]) -> bool:
    return str(opponent["checksum"]).startswith("mock:")


def _fail_open(connection: Connection, request: int, reason: str) -> None:
    units = table("eval_units", column("request"), column("state"), column("reason"), column("finished_at", DateTime))
    is_open = units.c.state.in_(["queued", "running"])
    values = {units.c.state: "failed", units.c.reason: reason, units.c.finished_at: utc_now()}
    connection.execute(update(units).where(units.c.request == request, is_open).values(values))


STEPS: Mapping[int, Callable[[Connection], None]] = {1: _from_1}
