"""Saving, ended at every possible point: what was saved before is never lost, and what is found is whole."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from metta.agent import FastConfig, PolicyAgent, make_policy
from metta.agent.checkpoints import remove_leftovers
from metta.envs import DiscreteSpace
from metta.errors import CheckpointError
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager


class Crash(BaseException):
    """The process is gone: no handler of it may do anything any more."""


class FailingDisk:
    """Stands in for every call by which a file is changed: the n-th fails, and after a crash all that follow."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, fail_at: int, crash: bool) -> None:
        self.calls, self._fail_at, self._crash = 0, fail_at, crash
        open_file, disk = Path.open, self

        def opened(path: Path, mode: str = "r", *args: Any, **settings: Any) -> Any:
            if "w" not in mode:
                return open_file(path, mode, *args, **settings)
            disk.check()
            return Watched(open_file(path, mode, *args, **settings), disk)

        monkeypatch.setattr(Path, "open", opened)
        for holder, name in ((Path, "replace"), (Path, "unlink"), (os, "fsync")):
            monkeypatch.setattr(holder, name, self._checked(getattr(holder, name)))

    @property
    def is_hit(self) -> bool:
        return self.calls >= self._fail_at

    def check(self) -> None:
        self.calls += 1
        if self.calls == self._fail_at or (self._crash and self.is_hit):
            raise Crash if self._crash else OSError(errno.ENOSPC, "No space left on device")

    def _checked(self, call: Any) -> Any:
        def checked(*args: Any, **settings: Any) -> Any:
            self.check()
            return call(*args, **settings)

        return checked


class Watched:
    """A file of which the failing write still writes its first half."""

    def __init__(self, file: Any, disk: FailingDisk) -> None:
        self._file, self._disk = file, disk

    def write(self, data: Any) -> int:
        data = bytes(data)
        try:
            self._disk.check()
        except BaseException:
            self._file.write(data[: len(data) // 2])
            raise
        return int(self._file.write(data))

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@cache
def policy(seed: int) -> PolicyAgent:
    return make_policy(FastConfig(width=2), DiscreteSpace(n=2), seed=seed, action_names=("noop", "go"))


def save(manager: TinyCheckpointManager, epoch: int) -> None:
    state = {"agent_step": epoch, "shared": {"numbers": torch.full((3,), float(epoch))}, "ranks": [{}]}
    manager.save_checkpoint(policy(epoch), epoch, state, metrics={"score": float(epoch)})
    manager.remove_old(keep=1)


def check_whole(folder: Path, *, allowed: set[int]) -> int:
    """The latest checkpoint is one of `allowed` and holds what was saved; return its epoch."""
    manager = TinyCheckpointManager("run", folder)
    epoch = manager.latest_epoch()
    assert epoch in allowed
    assert epoch is not None
    wanted = policy(epoch).state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in manager.load_agent(epoch).state_dict().items())
    assert manager.load_trainer_state(epoch)["shared"]["numbers"].tolist() == [float(epoch)] * 3
    return epoch


@pytest.mark.filterwarnings("ignore")
def test_a_crash_at_any_write_leaves_the_epoch_before_or_the_new_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, point, before = [], 0, tmp_path / "before"
    save(TinyCheckpointManager("run", before), 1)
    while True:
        point += 1
        folder = tmp_path / str(point)
        shutil.copytree(before, folder)
        with monkeypatch.context() as patch:
            disk = FailingDisk(patch, fail_at=point, crash=True)
            with suppress(Crash):
                save(TinyCheckpointManager("run", folder), 2)
        found.append(check_whole(folder, allowed={1, 2}))
        if not disk.is_hit:
            break
        remove_leftovers(folder / "run")
        assert not list((folder / "run").rglob("*.tmp"))
        save(TinyCheckpointManager("run", folder), 3)  # the run goes on
        check_whole(folder, allowed={3})
    assert point > 20 and found == sorted(found) and set(found) == {1, 2}


def test_a_full_disk_at_any_write_is_told_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point, told, before = 0, 0, tmp_path / "before"
    save(TinyCheckpointManager("run", before), 1)
    while True:
        point += 1
        folder = tmp_path / str(point)
        shutil.copytree(before, folder)
        with monkeypatch.context() as patch:
            disk = FailingDisk(patch, fail_at=point, crash=False)
            try:
                save(TinyCheckpointManager("run", folder), 2)
            except CheckpointError as error:
                assert "the disk is full" in str(error) and "what was saved before is untouched" in str(error)
                told += 1
            except OSError:  # removing an old file failed: the new ones are there
                check_whole(folder, allowed={2})
        check_whole(folder, allowed={1, 2})
        if not disk.is_hit:
            break
        assert not list((folder / "run").rglob("*.tmp"))
    assert told > 15
