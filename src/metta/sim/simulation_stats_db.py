"""`SimulationStatsDB`: what happened in simulations, one DuckDB file that can be merged with others.

A database is a file that we only read, or a private copy that `add` and `merge_in` write; a file that others see is
changed by `export` alone, which replaces it as a whole. So whatever is killed leaves every file as it was.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pandas as pd

from metta.errors import StatsError
from metta.sim import stats_storage
from metta.sim.episode_rows import SimulationRows
from metta.sim.stats_schema import TABLES, check_version, migrate, schema_version

# Tables whose rows go when their episode is replaced.
_EPISODE_TABLES = ("episode_attributes", "agent_groups", "agent_policies", "agent_metrics")


class SimulationStatsDB:
    """Episodes and their metrics in a file that SQL can read (the tables are in `stats_schema.py`).

    `SimulationStatsDB()` is new, empty and private; `from_uri` opens what is there. Use it in a `with` block, or close
    it: what was written and not exported is gone then.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None  # set: `path` is private, and may be written
        self._connection: duckdb.DuckDBPyConnection | None = None  # one at a time
        self._is_writing = False  # what the connection is for
        if path is None:
            self.path = self._new_private_path()
            migrate(self._writing(), name=str(self.path))
        else:
            self.path = Path(path)
            self._check_version()

    # Opening

    @classmethod
    def from_uri(cls, uri: str | Path) -> Self:
        """Open the statistics at `uri`: a path or an fsspec address of a file, or a folder whose files are merged.

        Raises StatsError if nothing is there, if it is no statistics file, or if it is newer than this program.
        """
        uri = str(uri)
        path = stats_storage.local_path(uri)
        if path is not None and path.is_file():
            return cls(path)
        files = [uri] if stats_storage.exists(uri) else stats_storage.list_databases(uri)
        if not files:
            raise StatsError(f"there are no statistics at {uri}; `metta evaluate` writes them")
        database = cls()
        for file in files:
            with stats_storage.fetched(file) as copy, SimulationStatsDB(copy) as other:
                database.merge_in(other)
        return database

    def _check_version(self) -> None:
        """Bring an older file up to date, in a private copy. Raises StatsError if the file cannot be used."""
        if not self.path.is_file():
            raise StatsError(f"there is no statistics file {self.path}")
        name = str(self.path)
        if check_version(self.connection, name=name) < schema_version():
            migrate(self._writing(), name=name)

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """A connection that only reads, and reads no other file; it is opened when it is needed."""
        if self._is_writing:
            self._release()
        if self._connection is None:
            settings: dict[str, Any] = {"enable_external_access": "false"}
            try:
                self._connection = duckdb.connect(str(self.path), read_only=True, config=settings)
            except duckdb.Error as error:
                raise StatsError(f"{self.path} cannot be opened as a DuckDB database: {error}") from error
        return self._connection

    def _writing(self) -> duckdb.DuckDBPyConnection:
        """Return a connection that writes; what was opened from a file becomes a private copy first."""
        if not self._is_writing:
            source = self._release()
            if self._folder is None:
                self.path = self._new_private_path()
                stats_storage.fetch(str(source), self.path)
            self._connection = connect_to_write(self.path)
            self._is_writing = True
        assert self._connection is not None
        return self._connection

    def _new_private_path(self) -> Path:
        self._folder = tempfile.TemporaryDirectory(prefix="metta_stats_")
        return Path(self._folder.name) / "statistics.duckdb"

    def _release(self) -> Path:
        """Close the connection, so that the file is whole and free; return its path."""
        if self._connection is not None:
            self._connection.close()
            self._connection, self._is_writing = None, False
        return self.path

    def close(self) -> None:
        """Close the database and remove it if it is private."""
        self._release()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Writing

    def add(self, rows: SimulationRows) -> None:
        """Add one simulation and its episodes; episodes that are already there are replaced.

        A simulation that was played before in another world (`env`) is replaced with all of its episodes.
        """
        _add_rows(self._writing(), rows)

    def merge_in(self, other: SimulationStatsDB) -> None:
        """Add all that `other` holds, in one transaction; an episode of `other` replaces the same one of ours.

        Merging a database into itself changes nothing.
        """
        if other.path.resolve() == self.path.resolve():
            return
        _merge_file(self._writing(), other._release())

    def export(self, uri: str | Path) -> None:
        """Merge our rows into the file at `uri`, or make it. Raises StatsError if it cannot be written.

        The file is replaced as a whole. On one machine several processes may export to one file: they wait for each
        other.
        """
        target = stats_storage.local_path(str(uri))
        if target is not None and target.resolve() == self.path.resolve():
            return
        source = self._release()
        with _replacing(str(uri)) as connection:
            _merge_file(connection, source)

    @staticmethod
    def write(uri: str | Path, simulations: Sequence[SimulationRows]) -> None:
        """Add simulations to the file at `uri`, or make it: what `add` and `export` do, at half the cost."""
        with _replacing(str(uri)) as connection:
            for rows in simulations:
                _add_rows(connection, rows)

    # Reading

    def get_replay_urls(self, policy_uri: str | None = None, simulation: str | None = None) -> list[str]:
        """Return the addresses of all replays, of one policy (`key:v<version>`, or a key) or simulation if given."""
        key, version = parse_policy_uri(policy_uri) if policy_uri else (None, None)
        rows = self.connection.execute(
            """SELECT e.replay_url FROM episodes e JOIN simulations s ON s.id = e.simulation_id
               WHERE e.replay_url IS NOT NULL AND s.policy_key = coalesce($key, s.policy_key)
                 AND s.policy_version = coalesce($version, s.policy_version) AND s.name = coalesce($name, s.name)
               ORDER BY s.policy_key, s.policy_version, s.name, e.replay_url""",
            {"key": key, "version": version, "name": simulation},
        ).fetchall()
        return [str(row[0]) for row in rows]

    def get_all_policy_uris(self) -> list[str]:
        """Return every policy that played, as `key:v<version>`, sorted by key and version."""
        rows = self.connection.execute(
            "SELECT DISTINCT policy_key, policy_version FROM agent_policies ORDER BY policy_key, policy_version"
        ).fetchall()
        return [f"{key}:v{version}" for key, version in rows]

    def table(self, name: str) -> pd.DataFrame:
        """Return a whole table in a fixed order of rows: for tests and small files."""
        assert name in TABLES, name
        return self.connection.execute(f"SELECT * FROM {name} ORDER BY ALL").df()


