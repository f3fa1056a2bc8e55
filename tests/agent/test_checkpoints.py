"""Checkpoint names, which epochs are whole, and policies by URI."""

from __future__ import annotations

import shutil
from pathlib import Path

import fsspec
import pytest

from metta.agent import PolicyActor, PolicyAgent, load_policy_from_uri, make_policy, resolve_policy_uri, save_policy
from metta.agent import checkpoints as ck
from metta.agent.artifact import write_state
from metta.agent.fast import FastConfig
from metta.envs import TokenSpace
from metta.errors import CheckpointError, RunError


@pytest.fixture
def agent(space: TokenSpace) -> PolicyAgent:
    return make_policy(FastConfig(width=8), space, 0)


def save_pair(run_dir: Path, agent: PolicyAgent, epoch: int) -> None:
    save_id = save_policy(ck.policy_path(run_dir, epoch), agent, run=run_dir.name, epoch=epoch, agent_step=epoch)
    write_state(ck.trainer_path(run_dir, epoch), {"epoch": epoch}, format=ck.TRAINER_FORMAT, save_id=save_id)


@pytest.fixture
def run_dir(tmp_path: Path, agent: PolicyAgent) -> Path:
    run_dir = tmp_path / "my_run"
    for epoch in (2, 10, 9):
        save_pair(run_dir, agent, epoch)
    return run_dir


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a b", "a/b", "a\\b", "a:b", "a*", "a?", 'a"', "<a", "a>", "a|b", "a\n"]
)
def test_a_run_name_that_cannot_be_a_folder_everywhere_is_refused(name: str) -> None:
    with pytest.raises(RunError, match="refused"):
        ck.check_run_name(name)


@pytest.mark.parametrize("name", ["a", "my_run-2.1", "läuft"])
def test_other_run_names_are_taken(name: str) -> None:
    assert ck.check_run_name(name) == name


def test_epochs_are_read_from_names_and_sorted_as_numbers(run_dir: Path) -> None:
    for other in ("agent_epoch_.pt", "agent_epoch_7.pt.tmp", ".agent_epoch_8.pt", "agent_epoch_11.yaml", "x.pt"):
        (run_dir / "checkpoints" / other).touch()
    assert ck.list_epochs(run_dir) == [2, 9, 10]
    assert ck.list_epochs(run_dir.parent / "nothing") == []


def test_the_latest_is_the_highest_epoch_not_the_newest_file(run_dir: Path) -> None:
    assert ck.latest_epoch(run_dir) == 10


