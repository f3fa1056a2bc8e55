"""Copies of the policies that were asked for: a run may remove its own before they have played."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from metta.agent.artifact import write_whole
from metta.errors import CheckpointError
from metta.eval.eval_service.checksums import Checksums
from metta.eval.eval_service.policies import Keep

logger = logging.getLogger(__name__)

TOUCH_SECONDS = 3600.0  # how exact the time of a copy's last use is
PRUNE_SECONDS = 3600.0  # between two looks at ages
DAY_SECONDS = 86_400.0


class PolicyCopies:
    """A folder of policies, each called by the checksum of its content. Safe to use from several threads."""

    def __init__(self, folder: Path, *, max_days: float, max_bytes: float) -> None:
        """`max_days`, `max_bytes`: how long and how much is kept of what nobody needs."""
        self._folder, self._max_seconds, self._max_bytes = folder, max_days * DAY_SECONDS, max_bytes
        self._checksums = Checksums()
        self._lock, self._pruning = threading.Lock(), threading.Lock()
        self._in_use: Counter[str] = Counter()
        self._recent: set[str] = set()  # used since the last pruning began
        self._is_larger = True
        self._looked_at = -PRUNE_SECONDS

    @contextmanager
    def using(self) -> Iterator[Keep]:
        """Give what keeps a copy; none of those is removed before the block has ended."""
        used: list[str] = []

        def keep(path: Path, checksum: str) -> None:
            with self._lock:
                used.append(checksum)
                self._in_use[checksum] += 1
                self._recent.add(checksum)
            self._keep(path, checksum)

        try:
            yield keep
        finally:
            with self._lock:
                self._in_use.subtract(used)
                self._in_use += Counter()  # drops what is used no more

    def _keep(self, path: Path, checksum: str) -> None:
        """Write a copy unless it is there and whole; nobody else may read it. Raises CheckpointError."""
        copy = self._folder / f"{checksum}.pt"
        if copy.is_file() and self._checksums.of(copy) == checksum:
            if abs(time.time() - copy.stat().st_mtime) > TOUCH_SECONDS:
                os.utime(copy)
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with path.open("rb") as content:
                write_whole(copy, lambda file: _write_private(content, file))
        except OSError as error:
            raise CheckpointError(f"cannot copy {path}: {error.strerror or error}") from error
        if self._checksums.of(copy) != checksum:
            copy.unlink()
            raise CheckpointError(f"{path} was changed while it was read; ask again")
        self._is_larger = True

    def prune_if_due(self, needed: Callable[[], set[str]]) -> None:
        """Remove what is too old or too much, if a copy has come or an hour has gone by since the last look."""
        if not self._is_larger and time.monotonic() - self._looked_at < PRUNE_SECONDS:
            return
        if self._pruning.acquire(blocking=False):  # else another thread does it now
            try:
                self._is_larger, self._looked_at = False, time.monotonic()
                self.prune(needed)
            except OSError as error:
                logger.warning("copies of policies cannot be removed: %s", error)
            finally:
                self._pruning.release()

    def prune(self, needed: Callable[[], set[str]]) -> None:
        """Remove copies, least recently used first: the old ones, and more until the rest is not too much.

        Those whose checksum is in `needed()` stay, and those that are asked for at this moment.
        """
        with self._lock:
            self._recent = set(self._in_use)  # from here on whoever begins to use one is seen below
        spared, now = needed(), time.time()
        found = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in self._folder.glob("*.pt"))
        total = sum(size for _, size, _ in found)
        removed = 0
        for used_at, size, path in found:
            is_due = now - used_at > self._max_seconds or total > self._max_bytes
            if is_due and path.stem not in spared and self._remove(path):
                total, removed = total - size, removed + 1
        if removed:
            logger.info("%d copies of policies were removed", removed)

    def _remove(self, path: Path) -> bool:
        with self._lock:
            if path.stem in self._recent:
                return False
            path.unlink(missing_ok=True)
            return True


def _write_private(content: BinaryIO, file: BinaryIO) -> None:
    """Write a file that is still empty, closed to others before there is anything to read."""
    os.fchmod(file.fileno(), 0o600)
    shutil.copyfileobj(content, file)