def parse_policy_uri(uri: str) -> tuple[str, int | None]:
    """Split `key:v<version>`, as `get_all_policy_uris` gives it; the version is None if there is none."""
    key, separator, version = uri.rpartition(":v")
    return (key, int(version)) if separator and version.isdigit() else (uri, None)


def utc_now() -> datetime:
    """Return the time in UTC, as it is written in the tables."""
    return datetime.now(UTC).replace(tzinfo=None)


def connect_to_write(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a file that nobody else sees. Commits go straight into it: a log beside it would only be copied over."""
    return duckdb.connect(str(path), config={"wal_autocheckpoint": "1KB"})


@contextmanager
def _replacing(uri: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a connection to a copy of the file at `uri` that takes its place when the block ends well."""
    try:
        with stats_storage.only_writer(uri), stats_storage.replacing(uri) as work:
            if stats_storage.exists(uri):
                stats_storage.fetch(uri, work)
            with connect_to_write(work) as connection:
                migrate(connection, name=uri)
                yield connection
    except (OSError, duckdb.Error) as error:
        raise StatsError(f"the statistics could not be written to {uri}: {error}") from error


def _add_rows(connection: duckdb.DuckDBPyConnection, rows: SimulationRows) -> None:
    for table in TABLES:
        connection.register(f"new_{table}", rows.frame(table))
    _replace(connection, {table: f"new_{table}" for table in TABLES})
    for table in TABLES:
        connection.unregister(f"new_{table}")


def _merge_file(connection: duckdb.DuckDBPyConnection, source: Path) -> None:
    quoted = str(source).replace("'", "''")  # ATTACH takes no parameters
    connection.execute(f"ATTACH '{quoted}' AS other (READ_ONLY)")
    try:
        _replace(connection, {table: f"other.{table}" for table in TABLES})
    finally:
        connection.execute("DETACH other")


def _replace(connection: duckdb.DuckDBPyConnection, sources: dict[str, str]) -> None:
    """Copy every source into its table, in one transaction, after removing what it replaces."""
    connection.execute("BEGIN")
    try:
        connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE replaced AS SELECT id FROM episodes
                WHERE id IN (SELECT id FROM {sources["episodes"]})
                   OR simulation_id IN (SELECT old.id FROM simulations old
                                        JOIN {sources["simulations"]} new ON new.id = old.id AND new.env <> old.env)"""
        )
        for table in _EPISODE_TABLES:
            connection.execute(f"DELETE FROM {table} WHERE episode_id IN (FROM replaced)")
        connection.execute("DELETE FROM episodes WHERE id IN (FROM replaced)")
        for table, column in (("simulation_metrics", "simulation_id"), ("simulations", "id")):
            connection.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT id FROM {sources['simulations']})")
        for table in TABLES:
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM {sources[table]}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
