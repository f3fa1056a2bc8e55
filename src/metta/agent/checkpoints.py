"""Checkpoints on disk: file names, which epochs are whole, the latest, and a policy's file from any URI.

What exists is read from file names, never from a clock: `train_dir/<run>/checkpoints/agent_epoch_<N>.pt` beside
`trainer_epoch_<N>.pt`, both with one save id.
"""

from __future__ import annotations

import contextlib
import logging
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from metta.agent.artifact import read_policy_file, read_state
from metta.agent.wandb_policies import fetch_wandb_policy
from metta.errors import CheckpointError, RunError, nearest

logger = logging.getLogger(__name__)

TRAINER_FORMAT = "metta-trainer-1"
DATA_DIR = "./train_dir"
MOCKS = ("random", "noop", "scripted")
REMOTE_SCHEMES = ("s3", "gs", "hf")

_AGENT_FILE = re.compile(r"agent_epoch_(\d+)\.pt")
_FORBIDDEN = r'/ \ : * ? " < > |'

# ------------------------------------------------------------------------------------------------------- names


def check_run_name(run: str) -> str:
    r"""Return `run`, or raise RunError: it is empty, or holds / \ : * ? " < > | or white space, or is . or .. ."""
    if not run or run in (".", "..") or re.search(r'[/\\:*?"<>|\s\x00-\x1f]', run):
        raise RunError(f"the run name {run!r} is refused: it must not be empty, nor hold spaces or any of {_FORBIDDEN}")
    return run


def run_directory(run: str, data_dir: Path | str = DATA_DIR) -> Path:
    """Return where `run` lives, whether it exists or not."""
    return Path(data_dir) / check_run_name(run)


def policy_path(run_dir: Path | str, epoch: int) -> Path:
    """Return where the policy of `epoch` stands."""
    return Path(run_dir) / "checkpoints" / f"agent_epoch_{epoch}.pt"


def notes_path(run_dir: Path | str, epoch: int) -> Path:
    """Return where the few lines for people about `epoch` stand."""
    return policy_path(run_dir, epoch).with_suffix(".yaml")


def trainer_path(run_dir: Path | str, epoch: int) -> Path:
    """Return where all else that resuming from `epoch` needs stands."""
    return Path(run_dir) / "checkpoints" / f"trainer_epoch_{epoch}.pt"


def remove_leftovers(run_dir: Path | str) -> None:
    """Delete what a killed process left half written. Only for the process that holds the run."""
    for pattern in ("checkpoints/.*.tmp", ".config.json.*.tmp"):
        for path in Path(run_dir).glob(pattern):
            path.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------ which epochs are whole


