"""`SimulationStatsDB`: what happened in simulations, one DuckDB file that can be merged with others.

A database is a file that we only read, or a private copy that `add` and `merge_in` write; a file that others see is
replaced as a whole, by one writer at a time. So whatever is killed leaves every file as it was, and a reader sees it
before or after. Producers do not wait for that: they leave their episodes in the file's inbox (`stats_inbox.py`), and
whoever opens the file next merges them.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import pandas as pd

from metta.errors import StatsError
from metta.sim import stats_inbox, stats_storage
from metta.sim.episode_rows import SimulationRows
from metta.sim.stats_connection import connect_to_read, connect_to_write
from metta.sim.stats_merge import add_rows, add_waiting, merge_file, merging_into
from metta.sim.stats_schema import TABLES, check_version, migrate, schema_version

logger = logging.getLogger(__name__)

MOST_WAITING = 64  # simulations in an inbox: merging takes 20 ms for each, and a copy of the file for all of them


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
        # In this order: what is merged while we look is in the file before it leaves the inbox.
        if not stats_inbox.waiting_files(uri) and not stats_storage.exists(uri):
            return cls._from_folder(uri)
        path = stats_storage.local_path(uri)
        with suppress(StatsError):  # a folder that may not be written to: what waits is merged in our own copy below
            cls._merge_waiting(uri)
        waiting = stats_inbox.waiting_files(uri)
        if path is not None and not waiting:
            return cls(path)
        database = cls()
        try:
            if stats_storage.exists(uri):
                database._take_in(uri)
            add_waiting(database._writing(), waiting, is_writer=False)
        except FileNotFoundError:  # somebody has merged it into the file, which we may have read before
            database.close()
            return cls.from_uri(uri)
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def _from_folder(cls, uri: str) -> Self:
        whole, inboxes = (stats_storage.list_files(uri, suffix) for suffix in (".duckdb", ".duckdb.inbox"))
        handed_in = [inbox.removesuffix(stats_inbox.FOLDER_SUFFIX) for inbox in inboxes]
        files = sorted({*whole, *filter(stats_inbox.waiting_files, handed_in)})
        if not files:
            raise StatsError(f"there are no statistics at {uri}; `metta evaluate` writes them")
        return cls.merged(files)

    @classmethod
    def merged(cls, uris: Sequence[str | Path]) -> Self:
        """Open several files as one, each as `from_uri` does; of an episode that is in two the later file's counts.

        Simulations of one name in different worlds (`env`) stand side by side, as after `merge_in`.
        """
        if len(uris) == 1:
            return cls.from_uri(uris[0])
        database = cls()
        try:
            for uri in uris:
                with SimulationStatsDB.from_uri(uri) as other:
                    database.merge_in(other)
        except BaseException:
            database.close()
            raise
        return database

    def _take_in(self, uri: str) -> None:
        """Merge the file at `uri` in, without its inbox, or a copy of it if it is elsewhere."""
        with tempfile.TemporaryDirectory(prefix="metta_stats_") as folder:
            path = stats_storage.local_path(uri)
            if path is None:
                path = Path(folder) / "fetched.duckdb"
                stats_storage.fetch(uri, path)
            with SimulationStatsDB(path) as other:
                self.merge_in(other)

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
            try:
                self._connection = connect_to_read(self.path)
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

    def add(self, *simulations: SimulationRows) -> None:
        """Add simulations and their episodes; episodes that are already there are replaced.

        A simulation that was played before in another world (`env`) is replaced with all of its episodes: a file that
        is evaluated into holds one world a name.
        """
        if simulations:
            add_rows(self._writing(), simulations)

    def merge_in(self, other: SimulationStatsDB) -> None:
        """Add all that `other` holds, in one transaction; an episode of `other` replaces the same one of ours.

        Nothing else is replaced: two runs may use one name for two worlds, which `env` tells apart. Merging a database
        into itself changes nothing.
        """
        if other.path.resolve() == self.path.resolve():
            return
        merge_file(self._writing(), other._release(), are_worlds_replaced=False)

    def export(self, uri: str | Path) -> None:
        """Merge our rows into the file at `uri`, or make it. Raises StatsError if it cannot be written.

        Ours replace what they would after `add`. The file is replaced as a whole. On one machine several processes may
        export to one file: they wait for each other.
        """
        target = stats_storage.local_path(str(uri))
        if target is not None and target.resolve() == self.path.resolve():
            return
        source = self._release()
        with merging_into(str(uri)) as connection:
            merge_file(connection, source, are_worlds_replaced=True)

    @staticmethod
    def write(uri: str | Path, simulations: Sequence[SimulationRows]) -> None:
        """Hand in simulations for the file at `uri`: they are safe when this returns, and merged when it is opened.

        That takes a few milliseconds, however much the file holds; every 64th time what was handed in is merged. Any
        number of processes and machines may do so at once. Raises StatsError if nothing can be written there.
        """
        uri = str(uri)
        try:
            stats_inbox.deliver(uri, simulations)
        except OSError as error:
            raise StatsError(f"the statistics could not be written to {uri}: {error}") from error
        if stats_storage.local_path(uri) and len(stats_inbox.waiting_files(uri)) >= MOST_WAITING:
            SimulationStatsDB.settle_or_warn(uri)

    @staticmethod
    def settle(uri: str | Path) -> None:
        """Merge what was handed in for the file at `uri`, so that other programs find it there too.

        A file of an older version is brought up to date: until then every reader does that again, in a copy of its own.
        Opening the file with `from_uri` merges as well, but leaves an older file as it is. Elsewhere than on this
        machine nothing is done, for there no lock keeps two from merging at once: `export` merges there, by one process
        at a time. Raises StatsError if the file cannot be written.
        """
        SimulationStatsDB._merge_waiting(str(uri), is_due=_is_old(stats_storage.local_path(str(uri))))

    @staticmethod
    def _merge_waiting(uri: str, *, is_due: bool = False) -> None:
        """Merge what waits, also nothing if the file `is_due` to be written anew."""
        if stats_storage.local_path(uri) and (is_due or stats_inbox.waiting_files(uri)):
            with merging_into(uri):
                pass  # what waits is merged before the block, in a copy that is up to date

    @staticmethod
    def settle_or_warn(uri: str | Path) -> None:
        """Do as `settle`, but warn if the file cannot be written: what waits is safe, and is merged another time."""
        try:
            SimulationStatsDB.settle(uri)
        except StatsError as error:
            logger.warning("%s; what was played is safe in %s", error, stats_inbox.inbox_of(str(uri)))

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


def _is_old(path: Path | None) -> bool:
    """Whether there is a statistics file that an older program has written."""
    if path is None or not path.is_file():
        return False
    try:
        with connect_to_read(path) as connection:
            return check_version(connection, name=str(path)) < schema_version()
    except (duckdb.Error, StatsError):
        return False  # whoever opens it is told what is wrong


def parse_policy_uri(uri: str) -> tuple[str, int | None]:
    """Split `key:v<version>`, as `get_all_policy_uris` gives it; the version is None if there is none."""
    key, separator, version = uri.rpartition(":v")
    return (key, int(version)) if separator and version.isdigit() else (uri, None)


def utc_now() -> datetime:
    """Return the time in UTC, as it is written in the tables."""
    return datetime.now(UTC).replace(tzinfo=None)
