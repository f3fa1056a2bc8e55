from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import psutil
import pytest
import torch

from metta.rl.build import build_trainer
from metta.rl.hooks.monitor import MIB, MonitorHook
from metta.rl.run import train

from .small_world import small_config

MACHINE = {"cpu_percent", "process_cpu_percent", "process_memory_mib", "memory_available_mib"}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def sampled(tracker_stats: dict[str, list[float]]) -> set[str]:
    return {name.removeprefix("monitor/") for name in tracker_stats if name.startswith("monitor/")}


def test_samples_are_at_least_so_many_seconds_apart(tmp_path: Path) -> None:
    state = build_trainer(small_config(tmp_path), run="run").state
    clock = Clock()
    hook = MonitorHook(10.0, clock=clock)
    hook.on_new_training_run(state)
    assert state.stats_tracker is not None
    found = []
    for seconds in (105.0, 109.9, 110.0, 119.0, 121.0, 130.5, 131.0):
        clock.now = seconds
        state.stats_tracker.clear()
        hook.on_epoch_end(state)
        if sampled(state.stats_tracker.epoch_stats):
            found.append(seconds)
    assert found == [110.0, 121.0, 131.0]


def test_a_run_writes_what_it_takes_of_its_machine(tmp_path: Path) -> None:
    made = small_config(tmp_path, total=512 * 3)
    made.hooks.monitor_seconds = 1e-9
    train(made)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    own = psutil.Process(os.getpid()).memory_info().rss / MIB
    for line in lines:
        assert sampled(line) == MACHINE
        assert 0.0 <= line["monitor/cpu_percent"] <= 100.0
        assert own / 2 < line["monitor/process_memory_mib"] < own * 2
        assert 0.0 < line["monitor/memory_available_mib"] < psutil.virtual_memory().total / MIB
    assert max(line["monitor/process_cpu_percent"] for line in lines) > 0.0


def test_no_seconds_are_none(tmp_path: Path) -> None:
    made = small_config(tmp_path)
    made.hooks.monitor_seconds = 0.0
    train(made)
    assert "monitor/" not in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_a_gpu_is_watched_where_training_computes_on_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No GPU is needed: its readings are stand-ins."""
    state = build_trainer(small_config(tmp_path), run="run").state
    assert state.experience is not None and state.stats_tracker is not None
    state.experience.device = torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * MIB, 8 * MIB))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2 * MIB * device.index)
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 40)
    hook = MonitorHook(1e-9)
    hook.on_new_training_run(state)
    hook.on_epoch_end(state)
    stats = state.stats_tracker.epoch_stats
    assert sampled(stats) == MACHINE | {"gpu_memory_mib", "gpu_memory_available_mib", "gpu_percent"}
    names = ("gpu_memory_mib", "gpu_memory_available_mib", "gpu_percent")
    assert [stats[f"monitor/{name}"] for name in names] == [[2.0], [3.0], [40.0]]

    def missing(device: torch.device) -> int:
        raise ModuleNotFoundError("nvidia-ml-py is not installed")

    monkeypatch.setattr(torch.cuda, "utilization", missing)
    state.stats_tracker.clear()
    with caplog.at_level(logging.WARNING):
        hook.on_epoch_end(state)
        hook.on_epoch_end(state)
    assert "monitor/gpu_percent" not in state.stats_tracker.epoch_stats
    assert [record.getMessage() for record in caplog.records] == [
        "no monitor/gpu_percent: nvidia-ml-py is not installed (hint: pip install 'metta[gpu]')"
    ]
