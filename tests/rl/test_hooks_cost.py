"""What hooks cost over a long run."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import psutil
import pytest

from metta.rl.build import build_trainer

from .small_world import small_config


@pytest.mark.slow
def test_memory_stays_flat_over_a_thousand_epochs(tmp_path: Path) -> None:
    made = small_config(tmp_path, total=10**9)
    made.hooks.display = True
    made.hooks.gradient_interval, made.hooks.monitor_seconds = 10, 0.1
    made.checkpoint.interval, made.checkpoint.keep = 100, 2
    trainer = build_trainer(made, run="run")
    trainer.begin()
    resident = []
    for _ in range(5):
        for _ in range(200):
            trainer.run_epoch()
        gc.collect()
        resident.append(psutil.Process().memory_info().rss / 2**20)
    trainer.end()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["metric/epoch"] == len(lines) == 1000
    assert resident[-1] - resident[0] < 4.0, resident