def list_epochs(run_dir: Path | str) -> list[int]:
    """Return the epochs of which there is a policy file, ascending; whether they are whole is not looked at."""
    folder = Path(run_dir) / "checkpoints"
    if not folder.is_dir():
        return []
    matches = (_AGENT_FILE.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def check_pair(run_dir: Path | str, epoch: int) -> None:
    """Raise CheckpointError, naming the file, unless both files of `epoch` are whole and belong together."""
    agent = read_policy_file(policy_path(run_dir, epoch))
    trainer = read_state(trainer_path(run_dir, epoch), format=TRAINER_FORMAT)
    if agent["save_id"] != trainer["save_id"]:
        raise CheckpointError(
            f"{policy_path(run_dir, epoch)} and {trainer_path(run_dir, epoch).name} were not saved together"
        )


def latest_epoch(run_dir: Path | str) -> int | None:
    """Return the highest epoch of which both files are whole; None if there is none. Damaged ones are warned of."""
    for epoch in reversed(list_epochs(run_dir)):
        try:
            check_pair(run_dir, epoch)
        except CheckpointError as error:
            logger.warning("epoch %d is skipped: %s", epoch, error)
        else:
            return epoch
    return None


def latest_policy(run_dir: Path | str) -> Path:
    """Return the policy file of the highest whole epoch; in a directory without trainer files, of any whole policy.

    Raises:
        CheckpointError: there is none.
    """
    epochs = list_epochs(run_dir)
    if any(trainer_path(run_dir, epoch).exists() for epoch in epochs):
        epoch = latest_epoch(run_dir)
        if epoch is not None:
            return policy_path(run_dir, epoch)
    else:
        for epoch in reversed(epochs):
            try:
                read_policy_file(policy_path(run_dir, epoch))
            except CheckpointError as error:
                logger.warning("epoch %d is skipped: %s", epoch, error)
            else:
                return policy_path(run_dir, epoch)
    raise CheckpointError(f"no whole checkpoint in {Path(run_dir) / 'checkpoints'}")


# -------------------------------------------------------------------------------------------------- policy URIs


@dataclass(frozen=True)
class ResolvedPolicy:
    """A policy that a URI names: found, but not yet opened."""

    uri: str  # in full: a directory's latest is spelled out
    kind: Literal["file", "remote", "wandb", "mock"]
    path: Path | None  # kinds "file" and "wandb" only
    policy_key: str  # the run; of other files their stem, of mocks their name
    policy_version: int  # the epoch; 0 where there is none


def key_and_version(path: Path | str) -> tuple[str, int]:
    """Return (run, epoch) as a checkpoint's path says; another file's stem and 0."""
    path = Path(path)
    match = _AGENT_FILE.fullmatch(path.name)
    if match is None:
        return path.stem, 0
    folder = path.parent
    run = folder.parent.name if folder.name == "checkpoints" else folder.name
    return run or "policy", int(match[1])


def resolve_policy_uri(uri: str, *, data_dir: Path | str = DATA_DIR) -> ResolvedPolicy:
    """Find the policy that `uri` names.

    A path, `file://`, `s3://`, `gs://`, `hf://`, `wandb://<project>/<artifact>:<version>` (which is fetched),
    `mock://random|noop|scripted`, a run directory (its latest), `<run>:<epoch>` or a run's name in `data_dir`.

    Raises:
        CheckpointError: another scheme, or nothing is there.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return _resolve_local(uri, data_dir=data_dir)
    if scheme == "file":
        return _resolve_local(unquote(urlsplit(uri).path), data_dir=data_dir)
    if scheme == "mock":
        if rest not in MOCKS:
            raise CheckpointError(f"no mock policy {rest!r}{nearest(rest, MOCKS)}; there are {', '.join(MOCKS)}")
        return ResolvedPolicy(uri, "mock", None, rest, 0)
    if scheme == "wandb":
        return _resolve_wandb(uri)
    if scheme in REMOTE_SCHEMES:
        return _resolve_remote(uri)
    raise CheckpointError(
        f"a policy cannot be read from {scheme}:// ({uri}); allowed are a path, file, "
        f"{', '.join(REMOTE_SCHEMES)}, wandb and mock"
    )


@contextlib.contextmanager
def local_policy_file(policy: ResolvedPolicy) -> Iterator[Path]:
    """Give the path of the policy's file on this machine: downloaded into a temporary directory if it is elsewhere.

    Raises:
        CheckpointError: it cannot be fetched, or what fetching needs is not installed.
    """
    if policy.path is not None:
        yield policy.path
        return
    assert policy.kind == "remote"
    with tempfile.TemporaryDirectory(prefix="metta-policy-") as folder:
        yield _fetch_remote(policy.uri, Path(folder))


def _resolve_local(text: str, *, data_dir: Path | str) -> ResolvedPolicy:
    path = Path(text).expanduser()
    run, colon, epoch = text.rpartition(":")
    if path.is_file():
        return _local(path)
    if path.is_dir():
        return _local(latest_policy(path.parent if path.name == "checkpoints" else path))
    if colon and epoch.isdigit():
        run_dir = Path(run) if Path(run).is_dir() else run_directory(run, data_dir)
        found = policy_path(run_dir, int(epoch))
        if not found.is_file():
            epochs = ", ".join(map(str, list_epochs(run_dir))) or "none"
            raise CheckpointError(f"run {run!r} has no epoch {epoch} in {run_dir}; there are: {epochs}")
        return _local(found)
    if "/" not in text and (Path(data_dir) / text).is_dir():
        return _local(latest_policy(Path(data_dir) / text))
    raise CheckpointError(f"no policy at {text!r}: neither a file, nor a directory, nor a run in {data_dir}")


def _local(path: Path) -> ResolvedPolicy:
    path = path.resolve()
    return ResolvedPolicy(path.as_uri(), "file", path, *key_and_version(path))


def _resolve_remote(uri: str) -> ResolvedPolicy:
    if not uri.endswith(".pt"):
        uri = _latest_remote(uri.rstrip("/"))
    return ResolvedPolicy(uri, "remote", None, *key_and_version(uri))


def _filesystem(uri: str) -> tuple[Any, str]:
    """Return fsspec's file system for `uri`, and the path in it."""
    import fsspec  # slow to import, and only needed for remote files

    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise CheckpointError(f"cannot open {uri}: {error}; the extra `metta[cloud]` brings what it needs") from error
    return filesystem, path


def _latest_remote(uri: str) -> str:
    """Return the URI of the highest epoch in a remote run directory or its `checkpoints`."""
    filesystem, path = _filesystem(uri)
    for suffix in ("/checkpoints", ""):
        try:
            names = [str(name).rpartition("/")[2] for name in filesystem.ls(path + suffix, detail=False)]
        except OSError:
            continue
        matches = [match for match in map(_AGENT_FILE.fullmatch, names) if match]
        if matches:
            return f"{uri}{suffix}/{max(matches, key=lambda match: int(match[1]))[0]}"
    raise CheckpointError(f"no checkpoint in {uri}")


def _fetch_remote(uri: str, folder: Path) -> Path:
    filesystem, path = _filesystem(uri)
    target = folder / path.rpartition("/")[2]
    try:
        filesystem.get_file(path, str(target))
    except OSError as error:
        raise CheckpointError(f"cannot fetch {uri}: {error}") from error
    return target


def _resolve_wandb(uri: str) -> ResolvedPolicy:
    """An artifact's version is not the epoch: run and epoch are those that the policy file itself gives."""
    fetched = fetch_wandb_policy(uri)
    policy = read_policy_file(fetched.path)
    run = check_run_name(str(policy["run"]))  # it becomes part of file names, and the file may be a stranger's
    return ResolvedPolicy(str(fetched.uri), "wandb", fetched.path, run, int(policy["epoch"]))
