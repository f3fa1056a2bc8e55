"""The service's tables. A request is unique by what it is derived from, a result by request and simulation.

The state of a request is not written anywhere: it follows from the states of its units, so the two cannot disagree.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, ForeignKeyConstraint, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

SCHEMA_VERSION = 2


class State(StrEnum):
    """Of a unit, and of a request."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (State.QUEUED, State.RUNNING)


class Base(DeclarativeBase):
    """All tables."""


class Schema(Base):
    """One row: which version of these tables the database has."""

    __tablename__ = "eval_service_schema"

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class StoredSuite(Base):
    """A suite, kept once however often it is asked for."""

    __tablename__ = "eval_suites"

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    content: Mapped[str] = mapped_column(Text)  # a `Suite` as JSON


class Request(Base):
    """One policy and one suite."""

    __tablename__ = "eval_requests"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)  # in the order of asking
    id: Mapped[str] = mapped_column(String(64), unique=True)  # see identity.py
    created_at: Mapped[datetime]  # UTC, like all times
    policy_uri: Mapped[str] = mapped_column(Text)
    policy_key: Mapped[str] = mapped_column(Text)
    policy_version: Mapped[int] = mapped_column(BigInteger)
    policy_checksum: Mapped[str] = mapped_column(String(128))
    opponents: Mapped[dict[str, Any]] = mapped_column(JSON)  # who else plays: address -> `AdmittedPolicy`
    suite_hash: Mapped[str] = mapped_column(ForeignKey("eval_suites.hash"))
    program: Mapped[str] = mapped_column(Text)

    suite: Mapped[StoredSuite] = relationship(lazy="joined")
    units: Mapped[list[Unit]] = relationship(lazy="selectin", order_by="Unit.position")


class Unit(Base):
    """One simulation of a request: what one worker plays."""

    __tablename__ = "eval_units"
    __table_args__ = (Index("eval_units_by_state", "state", "request", "position"),)

    request: Mapped[int] = mapped_column(ForeignKey("eval_requests.number"), primary_key=True)
    simulation: Mapped[str] = mapped_column(Text, primary_key=True)
    position: Mapped[int]  # in the suite
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(default=0)  # grows with every start: a result of an older one is not taken
    deaths: Mapped[int] = mapped_column(default=0)
    reason: Mapped[str | None] = mapped_column(Text)  # why it failed, or how its worker died last
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    result: Mapped[Result | None] = relationship(lazy="selectin")


class Result(Base):
    """What came of a unit. Written in the transaction that ends it; only one with as many episodes replaces it."""

    __tablename__ = "eval_results"
    __table_args__ = (ForeignKeyConstraint(["request", "simulation"], ["eval_units.request", "eval_units.simulation"]),)

    request: Mapped[int] = mapped_column(primary_key=True)
    simulation: Mapped[str] = mapped_column(Text, primary_key=True)
    score: Mapped[dict[str, Any] | None] = mapped_column(JSON)  # none: no episode was finished
    missing_episodes: Mapped[int]
    replay_urls: Mapped[list[str]] = mapped_column(JSON)
    seconds: Mapped[float]
    agent_steps: Mapped[int] = mapped_column(BigInteger)


def utc_now() -> datetime:
    """Return the time in UTC, as it is written in the tables."""
    return datetime.now(UTC).replace(tzinfo=None)
