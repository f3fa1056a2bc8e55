"""Questions in SQL: they can neither change anything nor see anything else, and mistakes are one line."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.sim.rows import hearts, simulation

from metta.errors import StatsError
from metta.eval import EvalStatsDB
from metta.sim import SimulationStatsDB

ENDLESS = "SELECT count(*) FROM range(99999) a, range(99999) b, range(99999) c WHERE a.range + b.range = -c.range"
frame_of_the_module = pd.DataFrame({"secret": [1]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("questions")
    (folder / "secret.csv").write_text("a,b\n1,2\n")
    (folder / "secret.json").write_text('{"a": 1}')
    for name in ("stats", "other"):
        SimulationStatsDB.write(folder / f"{name}.duckdb", [hearts(1, 2)])
        SimulationStatsDB.settle(folder / f"{name}.duckdb")
    return folder


@pytest.fixture(scope="module")
def database(folder: Path) -> Iterator[EvalStatsDB]:
    with EvalStatsDB.from_uri(folder / "stats.duckdb") as opened:
        yield opened


REFUSED = [
    "COPY episodes TO '{folder}/out.csv'",
    "COPY (SELECT 1) TO '{folder}/out.parquet' (FORMAT parquet)",
    "COPY episodes FROM '{folder}/secret.csv'",
    "ATTACH '{folder}/other.duckdb' AS other",
    "DETACH statistics",
    "USE memory",
    "SELECT * FROM read_csv('{folder}/secret.csv')",
    "SELECT * FROM read_csv_auto('{folder}/secret.csv')",
    "SELECT * FROM system.main.read_csv('{folder}/secret.csv')",
    "SELECT * FROM sniff_csv('{folder}/secret.csv')",
    "SELECT * FROM read_parquet('{folder}/secret.parquet')",
    "SELECT * FROM parquet_metadata('{folder}/secret.parquet')",
    "SELECT * FROM read_json('{folder}/secret.json')",
    "SELECT * FROM read_text('{folder}/secret.csv')",
    "SELECT * FROM read_blob('{folder}/secret.csv')",
    "SELECT * FROM read_text('https://localhost/x')",
    "SELECT * FROM read_text('s3://bucket/x')",
    "SELECT * FROM read_duckdb('{folder}/other.duckdb')",
    "SELECT * FROM sqlite_scan('{folder}/other.duckdb', 'episodes')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM '{folder}/secret.csv'",
    'SELECT * FROM "{folder}/secret.csv"',
    "FROM '{folder}/*.csv'",
    "DESCRIBE SELECT * FROM '{folder}/secret.csv'",
    "EXPLAIN SELECT * FROM '{folder}/secret.csv'",
    "SUMMARIZE '{folder}/secret.csv'",
    "WITH mine AS (SELECT * FROM '{folder}/secret.csv') FROM mine",
    "WITH mine AS MATERIALIZED (FROM read_text('{folder}/secret.csv')) SELECT count(*) FROM mine",
    "SELECT (SELECT content FROM read_text('{folder}/secret.csv'))",
    "/* FROM episodes */ FROM read_text('{folder}/secret.csv') -- FROM episodes",
    "FROM query('FROM read_text(''{folder}/secret.csv'')')",
    "FROM query_table('{folder}/secret.csv')",
    "EXPORT DATABASE '{folder}/out'",
    "IMPORT DATABASE '{folder}/out'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{folder}/secret.csv'",
    "SET enable_external_access = true",
    "SET GLOBAL enable_external_access = true",
    "RESET enable_external_access",
    "PRAGMA enable_external_access = true",
    "SET lock_configuration = false",
    "SET python_enable_replacements = true",
    "SET VARIABLE x = 1",
    "CALL enable_logging()",
    "SELECT * FROM enable_logging(storage = 'file', storage_config = {{'path': '{folder}/log'}})",
    "SELECT * FROM enable_profiling(format = 'json', save_location = '{folder}/profile.json')",
    "PRAGMA profiling_output = '{folder}/profile.json'",
    "INSERT INTO episodes SELECT * FROM episodes",
    "UPDATE agent_metrics SET value = 100",
    "DELETE FROM episodes",
    "WITH gone AS (DELETE FROM episodes RETURNING *) FROM gone",
    "TRUNCATE episodes",
    "MERGE INTO episodes USING episodes o ON episodes.id = o.id WHEN MATCHED THEN DELETE",
    "DROP TABLE episodes",
    "ALTER TABLE episodes RENAME TO e",
    "CREATE TABLE mine AS SELECT 1",
    "CREATE TEMP TABLE mine AS SELECT 1",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE MACRO mine() AS 1",
    "CREATE SECRET (TYPE s3)",
    "BEGIN",
    "CHECKPOINT",
    "VACUUM",
    "PREPARE mine AS DROP TABLE episodes",
    "EXPLAIN FROM episodes",
    "EXPLAIN ANALYZE DELETE FROM episodes",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/statistics.duckdb' (FORMAT csv, USE_TMP_FILE false)",
    "EXPLAIN ANALYZE COPY episodes TO '{folder}/out.csv'",
    "SELECT 1; DROP TABLE episodes",
    "SELECT 1; SELECT 2",
    "SELECT getenv('HOME')",
    "FROM frame_of_the_module",
    "FROM frame_of_the_test",
    "SELECT * FROM pandas_scan(1)",
    "SELEC 1",
    "SELECT nothing FROM episodes",
    "",
    "-- nothing but a comment",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_a_question_can_neither_write_nor_see_anything_else(sql: str, folder: Path, database: EvalStatsDB) -> None:
    frame_of_the_test = pd.DataFrame({"secret": [1]})
    files, before = sorted(folder.iterdir()), database.path.read_bytes()
    for ask in (database.query, lambda text: database.query_first(text, rows=10)):
        with pytest.raises(StatsError) as error:
            ask(sql.format(folder=folder))
        assert len(str(error.value).splitlines()) == 1
    assert sorted(folder.iterdir()) == files
    assert database.path.read_bytes() == before
    assert len(database.query("FROM episodes")) == 2 and len(frame_of_the_test) == 1


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("FROM episodes", 2),
        ("SELECT * FROM episodes;", 2),
        (";;SELECT * FROM episodes; ;", 2),
        ("/* a; b */ SELECT ';' FROM episodes -- c; d", 2),
        ("WITH mine AS (FROM episodes) SELECT count(*) FROM mine", 1),
        ("DESCRIBE episodes", 8),
        ("SHOW TABLES", 10),
        ("SELECT 'all' AS what UNION ALL SELECT text_id FROM episodes", 3),
        ("SELECT 1 AS x UNION ALL SELECT range FROM range(5000)", 5001),
        ("PIVOT agent_metrics ON metric IN ('reward') USING sum(value) GROUP BY agent_id", 1),
        ("VALUES (1), (2), (3)", 3),
        ("FROM range(5000)", 5000),
    ],
)
def test_questions_are_answered_whole_or_their_first_rows(sql: str, rows: int, database: EvalStatsDB) -> None:
    answer = database.query(sql)
    assert len(answer) == rows
    first, total = database.query_first(sql, rows=4)
    pd.testing.assert_frame_equal(first, answer.head(4))
    assert total == rows


def test_only_the_first_rows_of_a_huge_answer_are_in_memory(database: EvalStatsDB) -> None:
    first, total = database.query_first("SELECT range AS x, 'a text' FROM range(100000000)", rows=3)
    assert first["x"].tolist() == [0, 1, 2] and total == 100_000_000


def test_parameters_fill_a_question(tmp_path: Path) -> None:
    SimulationStatsDB.write(tmp_path / "s.duckdb", [simulation([[[1, 5, 0], [0, 6, 0]]])])
    with EvalStatsDB.from_uri(tmp_path / "s.duckdb") as database:
        asked = "SELECT value FROM policy_simulation_agent_metrics WHERE metric = {} ORDER BY value"
        assert database.query(asked.format("?"), ["hearts"])["value"].tolist() == [5.0, 6.0]
        assert database.query(asked.format("$name"), {"name": "hearts"})["value"].tolist() == [5.0, 6.0]
        with pytest.raises(StatsError, match="cannot be answered"):
            database.query(asked.format("?"))


def test_a_mistake_is_one_line_with_the_nearest_name(database: EvalStatsDB) -> None:
    with pytest.raises(StatsError, match=r'"sim_nam" not found.*"sim_name"') as column:
        database.query("SELECT sim_nam\nFROM policy_simulation_agent_metrics")
    with pytest.raises(StatsError, match=r"epsodes does not exist.*Did you mean \"episodes\"") as table:
        database.query("FROM epsodes")
    for error in (column, table):
        assert "\n" not in str(error.value) and "LINE" not in str(error.value)


def test_a_filter_in_sql_is_held_to_the_same_rules(database: EvalStatsDB) -> None:
    for condition, told in (
        ("sim_nam = 'x'", "sim_nam"),
        ("true); DROP TABLE episodes; --", "is not one condition"),
        ("seed IN (SELECT size FROM read_text('/etc/hostname'))", "refused"),
    ):
        with pytest.raises(StatsError, match=told):
            database.get_average_metric_by_filter("hearts", "run", 1, condition)


@pytest.mark.parametrize(
    "condition",
    [
        *("seed > 0) OR (true", "seed > 0)) OR ((true", "true) UNION SELECT 1 --", "seed > 0; SELECT 1", "seed > 0;"),
        *("(seed > 0", "seed > 0 /*", "'a", "", " ", "-- nothing", "SELECT true", "FROM episodes", "1 FROM episodes"),
        *("seed > 0, true", "seed > 0 AS x", "*", "seed > 0 ORDER BY 1", "seed > 0 UNION SELECT true", "DISTINCT true"),
        *("seed", "1", "NULL", "'text'", "seed > ?", "count(*) > 0"),
    ],
)
def test_a_filter_is_one_condition_and_cannot_leave_its_parentheses(condition: str, database: EvalStatsDB) -> None:
    for policy in (("run", 1), ("nobody", 1)):
        with pytest.raises(StatsError) as error:
            database.get_average_metric_by_filter("hearts", *policy, condition)
        assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "condition",
    [
        "seed = 100",
        "(seed = 100)",
        "seed = 100 -- ) OR (true",
        "seed = 100 /* ) OR (true */",
        "sim_name <> ')' AND seed < 101",
    ],
)
def test_what_is_one_condition_is_one_whatever_it_holds(condition: str, database: EvalStatsDB) -> None:
    assert database.get_average_metric_by_filter("hearts", "run", 1, condition) == 1.0
    assert database.get_average_metric_by_filter("hearts", "nobody", 1, condition) is None


def test_sums_of_integers_are_integers(database: EvalStatsDB) -> None:
    sql = "SELECT sum(range) AS n, sum(range) AS n, sum(range) AS n, 'x' AS t, {} AS h FROM range(3000000)"
    for answer in (database.query(sql.format(1)), database.query_first(sql.format(1), rows=3).rows):
        assert list(answer.columns) == ["n", "n_1", "n_2", "t", "h"] and answer["n"].dtype == np.int64
        assert answer["n"].item() == answer["n_2"].item() == 4499998500000
    sometimes = (
        "SELECT sum(range) FILTER (range > 1) AS n, TIMESTAMP '2026-01-01' AS d FROM range(4) GROUP BY range % 2, range"
    )
    assert database.query(f"{sometimes} ORDER BY range")["n"].tolist() == [pd.NA, pd.NA, 2, 3]
    assert database.query("SELECT sum(9223372036854775807) AS n FROM range(2)")["n"].item() == "18446744073709551614"
    assert database.query(f"FROM ({sometimes}) WHERE n > 5").empty
    many = "SELECT sum(range) AS n FROM range(100) GROUP BY range ORDER BY 1"
    first, total = database.query_first(many, rows=4)
    assert first["n"].tolist() == [0, 1, 2, 3] and total == 100


@pytest.mark.parametrize("way", ["query", "query_first"])
def test_ctrl_c_ends_a_question_that_would_take_forever(way: str, database: EvalStatsDB) -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        database.query(ENDLESS) if way == "query" else database.query_first(ENDLESS, rows=3)
    assert len(database.query("FROM episodes")) == 2
