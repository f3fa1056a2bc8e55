"""Statistics files: what is in them, how they are merged, and that they are whole or not at all."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from metta.errors import StatsError
from metta.sim import SimulationRows, SimulationStatsDB, stats_schema
from metta.sim.stats_schema import MIGRATIONS, TABLES, derived_id

from .rows import NOON, hearts, simulation

COLUMNS = {
    "episodes": ["id", "simulation_id", "step_count", "seed", "created_at", "completed_at", "replay_url", "text_id"],
    "episode_attributes": ["episode_id", "attribute", "value"],
    "agent_groups": ["episode_id", "group_id", "agent_id"],
    "agent_metrics": ["episode_id", "agent_id", "metric", "value"],
    "agent_policies": ["episode_id", "agent_id", "policy_key", "policy_version", "player"],
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
    views = {
        "policy_simulation_agent_samples": ["agent_id", "player"],
        "policy_simulation_agent_metrics": ["metric", "value"],
    }
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
    assert policies.player.tolist() == [0, 1]
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


def test_a_policy_among_its_own_copies_and_one_listed_twice_are_told_apart_by_their_players(tmp_path: Path) -> None:
    copies = simulation([[[1, 0, 0], [2, 0, 0]]], npc=("run", 1))
    episode = replace(copies.episodes[0], policies=np.array([2, 1], np.int32))
    twice = replace(copies, name="arena/twice", policies=[("run", 1), ("x", 0), ("x", 0)], episodes=[episode])
    SimulationStatsDB.write(tmp_path / "a.duckdb", [copies, twice])
    with SimulationStatsDB.from_uri(tmp_path / "a.duckdb") as database:
        players = database.connection.execute(
            "SELECT sim_name, agent_id, policy_key, player FROM policy_simulation_agent_samples ORDER BY ALL"
        ).fetchall()
    assert players == [
        *(("arena/basic", 0, "run", 0), ("arena/basic", 1, "run", 1)),
        *(("arena/twice", 0, "x", 2), ("arena/twice", 1, "x", 1)),
    ]


def test_merging_keeps_two_worlds_of_one_name_whatever_the_order() -> None:
    given = [hearts(1, 2, env="w0"), hearts(5, env="w1"), hearts(9, env="w1", seeds=[101]), hearts(7, env="w0")]
    expected = [("w0", 100, 7.0), ("w0", 101, 2.0), ("w1", 100, 5.0), ("w1", 101, 9.0)]
    database = SimulationStatsDB()
    for rows in given:
        database.merge_in(filled(rows))
    found = database.connection.execute(
        "SELECT sim_env, seed, value FROM policy_simulation_agent_metrics WHERE metric = 'hearts' ORDER BY ALL"
    ).fetchall()
    assert found == expected and len(database.table("simulations")) == 2
    database.add(hearts(3, env="w1"))  # evaluated anew: the file's own world is this one
    assert [row[0] for row in database.connection.execute("SELECT env FROM simulations").fetchall()] == ["w1"]
    assert sorted(database.table("episodes").seed) == [100, 101]


def test_exporting_replaces_a_world_that_was_left(tmp_path: Path) -> None:
    filled(hearts(1, 2, env="old")).export(tmp_path / "a.duckdb")
    filled(hearts(3, env="new")).export(tmp_path / "a.duckdb")
    with SimulationStatsDB.from_uri(tmp_path / "a.duckdb") as database:
        assert database.table("simulations").env.tolist() == ["new"] and len(database.table("episodes")) == 1


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


def as_version_1(database: SimulationStatsDB, path: Path) -> None:
    """Write the database as the first version did: without players, and with ids in which there was no world."""
    frames = {table: database.table(table) for table in TABLES}
    names = {row.id: (row.policy_key, row.policy_version, row.name) for row in frames["simulations"].itertuples()}
    simulations = {key: derived_id("simulation", *name) for key, name in names.items()}
    episodes = {
        row.id: derived_id("episode", *names[row.simulation_id], row.seed) for row in frames["episodes"].itertuples()
    }
    frames["simulations"]["id"] = frames["simulations"]["id"].map(simulations)
    frames["episodes"]["id"] = frames["episodes"]["id"].map(episodes)
    for frame in frames.values():
        for column, ids in (("simulation_id", simulations), ("episode_id", episodes)):
            if column in frame:
                frame[column] = frame[column].map(ids)
    del frames["agent_policies"]["player"]
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE schema_version (version INTEGER NOT NULL, migrated_at TIMESTAMP)")
        connection.execute(MIGRATIONS[0] + "INSERT INTO schema_version VALUES (1, NULL)")
        for table, frame in frames.items():
            connection.register("frame", frame)
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM frame")


def many_kinds() -> list[SimulationRows]:
    """Alone, against another, against two of which one is the weights of the policy under another name."""
    three = simulation([[[1, 0, 0], [2, 0, 0], [3, 0, 1]]] * 2, attributes={"weights": "w", "others": "x w"})
    players = [replace(episode, policies=np.array([0, 1, 2], np.int32)) for episode in three.episodes]
    return [
        hearts(1, 2, attributes={"weights": "w"}, policy=("it's", 3)),
        simulation([[[1, 0, 0], [0, 5, 0]]], npc=("other", 7), name="arena/combat", attributes={"others": "x"}),
        simulation([[[1, 0, 0], [0, 5, 0]]], npc=("other", 7), policy=("random", 0), attributes={"others": "w"}),
        replace(three, name="a/three", policies=[("run", 1), ("b", 0), ("copy", 1)], episodes=players),
    ]


def test_a_file_of_the_first_version_becomes_what_would_be_written_now(tmp_path: Path) -> None:
    now = filled(*many_kinds())
    as_version_1(now, tmp_path / "old.duckdb")
    before = (tmp_path / "old.duckdb").read_bytes()
    with SimulationStatsDB.from_uri(tmp_path / "old.duckdb") as found:
        for table in TABLES:
            pd.testing.assert_frame_equal(found.table(table), now.table(table))
        views = "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
        assert found.connection.execute(views).fetchall() == now.connection.execute(views).fetchall()
        columns = "SELECT COLUMNS(['table_name', 'column_name', 'data_type', 'is_nullable']) FROM duckdb_columns()"
        columns += " WHERE NOT internal ORDER BY ALL"
        assert found.connection.execute(columns).fetchall() == now.connection.execute(columns).fetchall()
    assert (tmp_path / "old.duckdb").read_bytes() == before


def test_settling_brings_an_old_file_up_to_date_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = filled(*many_kinds())
    as_version_1(now, tmp_path / "old.duckdb")
    SimulationStatsDB.settle(tmp_path / "old.duckdb")
    before = (tmp_path / "old.duckdb").read_bytes()
    monkeypatch.setattr("metta.sim.simulation_stats_db.migrate", None)  # reading has nothing to do any more
    with SimulationStatsDB.from_uri(tmp_path / "old.duckdb") as found:
        for table in TABLES:
            pd.testing.assert_frame_equal(found.table(table), now.table(table))
    SimulationStatsDB.settle(tmp_path / "old.duckdb")
    assert (tmp_path / "old.duckdb").read_bytes() == before


def test_settling_leaves_alone_what_is_no_old_file(tmp_path: Path) -> None:
    (tmp_path / "text.duckdb").write_text("no database")
    for name in ("text.duckdb", "nothing.duckdb"):
        SimulationStatsDB.settle(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["text.duckdb"]
    assert (tmp_path / "text.duckdb").read_text() == "no database"


def test_an_old_file_and_what_its_old_inbox_holds_become_one_new_file(tmp_path: Path) -> None:
    first, *others = many_kinds()
    as_version_1(filled(first, others[0]), tmp_path / "a.duckdb")
    SimulationStatsDB.write(tmp_path / "a.duckdb", others)  # inboxes have always told the players apart
    SimulationStatsDB.settle(tmp_path / "a.duckdb")
    with duckdb.connect(str(tmp_path / "a.duckdb"), read_only=True) as connection:
        assert stats_schema.file_version(connection) == len(MIGRATIONS)
    with SimulationStatsDB.from_uri(tmp_path / "a.duckdb") as found:
        for table in TABLES:
            pd.testing.assert_frame_equal(found.table(table), filled(*many_kinds()).table(table))


@pytest.mark.parametrize("weights", ["w", None])
@pytest.mark.parametrize("npcs", [1, 2])
def test_who_was_judged_among_its_own_copies_is_not_known_of_the_first_version(
    weights: str | None, npcs: int, tmp_path: Path
) -> None:
    others = " ".join([weights or "run", "x"][:npcs])
    rows = simulation(
        [[[1, 0, 0], [2, 0, 0], [3, 0, 0]]],
        npc=("run", 1),
        attributes={"others": others, **({"weights": weights} if weights else {})},
    )
    episode = replace(rows.episodes[0], policies=np.array([0, 1, npcs], np.int32))
    rows = replace(rows, policies=[("run", 1), ("run", 1), ("x", 0)], episodes=[episode])
    as_version_1(filled(rows, hearts(1, name="arena/alone")), tmp_path / "old.duckdb")
    with SimulationStatsDB.from_uri(tmp_path / "old.duckdb") as found:
        players = found.connection.execute("SELECT sim_name, player FROM policy_simulation_agent_samples ORDER BY ALL")
        assert players.fetchall() == [("arena/alone", 0), *[("arena/basic", None)] * 3]


def test_times_are_kept(tmp_path: Path) -> None:
    filled(hearts(1)).export(tmp_path / "a.duckdb")
    episodes = SimulationStatsDB.from_uri(tmp_path / "a.duckdb").table("episodes")
    assert episodes.created_at.tolist() == [NOON] and episodes.completed_at.tolist() == [NOON]
    assert np.issubdtype(episodes.seed.dtype, np.int64)
