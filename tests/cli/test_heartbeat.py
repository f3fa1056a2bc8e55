from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from metta.cli.heartbeat import read_life
from metta.cli.main import main

NOW = 1_700_000_000.0


def write(run_dir: Path, **changed: Any) -> Path:
    run_dir.mkdir(parents=True, exist_ok=True)
    here = {"pid": os.getpid(), "host": socket.gethostname(), "epoch": 3, "agent_step": 96}
    (run_dir / "heartbeat.json").write_text(json.dumps({**here, "time": NOW, "status": "running", **changed}))
    return run_dir


def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("changed", "age", "status", "text"),
    [
        ({}, 0, "running", "running"),
        ({}, 299, "running", "running"),
        ({}, 301, "silent", r"no heartbeat for 5 min: process \d+ on .* hangs, or is gone"),
        ({"host": "elsewhere", "pid": 2**22 + 1}, 299, "running", "running"),
        ({"host": "elsewhere", "pid": 77}, 5000, "silent", "no heartbeat for 83 min: process 77 on elsewhere hangs"),
        ({"status": "finished"}, 10_000, "finished", "finished"),
        ({"status": "stopped"}, 10_000, "stopped", "stopped"),
        ({"status": "failed", "error": "ValueError: bad"}, 10_000, "failed", "failed: ValueError: bad"),
    ],
)
def test_a_heartbeat_says_how_a_run_fares(
    tmp_path: Path, changed: dict[str, Any], age: float, status: str, text: str
) -> None:
    life = read_life(write(tmp_path, **changed), now=NOW + age)
    assert life is not None
    assert life.status == status
    assert re.match(text, life.text)


def test_a_process_that_is_gone_is_noticed_at_once_on_its_own_machine(tmp_path: Path) -> None:
    pid = gone()
    life = read_life(write(tmp_path, pid=pid), now=NOW + 1)
    assert life is not None
    assert (life.status, life.text) == (
        "gone",
        f"ended without a word: process {pid} on {socket.gethostname()} is gone",
    )


@pytest.mark.parametrize(
    "content", [None, "", "{", "[]", "{}", '{"status": "running"}', '{"time": 1, "status": "running"}']
)
def test_a_heartbeat_that_cannot_be_read_says_nothing(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "heartbeat.json").write_text(content)
    assert read_life(tmp_path) is None


def test_status_shows_runs_that_hang_or_have_not_saved_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "hanging")
    checkpoints = write(tmp_path / "done", status="finished") / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / "agent_epoch_7.pt").touch()
    (tmp_path / "old" / "checkpoints").mkdir(parents=True)
    (tmp_path / "old" / "checkpoints" / "agent_epoch_2.pt").touch()
    assert main(["status", f"data_dir={tmp_path}"]) == 0
    text = capsys.readouterr().out
    shown = {
        words[0]: " ".join(words[1:]) for line in text.partition("\nruns\n")[2].splitlines() if (words := line.split())
    }
    assert shown["done"] == "epoch 7, no metrics; finished"
    assert shown["hanging"].startswith("no checkpoint; no heartbeat for ")
    assert shown["old"] == "epoch 2, no metrics"
    assert main(["status", f"data_dir={tmp_path}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: life["status"] for name, life in found["heartbeats"].items()} == {
        "done": "finished",
        "hanging": "silent",
    }
    assert [run["run"] for run in found["runs"]] == ["done", "old"]