@pytest.mark.parametrize("file", ["policy", "trainer"])
def test_a_damaged_half_is_skipped_with_a_warning_that_names_it(
    run_dir: Path, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = ck.policy_path(run_dir, 10) if file == "policy" else ck.trainer_path(run_dir, 10)
    cut(path)
    assert ck.latest_epoch(run_dir) == 9
    assert path.name in caplog.text


def test_a_policy_without_its_other_half_is_not_whole(run_dir: Path) -> None:
    ck.trainer_path(run_dir, 10).unlink()
    assert ck.latest_epoch(run_dir) == 9


def test_halves_of_two_saves_are_not_whole(run_dir: Path, agent: PolicyAgent) -> None:
    save_policy(ck.policy_path(run_dir, 10), agent, run="my_run", epoch=10, agent_step=10)
    assert ck.latest_epoch(run_dir) == 9


def test_what_a_killed_process_left_half_written_is_removed_and_nothing_else(run_dir: Path) -> None:
    (run_dir / "checkpoints" / ".agent_epoch_11.pt.123.abc.tmp").write_bytes(b"half")
    before = sorted(path.name for path in (run_dir / "checkpoints").glob("[!.]*"))
    ck.remove_leftovers(run_dir)
    assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == before


def test_no_whole_epoch_is_none(run_dir: Path) -> None:
    for epoch in (2, 9, 10):
        cut(ck.trainer_path(run_dir, epoch))
    assert ck.latest_epoch(run_dir) is None
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        resolve_policy_uri(str(run_dir))


def test_a_policy_is_found_by_every_local_spelling(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_dir = run_dir.parent
    spellings = {
        str(ck.policy_path(run_dir, 9)): 9,
        f"file://{ck.policy_path(run_dir, 9)}": 9,
        str(run_dir): 10,
        f"file://{run_dir}": 10,
        str(run_dir / "checkpoints"): 10,
        "my_run": 10,
        "my_run:2": 2,
        f"{run_dir}:2": 2,
    }
    for uri, epoch in spellings.items():
        found = resolve_policy_uri(uri, data_dir=data_dir)
        assert (found.kind, found.policy_key, found.policy_version) == ("file", "my_run", epoch), uri
        assert found.path == ck.policy_path(run_dir, epoch).resolve()
        assert resolve_policy_uri(found.uri).path == found.path
    monkeypatch.chdir(data_dir)
    assert resolve_policy_uri("my_run").policy_version == 10


def test_a_folder_of_policies_alone_gives_the_highest_whole_one(run_dir: Path) -> None:
    for epoch in (2, 9, 10):
        ck.trainer_path(run_dir, epoch).unlink()
    cut(ck.policy_path(run_dir, 10))
    assert resolve_policy_uri(str(run_dir)).policy_version == 9


def test_another_file_is_known_by_its_stem(run_dir: Path, tmp_path: Path) -> None:
    shutil.copy(ck.policy_path(run_dir, 2), tmp_path / "best.pt")
    found = resolve_policy_uri(str(tmp_path / "best.pt"))
    assert (found.policy_key, found.policy_version) == ("best", 0)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("nowhere", "no policy at 'nowhere'"),
        ("my_run:3", "no epoch 3.*2, 9, 10"),
        ("http://example.org/policy.pt", "http://.*allowed are"),
        ("ftp://x/y.pt", "ftp://"),
        ("mock://randm", "did you mean random"),
        ("wandb://no-artifact", "wandb://<project>/<artifact>"),
    ],
)
def test_a_policy_that_is_not_there_is_an_error_never_a_mock(run_dir: Path, uri: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_policy_from_uri(uri, data_dir=run_dir.parent)


def test_a_damaged_policy_is_an_error_never_a_mock(run_dir: Path) -> None:
    cut(ck.policy_path(run_dir, 9))
    with pytest.raises(CheckpointError, match=r"agent_epoch_9\.pt"):
        load_policy_from_uri("my_run:9", data_dir=run_dir.parent)


def test_a_loaded_policy_plays_under_the_name_of_its_path(run_dir: Path) -> None:
    actor = load_policy_from_uri("my_run:9", data_dir=run_dir.parent)
    assert isinstance(actor, PolicyActor)
    assert (actor.key, actor.version) == ("my_run", 9)


@pytest.mark.parametrize("name", ["random", "noop", "scripted"])
def test_mocks_have_their_own_names(name: str) -> None:
    actor = load_policy_from_uri(f"mock://{name}")
    assert (actor.key, actor.version) == (name, 0)


def test_a_remote_policy_is_fetched_and_its_latest_found_by_name(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = fsspec.filesystem("memory")
    remote.put(str(run_dir / "checkpoints"), "/bucket/my_run/checkpoints", recursive=True)
    monkeypatch.setattr(ck, "REMOTE_SCHEMES", ("memory",))
    for uri, epoch in {"memory://bucket/my_run": 10, "memory://bucket/my_run/checkpoints/agent_epoch_9.pt": 9}.items():
        found = resolve_policy_uri(uri)
        assert (found.kind, found.policy_key, found.policy_version) == ("remote", "my_run", epoch)
        with ck.local_policy_file(found) as path:
            assert path.read_bytes() == ck.policy_path(run_dir, epoch).read_bytes()
        assert not path.exists()
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        resolve_policy_uri("memory://bucket/other")
    with pytest.raises(CheckpointError, match="cannot fetch"):
        load_policy_from_uri("memory://bucket/other/agent_epoch_1.pt")


def test_a_remote_scheme_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(uri: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(CheckpointError, match=r"s3fs.*metta\[cloud\]"):
        load_policy_from_uri("s3://bucket/my_run/checkpoints/agent_epoch_1.pt")
