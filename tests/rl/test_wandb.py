"""Weights & Biases, offline: what the library wrote into the run's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from metta.rl.build import train

from .small_world import small_config

pytest.importorskip("wandb")


def test_an_offline_run_writes_its_metrics_into_the_runs_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = small_config(tmp_path, total=1024)
    config.wandb.enabled, config.wandb.mode = True, "offline"
    train(config)
    files = list((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 1
    assert b"experience/reward" in files[0].read_bytes()
