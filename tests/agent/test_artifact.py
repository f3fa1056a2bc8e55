"""A policy's file: whole or not at all, checked, and unable to run code."""

from __future__ import annotations

import errno
import io
import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metta.agent import PolicyAgent, load_policy, make_policy, save_policy
from metta.agent.artifact import checksum, read_policy_file, read_state, write_state, write_whole
from metta.agent.fast import FastConfig, FastPolicy
from metta.envs import DiscreteSpace, TokenSpace
from metta.errors import CheckpointError


class OwnPolicy(FastPolicy):
    """A class outside of the table."""


OWN_PATH = "metta_test_own_policy.OwnPolicy"


@pytest.fixture
def agent(space: TokenSpace) -> PolicyAgent:
    return make_policy(FastConfig(width=8), space, 0)


@pytest.fixture
def saved(agent: PolicyAgent, tmp_path: Path) -> Path:
    path = tmp_path / "policy.pt"
    save_policy(path, agent, run="r", epoch=7, agent_step=99, metrics={"score": -0.5})
    return path


def test_the_safe_default_of_torch_opens_it_and_finds_the_promised_keys(saved: Path, space: TokenSpace) -> None:
    contents = torch.load(saved)
    assert {
        "format", "architecture", "config", "state_dict", "features", "object_types", "action_names", "run", "epoch",
        "agent_step", "metrics", "save_id", "checksum",
    } <= set(contents)  # fmt: skip
    assert (contents["run"], contents["epoch"], contents["agent_step"]) == ("r", 7, 99)
    assert contents["metrics"] == {"score": -0.5}
    assert contents["action_names"] == list(space.action_names)
    assert contents["checksum"] == checksum({f"state_dict.{k}": v for k, v in contents["state_dict"].items()})


def test_a_policy_connected_elsewhere_is_saved_as_itself(agent: PolicyAgent, space: TokenSpace, tmp_path: Path) -> None:
    agent.initialize_to_environment(space, space.action_names[::-1])
    save_policy(tmp_path / "p.pt", agent, run="r", epoch=0, agent_step=0)
    assert load_policy(tmp_path / "p.pt").action_names == space.action_names


def test_nothing_but_the_file_is_left_behind(saved: Path) -> None:
    assert [path.name for path in saved.parent.iterdir()] == ["policy.pt"]


def test_any_damage_is_noticed_and_the_file_named(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    rng = random.Random(0)
    damaged = tmp_path / "damaged.pt"
    harmless = 0
    for _ in range(60):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        damaged.write_bytes(data)
        try:
            with torch.no_grad():
                loaded = load_policy(damaged)
        except CheckpointError as error:
            assert str(damaged) in str(error)
        else:  # padding between the archive's records, or a time stamp
            harmless += 1
            assert all(
                torch.equal(a, b) for a, b in zip(loaded.parameters(), load_policy(saved).parameters(), strict=True)
            )
    assert harmless < 40


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_cut_short_is_refused(saved: Path, share: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"policy\.pt"):
        load_policy(saved)


def test_tensors_that_do_not_match_the_checksum_are_refused(saved: Path) -> None:
    contents = torch.load(saved)
    contents["state_dict"]["value_head.bias"] += 1
    torch.save(contents, saved)
    with pytest.raises(CheckpointError, match="damaged"):
        load_policy(saved)


def test_the_checksum_knows_names_types_and_shapes() -> None:
    one = {"a": torch.zeros(4)}
    others: list[dict[str, torch.Tensor]] = [
        {"b": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(4, dtype=torch.int32)},
        {"a": torch.ones(4)},
        {},
    ]
    assert len({checksum(tensors) for tensors in [one, *others]}) == 6
    assert checksum({"a": torch.zeros(1), "b": torch.ones(1)}) == checksum({"b": torch.ones(1), "a": torch.zeros(1)})


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("bomb-went-off",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("way", ["pickle", "torch"])
def test_a_file_that_would_run_code_is_refused_and_runs_none(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bomb.pt"
    contents = {"format": "metta-policy-1", "state_dict": Bomb()}
    if way == "pickle":
        path.write_bytes(pickle.dumps(contents))
    else:
        torch.save(contents, path)
    with pytest.raises(CheckpointError, match="unpickling"):
        load_policy(path)
    assert not (tmp_path / "bomb-went-off").exists()


@pytest.mark.parametrize(
    "contents", [b"", b"hello, world", b"\x89PNG\r\n\x1a\n" + bytes(50), b"PK\x03\x04" + bytes(90)]
)
def test_a_foreign_file_is_refused_by_name(contents: bytes, tmp_path: Path) -> None:
    path = tmp_path / "foreign.pt"
    path.write_bytes(contents)
    with pytest.raises(CheckpointError, match=r"foreign\.pt"):
        load_policy(path)


def test_a_torch_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="no `format`"):
        load_policy(path)
    write_state(path, {"x": 1}, format="metta-trainer-1")
    with pytest.raises(CheckpointError, match="metta-trainer-1"):
        load_policy(path)


def test_a_missing_file_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no such file.*nowhere\.pt"):
        read_policy_file(tmp_path / "nowhere.pt")


def test_a_class_outside_the_table_is_used_only_if_the_user_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    import types

    module = types.ModuleType("metta_test_own_policy")
    module.OwnPolicy = OwnPolicy
    monkeypatch.setitem(sys.modules, "metta_test_own_policy", module)
    monkeypatch.setattr(
        OwnPolicy,
        "config_class",
        type("OwnConfig", (FastConfig,), {"__annotations__": {"architecture": str}, "architecture": "fast"}),
    )
    agent = make_policy(
        {"architecture": OWN_PATH, "settings": {"width": 8}}, DiscreteSpace(3), 0, action_names=["a", "b"]
    )
    assert type(agent) is OwnPolicy
    save_policy(tmp_path / "own.pt", agent, run="r", epoch=0, agent_step=0)
    with pytest.raises(CheckpointError, match=f"fast, lstm, agalite.*policy.architecture={OWN_PATH}"):
        load_policy(tmp_path / "own.pt")
    with pytest.raises(CheckpointError, match="not in the table"):
        load_policy(tmp_path / "own.pt", allow_class="another.Class")
    assert type(load_policy(tmp_path / "own.pt", allow_class=OWN_PATH)) is OwnPolicy


def test_weights_that_do_not_fit_their_configuration_are_an_error(saved: Path) -> None:
    contents = read_policy_file(saved)
    contents["config"]["width"] = 16
    write_state(
        saved,
        {k: v for k, v in contents.items() if k not in ("format", "save_id", "checksum")},
        format="metta-policy-1",
    )
    with pytest.raises(CheckpointError, match="does not fit the architecture 'fast'"):
        load_policy(saved)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES])
