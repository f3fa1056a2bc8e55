"""Only policies below the roots are read, whatever a request calls them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from metta.agent.artifact import POLICY_FORMAT, write_state
from metta.agent.checkpoints import TRAINER_FORMAT
from metta.errors import CheckpointError, MettaError, ServiceError
from metta.eval.eval_service.policies import PolicyGate


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with one run, a secret beside it, and links between the two."""
    folder = tmp_path / "runs"
    (folder / "good" / "checkpoints").mkdir(parents=True)
    for epoch in (1, 2):  # both files of an epoch are whole
        for name, kind in (("agent", POLICY_FORMAT), ("trainer", TRAINER_FORMAT)):
            path = folder / "good" / "checkpoints" / f"{name}_epoch_{epoch}.pt"
            write_state(path, {"epoch": epoch}, format=kind, save_id=f"save {epoch}")
    (tmp_path / "secret.pt").write_bytes(b"secret")
    (tmp_path / "runs-secret").mkdir()
    (tmp_path / "runs-secret" / "x.pt").write_bytes(b"secret")
    (folder / "link.pt").symlink_to(tmp_path / "secret.pt")
    (folder / "linked").symlink_to(tmp_path / "runs-secret")
    (folder / "sneaky" / "checkpoints").mkdir(parents=True)
    (folder / "sneaky" / "checkpoints" / "agent_epoch_1.pt").symlink_to(tmp_path / "secret.pt")
    (folder / "mixed").mkdir()
    (folder / "mixed" / "checkpoints").symlink_to(tmp_path / "runs-secret")
    (folder / "inside.pt").symlink_to(folder / "good" / "checkpoints" / "agent_epoch_1.pt")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


@pytest.fixture
def gate(runs: Path, tmp_path: Path) -> PolicyGate:
    return PolicyGate([str(runs), "s3://bucket/team"], data_dir=str(runs))


def outside(tmp_path: Path) -> list[str]:
    runs = tmp_path / "runs"
    return [
        str(tmp_path / "secret.pt"),
        f"{runs}/../secret.pt",
        f"{runs}/good/../../secret.pt",
        f"file://{runs}/%2e%2e/secret.pt",
        f"file://{tmp_path}/secret.pt",
        f"{tmp_path}/runs-secret/x.pt",
        f"{runs}/link.pt",
        f"{runs}/linked/x.pt",
        f"{runs}/sneaky/checkpoints/agent_epoch_1.pt",
        f"{runs}/sneaky:1",
        "sneaky:1",
        "../secret.pt",
        "..",
        "~/x.pt",
        "~root/x.pt",
        "linked",
        f"{runs}/linked",
        "mixed",
        f"{runs}/mixed",
        f"{runs}/mixed/checkpoints",
        "/etc/passwd",
        "/nothing/there.pt",
        "s3://bucket/team-other/x.pt",
        "s3://bucket/team/../other/x.pt",
        "s3://other/x.pt",
        "gs://bucket/team/x.pt",
        "hf://someone/model",
        "wandb://project/artifact:v1",
        "http://127.0.0.1/x.pt",
        "",
        "a\0b",
    ]


def test_nothing_outside_of_the_roots_is_read(gate: PolicyGate, tmp_path: Path) -> None:
    for uri in outside(tmp_path):
        with pytest.raises(ServiceError):
            gate.admit(uri)


def test_a_refusal_does_not_tell_whether_a_file_exists(gate: PolicyGate, tmp_path: Path) -> None:
    told = []
    for name in ("secret.pt", "nothing.pt"):
        with pytest.raises(ServiceError) as caught:
            gate.admit(str(tmp_path / name))
        told.append(str(caught.value).replace(name, ""))
    assert told[0] == told[1]


def test_every_name_of_a_run_leads_to_its_files(gate: PolicyGate, runs: Path) -> None:
    latest, first = (runs / "good" / "checkpoints" / f"agent_epoch_{epoch}.pt" for epoch in (2, 1))
    for uri in ("good", "good:2", str(runs / "good"), str(latest), f"{runs}/good:2", latest.as_uri()):
        policy = gate.admit(uri)
        assert (policy.key, policy.version, policy.uri) == ("good", 2, latest.as_uri()), uri
    assert gate.admit(str(runs / "inside.pt")).checksum == gate.admit("good:1").checksum != gate.admit("good").checksum
    assert gate.admit(str(first)).version == 1


def test_nothing_outside_of_the_roots_is_even_opened(
    gate: PolicyGate, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's name leads to its latest epoch, which opens files: none that is a link to elsewhere, or of the folder."""
    (tmp_path / "elsewhere" / "good").symlink_to(runs / "sneaky")  # the service's own folder is no place for runs
    opened: list[Path] = []
    real_load = torch.load

    def load(path: Path, **settings: Any) -> Any:
        opened.append(path.resolve())
        return real_load(path, **settings)

    monkeypatch.setattr(torch, "load", load)
    for uri in ["sneaky", str(runs / "sneaky"), f"{runs}/sneaky/checkpoints", *outside(tmp_path)]:
        with pytest.raises(ServiceError):
            gate.admit(uri)
    assert not opened
    assert gate.admit("good").key == "good" and opened
    assert all(path.is_relative_to(runs.resolve() / "good") for path in opened)


def test_a_file_is_read_again_only_when_it_has_changed(
    gate: PolicyGate, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not within the tick of a file system's clock: then a second change could not be seen."""
    monkeypatch.setattr("metta.eval.eval_service.checksums.SETTLED_SECONDS", 0.0)
    reads: list[str] = []
    for name, owner in (("file_digest", hashlib), ("load", torch)):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, real=real, name=name, **b: (reads.append(name), real(*a, **b))[1])
    before = gate.admit("good")
    assert set(reads) == {"file_digest", "load"}
    reads.clear()
    assert gate.admit("good") == before and gate.admit("good:2") == before and not reads
    path = runs / "good" / "checkpoints" / "agent_epoch_2.pt"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    write_state(path, {"epoch": 9}, format=POLICY_FORMAT, save_id="save 2")
    os.utime(path, ns=times)  # the same name, length and time
    changed = gate.admit("good")
    assert changed.checksum == hashlib.sha256(path.read_bytes()).hexdigest() != before.checksum
    (path.parent / "trainer_epoch_2.pt").unlink()  # then the epoch is not whole
    assert gate.admit("good").version == 1


def test_a_file_that_was_just_written_is_not_trusted_to_stay_as_it_is(gate: PolicyGate, runs: Path) -> None:
    path = runs / "x.pt"
    for content in (b"one", b"two", b"six"):
        path.write_bytes(content)
        os.utime(path, ns=(0, 0))
        assert gate.admit(str(path)).checksum == hashlib.sha256(content).hexdigest()


def test_below_a_root_a_policy_that_is_not_there_is_told(gate: PolicyGate) -> None:
    for uri in ("nothing", "good:7"):
        with pytest.raises(CheckpointError, match=r"no policy at|no epoch"):
            gate.admit(uri)


def test_mocks_need_no_root_and_another_scheme_needs_one_that_names_it(gate: PolicyGate) -> None:
    assert gate.admit("mock://random").key == "random"
    with pytest.raises(CheckpointError, match="did you mean random"):
        gate.admit("mock://randm")
    with pytest.raises(MettaError) as caught:  # it is let through, and then there is no library or no bucket
        gate.admit("s3://bucket/team/run/agent_epoch_1.pt")
    assert "roots" not in str(caught.value)
