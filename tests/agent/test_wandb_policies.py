"""Policies kept at W&B, with an `Api` that answers as the library's documentation says; no network."""

from __future__ import annotations

import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from metta.agent import load_policy_from_uri, make_policy, resolve_policy_uri, save_policy
from metta.agent.fast import FastConfig
from metta.agent.wandb_policies import WandbRunInfo, extract_wandb_run_info, parse_wandb_uri
from metta.envs import TokenSpace
from metta.errors import CheckpointError, RunError


@dataclass
class Artifact:
    """What `Api().artifact(...)` returns."""

    folder: Path  # its files
    version: str
    metadata: dict[str, Any] = field(default_factory=dict)
    entity: str = "me"
    project: str = "p"
    run_url: str | None = "https://wandb.ai/the-run"

    @property
    def manifest(self) -> Any:
        return types.SimpleNamespace(entries={path.name: path for path in self.folder.iterdir()})

    def download(self, root: str, path_prefix: str) -> str:
        shutil.copy(self.folder / path_prefix, Path(root) / path_prefix)
        return root

    def logged_by(self) -> Any:
        if self.run_url is None:
            raise ValueError("Could not find run")
        return types.SimpleNamespace(url=self.run_url)


class Service:
    """Stands in for the library: `artifacts` by the name that `Api().artifact` is given."""

    Error = Exception

    def __init__(self) -> None:
        self.artifacts: dict[str, Artifact] = {}
        self.asked: list[str] = []
        self.has_login, self.mode = True, "online"
        self.failure: Exception | None = None

    def setup(self, settings: Any = None) -> Any:
        return types.SimpleNamespace(settings=types.SimpleNamespace(mode=self.mode))

    def Settings(self, **_: Any) -> None:  # noqa: N802
        return None

    def login(self, *, prompt: bool, verify: bool) -> bool:
        assert not prompt
        return self.has_login

    def Api(self) -> Any:  # noqa: N802
        return types.SimpleNamespace(artifact=self.artifact)

    def artifact(self, name: str) -> Artifact:
        self.asked.append(name)
        if self.failure is not None:
            raise self.failure
        if name not in self.artifacts:
            raise ValueError(f"artifact membership {name!r} not found in 'me/p'")
        return self.artifacts[name]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Service:
    service = Service()
    monkeypatch.setitem(sys.modules, "wandb", service)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("WANDB_ENTITY", "WANDB_ARTIFACT_DIR", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return service


Publish = Callable[..., Artifact]


@pytest.fixture
def publish(service: Service, space: TokenSpace, tmp_path: Path) -> Publish:
    """Put a policy of `run` at `epoch` at W&B as version v<number> of `p/<run>`, which is its latest from then on."""

    def publish(number: int, epoch: int, *, run: str = "my_run") -> Artifact:
        folder = tmp_path / f"v{number}"
        agent = make_policy(FastConfig(width=8), space, epoch)
        save_policy(folder / f"agent_epoch_{epoch}.pt", agent, run=run, epoch=epoch, agent_step=epoch * 100)
        made = Artifact(folder, f"v{number}", {"run": run, "epoch": epoch, "agent_step": epoch * 100})
        for version in (f"v{number}", "latest", f"epoch-{epoch}"):
            service.artifacts[f"p/my_run:{version}"] = service.artifacts[f"me/p/my_run:{version}"] = made
        return made

    return publish


@pytest.mark.parametrize(
    ("uri", "asked"),
    [
        ("wandb://p/my_run:v3", "p/my_run:v3"),
        ("wandb://p/my_run:3", "p/my_run:v3"),
        ("wandb://p/my_run", "p/my_run:latest"),
        ("wandb://p/my_run:epoch-50", "p/my_run:epoch-50"),
        ("wandb://me/p/my_run:v3", "me/p/my_run:v3"),
    ],
)
def test_a_policy_is_fetched_and_known_by_its_run_and_epoch_not_by_the_version(
    service: Service, publish: Publish, uri: str, asked: str
) -> None:
    publish(3, 50)
    found = resolve_policy_uri(uri)
    assert service.asked == [asked]
    assert (found.kind, found.policy_key, found.policy_version) == ("wandb", "my_run", 50)
    assert found.uri == "wandb://me/p/my_run:v3"
    actor = load_policy_from_uri(uri)
    assert (actor.key, actor.version) == ("my_run", 50)


@pytest.mark.parametrize(
    "uri",
    [
        "wandb://my_run",
        "wandb://p/",
        "wandb://a/b/c/d:v1",
        "wandb://p/my_run:",
        "wandb://p/my_run:v1:v2",
        "wandb://../p/my_run:v1",
        "wandb://p/..:v1",
    ],
)
def test_another_form_is_refused_before_anybody_is_asked(service: Service, uri: str) -> None:
    with pytest.raises(CheckpointError, match="is not of the form wandb://<project>/<artifact>:<version>"):
        resolve_policy_uri(uri)
    assert not service.asked


def test_a_fixed_version_is_downloaded_once_and_then_needs_no_library(
    service: Service, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(3, 50)
    first = resolve_policy_uri("wandb://me/p/my_run:v3")
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert resolve_policy_uri("wandb://me/p/my_run:v3") == first
    monkeypatch.setenv("WANDB_ENTITY", "me")
    assert resolve_policy_uri("wandb://p/my_run:v3") == first
    with pytest.raises(CheckpointError, match=r"metta\[wandb\]"):
        resolve_policy_uri("wandb://me/p/my_run:latest")


def test_an_alias_is_asked_for_every_time(service: Service, publish: Publish) -> None:
    publish(3, 50)
    assert resolve_policy_uri("wandb://me/p/my_run").policy_version == 50
    publish(4, 60)
    assert resolve_policy_uri("wandb://me/p/my_run").policy_version == 60
    assert service.asked == ["me/p/my_run:latest"] * 2


def test_servers_entities_and_versions_are_kept_apart(
    service: Service, publish: Publish, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish(3, 50)
    paths = {resolve_policy_uri("wandb://me/p/my_run:v3").path}
    monkeypatch.setenv("WANDB_BASE_URL", "http://localhost:8080")
    paths |= {resolve_policy_uri("wandb://me/p/my_run:v3").path}
    monkeypatch.setenv("WANDB_ARTIFACT_DIR", str(tmp_path / "mine"))
    paths |= {resolve_policy_uri("wandb://me/p/my_run:v3").path}
    assert {str(path.relative_to(tmp_path)) for path in paths if path} == {
        "cache/metta/wandb/api.wandb.ai/me/p/my_run/v3/agent_epoch_50.pt",
        "cache/metta/wandb/localhost_8080/me/p/my_run/v3/agent_epoch_50.pt",
        "mine/metta/wandb/localhost_8080/me/p/my_run/v3/agent_epoch_50.pt",
    }


def test_a_damaged_file_is_refused_and_not_kept(service: Service, publish: Publish, tmp_path: Path) -> None:
    path = publish(3, 50).folder / "agent_epoch_50.pt"
    path.write_bytes(path.read_bytes()[:-100])
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"agent_epoch_50\.pt"):
            resolve_policy_uri("wandb://me/p/my_run:v3")
    assert len(service.asked) == 2
    assert not list((tmp_path / "cache").rglob("*.pt"))


def test_a_file_that_calls_itself_after_a_path_is_refused(service: Service, publish: Publish) -> None:
    publish(3, 50, run="../../elsewhere")
    with pytest.raises(RunError, match="refused"):
        resolve_policy_uri("wandb://p/my_run:v3")


@pytest.mark.parametrize("number", [0, 2])
def test_an_artifact_that_is_not_one_policy_is_refused_before_it_is_downloaded(
    service: Service, publish: Publish, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    made = publish(3, 50)
    path = made.folder / "agent_epoch_50.pt"
    shutil.copy(path, made.folder / "another.pt") if number else path.unlink()
    monkeypatch.delattr(Artifact, "download")
    with pytest.raises(CheckpointError, match=f"holds {number} .pt files; a policy artifact holds one"):
        resolve_policy_uri("wandb://p/my_run:v3")


def test_what_does_not_exist_is_told(service: Service) -> None:
    with pytest.raises(CheckpointError, match="there is no wandb://p/nothing:v1 at W&B, or it is not yours"):
        resolve_policy_uri("wandb://p/nothing:v1")


def test_without_a_network_the_message_says_so(service: Service) -> None:
    service.failure = TimeoutError("the service did not respond in time")
    with pytest.raises(CheckpointError, match=r"cannot fetch wandb://p/my_run:v1: .*in time.*is there a network"):
        resolve_policy_uri("wandb://p/my_run:v1")


def test_without_a_login_the_message_says_what_helps(service: Service) -> None:
    service.has_login = False
    with pytest.raises(CheckpointError, match=r"wandb://p/my_run:v1 needs a login at W&B.*`wandb login`"):
        resolve_policy_uri("wandb://p/my_run:v1")


def test_offline_nothing_is_looked_up(service: Service) -> None:
    service.mode = "offline"
    with pytest.raises(CheckpointError, match=r"wandb://p/my_run:v1 cannot be looked up: W&B is offline here"):
        resolve_policy_uri("wandb://p/my_run:v1")
    assert not service.asked


def test_the_run_of_a_policy_is_told_without_a_download(
    service: Service, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = publish(3, 50)
    monkeypatch.delattr(Artifact, "download")
    expected = {"run": "my_run", "epoch": 50, "agent_step": 5000, "uri": "wandb://me/p/my_run:v3"}
    url = "https://wandb.ai/the-run"
    assert extract_wandb_run_info("wandb://p/my_run") == WandbRunInfo(**expected, score=None, url=url)
    made.metadata["score"] = 7.5
    assert extract_wandb_run_info("wandb://p/my_run").score == 7.5
    made.run_url = None  # the run has been deleted
    assert extract_wandb_run_info("wandb://p/my_run").url is None


def test_an_artifact_that_no_run_uploaded_has_no_run(service: Service, publish: Publish) -> None:
    publish(3, 50).metadata.pop("epoch")
    with pytest.raises(CheckpointError, match="its metadata lacks epoch"):
        extract_wandb_run_info("wandb://p/my_run")


def test_an_address_is_taken_apart_and_put_together() -> None:
    for uri in ("wandb://p/a:v1", "wandb://e/p/a:latest"):
        assert str(parse_wandb_uri(uri)) == uri
