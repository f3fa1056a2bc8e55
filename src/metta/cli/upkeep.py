"""`metta clean` and `metta test`."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from metta.cli.arguments import Arguments, sort_arguments, unknown_flag
from metta.errors import ConfigError


def run_verb(name: str, argv: Sequence[str]) -> int:
    """Do one of this module's verbs."""
    if name == "test":
        return _test(argv)
    arguments = sort_arguments(argv)
    if "help" in arguments.flags:
        print("metta clean: remove compiled caches and what interrupted saves left in data_dir; runs stay")
        print("\nusage: metta clean [data_dir=./train_dir] [--dry-run]")
        return 0
    if arguments.tool_flags:
        raise unknown_flag(arguments.tool_flags[0])
    return _clean(arguments)


def _clean(arguments: Arguments) -> int:
    """Remove compiled rules of all versions, and the temporary files of saves that were interrupted."""
    data_dir = Path(arguments.text_of("data_dir") or "./train_dir")
    is_dry = "dry_run" in arguments.flags
    runs = [run for run in data_dir.glob("*") if run.is_dir()]
    held = {run for run in runs if _is_held(run)}
    for run in sorted(held):
        print(f"{run} is in use and left alone", file=sys.stderr)
    leftovers = [path for run in runs if run not in held for path in run.rglob(".*.tmp")]
    for path in (*([] if held else _compile_caches()), *leftovers):
        print(f"{'would remove' if is_dry else 'removed'} {path} ({_megabytes(path):.1f} MB)")
        if is_dry:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return 0


def _is_held(run_dir: Path) -> bool:
    """Whether a process holds the run's lock, and may be writing one of those files now."""
    lock = run_dir / ".lock"
    if not lock.exists():
        return False
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _compile_caches() -> Iterable[Path]:
    """The folders in which compiled rules are kept, of this user."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metta" / "compiled"
    spare = Path(tempfile.gettempdir()) / f"metta-compiled-{os.getuid()}"
    return [path for path in (base, spare) if path.is_dir()]


def _megabytes(path: Path) -> float:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def _test(argv: Sequence[str]) -> int:
    """Run pytest in the clone that this package is in."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "tests").is_dir():
        raise ConfigError("metta test works in a clone: the installed package has no tests")
    return subprocess.call([sys.executable, "-m", "pytest", *argv], cwd=root)