def test_a_full_disk_is_one_clear_message_and_costs_nothing_that_was_saved(
    saved: Path, agent: PolicyAgent, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def refuse(descriptor: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(CheckpointError, match="disk is full" if error == errno.ENOSPC else "denied"):
        save_policy(saved, agent, run="r", epoch=8, agent_step=100)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["policy.pt"]


def test_a_disk_that_fills_up_in_the_middle_of_torch_is_said_so(agent: PolicyAgent, tmp_path: Path) -> None:
    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            if self.tell() > 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    def write(file: Any) -> None:
        with Full(file.fileno(), "wb", closefd=False) as full:
            torch.save(agent.state_dict(), full)

    with pytest.raises(CheckpointError, match=r"cannot save .*x\.pt.*untouched"):
        write_whole(tmp_path / "x.pt", write)
    assert not list(tmp_path.iterdir())


def test_our_own_mistakes_while_writing_stay_visible_and_leave_nothing(tmp_path: Path) -> None:
    def write(file: io.BufferedWriter) -> None:
        file.write(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_whole(tmp_path / "x.pt", write)
    assert not list(tmp_path.iterdir())


def test_any_plain_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state: dict[str, Any] = {
        "arrays": [
            np.arange(6).reshape(2, 3).astype(dtype)
            for dtype in ("u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "?")
        ],
        "empty": np.zeros((0, 3), np.float32),
        "scalar": np.float64(0.1),
        "tensor": torch.arange(3.0),
        "optimizer": torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))]).state_dict(),
        "random": np.random.default_rng(3).bit_generator.state,
        "nested": {"a": [1, (2.5, None, True, "x")], 7: {}},
        "big": 2**200,
    }
    save_id = write_state(tmp_path / "s.pt", state, format="some-format")
    loaded = read_state(tmp_path / "s.pt", format="some-format")
    assert loaded["save_id"] == save_id
    for ours, theirs in zip(state["arrays"], loaded["arrays"], strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert loaded["empty"].shape == (0, 3)
    assert torch.equal(loaded["tensor"], state["tensor"])
    for key in ("scalar", "random", "nested", "big", "optimizer"):
        assert loaded[key] == state[key]


def test_something_that_cannot_be_saved_safely_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"\.a\.1 is a Bomb"):
        write_state(tmp_path / "s.pt", {"a": [0, Bomb()]}, format="x")
