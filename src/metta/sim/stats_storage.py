"""Where statistics files live: a path, or any address that fsspec can read and write. Files are whole or not at all."""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

import fsspec

_TRIES = 100  # of making a file in a folder that others remove when it is empty
_STALE_SECONDS = 3600  # a temporary file so old belongs to nobody


def local_path(uri: str) -> Path | None:
    """Return the path that `uri` names on this machine, or None if it is elsewhere.

    A plain path may begin with `~`; in `file://` an odd character is written as %20 is for a space (RFC 8089).
    """
    if uri.startswith("file://"):
        return Path(unquote(uri.removeprefix("file://").removeprefix("localhost")))
    return None if "://" in uri else Path(uri).expanduser()


def list_files(folder: str, suffix: str) -> list[str]:
    """Return the addresses of the files and folders in `folder` that end in `suffix`, sorted; none if it is none."""
    path = local_path(folder)
    if path is not None:
        return sorted(str(file) for file in path.glob(f"*{suffix}"))
    filesystem, root = fsspec.core.url_to_fs(folder)
    filesystem.invalidate_cache()  # others write there too
    if not filesystem.isdir(root):
        return []
    names = sorted(Path(name).name for name in filesystem.ls(root, detail=False))
    return [f"{folder.rstrip('/')}/{name}" for name in names if name.endswith(suffix)]


def exists(uri: str) -> bool:
    """Return whether there is a file at `uri`."""
    path = local_path(uri)
    if path is not None:
        return path.is_file()
    filesystem, root = fsspec.core.url_to_fs(uri)
    return bool(filesystem.isfile(root))


def read_bytes(uri: str) -> bytes:
    """Return what the file at `uri` holds. Raises FileNotFoundError if there is none."""
    path = local_path(uri)
    if path is not None:
        return path.read_bytes()
    filesystem, root = fsspec.core.url_to_fs(uri)
    return bytes(filesystem.cat_file(root))


def write_bytes(uri: str, data: bytes) -> None:
    """Make the file at `uri`, and the folder that it is in; on this machine it is on the disk when this returns."""
    path = local_path(uri)
    if path is None:
        filesystem, root = fsspec.core.url_to_fs(uri)
        filesystem.makedirs(root.rpartition("/")[0], exist_ok=True)
        filesystem.pipe_file(root, data)
        return
    work = path.with_name(f".{path.name}.tmp")
    for attempt in range(_TRIES):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with work.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            work.replace(path)
            return
        except FileNotFoundError:  # the folder was empty, and was removed in between
            if attempt == _TRIES - 1:
                raise


def remove(uri: str) -> None:
    """Remove a file; it does not matter if it is gone already."""
    path = local_path(uri)
    with suppress(FileNotFoundError):
        if path is not None:
            path.unlink()
        else:
            filesystem, root = fsspec.core.url_to_fs(uri)
            filesystem.rm_file(root)


def put_aside(uri: str, suffix: str) -> str:
    """Add `suffix` to a file's name, and return where it is now."""
    path, aside = local_path(uri), uri + suffix
    if path is not None:
        path.replace(path.with_name(path.name + suffix))
    else:
        filesystem, root = fsspec.core.url_to_fs(uri)
        filesystem.mv(root, root + suffix)
    return aside


def remove_empty_folder(uri: str) -> None:
    """Remove a folder in which nothing is but what killed processes left; elsewhere folders are left alone."""
    path = local_path(uri)
    if path is None:
        return
    for file in path.glob(".*.tmp"):
        with suppress(OSError):
            if file.stat().st_mtime < time.time() - _STALE_SECONDS:
                file.unlink()
    with suppress(OSError):  # it is not empty, or not there
        path.rmdir()


def fetch(uri: str, target: Path) -> None:
    """Copy the file at `uri` to the local `target`."""
    path = local_path(uri)
    if path is not None:
        shutil.copyfile(path, target)
        return
    filesystem, root = fsspec.core.url_to_fs(uri)
    filesystem.get_file(root, str(target))


@contextmanager
def replacing(uri: str) -> Iterator[Path]:
    """Give a path to write; when the block ends well, what was written is at `uri`. If not, `uri` is as it was.

    A reader sees the file before or the new one, never a part of it. Elsewhere than on this machine that is as good as
    the promise of the object store. Hold `only_writer` around it.
    """
    path = local_path(uri)
    if path is None:
        with tempfile.TemporaryDirectory(prefix="metta_stats_") as folder:
            work = Path(folder) / "work.duckdb"
            yield work
            filesystem, root = fsspec.core.url_to_fs(uri)
            filesystem.makedirs(root.rpartition("/")[0], exist_ok=True)
            filesystem.put_file(str(work), root)
        return
    # Renaming is atomic inside of one file system only, so the work is done beside the target.
    _remove_leftovers(path)
    work = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield work
        with work.open("rb+") as file:
            os.fsync(file.fileno())
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)
        work.with_name(work.name + ".wal").unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove what writers of `path` that were killed left beside it; we are the only one."""
    for file in path.parent.glob(f".{glob.escape(path.name)}.*.tmp*"):
        file.unlink(missing_ok=True)


@contextmanager
def only_writer(uri: str) -> Iterator[None]:
    """Hold the place of the one writer of a local file; others wait. The kernel frees it when the process dies.

    A file elsewhere has no such lock: let one process at a time merge into it.
    """
    path = local_path(uri)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
