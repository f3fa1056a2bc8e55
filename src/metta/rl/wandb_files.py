"""What the W&B library keeps of a run on disk: a folder a start, in it a log of records written before any upload.

The log is LevelDB's format (github.com/google/leveldb, doc/log_format.md) behind a header of 7 bytes: blocks of 32 KiB,
in them pieces of records, each behind 4 bytes of checksum, 2 of length and 1 of kind. A record is the library's own
protobuf message.
"""

from __future__ import annotations

import json
import shlex
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE_HEADER = struct.Struct("<4sHB")
MAGIC = (b":W&B", 0xBEE1)
BLOCK = 32_768
PIECE_HEADER = struct.Struct("<IHB")
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def run_folders(wandb_dir: Path, run_id: str) -> list[Path]:
    """Return the folders of a run's starts, online and offline, the oldest first."""
    found = [path for kind in ("run", "offline-run") for path in wandb_dir.glob(f"{kind}-*-{run_id}")]
    return sorted(found, key=lambda path: path.name.removeprefix("offline-"))  # the name goes on with the time


def sync_command(wandb_dir: Path, run_id: str) -> str:
    """Return the command that sends what is not sent yet of a run's offline starts, joined as one run.

    The library sends folders of one id one after the other, by time, each going on behind the one before.
    """
    folders = [path for path in run_folders(wandb_dir, run_id) if path.name.startswith("offline-")]
    unsent = [path for path in folders if not (path / f"run-{run_id}.wandb.synced").exists()]
    return shlex.join(["wandb", "sync", *map(str, unsent)])


def last_logged(wandb_dir: Path, run_id: str, metric: str) -> float | None:
    """Return the last value of `metric` that earlier starts of a run logged; None where none did."""
    for folder in reversed(run_folders(wandb_dir, run_id)):
        for content in reversed(list(_contents(folder / f"run-{run_id}.wandb"))):
            row = _row(_parse(content))
            if metric in row:
                return float(row[metric])
    return None


def history(path: Path) -> list[dict[str, Any]]:
    """Return what was logged, a dictionary a row."""
    return [row for row in map(_row, records(path)) if row]


def records(path: Path) -> list[Any]:
    """Return the library's records in a log; a cut-off end, which a killed process leaves, is the end."""
    return [_parse(content) for content in _contents(path)]


def _parse(content: bytes) -> Any:
    from wandb.proto import wandb_internal_pb2  # the library is an extra

    messages: Any = wandb_internal_pb2  # generated: its classes are not in the source
    return messages.Record.FromString(content)


def _row(record: Any) -> dict[str, Any]:
    """Return the row that a record of kind history holds; nothing of other kinds."""
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}


def _contents(path: Path) -> Iterator[bytes]:
    data = path.read_bytes() if path.is_file() else b""
    if len(data) < FILE_HEADER.size or FILE_HEADER.unpack_from(data)[:2] != MAGIC:
        return
    record, at = b"", FILE_HEADER.size
    while at + PIECE_HEADER.size <= len(data):
        if BLOCK - at % BLOCK < PIECE_HEADER.size:  # a header is never cut: the rest of the block is empty
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = PIECE_HEADER.unpack_from(data, at)
        at += PIECE_HEADER.size
        if kind not in (WHOLE, FIRST, MIDDLE, LAST) or at + length > len(data):
            return
        record += data[at : at + length]
        at += length
        if kind in (WHOLE, LAST):
            yield record
            record = b""
