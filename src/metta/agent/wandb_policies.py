"""Policies kept as W&B artifacts: `wandb://<project>/<artifact>:<version>` fetched once, and what W&B knows of them.

A thin layer over `wandb.Api().artifact(...)`. What is fetched is checked like any other policy file before it is kept.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from metta.agent.artifact import read_policy_file
from metta.agent.wandb_library import keep_quiet, load_wandb, require_login
from metta.errors import CheckpointError, WandbError

SCHEME = "wandb://"

_URI = re.compile(r"wandb://(?:(?P<entity>[^/:]+)/)?(?P<project>[^/:]+)/(?P<artifact>[^/:]+)(?::(?P<version>[^/:]+))?")
_HINT = "`wandb login`, or the variable WANDB_API_KEY"


@dataclass(frozen=True)
class WandbUri:
    """An artifact as a URI names it."""

    entity: str | None  # None: the one that W&B knows as yours
    project: str
    artifact: str
    version: str  # v<N>, or an alias: latest, epoch-200

    @property
    def is_fixed(self) -> bool:
        """Whether the version always means the same files; an alias moves on."""
        return re.fullmatch(r"v\d+", self.version) is not None

    @property
    def path(self) -> str:
        """The name that the library's `Api().artifact` takes."""
        return "/".join(part for part in (self.entity, self.project, f"{self.artifact}:{self.version}") if part)

    def __str__(self) -> str:
        return f"{SCHEME}{self.path}"


@dataclass(frozen=True)
class FetchedPolicy:
    """An artifact's policy on this machine."""

    uri: WandbUri  # with entity and version spelled out
    path: Path


@dataclass(frozen=True)
class WandbRunInfo:
    """What W&B knows of the run that made a policy."""

    run: str  # the run's name
    epoch: int
    agent_step: int
    score: float | None  # mean score of the evaluation at that epoch; None where there was none
    url: str | None  # the run's page; None where W&B does not know the run any more
    uri: str  # the artifact with its entity and version spelled out


def parse_wandb_uri(uri: str) -> WandbUri:
    """Take a URI apart; no version means the latest, a number N means v<N>. Raises CheckpointError for another form."""
    match = _URI.fullmatch(uri)
    if match is None or {".", ".."} & set(match.groups()):
        raise CheckpointError(
            f"{uri} is not of the form wandb://<project>/<artifact>:<version> "
            "or wandb://<entity>/<project>/<artifact>:<version>"
        )
    version = match["version"] or "latest"
    entity = match["entity"] or os.environ.get("WANDB_ENTITY") or None
    return WandbUri(entity, match["project"], match["artifact"], f"v{version}" if version.isdigit() else version)


def fetch_wandb_policy(uri: str) -> FetchedPolicy:
    """Return where the artifact's policy file stands: in the cache already, or downloaded into it.

    A version `v<N>` under a named entity (or WANDB_ENTITY) that is in the cache needs neither network nor library.
    Raises CheckpointError when there is no such artifact, no login, no network, or it holds no whole policy.
    """
    wanted = parse_wandb_uri(uri)
    kept = _kept(wanted)
    if kept is not None:
        return FetchedPolicy(wanted, kept)
    artifact = _find(uri, wanted)
    found = _spelled_out(artifact, wanted)
    return FetchedPolicy(found, _kept(found) or _download(uri, artifact, _cache_folder(found)))


def extract_wandb_run_info(uri: str) -> WandbRunInfo:
    """Return which run made the policy at `uri`, and how far it was; nothing is downloaded.

    Raises CheckpointError when there is no such artifact, it is no policy of a run, or W&B cannot be asked.
    """
    wanted = parse_wandb_uri(uri)
    artifact = _find(uri, wanted)
    known = artifact.metadata
    missing = [name for name in ("run", "epoch", "agent_step") if name not in known]
    if missing:
        raise CheckpointError(f"{uri} is no policy that a run uploaded: its metadata lacks {', '.join(missing)}")
    try:
        made_by = artifact.logged_by()
    except ValueError:  # the run has been deleted
        made_by = None
    except Exception as error:  # wandb's own errors have no common base
        raise _cannot("ask about", uri, error) from error
    return WandbRunInfo(
        run=str(known["run"]),
        epoch=int(known["epoch"]),
        agent_step=int(known["agent_step"]),
        score=float(known["score"]) if "score" in known else None,
        url=None if made_by is None else str(made_by.url),
        uri=str(_spelled_out(artifact, wanted)),
    )


def _find(uri: str, wanted: WandbUri) -> Any:
    """Return the library's artifact object."""
    try:
        wandb = load_wandb(uri)
        keep_quiet(wandb)
        if (mode := wandb.setup().settings.mode) in ("offline", "dryrun", "disabled"):
            raise WandbError(f"{uri} cannot be looked up: W&B is {mode} here (WANDB_MODE, or `wandb online`)")
        require_login(wandb, uri, hint=_HINT)
        return wandb.Api().artifact(wanted.path)
    except WandbError as error:
        raise CheckpointError(str(error)) from error
    except Exception as error:  # wandb's own errors have no common base
        raise _cannot("fetch", uri, error) from error


def _spelled_out(artifact: Any, wanted: WandbUri) -> WandbUri:
    return WandbUri(artifact.entity, artifact.project, wanted.artifact, artifact.version)


def _download(uri: str, artifact: Any, folder: Path) -> Path:
    """Put the artifact's one policy file into `folder`, whole and checked or not at all."""
    names = [str(name) for name in artifact.manifest.entries if str(name).endswith(".pt")]
    if len(names) != 1:
        raise CheckpointError(f"{uri} holds {len(names)} .pt files; a policy artifact holds one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as temporary:
        try:
            artifact.download(root=temporary, path_prefix=names[0])
        except Exception as error:  # wandb's own errors have no common base
            raise _cannot("fetch", uri, error) from error
        fetched = Path(temporary) / names[0]
        read_policy_file(fetched)
        folder.mkdir(exist_ok=True)
        return fetched.replace(folder / fetched.name)


def _cannot(what: str, uri: str, error: Exception) -> CheckpointError:
    if "not found" in str(error):
        return CheckpointError(f"there is no {uri} at W&B, or it is not yours to read: {error}")
    return CheckpointError(f"cannot {what} {uri}: {error} (hint: is there a network, and is the login good?)")


def _cache_folder(uri: WandbUri) -> Path:
    """Where the files of one version stand; servers of one's own are kept apart."""
    root = os.environ.get("WANDB_ARTIFACT_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    server = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc.replace(":", "_")
    return Path(root, "metta", "wandb", server, str(uri.entity), uri.project, uri.artifact, uri.version)


def _kept(uri: WandbUri) -> Path | None:
    """Return the policy file in the cache; None where there is none, or the URI may mean another one tomorrow."""
    if uri.entity is None or not uri.is_fixed:
        return None
    return next(_cache_folder(uri).glob("*.pt"), None)
