"""Questions in SQL that only read: what may be asked, how a mistake is told, and how Ctrl-C ends one.

The connection (`connect_to_read`) keeps a question away from other files and Python's variables. Here everything that
is no question is refused before it gets there, with a message that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import chain, count
from typing import Any, NamedTuple, TypeVar

import duckdb
import pandas as pd

from metta.errors import QuestionError, StatsError

Parameters = Sequence[Any] | Mapping[str, Any] | None
T = TypeVar("T")

_HUGE = ("HUGEINT", "UHUGEINT")
# DuckDB's errors that are mistakes in the question; others are of the file or the machine.
_MISTAKES = (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError)
_LISTEN_SECONDS = 0.05  # how often Ctrl-C is looked for


class Answer(NamedTuple):
    """The first rows of an answer, and how many it has in all."""

    rows: pd.DataFrame
    total: int


def ask(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Parameters = None) -> pd.DataFrame:
    """Return the answer. Raises QuestionError for anything but one question, for mistakes, and for what is refused;
    StatsError if the file cannot be read.
    """
    return _answered(connection, lambda: _whole(connection.execute(_question(sql), parameters)))


def ask_for_rows(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Parameters = None) -> list[Any]:
    """Return the answer as a list of tuples, in which NULL is None. Raises as `ask`."""
    return _answered(connection, lambda: connection.execute(_question(sql), parameters).fetchall())


def ask_for_first(connection: duckdb.DuckDBPyConnection, sql: str, *, rows: int) -> Answer:
    """Return the first `rows` rows of the answer and count the others, which are never in memory. Raises as `ask`."""

    def first() -> Answer:
        question = _question(sql)
        found = _beginning(connection.execute(question), rows + 1)
        if len(found) <= rows:
            return Answer(found, len(found))
        # On a line of its own: the question may end in a comment.
        ((total,),) = connection.execute(f"SELECT count(*) FROM (\n{_text(question)}\n)").fetchall()
        return Answer(found.head(rows), int(total))

    return _answered(connection, first)


def is_one_expression(text: str) -> bool:
    """Whether `text` is an expression of SQL, or several with commas, that can stand in parentheses of their own.

    Standing alone, it must have its own parentheses in order; within some, it must not be more than an expression.
    """
    try:
        for sql in (f"SELECT {text}\n", f"SELECT (\n{text}\n)"):
            if len(duckdb.extract_statements(sql)) != 1:
                return False
    except duckdb.Error:
        return False
    return True


def _whole(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return all of the answer that waits."""
    return _frame(connection, connection.fetchall()) if _has_huge(connection) else connection.df()


def _beginning(connection: duckdb.DuckDBPyConnection, rows: int) -> pd.DataFrame:
    """Return the first `rows` rows, or a few more, of the answer that waits."""
    if _has_huge(connection):
        return _frame(connection, connection.fetchmany(rows))
    chunks = [connection.fetch_df_chunk()]
    while len(chunks[-1]) and sum(map(len, chunks)) < rows:  # some are short: of a UNION each part has its own
        chunks.append(connection.fetch_df_chunk())
    return pd.concat([chunk for chunk in chunks if len(chunk)] or chunks[:1], ignore_index=True)


def _has_huge(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether a column is of 128 bits, as sums of integers are: DuckDB would make floats of it, and round."""
    return any(str(column[1]) in _HUGE for column in connection.description or ())


def _frame(connection: duckdb.DuckDBPyConnection, rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Return rows of Python's values as a data frame in which integers are integers."""
    names: list[str] = []
    for name, *_ in connection.description or ():
        others = (f"{name}_{number}" for number in count(1))  # as DuckDB calls them
        names.append(next(one for one in chain([name], others) if one not in names))
    columns = zip(*rows, strict=True) if rows else [() for _ in names]
    types = [str(column[1]) for column in connection.description or ()]
    return pd.DataFrame({name: _column(values, type) for name, values, type in zip(names, columns, types, strict=True)})


def _column(values: Sequence[Any], type: str) -> pd.Series[Any]:
    if type.startswith("DECIMAL"):
        return pd.Series(list(values), dtype="float64")  # as everywhere else
    if not type.endswith("INT") and type != "INTEGER":
        return pd.Series(list(values))
    known = [value for value in values if value is not None]
    if known and not -(2**63) <= min(known) <= max(known) < 2**63:
        return pd.Series([None if value is None else str(value) for value in values])  # as text: no digit is lost
    return pd.Series(list(values), dtype="int64" if len(known) == len(values) else "Int64")


def _question(sql: str) -> duckdb.Statement:
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1:
        raise QuestionError(f"one question at a time: {len(statements)} statements were given")
    # Not EXPLAIN: with ANALYZE it carries out what it explains, and that may be a COPY over the file itself.
    if statements[0].type != duckdb.StatementType.SELECT:
        kind = statements[0].type.name
        hint = "; give PIVOT its values: PIVOT ... ON column IN (...)" if kind == "MULTI" else ""
        raise QuestionError(f"only questions are allowed (SELECT, FROM, WITH, DESCRIBE), this is {kind}{hint}")
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
        refused = f"the query is refused: it may read nothing but this database ({one_line(error)})"
        raise QuestionError(refused) from error
    except _MISTAKES as error:
        raise QuestionError(f"the query cannot be answered: {one_line(error)}") from error
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
