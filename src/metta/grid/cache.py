"""Where compiled rules are kept: a directory whose name carries a hash of every source in `grid/`.

Numba's own cache looks at the file of the function alone, so an edit in a rule would not be noticed by the kernels
that call it. Here any edit in `grid/` changes the directory, and everything is compiled again. Other packages of
kernels that call one another give their own folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba

_settings: Any = numba.config

GRID = Path(__file__).parent

KEEP_DAYS = 30  # directories of other versions that nobody used for so long are removed


@cache
def source_hash(root: Path = GRID) -> str:
    """Return 16 hex digits over the names and bytes of every Python source in `root`."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@contextmanager
def compile_cache(root: Path = GRID) -> Iterator[None]:
    """Let functions that are decorated inside keep their machine code in the directory of the sources in `root`.

    Numba's setting stays as it was.
    """
    before = _settings.CACHE_DIR
    _settings.CACHE_DIR = str(cache_directory(root))
    try:
        yield
    finally:
        _settings.CACHE_DIR = before


@cache
def cache_directory(root: Path = GRID) -> Path:
    """Return the directory of the machine code of this version of `root`, made if need be.

    Below `NUMBA_CACHE_DIR` if that is set, else below the user's cache directory, else, where nothing of that can be
    written, below the system's temporary one. Never beside the sources: an installation may be read-only.
    """
    for base in _candidates():
        directory = base / source_hash(root)
        with suppress(OSError):
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=directory):
                pass
            os.utime(directory)
            _remove_old(base)
            return directory
    return Path(tempfile.mkdtemp(prefix="metta-compiled-"))


def _candidates() -> Iterator[Path]:
    if _settings.CACHE_DIR:
        yield Path(_settings.CACHE_DIR) / "metta-compiled"
    if os.environ.get("XDG_CACHE_HOME"):
        yield Path(os.environ["XDG_CACHE_HOME"]) / "metta" / "compiled"
    with suppress(RuntimeError):  # nobody's home
        yield Path.home() / ".cache" / "metta" / "compiled"
    yield Path(tempfile.gettempdir()) / f"metta-compiled-{getattr(os, 'getuid', lambda: 'user')()}"


def _remove_old(base: Path) -> None:
    limit = time.time() - KEEP_DAYS * 86_400
    for directory in base.iterdir():
        with suppress(OSError):
            if directory.stat().st_mtime < limit:
                shutil.rmtree(directory, ignore_errors=True)
