"""Where statistics files live: a path, or any address that fsspec can read and write. Files are whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec


def local_path(uri: str) -> Path | None:
    """Return the path that `uri` names on this machine (`file://` or plain), or None if it is elsewhere."""
    if uri.startswith("file://"):
        return Path(uri.removeprefix("file://"))
    return None if "://" in uri else Path(uri).expanduser()


def list_databases(uri: str) -> list[str]:
    """Return the statistics files in the folder `uri`, sorted by name; none if it is no folder."""
    path = local_path(uri)
    if path is not None:
        return [str(file) for file in sorted(path.glob("*.duckdb"))]
    filesystem, root = fsspec.core.url_to_fs(uri)
    if not filesystem.isdir(root):
        return []
    names = sorted(Path(name).name for name in filesystem.ls(root, detail=False))
    return [f"{uri.rstrip('/')}/{name}" for name in names if name.endswith(".duckdb")]


def exists(uri: str) -> bool:
    """Return whether there is a file at `uri`."""
    path = local_path(uri)
    if path is not None:
        return path.is_file()
    filesystem, root = fsspec.core.url_to_fs(uri)
    return bool(filesystem.isfile(root))


def fetch(uri: str, target: Path) -> None:
    """Copy the file at `uri` to the local `target`."""
    path = local_path(uri)
    if path is not None:
        shutil.copyfile(path, target)
        return
    filesystem, root = fsspec.core.url_to_fs(uri)
    filesystem.get_file(root, str(target))


@contextmanager
def fetched(uri: str) -> Iterator[Path]:
    """Give a local path of the file at `uri`: the file itself, or a copy that goes afterwards."""
    path = local_path(uri)
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="metta_stats_") as folder:
        copy = Path(folder) / "fetched.duckdb"
        fetch(uri, copy)
        yield copy


@contextmanager
def replacing(uri: str) -> Iterator[Path]:
    """Give a path to write; when the block ends well, what was written is at `uri`. If not, `uri` is as it was.

    A reader sees the file before or the new one, never a part of it. Elsewhere than on this machine that is as good as
    the promise of the object store.
    """
    path = local_path(uri)
    if path is None:
        with tempfile.TemporaryDirectory(prefix="metta_stats_") as folder:
            work = Path(folder) / "work.duckdb"
            yield work
            filesystem, root = fsspec.core.url_to_fs(uri)
            filesystem.put_file(str(work), root)
        return
    # Renaming is atomic inside of one file system only, so the work is done beside the target.
    work = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield work
        with work.open("rb+") as file:
            os.fsync(file.fileno())
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)
        work.with_name(work.name + ".wal").unlink(missing_ok=True)


@contextmanager
def only_writer(uri: str) -> Iterator[None]:
    """Hold the place of the one writer of a local file; others wait. The kernel frees it when the process dies.

    A file elsewhere has no such lock: give its producers files of their own and merge them.
    """
    path = local_path(uri)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
