"""The database: SQLite or PostgreSQL, its tables, and that one service alone uses them."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import Session

from metta.errors import ConfigError, ServiceError
from metta.eval.eval_service.migrations import migrate
from metta.eval.eval_service.models import SCHEMA_VERSION, Base, Schema

BUSY_SECONDS = 30  # how long one writer of SQLite waits for another
CONNECT_SECONDS = 10
ADVISORY_LOCK = 0x6D65747461  # of PostgreSQL: any number that others do not use


def open_database(address: str) -> Engine:
    """Return an engine for `address`, tables made, or those of an older version brought to ours.

    Raises ConfigError for a bad address, ServiceError if it fails.
    """
    try:
        engine = _engine(address)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise ConfigError(
            f"database={_without_password(address)} cannot be used: {error}; sqlite:///<file> or postgresql+psycopg://<host>/<name>"
        ) from error
    try:
        _make_tables(engine)
    except SQLAlchemyError as error:
        raise ServiceError(f"the database {engine.url} cannot be used: {plain(error)}") from error
    return engine


def _without_password(address: str) -> str:
    """Return the address as messages may show it."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", address)


def _engine(address: str) -> Engine:
    url = make_url(address)
    if url.get_backend_name() == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise ArgumentError("a database in memory forgets everything")
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if url.get_backend_name() == "postgresql":
        # A server may have been started again, or may not answer at all.
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": CONNECT_SECONDS})
    raise ArgumentError(f"{url.get_backend_name()} is neither sqlite nor postgresql")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    """Let writers wait for each other at the beginning: one that began by reading could only give up later."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _make_tables(engine: Engine) -> None:
    with engine.execution_options(writes=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK + 1})
        is_new = not inspect(connection).has_table(Schema.__tablename__)
        if is_new:
            Base.metadata.create_all(connection)
        with Session(connection) as session:
            if is_new:
                session.add(Schema(version=SCHEMA_VERSION))
                session.flush()
            version = session.scalars(select(Schema.version)).one()
        if version < SCHEMA_VERSION:
            with _alone(engine):
                migrate(connection, version)
    if version > SCHEMA_VERSION:
        raise ServiceError(
            f"the database {engine.url} has version {version} of the service's tables, this program knows "
            f"{SCHEMA_VERSION}; use the metta that made it, or another database"
        )


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Raises ServiceError if a service, which must be an older one, uses the database now."""
    place = OneService(engine, None)
    place.take()
    try:
        yield
    finally:
        place.give_back()


class OneService:
    """Holds the place of the one service of a database and a folder; the system frees both when the process dies.

    On PostgreSQL the place is a lock of one session, `connection`. What only the one service may do is done in that
    session: if it was lost, and another service may have the place, it cannot be done.
    """

    def __init__(self, engine: Engine, folder: Path | None) -> None:
        """`folder`: none: only the database's place is taken."""
        self._engine, self._folder = engine, folder
        self._files: list[TextIO] = []
        self.connection: Connection | None = None  # for one thread at a time; none: SQLite, or not taken yet

    def take(self) -> None:
        """Raises ServiceError if another service has it."""
        # As a run's: `metta clean` leaves alone what is held.
        paths = [] if self._folder is None else [self._folder / ".lock"]
        if self._engine.dialect.name == "sqlite":
            paths.append(Path(f"{self._engine.url.database}.lock"))
        for path in paths:
            file = path.open("w")
            self._files.append(file)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self.give_back()
                raise ServiceError(
                    f"another evaluation service uses {path.parent}; service_dir= and database= name others"
                ) from error
        try:
            self.hold()
        except BaseException:
            self.give_back()
            raise

    def hold(self) -> bool:
        """Take the database's place again if the connection was lost; return whether that was so.

        Raises ServiceError if another service was faster.
        """
        if self._engine.dialect.name != "postgresql":
            return False
        if self.connection is not None and not self.connection.invalidated:  # else it would be another session
            try:
                self.connection.execute(text("SELECT 1"))
                self.connection.rollback()
                return False
            except SQLAlchemyError:
                pass
        self._let_go()
        connection = self._engine.connect()
        is_ours = connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
        connection.commit()
        if not is_ours:
            connection.close()
            raise ServiceError(f"another evaluation service uses the database {self._engine.url}")
        self.connection = connection
        return True

    def _let_go(self) -> None:
        if self.connection is not None:
            self.connection.invalidate()
            self.connection.close()
            self.connection = None

    def give_back(self) -> None:
        """Let others have it."""
        self._let_go()
        for file in self._files:
            file.close()


def plain(error: BaseException) -> str:
    """Return the first line of what the database said."""
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
