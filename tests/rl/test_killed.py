"""Runs that are ended from outside, by signals and by kill -9."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from metta.errors import MettaError
from metta.rl.run import train
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager

from .same_bits import assert_same
from .small_world import small_config

EPOCHS = 400
PROGRAM = """
import sys
from pathlib import Path
from tests.rl.small_world import small_config
from metta.rl.run import train
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


EPOCHS_OF_THE_KILLED = 60
KILLED = """
import os, sys, time
from pathlib import Path
from tests.rl.small_world import small_config
from metta.rl.run import train
flush = os.fsync
os.fsync = lambda descriptor: (time.sleep(0.01), flush(descriptor))  # a save takes as long as a few epochs
config = small_config(Path(sys.argv[1]), architecture=sys.argv[2], total=512 * {epochs})
config.system.processes = int(sys.argv[3])
config.checkpoint.interval = 2
config.checkpoint.keep = 0
sys.exit(train(config))
"""


def start_again(data_dir: Path, architecture: str, processes: int) -> subprocess.Popen[str]:
    words = [KILLED.format(epochs=EPOCHS_OF_THE_KILLED), str(data_dir), architecture, str(processes)]
    return subprocess.Popen(
        [sys.executable, "-c", *words], cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "processes"), [("fast", 1), ("lstm", 1), ("fast", 2)])
def test_a_run_that_was_killed_five_times_ends_with_the_bits_of_one_that_was_left_alone(
    tmp_path: Path, architecture: str, processes: int
) -> None:
    left_alone = start_again(tmp_path / "whole", architecture, processes)
    draw, killed_at, during_save = random.Random(architecture), [], 0
    saves = tmp_path / "killed" / "run" / "checkpoints"
    for number in range(5):
        process = start_again(tmp_path / "killed", architecture, processes)
        latest = max(TinyCheckpointManager("run", tmp_path / "killed").list_epochs(), default=0)
        wait_for_epoch(tmp_path / "killed", latest + draw.randrange(1, 8), process)
        if number % 2:  # in the middle of a save
            until(lambda: any(saves.glob(".trainer_epoch_*.tmp")), process)
        else:
            time.sleep(draw.random() * 0.05)
        process.kill()
        process.wait()
        during_save += any(saves.glob(".*.tmp"))
        killed_at.append(latest)
    assert during_save and killed_at[-1] < EPOCHS_OF_THE_KILLED - 2
    assert start_again(tmp_path / "killed", architecture, processes).wait(timeout=120) == 0
    assert left_alone.wait(timeout=120) == 0
    whole, killed = (TinyCheckpointManager("run", tmp_path / name) for name in ("whole", "killed"))
    assert_same(
        whole.load_agent(EPOCHS_OF_THE_KILLED).state_dict(), killed.load_agent(EPOCHS_OF_THE_KILLED).state_dict()
    )
    left, right = (manager.load_trainer_state(EPOCHS_OF_THE_KILLED) for manager in (whole, killed))
    for part in CLOCKS & left["shared"].keys():
        del left["shared"][part], right["shared"][part]
    assert {"optimizer"} <= left["shared"].keys() and {"rollout", "random"} <= left["ranks"][0].keys()
    assert len(left["ranks"]) == processes
    assert_same(left, right)
    one, other = (read_metrics(tmp_path / name) for name in ("whole", "killed"))
    assert len(one) == EPOCHS_OF_THE_KILLED and one == other


CLOCKS = {"timer", "hook/HeartbeatHook", "hook/MonitorHook"}  # parts of a checkpoint that hold times


def read_metrics(data_dir: Path) -> list[dict[str, float]]:
    """Every metric of every epoch but those of the clock."""
    lines = (data_dir / "run" / "metrics.jsonl").read_text().splitlines()
    clock = ("timing", "monitor/", "overview/sps", "metric/total_time")
    return [{k: v for k, v in json.loads(line).items() if not k.startswith(clock)} for line in lines]


def until(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.0005)


def test_a_second_process_on_the_same_run_is_refused_and_names_the_holder(tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for_epoch(tmp_path, 3, process)
    with pytest.raises(MettaError, match=f"process {process.pid}"):
        train(small_config(tmp_path))
    process.kill()
    process.wait()
