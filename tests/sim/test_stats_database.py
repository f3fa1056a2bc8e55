"""Statistics files: what is in them, how they are merged, and that they are whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from metta.errors import StatsError
from metta.sim import SimulationStatsDB, stats_schema
from metta.sim.stats_schema import MIGRATIONS, TABLES

from .rows import NOON, hearts, simulation

COLUMNS = {
    "episodes": ["id", "simulation_id", "step_count", "seed", "created_at", "completed_at", "replay_url", "text_id"],
    "episode_attributes": ["episode_id", "attribute", "value"],
    "agent_groups": ["episode_id", "group_id", "agent_id"],
    "agent_metrics": ["episode_id", "agent_id", "metric", "value"],
    "agent_policies": ["episode_id", "agent_id", "policy_key", "policy_version"],
    "simulation_metrics": ["simulation_id", "metric"],
    "simulations": ["id", "name", "env", "policy_key", "policy_version", "created_at", "finished_at"],
}


def filled(*simulations) -> SimulationStatsDB:
    database = SimulationStatsDB()
    for rows in simulations:
        database.add(rows)
    return database


def test_the_tables_and_views_have_the_documented_columns() -> None:
    database = SimulationStatsDB()
    assert {table: list(database.table(table).columns) for table in TABLES} == COLUMNS
    views = {"policy_simulation_agent_samples": ["agent_id"], "policy_simulation_agent_metrics": ["metric", "value"]}
    for view, more in views.items():
        columns = database.connection.execute(f"FROM {view}").df().columns
        assert {"policy_key", "policy_version", "sim_name", "sim_env", *more} <= set(columns)


def test_what_is_added_can_be_read() -> None:
    database = filled(simulation([[[1.5, 1, 3], [0, 0, 0]], [[2.0, 0, 0], [0, 4, 0]]], attributes={"tag": "x"}))
    metrics = database.table("agent_metrics")
    assert sorted(zip(metrics.agent_id, metrics.metric, metrics.value, strict=True)) == [
        *[(0, "hearts", 1.0), (0, "ore_red.get", 3.0), (0, "reward", 1.5), (0, "reward", 2.0)],
        *[(1, "hearts", 4.0), (1, "reward", 0.0), (1, "reward", 0.0)],
    ]
    assert database.table("episodes").step_count.tolist() == [1000, 1000]
    assert database.table("episode_attributes").value.tolist() == ["x", "x"]
    assert len(database.table("agent_groups")) == len(database.table("agent_policies")) == 4
    assert database.get_all_policy_uris() == ["run:v1"]


def test_every_pair_records_a_reward_even_if_it_is_zero() -> None:
    database = filled(hearts(0, 0, 0))
    assert database.table("agent_metrics").metric.tolist() == ["reward"] * 3


def test_agents_of_another_policy_are_written_as_its_own() -> None:
    database = filled(simulation([[[1, 0, 0], [2, 0, 0]]], npc=("other", 7)))
    policies = database.table("agent_policies").sort_values("agent_id")
    assert policies.policy_key.tolist() == ["run", "other"]
    assert policies.policy_version.tolist() == [1, 7]
    assert database.get_all_policy_uris() == ["other:v7", "run:v1"]


def test_a_repeated_episode_replaces_itself() -> None:
    database = filled(hearts(1, 2, 3, seeds=[5, 6, 7]), hearts(10, 20, seeds=[6, 8]))
    values = database.connection.execute(
        "SELECT e.seed, m.value FROM agent_metrics m JOIN episodes e ON e.id = m.episode_id "
        "WHERE metric = 'hearts' ORDER BY seed"
    ).fetchall()
    assert values == [(5, 1.0), (6, 10.0), (7, 3.0), (8, 20.0)]
    assert len(database.table("simulations")) == 1


def test_a_simulation_in_another_world_replaces_all_of_its_episodes() -> None:
    database = filled(hearts(1, 2, 3, env="old"), hearts(9, env="new"), hearts(4, name="arena/combat", env="old"))
    assert sorted(database.table("episodes").text_id) == ["run:v1/arena/basic/100", "run:v1/arena/combat/100"]


def test_policies_versions_and_simulations_are_kept_apart() -> None:
    database = filled(
        hearts(1), hearts(2, policy=("run", 2)), hearts(3, policy=("run2", 1)), hearts(4, name="arena/combat")
    )
    assert len(database.table("episodes")) == 4
    assert len(database.table("simulations")) == 4


def test_merging_adds_what_is_new_and_replaces_what_is_not() -> None:
    ours, theirs = filled(hearts(1, 2, seeds=[1, 2])), filled(hearts(20, 30, seeds=[2, 3]), hearts(5, name="other"))
    ours.merge_in(theirs)
    merged = filled(hearts(1, 20, 30, seeds=[1, 2, 3]), hearts(5, name="other"))
    for table in TABLES:
        pd.testing.assert_frame_equal(ours.table(table), merged.table(table))
    assert len(theirs.table("episodes")) == 3


def test_merging_a_database_into_itself_changes_nothing(tmp_path: Path) -> None:
    filled(hearts(1, 2)).export(tmp_path / "a.duckdb")
    database = SimulationStatsDB.from_uri(tmp_path / "a.duckdb")
    database.merge_in(database)
    database.merge_in(SimulationStatsDB.from_uri(tmp_path / "a.duckdb"))
    assert len(database.table("episodes")) == 2


def test_the_same_episodes_give_the_same_tables() -> None:
    for table in TABLES:
        pd.testing.assert_frame_equal(filled(hearts(1, 2)).table(table), filled(hearts(1, 2)).table(table))


def test_exporting_makes_a_file_or_merges_into_it(tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "it's.duckdb"
    filled(hearts(1, seeds=[1])).export(target)
    filled(hearts(2, seeds=[2])).export(f"file://{target}")
    with SimulationStatsDB.from_uri(target) as database:
        assert sorted(database.table("episodes").seed) == [1, 2]
    assert [path.name for path in target.parent.iterdir() if not path.name.endswith(".lock")] == ["it's.duckdb"]


def test_a_file_that_was_opened_is_changed_by_export_alone(tmp_path: Path) -> None:
    filled(hearts(1, seeds=[1])).export(tmp_path / "a.duckdb")
    before = (tmp_path / "a.duckdb").read_bytes()
    with SimulationStatsDB.from_uri(tmp_path / "a.duckdb") as database:
        database.add(hearts(2, seeds=[2]))
        assert len(database.table("episodes")) == 2
        assert (tmp_path / "a.duckdb").read_bytes() == before
        database.export(tmp_path / "a.duckdb")
    assert len(SimulationStatsDB.from_uri(tmp_path / "a.duckdb").table("episodes")) == 2


def test_an_export_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.duckdb"
    filled(hearts(1)).export(target)
    before = target.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StatsError, match=r"could not be written to .*a\.duckdb.*No space left"):
        filled(hearts(2, seeds=[2])).export(target)
    assert target.read_bytes() == before
    assert not list(tmp_path.glob(".*.tmp*"))


def test_a_folder_is_read_as_one_database(tmp_path: Path) -> None:
    filled(hearts(1, seeds=[1])).export(tmp_path / "a.duckdb")
    filled(hearts(2, seeds=[2]), hearts(3, name="other")).export(tmp_path / "b.duckdb")
    assert len(SimulationStatsDB.from_uri(tmp_path).table("episodes")) == 3


def test_replays_are_found_by_policy_and_simulation() -> None:
    database = filled(
        hearts(1, replay_url="a.json.z"),
        hearts(1, replay_url="b.json.z", name="arena/combat"),
        hearts(1, replay_url="c.json.z", policy=("run", 2)),
        hearts(1, policy=("run", 3)),
    )
    assert database.get_replay_urls() == ["a.json.z", "b.json.z", "c.json.z"]
    assert database.get_replay_urls("run:v1") == ["a.json.z", "b.json.z"]
    assert database.get_replay_urls("run", "arena/basic") == ["a.json.z", "c.json.z"]
    assert database.get_replay_urls("run:v3") == []


@pytest.mark.parametrize("uri", ["nothing.duckdb", "memory://nothing.duckdb", "."])
def test_where_nothing_is_a_message_says_so(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StatsError, match="there are no statistics"):
        SimulationStatsDB.from_uri(uri)


def test_other_files_are_refused_with_a_message(tmp_path: Path) -> None:
    (tmp_path / "text.duckdb").write_text("hello, this is no database" * 100)
    with duckdb.connect(str(tmp_path / "foreign.duckdb")) as connection:
        connection.execute("CREATE TABLE mine (x INTEGER)")
    with pytest.raises(StatsError, match="cannot be opened as a DuckDB database"):
        SimulationStatsDB.from_uri(tmp_path / "text.duckdb")
    with pytest.raises(StatsError, match="not one of metta's"):
        SimulationStatsDB.from_uri(tmp_path / "foreign.duckdb")


def test_a_newer_file_says_that_it_is_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(stats_schema, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE future (x INTEGER)"))
        filled(hearts(1)).export(tmp_path / "new.duckdb")
    newer = f"is newer than this program: version {len(MIGRATIONS) + 1}.*update metta"
    with pytest.raises(StatsError, match=newer):
        SimulationStatsDB.from_uri(tmp_path / "new.duckdb")
    with pytest.raises(StatsError, match=newer):
        filled(hearts(1)).export(tmp_path / "new.duckdb")


def test_an_older_file_is_brought_up_to_date_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(hearts(1, seeds=[1])).export(tmp_path / "old.duckdb")
    before = (tmp_path / "old.duckdb").read_bytes()
    more = (*MIGRATIONS, "CREATE TABLE steps (x INTEGER)", "INSERT INTO steps VALUES (1)")
    monkeypatch.setattr(stats_schema, "MIGRATIONS", more)
    with SimulationStatsDB.from_uri(tmp_path / "old.duckdb") as database:
        assert database.connection.execute("FROM steps").fetchall() == [(1,)]
        assert len(database.table("episodes")) == 1
    assert (tmp_path / "old.duckdb").read_bytes() == before
    filled(hearts(2, seeds=[2])).export(tmp_path / "old.duckdb")
    assert len(SimulationStatsDB.from_uri(tmp_path / "old.duckdb").table("episodes")) == 2


def test_times_are_kept(tmp_path: Path) -> None:
    filled(hearts(1)).export(tmp_path / "a.duckdb")
    episodes = SimulationStatsDB.from_uri(tmp_path / "a.duckdb").table("episodes")
    assert episodes.created_at.tolist() == [NOON] and episodes.completed_at.tolist() == [NOON]
    assert np.issubdtype(episodes.seed.dtype, np.int64)
