"""How rows get into a statistics file: inserted or merged from another file, the file replaced as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from metta.errors import StatsError
from metta.sim import stats_inbox, stats_storage
from metta.sim.episode_rows import SimulationRows, latest, table_columns
from metta.sim.stats_connection import connect_to_write
from metta.sim.stats_schema import TABLES, migrate

# Tables whose rows go when their episode is replaced.
_EPISODE_TABLES = ("episode_attributes", "agent_groups", "agent_policies", "agent_metrics")

_AT_ONCE = 16  # simulations that are inserted together: more save little time, and take 6 MB of memory each


@contextmanager
def merging_into(uri: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a connection to a copy of the file at `uri` that takes its place when the block ends well.

    What waits in its inbox is merged first, and removed from there at the very end.
    """
    try:
        with stats_storage.only_writer(uri):
            waiting = stats_inbox.waiting_files(uri)
            with stats_storage.replacing(uri) as work:
                if stats_storage.exists(uri):
                    stats_storage.fetch(uri, work)
                with connect_to_write(work) as connection:
                    migrate(connection, name=uri)
                    merged = add_waiting(connection, waiting, is_writer=True)
                    yield connection
            stats_inbox.remove_deliveries(uri, merged)
    except (OSError, duckdb.Error) as error:
        raise StatsError(f"the statistics could not be written to {uri}: {error}") from error


def add_waiting(connection: duckdb.DuckDBPyConnection, files: Sequence[str], *, is_writer: bool) -> list[str]:
    """Insert what the files of an inbox hold; return those that could be read.

    `is_writer`: whether the inbox is ours to clear up, and not only looked into. Raises FileNotFoundError if one has
    vanished.
    """
    merged: list[str] = []
    for first in range(0, len(files), _AT_ONCE):
        found = stats_inbox.read_deliveries(files[first : first + _AT_ONCE], is_writer=is_writer)
        add_rows(connection, list(found.values()))
        merged += found
    return merged


def add_rows(connection: duckdb.DuckDBPyConnection, simulations: Sequence[SimulationRows]) -> None:
    """Insert simulations; their episodes replace the same ones, and another world (`env`) those of the one before."""
    for table, columns in table_columns(latest(simulations)).items():
        connection.register(f"new_{table}", columns)
    sources = {table: f"new_{table}" for table in TABLES}
    # DuckDB takes NaN in an array for NULL, which would be no value at all
    sources["agent_metrics"] = "(SELECT * REPLACE (coalesce(value, 'nan') AS value) FROM new_agent_metrics)"
    _replace(connection, sources, are_worlds_replaced=True)
    for table in TABLES:
        connection.unregister(f"new_{table}")


def merge_file(connection: duckdb.DuckDBPyConnection, source: Path, *, are_worlds_replaced: bool) -> None:
    """Copy everything from the file `source`; its episodes replace the same ones.

    `are_worlds_replaced`: so do simulations of the same policy and name in another world (`env`), as in `add_rows`.
    """
    quoted = str(source).replace("'", "''")  # ATTACH takes no parameters
    connection.execute(f"ATTACH '{quoted}' AS other (READ_ONLY)")
    try:
        _replace(connection, {table: f"other.{table}" for table in TABLES}, are_worlds_replaced=are_worlds_replaced)
    finally:
        connection.execute("DETACH other")


def _replace(connection: duckdb.DuckDBPyConnection, sources: dict[str, str], *, are_worlds_replaced: bool) -> None:
    """Copy every source into its table, in one transaction, after removing what it replaces."""
    connection.execute("BEGIN")
    try:
        connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE left_worlds AS SELECT old.id FROM simulations old
                WHERE {are_worlds_replaced} AND EXISTS (
                    SELECT 1 FROM {sources["simulations"]} new WHERE new.env <> old.env AND new.name = old.name
                    AND new.policy_key = old.policy_key AND new.policy_version = old.policy_version)"""
        )
        connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE replaced AS SELECT id FROM episodes
                WHERE id IN (SELECT id FROM {sources["episodes"]}) OR simulation_id IN (FROM left_worlds)"""
        )
        ((replaced,),) = connection.execute("SELECT count(*) FROM replaced").fetchall()
        for table, column in [(name, "episode_id") for name in _EPISODE_TABLES] + [("episodes", "id")]:
            if replaced:  # it reads whole tables
                connection.execute(f"DELETE FROM {table} WHERE {column} IN (FROM replaced)")
        for table, column in (("simulation_metrics", "simulation_id"), ("simulations", "id")):
            connection.execute(
                f"""DELETE FROM {table} WHERE {column} IN (FROM left_worlds)
                    OR {column} IN (SELECT id FROM {sources["simulations"]})"""
            )
        for table in TABLES:
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM {sources[table]}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
