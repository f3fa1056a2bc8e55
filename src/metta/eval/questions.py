"""Questions in SQL that only read: what may be asked, how a mistake is told, and how Ctrl-C ends one.

The connection (`connect_to_read`) keeps a question away from other files and Python's variables. Here everything that
is no question is refused before it gets there, with a message that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, NamedTuple, TypeVar

import duckdb
import pandas as pd

from metta.errors import StatsError

Parameters = Sequence[Any] | Mapping[str, Any] | None
T = TypeVar("T")

_LISTEN_SECONDS = 0.05  # how often Ctrl-C is looked for


class Answer(NamedTuple):
    """The first rows of an answer, and how many it has in all."""

    rows: pd.DataFrame
    total: int


def ask(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Parameters = None) -> pd.DataFrame:
    """Return the answer. Raises StatsError for anything but one question, for mistakes, and for what is refused."""
    return _answered(connection, lambda: connection.execute(_question(sql), parameters).df())


def ask_for_rows(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Parameters = None) -> list[Any]:
    """Return the answer as a list of tuples, in which NULL is None. Raises as `ask`."""
    return _answered(connection, lambda: connection.execute(_question(sql), parameters).fetchall())


def ask_for_first(connection: duckdb.DuckDBPyConnection, sql: str, *, rows: int) -> Answer:
    """Return the first `rows` rows of the answer and count the others, which are never in memory. Raises as `ask`."""

    def first() -> Answer:
        question = _question(sql)
        connection.execute(question)
        chunks = [connection.fetch_df_chunk()]
        while len(chunks[-1]) and sum(map(len, chunks)) <= rows:  # some are short: of a UNION each part has its own
            chunks.append(connection.fetch_df_chunk())
        found = pd.concat([chunk for chunk in chunks if len(chunk)] or chunks[:1], ignore_index=True)
        if len(found) <= rows:
            return Answer(found, len(found))
        # On a line of its own: the question may end in a comment.
        ((total,),) = connection.execute(f"SELECT count(*) FROM (\n{_text(question)}\n)").fetchall()
        return Answer(found.head(rows), int(total))

    return _answered(connection, first)


def _question(sql: str) -> duckdb.Statement:
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1:
        raise StatsError(f"one question at a time: {len(statements)} statements were given")
    # Not EXPLAIN: with ANALYZE it carries out what it explains, and that may be a COPY over the file itself.
    if statements[0].type != duckdb.StatementType.SELECT:
        kind = statements[0].type.name
        hint = "; give PIVOT its values: PIVOT ... ON column IN (...)" if kind == "MULTI" else ""
        raise StatsError(f"only questions are allowed (SELECT, FROM, WITH, DESCRIBE), this is {kind}{hint}")
    return statements[0]


def _text(question: duckdb.Statement) -> str:
    """Return the question without the semicolon that ends it."""
    tokens = duckdb.tokenize(question.query)
    text = question.query
    for start, _ in reversed(tokens):
        if text[start] == ";":
            return text[:start]
    return text


def _answered(connection: duckdb.DuckDBPyConnection, work: Callable[[], T]) -> T:
    try:
        return _interruptible(connection, work)
    except duckdb.PermissionException as error:
        raise StatsError(f"the query is refused: it may read nothing but this database ({one_line(error)})") from error
    except duckdb.Error as error:
        raise StatsError(f"the query cannot be answered: {one_line(error)}") from error


def _interruptible(connection: duckdb.DuckDBPyConnection, work: Callable[[], T]) -> T:
    """Do `work` in a thread: Python hears Ctrl-C while it waits for that, but not while DuckDB computes."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            while not future.done():
                wait([future], timeout=_LISTEN_SECONDS)
            return future.result()
        except KeyboardInterrupt:
            while not future.done():  # again and again: a question that has not begun yet does not hear it
                connection.interrupt()
                wait([future], timeout=_LISTEN_SECONDS)
            raise


def one_line(error: Exception) -> str:
    """Return DuckDB's message and its hint (`Did you mean`, `Candidate bindings`) without the drawing of the query."""
    lines = str(error).partition("\nLINE ")[0].splitlines()
    return " ".join(line.strip() for line in lines if line.strip())
