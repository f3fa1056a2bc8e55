"""Inboxes: what producers hand in is safe at once, whole or not there, and merged when the file is opened."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import numpy as np
import pandas as pd
import pytest

from metta.errors import StatsError
from metta.sim import (
    SimulationRows,
    SimulationStatsDB,
    rows_file,
    simulation_stats_db,
    stats_inbox,
    stats_schema,
    stats_storage,
)
from metta.sim.stats_schema import MIGRATIONS, TABLES

from .rows import hearts, simulation


def tables(database: SimulationStatsDB) -> dict[str, pd.DataFrame]:
    return {table: database.table(table) for table in TABLES}


def assert_same(found: SimulationStatsDB, expected: SimulationStatsDB) -> None:
    for table in TABLES:
        pd.testing.assert_frame_equal(found.table(table), expected.table(table))


def seeds_in(uri: object) -> list[int]:
    with SimulationStatsDB.from_uri(str(uri)) as database:
        return sorted(database.table("episodes").seed)


@pytest.fixture(params=["folder", "memory://stats", "local://"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder here, and two addresses that are reached through fsspec."""
    if request.param == "memory://stats":
        yield request.param
        fsspec.filesystem("memory").rm("/stats", recursive=True)
    else:
        yield str(tmp_path) if request.param == "folder" else f"{request.param}{tmp_path}"


def odd_rows() -> SimulationRows:
    """Numbers that a text would change, agents that differ in number, and every kind of text."""
    rows = simulation(
        [[[0.1 + 0.2, -0.0, 1e-300], [np.inf, np.nan, 1 / 3]], [[1, 2, 3], [4, 5, 6]]],
        attributes={"töst": "a\nb", "": "\x00"},
        npc=("other \N{SNOWMAN}", 7),
        replay_url="s3://bucket/a b.json.z",
    )
    shorter = rows.episodes[1]
    shorter = replace(
        shorter, metrics=shorter.metrics[:1], groups=shorter.groups[:1], policies=shorter.policies[:1], replay_url=None
    )
    return replace(rows, episodes=[rows.episodes[0], shorter])


def test_rows_come_back_from_bytes_to_the_last_bit() -> None:
    for rows in (odd_rows(), replace(odd_rows(), episodes=[])):
        back = rows_file.unpack(rows_file.pack(rows), name="x")
        assert [back.name, back.env, back.policies, back.metric_names, back.created_at, back.finished_at] == [
            *(rows.name, rows.env, rows.policies, list(rows.metric_names), rows.created_at, rows.finished_at)
        ]
        assert len(back.episodes) == len(rows.episodes)
        for ours, theirs in zip(back.episodes, rows.episodes, strict=True):
            for name in ("metrics", "groups", "policies"):
                assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes()
                assert getattr(ours, name).dtype == getattr(theirs, name).dtype
            plain = {"metrics": None, "groups": None, "policies": None}
            assert replace(ours, **plain) == replace(theirs, **plain)


def test_a_metric_that_is_no_number_is_kept_as_what_it_is(tmp_path: Path) -> None:
    SimulationStatsDB.write(tmp_path / "a.duckdb", [odd_rows()])
    for _ in range(2):  # from the inbox, and from the file
        with SimulationStatsDB.from_uri(tmp_path / "a.duckdb") as database:
            metrics = database.table("agent_metrics")
            values = metrics.set_index(["agent_id", "metric"]).value.loc[1]
            assert np.isinf(values["reward"]).sum() == 1 and np.isnan(values["hearts"]).sum() == 1


