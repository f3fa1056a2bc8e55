"""Where things are kept, and how many play."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from metta.eval.eval_service import config as module
from metta.eval.eval_service.config import EvalServiceConfig


def test_everything_is_kept_below_one_folder_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    config = EvalServiceConfig(data_dir=str(tmp_path))
    folder = tmp_path / "eval_service"
    assert config.root_list() == [str(tmp_path)]
    assert config.database_address() == f"sqlite:///{folder}/requests.sqlite"
    assert config.stats_uri("aa") == f"{folder}/stats/aa.duckdb"
    assert config.replay_uri("aa") == f"{folder}/replays/aa"
    moved = EvalServiceConfig(
        data_dir=str(tmp_path),
        service_dir=str(tmp_path / "x"),
        roots=["s3://bucket"],
        database="postgresql+psycopg://h/n",
        stats_dir="s3://bucket/stats/",
        replay_dir="s3://bucket/replays",
    )
    assert moved.policies_folder == tmp_path / "x" / "policies"
    assert (moved.root_list(), moved.database_address()) == (["s3://bucket"], "postgresql+psycopg://h/n")
    assert moved.stats_uri("aa") == "s3://bucket/stats/aa.duckdb"
    assert moved.replay_uri("aa") == "s3://bucket/replays/aa"
    assert EvalServiceConfig(replays=False, replay_dir="s3://bucket/replays").replay_uri("aa") is None


def test_by_default_the_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_cores", lambda: 8)
    numbers = [
        EvalServiceConfig(workers=workers, threads=threads).num_workers()
        for workers, threads in ((0, 1), (0, 3), (0, 16), (5, 3))
    ]
    assert numbers == [8, 2, 1, 5]


def test_the_setting_that_max_retries_has_replaced_leads_to_it() -> None:
    with pytest.raises(ValidationError, match="did you mean max_retries"):
        EvalServiceConfig.model_validate({"max_deaths": 3})
