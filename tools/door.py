"""What the scripts beside this file share: they restart in the clone's `.venv`, then enter the `metta` command."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def enter(verb: str) -> None:
    """Run `metta <verb>` with this process's arguments, from the sources of this clone."""
    python = ROOT / ".venv" / "bin" / "python"
    if python.exists() and Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        os.execv(python, [str(python), *sys.argv])
    sys.path[0] = str(ROOT / "src")  # not this folder, whose run.py and train.py would hide others' modules
    try:
        from metta.cli.main import main
    except ImportError as error:
        sys.exit(f"{error}; `make install` installs what metta needs into .venv")
    sys.exit(main([verb, *sys.argv[1:]]))
