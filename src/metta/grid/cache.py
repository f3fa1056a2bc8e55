"""Where compiled rules are kept: a directory whose name carries a hash of every source in `grid/`.

Numba's own cache looks at the file of the function alone, so an edit in a rule would not be noticed by the kernels
that call it. Here any edit in `grid/` changes the directory, and everything is compiled again.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path

import numba


@cache
def source_hash() -> str:
    """Return 16 hex digits over the names and bytes of every Python source in `grid/`."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def use_compile_cache() -> Path:
    """Point Numba at our cache directory, unless the user set `NUMBA_CACHE_DIR`; return the directory."""
    if numba.config.CACHE_DIR:
        return Path(numba.config.CACHE_DIR)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metta" / "compiled"
    try:
        base.mkdir(parents=True, exist_ok=True)
        probe = tempfile.TemporaryFile(dir=base)
        probe.close()
    except OSError:
        base = Path(tempfile.gettempdir()) / f"metta-compiled-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    directory = base / source_hash()
    numba.config.CACHE_DIR = str(directory)
    return directory