def test_bytes_that_lost_a_piece_or_are_newer_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows_file.pack(odd_rows())
    for damaged in (whole[:-1], whole[: len(whole) // 2], b"", b"hello", whole[:200] + b"x" + whole[201:]):
        with pytest.raises(StatsError, match="x is damaged"):
            rows_file.unpack(damaged, name="x")
    monkeypatch.setattr(rows_file, "FORMAT", 2)
    newer = rows_file.pack(odd_rows())
    monkeypatch.undo()
    with pytest.raises(StatsError, match=r"newer than this program \(format 2, known: 1\)"):
        rows_file.unpack(newer, name="x")


def test_what_was_handed_in_is_there_when_the_file_is_opened(place: str) -> None:
    uri = f"{place}/all.duckdb"
    SimulationStatsDB.write(uri, [hearts(1, seeds=[1]), hearts(2, name="other", seeds=[2])])
    assert seeds_in(uri) == [1, 2]
    SimulationStatsDB.write(uri, [hearts(3, seeds=[3])])
    assert seeds_in(uri) == seeds_in(place) == [1, 2, 3]
    with SimulationStatsDB.from_uri(uri) as found, SimulationStatsDB() as expected:
        expected.add(hearts(1, seeds=[1]), hearts(2, name="other", seeds=[2]), hearts(3, seeds=[3]))
        assert_same(found, expected)


def test_files_elsewhere_are_exported_merged_and_read(place: str) -> None:
    uri = f"{place}/all.duckdb"
    for seed in (1, 2):
        with SimulationStatsDB() as database:
            database.add(hearts(seed, seeds=[seed]))
            database.export(uri)
    SimulationStatsDB.write(uri, [hearts(3, seeds=[3])])
    with SimulationStatsDB.from_uri(uri) as database:
        database.export(uri)
    assert stats_storage.exists(uri) and not stats_inbox.waiting_files(uri)
    with SimulationStatsDB() as database:
        database.add(hearts(4, seeds=[4]))
        database.export(f"{place}/more.duckdb")
    assert seeds_in(uri) == [1, 2, 3] and seeds_in(place) == [1, 2, 3, 4]


def test_settling_makes_one_file_that_any_program_can_read(tmp_path: Path) -> None:
    target = tmp_path / "it's [new]" / "all.duckdb"
    SimulationStatsDB.write(target, [hearts(1, 2)])
    assert not target.exists() and (tmp_path / "it's [new]" / "all.duckdb.inbox").is_dir()
    SimulationStatsDB.settle(target)
    with duckdb.connect(str(target), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM episodes").fetchall() == [(2,)]
    assert [path.name for path in target.parent.iterdir() if not path.name.endswith(".lock")] == ["all.duckdb"]
    before = target.stat().st_mtime_ns
    SimulationStatsDB.settle(target)
    assert target.stat().st_mtime_ns == before  # nothing waits: nothing is written


def test_an_inbox_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation_stats_db, "MOST_WAITING", 3)
    sizes = []
    for seed in range(7):
        SimulationStatsDB.write(tmp_path / "a.duckdb", [hearts(1, seeds=[seed + 1])])
        sizes.append(len(stats_inbox.waiting_files(str(tmp_path / "a.duckdb"))))
    assert sizes == [1, 2, 0, 1, 2, 0, 1]
    assert seeds_in(tmp_path / "a.duckdb") == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("order", range(3))
def test_handing_in_equals_adding_one_after_the_other(order: int, tmp_path: Path) -> None:
    draw = random.Random(order)
    given = [
        hearts(
            *[draw.randint(0, 3) for _ in range(3)],
            seeds=draw.sample(range(1, 6), 3),
            name=draw.choice(["a/x", "a/y"]),
            env=draw.choice(["w0", "w0", "w1"]),
            policy=("run", draw.choice([1, 2])),
        )
        for _ in range(12)
    ]
    SimulationStatsDB.write(tmp_path / "a.duckdb", given[:7])
    if order % 2:
        SimulationStatsDB.settle(tmp_path / "a.duckdb")
    SimulationStatsDB.write(tmp_path / "a.duckdb", given[7:])
    with SimulationStatsDB() as expected, SimulationStatsDB.from_uri(tmp_path / "a.duckdb") as found:
        for rows in given:
            expected.add(rows)
        assert_same(found, expected)


def test_a_reader_keeps_what_it_opened_and_the_next_one_sees_the_new_file(tmp_path: Path) -> None:
    target = tmp_path / "a.duckdb"
    SimulationStatsDB.write(target, [hearts(1, seeds=[1])])
    with SimulationStatsDB.from_uri(target) as before:
        assert len(before.table("episodes")) == 1
        SimulationStatsDB.write(target, [hearts(2, seeds=[2])])
        with SimulationStatsDB.from_uri(target) as after:
            assert len(before.table("episodes")) == 1 and len(after.table("episodes")) == 2


def test_where_nothing_can_be_written_a_reader_merges_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.duckdb"
    SimulationStatsDB.write(target, [hearts(1, seeds=[1])])
    SimulationStatsDB.settle(target)
    SimulationStatsDB.write(target, [hearts(2, seeds=[2])])
    files = sorted(tmp_path.rglob("*"))

    def refuse(uri: str) -> None:
        raise PermissionError(13, "Permission denied", uri)

    monkeypatch.setattr(stats_storage, "only_writer", refuse)
    assert seeds_in(target) == [1, 2]
    assert sorted(tmp_path.rglob("*")) == files


def test_a_damaged_file_in_the_inbox_is_told_once_and_put_aside(place: str, caplog: pytest.LogCaptureFixture) -> None:
    target = f"{place}/a.duckdb"
    SimulationStatsDB.write(target, [hearts(1, seeds=[1])])
    damaged = f"{stats_inbox.inbox_of(target)}/0-damaged.rows"
    stats_storage.write_bytes(damaged, b"half of it")
    if stats_storage.local_path(place) is None:  # readers elsewhere look, and leave everything as it is
        assert seeds_in(target) == [1]
        with SimulationStatsDB.from_uri(target) as database:
            database.export(target)
    assert seeds_in(target) == [1]
    assert f"{damaged} is damaged" in caplog.text and f"put aside as {damaged}.damaged" in caplog.text
    assert not stats_storage.exists(damaged) and stats_storage.read_bytes(f"{damaged}.damaged") == b"half of it"
    caplog.clear()
    SimulationStatsDB.write(target, [hearts(2, seeds=[2])])
    assert seeds_in(target) == seeds_in(place) == [1, 2] and not caplog.text


def test_what_a_newer_program_handed_in_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "a.duckdb"
    with monkeypatch.context() as patch:
        patch.setattr(rows_file, "FORMAT", 2)
        SimulationStatsDB.write(target, [hearts(1, seeds=[1])])
    SimulationStatsDB.write(target, [hearts(2, seeds=[2])])
    assert seeds_in(target) == [2] and "newer than this program" in caplog.text
    monkeypatch.setattr(rows_file, "FORMAT", 2)
    assert seeds_in(target) == [1, 2]


def test_an_inbox_of_nothing_that_can_be_read_does_not_hide_its_neighbours(tmp_path: Path) -> None:
    SimulationStatsDB.write(tmp_path / "a.duckdb", [hearts(1, seeds=[1])])
    for name, left in (("b", "0.rows.damaged"), ("c", ".0.rows.tmp")):
        stats_storage.write_bytes(str(tmp_path / f"{name}.duckdb.inbox" / left), b"half of it")
    assert seeds_in(tmp_path) == [1]
    with pytest.raises(StatsError, match="there are no statistics"):
        SimulationStatsDB.from_uri(tmp_path / "b.duckdb")


def test_a_folder_that_is_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "stats").write_text("in the way")
    with pytest.raises(StatsError, match="could not be written"):
        SimulationStatsDB.write(tmp_path / "stats" / "a.duckdb", [hearts(1)])


def test_what_cannot_be_merged_yet_is_safe_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "a.duckdb"
    monkeypatch.setattr(simulation_stats_db, "MOST_WAITING", 1)
    with monkeypatch.context() as patch:
        patch.setattr(stats_schema, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE future (x INTEGER)"))
        SimulationStatsDB.write(target, [hearts(1, seeds=[1])])
    SimulationStatsDB.write(target, [hearts(2, seeds=[2])])
    assert "is newer than this program" in caplog.text and f"safe in {target}.inbox" in caplog.text
    for refused in (SimulationStatsDB.from_uri, SimulationStatsDB.settle):
        with pytest.raises(StatsError, match="is newer than this program"):
            refused(target)
    monkeypatch.setattr(stats_schema, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE future (x INTEGER)"))
    assert seeds_in(target) == [1, 2]


class Killed(BaseException):
    """The process is gone: not an error that anything may handle."""


def killed_at(number: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Let the `number`-th change of the disk, and all that follow, not happen. Returns whether it came so far."""
    count = 0

    def guarded(work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count >= number:
                raise Killed
            return work(*arguments, **options)

        return call

    for owner, name in ((os, "fsync"), (shutil, "copyfile"), (Path, "replace"), (Path, "unlink"), (Path, "rmdir")):
        monkeypatch.setattr(owner, name, guarded(getattr(owner, name)))
    return lambda: count >= number


def test_killed_at_any_change_of_the_disk_nothing_is_lost_or_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [hearts(1, 1, seeds=[1, 2]), hearts(5, 5, seeds=[2, 3]), hearts(7, name="other", seeds=[4])]
    expected = []  # after the first, the second, the third
    with SimulationStatsDB() as database:
        for rows in given:
            database.add(rows)
            expected.append(tables(database))
    begin = tmp_path / "begin"
    SimulationStatsDB.write(begin / "a.duckdb", given[:1])
    SimulationStatsDB.settle(begin / "a.duckdb")
    reached, number = True, 0
    while reached:
        number += 1
        target = shutil.copytree(begin, tmp_path / str(number)) / "a.duckdb"
        handed_in = 1
        with monkeypatch.context() as patch:
            was_killed = killed_at(number, patch)
            try:
                for rows in given[1:]:
                    SimulationStatsDB.write(target, [rows])
                    handed_in += 1
                SimulationStatsDB.settle(target)
            except Killed:
                pass
            reached = was_killed()
        with SimulationStatsDB.from_uri(target) as found:
            for table, content in tables(found).items():
                pd.testing.assert_frame_equal(content, expected[handed_in - 1][table])
    assert number > 8
