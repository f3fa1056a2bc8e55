"""Connections to a statistics file: one that only reads, and one for a file that nobody else sees."""

from __future__ import annotations

from pathlib import Path

import duckdb


def connect_to_write(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a file that nobody else sees. Commits go straight into it: a log beside it would only be copied over."""
    return duckdb.connect(str(path), config={"wal_autocheckpoint": "1KB"})


def connect_to_read(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a file for questions, which can change nothing and see nothing else: neither files nor Python's variables.

    The file is attached to a database of its own in memory: DuckDB would give a second connection to the same path the
    file that the first one opened, even if another has taken its place since.
    """
    connection = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
    try:
        quoted = str(path).replace("'", "''")  # ATTACH takes no parameters
        connection.execute(f"ATTACH '{quoted}' AS statistics (READ_ONLY)")
        connection.execute("USE statistics")
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET temp_directory = ''")  # a sort that is too large fails, instead of filling the disk
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection
