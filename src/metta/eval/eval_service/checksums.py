"""SHA-256 of files, computed once for as long as a file stays as it is."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from metta.errors import CheckpointError

MAX_BYTES = 2 << 30  # of a policy's file
SETTLED_SECONDS = 2.0  # a file system's clock has ticks: two changes within one look like one
MAX_KNOWN = 10_000

Mark = tuple[int, ...]


def mark_of(status: os.stat_result) -> Mark:
    """Return what changes whenever a file does; the change time can be set by nobody."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_settled(status: os.stat_result) -> bool:
    """Whether the last change is so long ago that another one would show in the times."""
    return abs(time.time() - status.st_ctime) > SETTLED_SECONDS


class Checksums:
    """Remembers the checksums of files that did not change. Safe to use from several threads."""

    def __init__(self) -> None:
        self._known: dict[Mark, str] = {}

    def of(self, path: Path) -> str:
        """Return SHA-256 in hex. Raises CheckpointError if the file cannot be read, or is too large."""
        try:
            with path.open("rb") as file:
                before = os.fstat(file.fileno())
                if before.st_size > MAX_BYTES:
                    raise CheckpointError(f"{path} is larger than {MAX_BYTES} bytes")
                known = self._known.get(mark_of(before))
                if known is not None:
                    return known
                found = hashlib.file_digest(file, "sha256").hexdigest()
                if is_settled(before) and mark_of(os.fstat(file.fileno())) == mark_of(before):
                    self._keep(mark_of(before), found)
                return found
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error

    def _keep(self, mark: Mark, checksum: str) -> None:
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[mark] = checksum
