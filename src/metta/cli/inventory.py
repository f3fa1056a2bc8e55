"""What there is and how far it is: `metta list`, `metta status`, `metta open`. Reads file names and sources alone."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import metta
from metta.cli import launch
from metta.cli.arguments import Arguments, sort_arguments, unknown_flag
from metta.cli.heartbeat import Life, heartbeats
from metta.cli.tables import recipe_rows, two_columns
from metta.cli.verbs import VERBS
from metta.cores import available_cores
from metta.errors import ConfigError, RunError, nearest

MOCKS = ("mock://random", "mock://noop", "mock://scripted")
KINDS = ("recipes", "tools", "policies", "runs")

_AGENT_FILE = re.compile(r"agent_epoch_(\d+)\.pt")


def run_verb(name: str, argv: Sequence[str]) -> int:
    """Do one of this module's verbs."""
    arguments = sort_arguments(argv)
    if "help" in arguments.flags:
        print(f"metta {name}: {VERBS[name].purpose}\n\nusage: metta {name} {VERBS[name].usage} [data_dir=...] [--json]")
        return 0
    if arguments.tool_flags:
        raise unknown_flag(arguments.tool_flags[0])
    unknown = [setting.key for setting in arguments.settings if setting.key not in ("data_dir", "run")]
    if unknown:
        raise ConfigError(f"unknown key {unknown[0]!r}: metta {name} has data_dir{nearest(unknown[0], ['data_dir'])}")
    verbs: dict[str, Callable[[Arguments, Path], int]] = {"list": _list, "status": _status, "open": _open}
    return verbs[name](arguments, Path(arguments.text_of("data_dir") or "./train_dir").expanduser())


def _list(arguments: Arguments, data_dir: Path) -> int:
    kinds = arguments.words or KINDS
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ConfigError(f"metta list: given {unknown[0]!r}, allowed: {', '.join(KINDS)}{nearest(unknown[0], KINDS)}")
    found = {kind: _rows(kind, data_dir) for kind in kinds}
    if "json" in arguments.flags:
        print(json.dumps({kind: [row[0] for row in rows] for kind, rows in found.items()}, indent=2))
        return 0
    print("\n\n".join(f"{kind}\n{two_columns(rows)}" for kind, rows in found.items()))
    return 0


def _rows(kind: str, data_dir: Path) -> list[tuple[str, str]]:
    if kind == "recipes":
        return recipe_rows()
    if kind == "tools":
        return [
            (name, verb.purpose) for name, verb in VERBS.items() if verb.home in ("launch", "service") and name != "run"
        ]
    runs = [(run["run"], f"epoch {run['epoch']}, {_progress(run)}") for run in list_runs(data_dir)]
    if kind == "runs":
        return runs
    epochs = [
        (f"{folder.name}:{epoch}", str(folder / "checkpoints" / f"agent_epoch_{epoch}.pt"))
        for folder in _run_folders(data_dir)
        for epoch in _epochs(folder)
    ]
    return [*epochs, *((mock, "built in") for mock in MOCKS)]


def list_runs(data_dir: Path) -> list[dict[str, Any]]:
    """Return the runs of a folder: name, latest epoch by file name, and the last line of `metrics.jsonl`."""
    return [
        {"run": folder.name, "epoch": _epochs(folder)[-1], "metrics": _last_line(folder / "metrics.jsonl")}
        for folder in _run_folders(data_dir)
    ]


def _run_folders(data_dir: Path) -> list[Path]:
    folders = sorted(data_dir.iterdir()) if data_dir.is_dir() else []
    return [folder for folder in folders if _epochs(folder)]


def _epochs(folder: Path) -> list[int]:
    names = (path.name for path in (folder / "checkpoints").glob("agent_epoch_*.pt"))
    return sorted(int(match[1]) for match in map(_AGENT_FILE.fullmatch, names) if match)


def _last_line(path: Path) -> dict[str, Any]:
    """Return the last whole line of a metrics file; {} if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 65_536))
            lines = file.read().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return {}


def _progress(run: dict[str, Any]) -> str:
    metrics = run["metrics"]
    parts = []
    if "metric/agent_step" in metrics:
        parts.append(f"{metrics['metric/agent_step']:,.0f} agent steps")
    for name in ("overview/reward", "overview/hearts"):
        if isinstance(metrics.get(name), int | float):
            parts.append(f"{name.rpartition('/')[2]} {metrics[name]:.2f}")
    return ", ".join(parts) or "no metrics"


def _status(arguments: Arguments, data_dir: Path) -> int:
    runs, lives = list_runs(data_dir), heartbeats(data_dir)
    machine = {
        "metta": metta.__version__,
        "python": platform.python_version(),
        "cores": available_cores(),
        "nvidia_driver": Path("/proc/driver/nvidia/version").exists(),
        "data_dir": str(data_dir),
    }
    if "json" in arguments.flags:
        alive = {name: life._asdict() for name, life in lives.items()}
        print(json.dumps({**machine, "runs": runs, "heartbeats": alive}, indent=2))
        return 0
    print(two_columns([(name, str(value)) for name, value in machine.items()]))
    known = {run["run"]: f"epoch {run['epoch']}, {_progress(run)}" for run in runs}
    names = sorted({*known, *lives})  # a run that has not saved yet is alive already
    rows = [(name, _described(known.get(name, "no checkpoint"), lives.get(name))) for name in names]
    print(f"\nruns\n{two_columns(rows)}")
    return 0


def _described(progress: str, life: Life | None) -> str:
    return progress if life is None else f"{progress}; {life.text}"


def _open(arguments: Arguments, data_dir: Path) -> int:
    run = arguments.first_word() or arguments.text_of("run")
    names = [folder.name for folder in _run_folders(data_dir)]
    there = f"runs in {data_dir}: {', '.join(names) or 'none'}"
    if run is None:
        raise RunError(f"say which run: metta open <run>; {there}")
    folder = next((path for path in (data_dir / run, Path(run)) if _epochs(path)), None)
    if folder is None:
        raise RunError(f"there is no run {run!r}{nearest(run, names)}; {there}")
    report = (folder / "report" / "index.html").resolve()
    if not report.exists():
        raise RunError(f"{folder} has no report; `metta analyze {run}` writes it")
    if not (_may_have_browser() and webbrowser.open(report.as_uri())):
        print(f"no browser here; the report is {report}", file=sys.stderr)
    return launch.run_verb("replay", [f"run={folder}"])


def _may_have_browser() -> bool:
    """Whether a graphical browser can be there; without, `webbrowser` would start one in this terminal."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
