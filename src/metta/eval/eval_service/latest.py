"""The latest policy of a run: its files are opened to see whether they are whole, once if they do not change."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from metta.agent.checkpoints import latest_policy
from metta.eval.eval_service.checksums import is_settled, mark_of

_CHECKPOINT = re.compile(r"(agent|trainer)_epoch_\d+\.pt")


class LatestPolicies:
    """Remembers which policy was the latest in a folder whose checkpoints did not change."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[object, Path]] = {}

    def of(self, folder: Path) -> Path:
        """Return the latest whole policy in a run's folder `checkpoints`. Raises CheckpointError if there is none."""
        statuses = [(entry.name, entry.stat()) for entry in _checkpoints(folder)]
        marks = sorted((name, mark_of(status)) for name, status in statuses)
        known = self._known.get(folder)
        if known is not None and known[0] == marks:
            return known[1]
        found = latest_policy(folder.parent)
        if all(is_settled(status) for _, status in statuses):
            self._known[folder] = marks, found
        return found

    @staticmethod
    def links(folder: Path) -> Iterator[Path]:
        """Give the checkpoints that are links, and may lead elsewhere."""
        return (Path(entry.path) for entry in _checkpoints(folder) if entry.is_symlink())


def _checkpoints(folder: Path) -> Iterator[os.DirEntry[str]]:
    if folder.is_dir():
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if _CHECKPOINT.fullmatch(entry.name))
