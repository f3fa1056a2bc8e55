"""A run's folder from what the user calls it."""

from __future__ import annotations

from pathlib import Path

from metta.agent import resolve_policy_uri
from metta.errors import RunError, nearest


def list_runs(data_dir: str | Path) -> list[str]:
    """Return the names of the runs in `data_dir` that hold a checkpoint, sorted."""
    return sorted({path.parents[1].name for path in Path(data_dir).glob("*/checkpoints/agent_epoch_*.pt")})


def find_run(run: str | None, data_dir: str | Path) -> Path:
    """Return the folder of a run given by its name or its path.

    Raises RunError, with the nearest names, when there is no such run, or none was given.
    """
    runs = list_runs(data_dir)
    there = f"runs in {data_dir}: {', '.join(runs) or 'none'}"
    if run is None:
        raise RunError(f"say which run: run=<name>; {there}")
    for folder in (Path(data_dir) / run, Path(run)):
        if (folder / "checkpoints").is_dir():
            return folder
    raise RunError(f"there is no run {run!r}{nearest(run, runs)}; {there}")


def folder_of_policy(uri: str, data_dir: str | Path) -> Path:
    """Return where what a policy played is kept: its run's folder, or `<data_dir>/evaluation` for one without a run.

    Raises CheckpointError when `uri` names nothing.
    """
    path = resolve_policy_uri(uri, data_dir=data_dir).path
    if path is not None and path.parent.name == "checkpoints":
        return path.parents[1]
    return Path(data_dir) / "evaluation"
