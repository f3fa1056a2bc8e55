"""Whether a run is alive, from the `heartbeat.json` that training rewrites every few seconds."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import NamedTuple

SILENT_SECONDS = 300.0  # an epoch, or an evaluation, may take long; a run that is silent for longer hangs or is gone


class Life(NamedTuple):
    """How a run fares."""

    status: str  # running, finished, stopped, failed, silent (a running one that writes nothing) or gone (its process)
    text: str  # the same for people


def read_life(run_dir: Path, *, now: float | None = None) -> Life | None:
    """Return how the run in `run_dir` fares; None when it has no heartbeat, or one that cannot be read.

    `now` is in seconds since 1970. A process that is gone is known on its own machine alone; from elsewhere it is
    silent, five minutes later.
    """
    try:
        beat = json.loads((run_dir / "heartbeat.json").read_text())
        status, beaten_at = str(beat["status"]), float(beat["time"])
        if status == "running":
            age = (time.time() if now is None else now) - beaten_at
            return _of_running(int(beat["pid"]), str(beat["host"]), age)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Life(status, f"{status}: {beat['error']}" if "error" in beat else status)


def _of_running(pid: int, host: str, age: float) -> Life:
    where = f"process {pid} on {host}"
    if host == socket.gethostname() and not _is_alive(pid):
        return Life("gone", f"ended without a word: {where} is gone")
    if age > SILENT_SECONDS:
        return Life("silent", f"no heartbeat for {age / 60:.0f} min: {where} hangs, or is gone")
    return Life("running", "running")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def heartbeats(data_dir: Path) -> dict[str, Life]:
    """Return how every run below `data_dir` fares that has a heartbeat, those without a checkpoint too, by name."""
    folders = sorted(path.parent for path in data_dir.glob("*/heartbeat.json"))
    return {folder.name: life for folder in folders if (life := read_life(folder)) is not None}
