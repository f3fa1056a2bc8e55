"""Which policies the service takes: below its roots, and copied as they are when they are asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from metta.agent import resolve_policy_uri
from metta.agent.artifact import write_whole
from metta.agent.checkpoints import ResolvedPolicy, local_policy_file
from metta.errors import CheckpointError, MettaError, ServiceError

MAX_BYTES = 2 << 30  # of a policy's file


@dataclass(frozen=True, kw_only=True)
class AdmittedPolicy:
    """A policy that may play."""

    uri: str  # in full
    key: str
    version: int
    checksum: str  # SHA-256 of its file; of a mock its name
    path: Path | None  # where our copy is, once it is kept; None: a mock
    content: bytes | None = field(default=None, repr=False)


class PolicyGate:
    """Finds policies below `roots` (folders, or prefixes of addresses such as s3://bucket/runs), and copies them."""

    def __init__(self, roots: Sequence[str], *, data_dir: str, copies: Path) -> None:
        self._folders = [Path(os.path.realpath(_local(root))) for root in roots if _is_local(root)]
        self._prefixes = [root.rstrip("/") + "/" for root in roots if not _is_local(root)]
        self._data_dir = Path(data_dir)
        self._copies = copies

    def admit(self, uri: str) -> AdmittedPolicy:
        """Return the policy that `uri` names. It is read and not opened: a worker does that, safely.

        Raises ServiceError if it is not below the roots (the same whether it exists or not), CheckpointError if it is
        below and nothing is there.
        """
        policy = self.find(uri)
        content, checksum = policy_content(policy)
        return AdmittedPolicy(
            uri=policy.uri,
            key=policy.policy_key,
            version=policy.policy_version,
            checksum=checksum,
            path=None if content is None else self._copies / f"{checksum}.pt",
            content=content,
        )

    def keep(self, policy: AdmittedPolicy) -> None:
        """Write our copy, unless it is there and whole; nobody else may read it.

        Raises CheckpointError if the disk is full.
        """
        path, content = policy.path, policy.content
        if path is None or content is None or (path.is_file() and path.read_bytes() == content):
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, lambda file: file.write(content))
        path.chmod(0o600)

    def checksum(self, uri: str) -> str:
        """Return the checksum of the policy that `uri` names. Raises as `admit` does."""
        return policy_content(self.find(uri))[1]

    def find(self, uri: str) -> ResolvedPolicy:
        """Return where the policy is. Raises as `admit` does."""
        self._check(uri)
        try:
            policy = resolve_policy_uri(uri, data_dir=self._data_dir)
        except OSError as error:
            raise CheckpointError(f"no policy at {uri!r}: {error.strerror or error}") from error
        # What was found may be elsewhere than what was named: links, and a run's name.
        if policy.kind == "file" and not self._is_below(Path(str(policy.path))):
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
        elif scheme != "mock" or not separator:
            path = _local(uri)
            run, colon, epoch = str(path).rpartition(":")
            named = Path(run) if colon and epoch.isdigit() else path
            if "/" in str(named) or str(named) in (".", "..", "~"):
                allowed = self._is_below(named)
            else:  # a run's name: its files are looked at once they are found
                allowed = self._is_below(self._data_dir / named) or self._is_below(named)
            if not allowed:
                raise self._refusal(uri)

    def _is_below(self, path: Path) -> bool:
        real = Path(os.path.realpath(path.expanduser()))
        return any(real.is_relative_to(folder) for folder in self._folders)

    def _refusal(self, uri: str) -> MettaError:
        return ServiceError(
            f"the service does not read {uri!r}: it is not below its roots: "
            f"{', '.join([*map(str, self._folders), *self._prefixes, 'mock://'])}"
        )


def policy_content(policy: ResolvedPolicy) -> tuple[bytes | None, str]:
    """Return the bytes of a policy's file, and their SHA-256; of a mock nothing, and its name.

    Raises CheckpointError if it cannot be read, or is too large.
    """
    if policy.kind == "mock":
        return None, f"mock:{policy.policy_key}"
    with local_policy_file(policy) as path:
        try:
            if path.stat().st_size > MAX_BYTES:
                raise CheckpointError(f"{path} is larger than {MAX_BYTES} bytes")
            content = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    return content, hashlib.sha256(content).hexdigest()


def _is_local(root: str) -> bool:
    return "://" not in root or root.startswith("file://")


def _local(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path) if uri.startswith("file://") else uri).expanduser()
