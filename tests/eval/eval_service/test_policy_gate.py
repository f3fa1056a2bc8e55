"""Only policies below the roots are read, whatever a request calls them."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    (folder / "inside.pt").symlink_to(folder / "good" / "checkpoints" / "agent_epoch_1.pt")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


@pytest.fixture
def gate(runs: Path, tmp_path: Path) -> PolicyGate:
    return PolicyGate([str(runs), "s3://bucket/team"], data_dir=str(runs), copies=tmp_path / "copies")


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
        "~",
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
    assert not (tmp_path / "copies").exists()


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


def test_the_copy_stays_when_the_run_removes_its_own(gate: PolicyGate, runs: Path) -> None:
    own = runs / "good" / "checkpoints" / "agent_epoch_1.pt"
    content, policy = own.read_bytes(), gate.admit("good:1")
    assert not (own.parents[2].parent / "copies").exists(), "to look is not to keep"
    gate.keep(policy)
    own.unlink()
    assert policy.path is not None and policy.path.read_bytes() == content
    assert policy.path.stem == policy.checksum


def test_below_a_root_a_policy_that_is_not_there_is_told(gate: PolicyGate) -> None:
    for uri in ("nothing", "good:7"):
        with pytest.raises(CheckpointError, match=r"no policy|no epoch"):
            gate.admit(uri)


def test_mocks_need_no_root_and_another_scheme_needs_one_that_names_it(gate: PolicyGate) -> None:
    assert gate.admit("mock://random").key == "random"
    with pytest.raises(CheckpointError, match="did you mean random"):
        gate.admit("mock://randm")
    with pytest.raises(MettaError) as caught:  # it is let through, and then there is no library or no bucket
        gate.admit("s3://bucket/team/run/agent_epoch_1.pt")
    assert "roots" not in str(caught.value)
