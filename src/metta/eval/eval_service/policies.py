"""Which policies the service takes, as players and as opponents: mocks, and files below its roots."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict

from metta.agent import resolve_policy_uri
from metta.agent.checkpoints import ResolvedPolicy, local_policy_file
from metta.errors import CheckpointError, MettaError, RunError, ServiceError
from metta.eval.eval_service.checksums import Checksums
from metta.eval.eval_service.latest import LatestPolicies

Keep = Callable[[Path, str], None]  # given a policy's file and its checksum


class AdmittedPolicy(BaseModel):
    """A policy that may play, by itself or as an opponent."""

    model_config = ConfigDict(frozen=True)

    uri: str  # in full
    key: str
    version: int
    checksum: str  # SHA-256 of its file; of a mock its name

    @property
    def file_name(self) -> str | None:
        """What our copy is called; None: a mock."""
        return None if self.checksum.startswith("mock:") else f"{self.checksum}.pt"

    def copied_in(self, folder: Path) -> ResolvedPolicy:
        """Return the policy whose copy is in `folder`, under the name and version that it was asked for."""
        if self.file_name is None:
            return resolve_policy_uri(self.uri)
        return ResolvedPolicy(self.uri, "file", folder / self.file_name, self.key, self.version)


class PolicyGate:
    """Finds policies below `roots`: folders, or prefixes of addresses such as s3://bucket/runs."""

    def __init__(self, roots: Sequence[str], *, data_dir: str) -> None:
        self._folders = [Path(os.path.realpath(_local(root).expanduser())) for root in roots if _is_local(root)]
        self._prefixes = [root.rstrip("/") + "/" for root in roots if not _is_local(root)]
        self._data_dir = Path(data_dir)
        self._checksums, self._latest = Checksums(), LatestPolicies()

    def admit(self, uri: str, *, keep: Keep | None = None) -> AdmittedPolicy:
        """Return the policy that `uri` names. It is read and not opened: a worker does that, safely.

        `keep` is called while its file is there: one from afar is fetched for the moment. Raises ServiceError if it is
        not below the roots (the same whether it exists or not), CheckpointError if it is below and nothing is there.
        """
        policy = self.find(uri)
        named = {"uri": policy.uri, "key": policy.policy_key, "version": policy.policy_version}
        if policy.kind == "mock":
            return AdmittedPolicy(**named, checksum=f"mock:{policy.policy_key}")
        with local_policy_file(policy) as path:
            checksum = self._checksums.of(path)
            if keep is not None:
                keep(path, checksum)
        return AdmittedPolicy(**named, checksum=checksum)

    def find(self, uri: str) -> ResolvedPolicy:
        """Return where the policy is; no file outside of the roots is opened on the way. Raises as `admit` does."""
        self._check(uri)
        try:
            policy = self._found(uri)
        except OSError as error:
            raise CheckpointError(f"no policy at {uri!r}: {error.strerror or error}") from error
        except RunError as error:
            raise CheckpointError(f"no policy at {uri!r}: {error}") from error
        if policy.kind == "file" and not self._is_below(Path(str(policy.path))):  # an epoch that is a link
            raise self._refusal(uri)
        return policy

    def _check(self, uri: str) -> None:
        """Refuse, before anything is looked for, what is named outside of the roots."""
        if "\0" in uri or not uri.strip():
            raise ServiceError(f"no policy can be named {uri!r}")
        scheme, separator, rest = uri.partition("://")
        if separator and scheme not in ("file", "mock"):
            is_plain = ".." not in rest.split("/") and "\\" not in rest
            if not is_plain or not f"{uri}/".startswith(tuple(self._prefixes)):
                raise self._refusal(uri)
        elif (scheme != "mock" or not separator) and (uri.startswith("~") or not self._is_below(self._named(uri)[0])):
            raise self._refusal(uri)  # also of a home, which is another one here than where it was written

    def _named(self, uri: str) -> tuple[Path, str]:
        """Return the path that a local `uri` names, and apart from it `:<epoch>`. A word alone is a run's name."""
        path, _, epoch = uri.rpartition(":")
        if not (path and epoch.isdecimal()):
            path, epoch = uri, ""
        is_run = "/" not in path and path not in (".", "..")
        return (self._data_dir if is_run else Path.cwd()) / _local(path), epoch and f":{epoch}"

    def _found(self, uri: str) -> ResolvedPolicy:
        if "://" in uri and not uri.startswith("file://"):
            return resolve_policy_uri(uri)
        path, epoch = self._named(uri)
        if epoch and Path(f"{path}{epoch}").is_file():  # no epoch, but part of a file's name
            path, epoch = Path(f"{path}{epoch}"), ""
        if not path.exists():
            where = f"there is no such run in {self._data_dir}" if "/" not in uri else "neither a file nor a folder"
            raise CheckpointError(f"no policy at {uri!r}: {where}")
        if path.is_dir() and not epoch:
            path = self._latest.of(self._checkpoints_of(path, uri))
        if not self._is_below(path):
            raise self._refusal(uri)
        return resolve_policy_uri(f"{path.absolute()}{epoch}")

    def _checkpoints_of(self, run: Path, uri: str) -> Path:
        """Return a run's folder of checkpoints, if neither it nor anything in it leads elsewhere."""
        folder = run if run.name == "checkpoints" else run / "checkpoints"
        if not self._is_below(folder) or not all(map(self._is_below, LatestPolicies.links(folder))):
            raise self._refusal(uri)
        return folder

    def _is_below(self, path: Path) -> bool:
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(folder) for folder in self._folders)

    def _refusal(self, uri: str) -> MettaError:
        return ServiceError(
            f"the service does not read {uri!r}: it is not below its roots: "
            f"{', '.join([*map(str, self._folders), *self._prefixes, 'mock://'])}"
        )


def _is_local(root: str) -> bool:
    return "://" not in root or root.startswith("file://")


def _local(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path) if uri.startswith("file://") else uri)
