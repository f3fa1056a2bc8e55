"""Copies of policies: whole, private, kept as long as somebody needs them, and removed after that."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from metta.errors import CheckpointError
from metta.eval.eval_service import copies as module
from metta.eval.eval_service.copies import DAY_SECONDS, PolicyCopies


def copies_in(folder: Path, *, max_days: float = 30.0, max_bytes: float = 1e9) -> PolicyCopies:
    return PolicyCopies(folder / "copies", max_days=max_days, max_bytes=max_bytes)


def keep(copies: PolicyCopies, folder: Path, content: bytes, *, days_ago: float = 0.0) -> str:
    """Have a copy kept that was last used some days ago; return its checksum."""
    own, checksum = folder / "own.pt", hashlib.sha256(content).hexdigest()
    own.write_bytes(content)
    with copies.using() as keep:
        keep(own, checksum)
    used_at = time.time() - days_ago * DAY_SECONDS
    os.utime(folder / "copies" / f"{checksum}.pt", (used_at, used_at))
    return checksum


def kept(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "copies").glob("*.pt")}


def test_a_copy_is_whole_private_and_stays_when_the_file_goes(tmp_path: Path) -> None:
    checksum = keep(copies_in(tmp_path), tmp_path, b"a policy")
    copy = tmp_path / "copies" / f"{checksum}.pt"
    (tmp_path / "own.pt").unlink()
    assert copy.read_bytes() == b"a policy"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600 and stat.S_IMODE(copy.parent.stat().st_mode) == 0o700


def test_a_copy_is_private_before_a_byte_of_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    copy_content = shutil.copyfileobj

    def look(content: BinaryIO, file: BinaryIO) -> None:
        modes.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
        copy_content(content, file)

    monkeypatch.setattr(module.shutil, "copyfileobj", look)
    keep(copies_in(tmp_path), tmp_path, b"a policy")
    assert modes == [0o600]


def test_a_damaged_copy_is_made_again_and_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    copies = copies_in(tmp_path)
    checksum = keep(copies, tmp_path, b"a policy")
    copy = tmp_path / "copies" / f"{checksum}.pt"
    copy.write_bytes(b"a polic!")
    keep(copies, tmp_path, b"a policy")
    assert copy.read_bytes() == b"a policy"
    with pytest.raises(CheckpointError, match="changed while it was read"), copies.using() as keep_now:
        keep_now(tmp_path / "own.pt", "0" * 64)
    assert kept(tmp_path) == {checksum}
    (tmp_path / "own.pt").unlink()
    with pytest.raises(CheckpointError, match="cannot copy"), copies.using() as keep_now:
        keep_now(tmp_path / "own.pt", "1" * 64)


def test_copies_that_are_old_and_that_no_open_request_needs_are_removed(tmp_path: Path) -> None:
    copies = copies_in(tmp_path, max_days=10)
    old, needed = keep(copies, tmp_path, b"old", days_ago=11), keep(copies, tmp_path, b"needed", days_ago=11)
    young = keep(copies, tmp_path, b"young", days_ago=9)
    (tmp_path / "copies" / "notes.txt").touch()
    copies.prune(lambda: {needed})
    assert kept(tmp_path) == {needed, young} and old not in kept(tmp_path)
    assert (tmp_path / "copies" / "notes.txt").exists()


def test_when_they_are_too_much_the_least_recently_used_go_first(tmp_path: Path) -> None:
    copies = copies_in(tmp_path, max_bytes=250)
    first, second, third, fourth = (keep(copies, tmp_path, bytes([n]) * 100, days_ago=9 - n) for n in range(4))
    copies.prune(lambda: {first})
    assert kept(tmp_path) == {first, fourth}
    copies.prune(set)
    assert kept(tmp_path) == {first, fourth}, "there is room"
    assert {second, third}.isdisjoint(kept(tmp_path))
    copies_in(tmp_path, max_bytes=0).prune(set)
    assert not kept(tmp_path)


def test_to_be_asked_for_again_makes_a_copy_young(tmp_path: Path) -> None:
    copies = copies_in(tmp_path, max_days=10)
    checksum = keep(copies, tmp_path, b"a policy", days_ago=11)
    with copies.using() as keep_now:
        keep_now(tmp_path / "own.pt", checksum)
    copies.prune(set)
    assert kept(tmp_path) == {checksum}


def test_what_is_asked_for_at_this_moment_is_not_removed(tmp_path: Path) -> None:
    """Its request is not in the database yet, or came there after the question what is needed."""
    copies = copies_in(tmp_path, max_bytes=0)
    checksum = keep(copies, tmp_path, b"a policy")

    def asked_meanwhile() -> set[str]:
        with copies.using() as keep_now:
            keep_now(tmp_path / "own.pt", checksum)
        return set()  # as the database was a moment ago

    copies.prune(asked_meanwhile)
    assert kept(tmp_path) == {checksum}
    with copies.using() as keep_now:
        keep_now(tmp_path / "own.pt", checksum)
        copies.prune(set)
        assert kept(tmp_path) == {checksum}
    copies.prune(set)
    assert not kept(tmp_path)


def test_asking_and_pruning_at_once_never_lose_a_copy_that_was_promised(tmp_path: Path) -> None:
    copies, needed, is_over = copies_in(tmp_path, max_bytes=0), set[str](), threading.Event()
    checksums = {content: hashlib.sha256(content).hexdigest() for content in (b"a", b"b", b"c")}
    for content in checksums:
        (tmp_path / content.decode()).write_bytes(content)

    def prune() -> None:
        while not is_over.is_set():
            copies.prune(lambda: set(needed))

    thread = threading.Thread(target=prune)
    thread.start()
    try:
        for _ in range(60):
            for content, checksum in checksums.items():
                with copies.using() as keep_now:
                    keep_now(tmp_path / content.decode(), checksum)
                    needed.add(checksum)  # its request is kept
                assert checksum in kept(tmp_path)
                needed.discard(checksum)  # it has been played
    finally:
        is_over.set()
        thread.join()


def test_what_cannot_be_removed_costs_nobody_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    copies = copies_in(tmp_path, max_bytes=0)
    keep(copies, tmp_path, b"a policy")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("not yours")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        copies.prune_if_due(set)
    assert "cannot be removed: not yours" in caplog.text and kept(tmp_path)


def test_it_is_pruned_when_a_copy_has_come_and_else_once_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies, looks = copies_in(tmp_path), []

    def look() -> set[str]:
        looks.append(1)
        return set()

    keep(copies, tmp_path, b"a policy")
    for expected in (1, 1):
        copies.prune_if_due(look)
        assert len(looks) == expected
    keep(copies, tmp_path, b"another")
    copies.prune_if_due(look)
    assert len(looks) == 2
    now = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + 3700)
    copies.prune_if_due(look)
    assert len(looks) == 3
