"""Filters: which samples of a policy count, as a piece of SQL and its parameters.

A sample is an agent-episode pair that recorded anything, a row of the view `policy_simulation_agent_samples`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import duckdb
import numpy as np

from metta.errors import StatsError, nearest
from metta.eval.questions import ask_for_rows, is_one_expression

# Column or episode attribute -> a value, or several of which one must match; or a condition in SQL over the columns.
Filter = Mapping[str, Any] | str | None

SAMPLES = "policy_simulation_agent_samples"
COLUMNS = ("sim_name", "sim_env", "simulation_id", "episode_id", "seed", "agent_id", "player")


class Condition(NamedTuple):
    """A piece of SQL over the samples `s`, and its parameters."""

    sql: str
    parameters: list[Any]

    def plus(self, sql: str, *parameters: Any) -> Condition:
        """Return what fulfils both."""
        return Condition(f"{self.sql} AND {sql}", [*self.parameters, *parameters])


def condition_of(connection: duckdb.DuckDBPyConnection, policy: tuple[str, int], filter: Filter) -> Condition:
    """Return what chooses the samples of a policy that `filter` lets through.

    Without a word of the filter on `player`, those in which the policy was asked to play: player 0. Raises StatsError,
    with the nearest names, for an unknown column or attribute, and for a text that is not one condition.
    """
    if isinstance(filter, str):
        _check_text(connection, filter)
    condition = Condition("s.policy_key = ? AND s.policy_version = ?", list(policy))
    if not _names_player(connection, filter):
        condition = condition.plus("s.player = 0")
    if isinstance(filter, str):
        return condition.plus(f"(\n{filter}\n)")  # on lines of its own: it may end in a comment
    for name, given in (filter or {}).items():
        values = _values_of(name, given)
        marks = ", ".join("?" * len(values)) or "NULL"
        if name in COLUMNS:
            condition = condition.plus(f"s.{name} IN ({marks})", *values)
            continue
        _check_attribute(connection, name)
        condition = condition.plus(
            f"s.episode_id IN (SELECT episode_id FROM episode_attributes WHERE attribute = ? AND value IN ({marks}))",
            *(name, *map(str, values)),
        )
    return condition


def _values_of(name: str, given: Any) -> list[Any]:
    """Return the alternatives: of a list, range, set or array its elements, as plain Python values."""
    several = given if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping) else [given]
    if isinstance(given, np.ndarray):
        several = given.ravel()
    values = [value.item() if isinstance(value, np.generic) else value for value in several]
    if any(value is None or (isinstance(value, Iterable) and not isinstance(value, str)) for value in values):
        raise StatsError(f"filter {name!r}: given {given!r}, allowed: a value, or a list of values")
    return values


def _check_text(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Raise StatsError unless `text` is one condition: then its parentheses close nothing but what it opened."""
    allowed = f"allowed: one condition over {', '.join(COLUMNS)}"
    if not is_one_expression(text):
        raise StatsError(f"the filter {text!r} is not one condition in SQL; {allowed}")
    described = ask_for_rows(connection, f"DESCRIBE SELECT (\n{text}\n) FROM {SAMPLES} s")
    types = [str(column[1]) for column in described]
    if types != ["BOOLEAN"]:
        raise StatsError(f"the filter {text!r} is {', '.join(types)}, not true or false; {allowed}")


def _names_player(connection: duckdb.DuckDBPyConnection, filter: Filter) -> bool:
    """Whether the filter says which players count; a text does if it means nothing where no column is a `player`."""
    if not isinstance(filter, str):
        return filter is not None and "player" in filter
    try:
        ask_for_rows(connection, f"DESCRIBE SELECT (\n{filter}\n) FROM (SELECT * EXCLUDE (player) FROM {SAMPLES}) s")
    except StatsError:
        return True
    return False


def _check_attribute(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    rows = ask_for_rows(connection, "SELECT DISTINCT attribute FROM episode_attributes")
    allowed = [*COLUMNS, *sorted(row[0] for row in rows)]
    if name not in allowed and ask_for_rows(connection, "SELECT 1 FROM episodes LIMIT 1"):  # else nothing has any
        raise StatsError(f"no filter is called {name!r}; there are {', '.join(allowed)}{nearest(name, allowed)}")
