"""A database of an older version is brought to the present one, and nothing in it is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, inspect, text
from tests.eval.eval_service.old_tables import SCORE, make_old_database
from tests.eval.eval_service.parts import small_suite

from metta.errors import ServiceError
from metta.eval.eval_service import migrations
from metta.eval.eval_service.claims import NewRequest
from metta.eval.eval_service.config import EvalServiceConfig
from metta.eval.eval_service.engine import OneService, open_database
from metta.eval.eval_service.models import SCHEMA_VERSION, Base
from metta.eval.eval_service.orders import order_of
from metta.eval.eval_service.policies import AdmittedPolicy
from metta.eval.eval_service.store import RequestStore

SUITE = small_suite("a/done", "a/running", "a/queued")
REQUESTS = {
    "alone": {},
    "mocked": {"mock://noop": "mock:noop"},
    "copied": {"runs/alone": "alone"},  # the very file that was asked for by itself
    "lacking": {"mock://noop": "mock:noop", "runs/lost": "f" * 64},
}


def check_that_nothing_is_lost(address: str, folder: Path, new_request: Callable[..., NewRequest]) -> None:
    """Bring an old database to the present version; look at all that is in it, then play and ask."""
    make_old_database(address, SUITE, REQUESTS, program="0.1+old")
    engine = open_database(address)
    store = RequestStore(engine, stats_uri=str)
    views = {view.id: view for view in store.page(limit=9)}
    assert list(views) == ["lacking", "copied", "mocked", "alone"]
    for view in views.values():
        assert (view.policy_key, view.policy_version, view.policy_checksum) == (view.id, 7, view.id)
        assert (view.suite_hash, view.program, f"{view.created_at}") == (SUITE.hash, "0.1+old", "2026-01-02 03:04:05")
        result = view.simulations[0].result
        assert view.simulations[0].state == "done" and result is not None and result.score is not None
        assert result.score.model_dump() == SCORE and result.replay_urls == ["r.json.z"] and result.agent_steps == 12
    lost = views.pop("lacking")
    assert [one.state for one in lost.simulations] == ["done", "failed", "failed"]
    assert "no copy of the opponents runs/lost, so" in str(lost.simulations[1].reason)
    assert "ask again" in str(lost.simulations[1].reason) and lost.simulations[2].finished_at is not None
    assert all([one.state for one in view.simulations] == ["done", "running", "queued"] for view in views.values())

    assert store.requeue() == 3  # as every start does
    claims = [store.claim() for _ in range(6)]
    orders = [order_of(claim, EvalServiceConfig(data_dir=str(folder))) for claim in claims if claim is not None]
    assert [order.policy.key for order in orders] == ["alone"] * 2 + ["mocked"] * 2 + ["copied"] * 2
    noop = AdmittedPolicy(uri="mock://noop", key="noop", version=0, checksum="mock:noop")
    alone = AdmittedPolicy(uri="file:///alone.pt", key="alone", version=7, checksum="alone")
    assert orders[2].opponents == {"mock://noop": noop} and orders[4].opponents == {"runs/alone": alone}
    assert store.claim() is None and store.needed_copies() == {"alone", "mocked", "copied", "mock:noop"}
    assert store.ask(new_request(1))[1]
    tables = inspect(engine)
    for table in Base.metadata.sorted_tables:
        assert {one["name"] for one in tables.get_columns(table.name)} == {one.name for one in table.columns}
    engine.dispose()
    open_database(address).dispose()  # once


def test_an_old_database_keeps_its_results_and_what_is_open_is_played_or_reported(
    tmp_path: Path, new_request: Callable[..., NewRequest]
) -> None:
    check_that_nothing_is_lost(f"sqlite:///{tmp_path / 'x.sqlite'}", tmp_path, new_request)


def test_a_database_that_an_older_service_uses_now_is_left_as_it_is(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'x.sqlite'}"
    make_old_database(address, SUITE, REQUESTS, program="p")
    engine = create_engine(address)
    older = OneService(engine, tmp_path)
    older.take()
    with pytest.raises(ServiceError, match="another evaluation service"):
        open_database(address)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version FROM eval_service_schema")) == 1
    older.give_back()
    open_database(address).dispose()
    engine.dispose()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"sqlite:///{tmp_path / 'x.sqlite'}"
    make_old_database(address, SUITE, REQUESTS, program="p")
    engine = create_engine(address)

    def content() -> list[object]:
        with engine.connect() as connection:
            names = ("eval_service_schema", "eval_requests", "eval_units", "eval_results")
            return [[*connection.execute(text(f"SELECT * FROM {name}"))] for name in names]

    before, step = content(), migrations.STEPS[1]

    def break_down(connection: Connection) -> None:
        step(connection)
        raise RuntimeError("the power fails")

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "STEPS", {1: break_down})
        with pytest.raises(RuntimeError, match="power"):
            open_database(address)
    assert content() == before
    open_database(address).dispose()
    assert content() != before
    engine.dispose()


def test_there_is_a_step_from_every_older_version() -> None:
    assert list(migrations.STEPS) == list(range(1, SCHEMA_VERSION))
