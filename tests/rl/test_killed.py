"""Runs that are ended from outside, by signals and by kill -9."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from metta.rl.build import train
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager

from .small_world import small_config

EPOCHS = 400
PROGRAM = """
import sys
from pathlib import Path
from tests.rl.small_world import small_config
from metta.rl.build import train
config = small_config(Path(sys.argv[1]), total=512 * {epochs})
config.checkpoint.interval = 3
sys.exit(train(config))
"""


def start(data_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(epochs=EPOCHS), str(data_dir)],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for_epoch(data_dir: Path, epoch: int, process: subprocess.Popen[str]) -> None:
    manager = TinyCheckpointManager("run", data_dir)
    deadline = time.monotonic() + 60
    while not any(found >= epoch for found in manager.list_epochs()):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_epoch_saves_and_says_so_in_the_exit_code(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path)
    wait_for_epoch(tmp_path, 3, process)
    process.send_signal(number)
    assert process.wait(timeout=30) == 128 + number
    manager = TinyCheckpointManager("run", tmp_path)
    latest = manager.latest_epoch()
    assert latest is not None
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == latest < EPOCHS


@pytest.mark.slow
def test_a_run_that_was_killed_three_times_ends_with_the_bits_of_one_that_was_left_alone(tmp_path: Path) -> None:
    whole = small_config(tmp_path / "whole", total=512 * EPOCHS)
    train(whole)
    for epoch in (3, 60, 150):
        process = start(tmp_path / "killed")
        wait_for_epoch(tmp_path / "killed", epoch, process)
        process.kill()
        process.wait()
    process = start(tmp_path / "killed")
    assert process.wait(timeout=120) == 0
    left, right = (TinyCheckpointManager("run", tmp_path / name).load_agent(EPOCHS) for name in ("whole", "killed"))
    assert all(torch.equal(value, right.state_dict()[name]) for name, value in left.state_dict().items())


def test_a_second_process_on_the_same_run_is_refused_and_names_the_holder(tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for_epoch(tmp_path, 3, process)
    second = start(tmp_path)
    assert second.wait(timeout=30) != 0
    assert second.stderr is not None
    assert f"process {process.pid}" in second.stderr.read()
    process.kill()
    process.wait()
