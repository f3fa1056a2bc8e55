"""`metta sql "SELECT ..."`: any question about what was played, of one run, several, or all; only reads."""

from __future__ import annotations

if __name__ == "__main__":
    from metta.tools.command import become_command

    become_command("sql")

import sys
from pathlib import Path
from typing import ClassVar

import pandas as pd
from pydantic import Field

from metta.config import Folder
from metta.errors import RunError, StatsError, nearest
from metta.eval import EvalStatsDB
from metta.eval.analysis import format_table
from metta.tools.tool import Tool

EXAMPLES = (
    "FROM simulations",
    "SELECT policy_key, policy_version, sim_name, avg(value) FROM policy_simulation_agent_metrics\n"
    "WHERE metric = 'reward' AND player = 0 GROUP BY ALL ORDER BY ALL",
    "SELECT metric, sum(value) FROM agent_metrics GROUP BY ALL ORDER BY ALL",
)


class SqlTool(Tool):
    """Answers a question in SQL about episodes and their metrics; without one, shows the tables and some questions."""

    subject: ClassVar[str | None] = "query"
    flags: ClassVar[dict[str, str]] = {"--csv": "csv=true"}
    prints_json: ClassVar[bool] = True

    query: str | None = Field(None, description="the question; none: the tables are shown")
    run: list[str] = Field(default_factory=list, description="a run; give it again for more; none: all that there are")
    stats_uri: list[str] = Field(default_factory=list, description="statistics files, or folders of them, instead")
    data_dir: Folder = Field("./train_dir", description="where runs are looked up")
    rows: int = Field(40, ge=0, description="rows of the table that are shown; 0: all. JSON and CSV hold all")
    csv: bool = Field(False, description="print comma-separated values instead of a table")

    def run_tool(self, *, as_json: bool = False) -> int:
        """Answer on stdout. Raises RunError for an unknown run, QuestionError for a query that is refused or wrong."""
        with EvalStatsDB.merged(self.addresses()) as database:
            if self.query is None:
                print(describe(database))
            elif as_json:
                print(database.query(self.query).to_json(orient="records", indent=2, date_format="iso"))
            elif self.csv:
                print(database.query(self.query).to_csv(index=False), end="")
            else:
                self._print_table(database, self.query)
        return 0

    def addresses(self) -> list[str]:
        """Return the statistics files that are asked. Raises RunError, with the nearest names, for an unknown run."""
        known = runs_with_statistics(self.data_dir)
        there = f"runs with statistics in {self.data_dir}: {', '.join(known) or 'none'}"
        found = list(self.stats_uri)
        for run in self.run:
            folders = [folder for folder in (Path(self.data_dir) / run, Path(run)) if (folder / "stats").is_dir()]
            if not folders:
                raise RunError(f"there are no statistics of a run {run!r}{nearest(run, known)}; {there}")
            found.append(str(folders[0] / "stats"))
        if not found:
            found = [str(Path(self.data_dir) / run / "stats") for run in known]
        if not found:
            raise StatsError(f"nothing was evaluated yet: {there}; `metta evaluate` makes them")
        return found

    def _print_table(self, database: EvalStatsDB, query: str) -> None:
        if not self.rows:
            answer = database.query(query)
            print(as_table(answer))
            return
        first, total = database.query_first(query, rows=self.rows)
        print(as_table(first))
        if total > len(first):
            print(f"the first {len(first)} of {total:,} rows; rows=0 shows all, --csv too", file=sys.stderr)


def runs_with_statistics(data_dir: str | Path) -> list[str]:
    """Return the names of the folders in `data_dir` that hold statistics, sorted."""
    whole, handed_in = (Path(data_dir).glob(f"*/stats/{name}") for name in ("*.duckdb", "*.duckdb.inbox/*.rows"))
    return sorted({path.parents[1].name for path in whole} | {path.parents[2].name for path in handed_in})


def as_table(frame: pd.DataFrame) -> str:
    """Return a data frame as an aligned table; a cell without a value is empty."""
    rows = [[cell_text(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    return format_table(rows, header=[str(column) for column in frame.columns])


def cell_text(value: object) -> str:
    """Return a value as it is shown: fractions to six digits, nothing for NULL, one line whatever it holds."""
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 2**53:  # a float of that size is exact
            return str(int(value))
        return "" if value != value else f"{value:.6g}"
    if value is None or value is pd.NaT or value is pd.NA:
        return ""
    return str(value).replace("\n", "\\n")


def describe(database: EvalStatsDB) -> str:
    """Return the tables and views with their columns, and some questions to begin with."""
    columns = database.query(
        """SELECT table_name, string_agg(column_name, ', ' ORDER BY column_index) AS columns
           FROM duckdb_columns() WHERE NOT internal AND table_name <> 'schema_version' GROUP BY table_name
           ORDER BY table_name LIKE 'policy%', table_name"""
    )
    counts = {name: database.query(f"SELECT count(*) AS n FROM {name}")["n"].item() for name in columns["table_name"]}
    rows = [[name, f"{counts[name]:,}", text] for name, text in columns.itertuples(index=False, name=None)]
    questions = "\n\n".join(EXAMPLES)
    return f"{format_table(rows, header=('table or view', 'rows', 'columns'))}\n\nfor example:\n\n{questions}"
