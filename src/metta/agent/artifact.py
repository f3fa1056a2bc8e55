"""A policy as a file: a plain dictionary that PyTorch opens with its safe default, so it cannot run code.

`write_whole` and the pair `write_state` / `read_state` serve the trainer's file too: one format, two contents.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from metta.agent.architectures import ARCHITECTURES, policy_class
from metta.agent.policy_agent import PolicyAgent
from metta.envs import BoxSpace, DiscreteSpace, Space, TokenSpace
from metta.errors import CheckpointError, ConfigError
from metta.grid import Feature

POLICY_FORMAT = "metta-policy-1"

_SPACES: dict[str, type[BoxSpace] | type[DiscreteSpace]] = {"box": BoxSpace, "discrete": DiscreteSpace}
_ARRAY = "__array__"  # marks a tensor that was a numpy array


# ------------------------------------------------------------------------------------------------------ policies


def save_policy(
    path: Path | str,
    agent: PolicyAgent,
    *,
    run: str,
    epoch: int,
    agent_step: int,
    metrics: Mapping[str, float] | None = None,
    save_id: str | None = None,
) -> str:
    """Write `agent` to `path`, whole or not at all; returns the save id (made here if not given).

    What is saved is the policy as it was built: its own feature table, object types and actions, whatever world it is
    connected to. Tensors are copied to the CPU.

    Raises:
        CheckpointError: the file cannot be written; what stood there before is untouched.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in agent.state_dict().items()}
    contents = {
        "architecture": agent.architecture,
        "config": agent.config.model_dump(mode="json"),
        "state_dict": tensors,
        "space": _space_fields(agent.space),
        "features": [tuple(feature) for feature in agent.features],
        "object_types": dict(agent.object_types),
        "action_names": list(agent.action_names),
        "run": run,
        "epoch": epoch,
        "agent_step": agent_step,
        "metrics": {name: float(value) for name, value in (metrics or {}).items()},
    }
    return write_state(path, contents, format=POLICY_FORMAT, save_id=save_id)


def load_policy(path: Path | str, *, allow_class: str | None = None, device: torch.device | str = "cpu") -> PolicyAgent:
    """Build the policy that `path` holds, connected to the space it was made for.

    A file can name only architectures of our table; another class is used only if the caller gives the same dotted
    path as `allow_class`, which the user must have typed.

    Raises:
        CheckpointError: no file, not one of ours, damaged, or an architecture that is not allowed.
    """
    contents = read_policy_file(path)
    architecture = contents["architecture"]
    if architecture not in ARCHITECTURES and architecture != allow_class:
        raise CheckpointError(
            f"{path} names the architecture {architecture!r}, which is not in the table ({', '.join(ARCHITECTURES)}); "
            f"if you trust that class, say so with policy.architecture={architecture}"
        )
    try:
        agent_class = policy_class(architecture)
        config = agent_class.config_class.model_validate(contents["config"])
        with torch.random.fork_rng(devices=[]):  # the fresh weights are replaced at once
            agent = agent_class(config, _space(contents), contents["action_names"])
        agent.load_state_dict(contents["state_dict"])
    except ConfigError:
        raise
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit the architecture {architecture!r}: {error}") from error
    return agent.to(device)


def read_policy_file(path: Path | str) -> dict[str, Any]:
    """Return what a policy file holds, after checking it (see `read_state`)."""
    return read_state(path, format=POLICY_FORMAT)


def _space_fields(space: Space) -> dict[str, Any]:
    """Return `space` as plain data; a token space's tables stand beside it in the file."""
    if isinstance(space, TokenSpace):
        return {"kind": "tokens", "num_tokens": space.num_tokens, "height": space.height, "width": space.width}
    kind = next(kind for kind, space_class in _SPACES.items() if isinstance(space, space_class))
    return {"kind": kind, **asdict(space)}


def _space(contents: Mapping[str, Any]) -> Space:
    fields = dict(contents["space"])
    kind = fields.pop("kind")
    if kind != "tokens":
        if "shape" in fields:
            fields["shape"] = tuple(fields["shape"])
        return _SPACES[kind](**fields)
    return TokenSpace(
        **fields,
        features=tuple(Feature(*feature) for feature in contents["features"]),
        object_types=dict(contents["object_types"]),
        action_names=tuple(contents["action_names"]),
    )


# ---------------------------------------------------------------------------------------------- any state, safely


def write_state(path: Path | str, contents: Mapping[str, Any], *, format: str, save_id: str | None = None) -> str:
    """Write a dictionary of plain values, tensors and numpy arrays, whole or not at all; returns its save id.

    `format`, `save_id` and `checksum` are added. Tensors are written as they are at this moment.

    Raises:
        CheckpointError: the file cannot be written; what stood there before is untouched.
        TypeError: something in it is neither plain nor an array (an assertion of ours).
    """
    save_id = save_id or uuid.uuid4().hex
    plain = _to_plain(dict(contents), at="")
    whole = {"format": format, **plain, "save_id": save_id, "checksum": checksum(_tensors(plain))}
    write_whole(path, lambda file: torch.save(whole, file))
    return save_id


def read_state(path: Path | str, *, format: str) -> dict[str, Any]:
    """Read what `write_state` wrote; arrays come back as arrays, tensors on the CPU.

    Raises:
        CheckpointError: no such file, not one of ours, another format, in need of unpickling, or damaged.
    """
    whole = _torch_load(Path(path))
    if not isinstance(whole, dict) or not isinstance(whole.get("format"), str):
        raise CheckpointError(f"{path} is not a file of this program: it holds no `format`")
    if whole["format"] != format:
        raise CheckpointError(f"{path} has the format {whole['format']!r}; expected {format!r}")
    body = {key: value for key, value in whole.items() if key not in ("format", "save_id", "checksum")}
    if whole.get("checksum") != checksum(_tensors(body)):
        raise CheckpointError(f"{path} is damaged: its tensors do not match its checksum")
    return {**_from_plain(whole), "format": format}


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """Return SHA-256, in hex, over names, dtypes, shapes and bytes of `tensors`, in sorted order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_whole(path: Path | str, write: Callable[[BinaryIO], Any]) -> None:
    """Let `write` fill a file that appears at `path` whole or not at all: temporary name, flush to disk, rename.

    Raises:
        CheckpointError: the system refuses (a full disk, no permission); nothing is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_directory(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        reason = _system_reason(error)
        if reason is None:
            raise
        raise CheckpointError(f"cannot save {path}: {reason}; what was saved before is untouched") from error


def _flush_directory(directory: Path) -> None:
    """Make the rename itself survive a power failure."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _system_reason(error: BaseException) -> str | None:
    """Return what the system said, or None if the error is not the system's. torch hides a failed write."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, OSError):
            return "the disk is full" if chain.errno in (errno.ENOSPC, errno.EDQUOT) else chain.strerror or str(chain)
        chain = chain.__cause__ or chain.__context__
    if isinstance(error, RuntimeError) and ("write" in str(error) or "file" in str(error)):
        return str(error).splitlines()[0]
    return None


def _torch_load(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"no such file: {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _looks_foreign(path):
            raise CheckpointError(f"{path} is not a policy or checkpoint of this program") from error
        raise CheckpointError(
            f"{path} is refused: opening it would need unpickling, which can run any code; "
            "only files that torch.load opens with its safe default are read"
        ) from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged, or not a file of this program: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from error


def _looks_foreign(path: Path) -> bool:
    """Whether the file is neither a torch archive (a zip) nor a pickle."""
    with path.open("rb") as file:
        start = file.read(2)
    return start[:2] != b"PK" and start[:1] != b"\x80"


def _tensors(value: Any, prefix: str = "") -> dict[str, Tensor]:
    """Return every tensor in nested dictionaries, lists and tuples, by its path."""
    if isinstance(value, Tensor):
        return {prefix: value}
    if isinstance(value, Mapping):
        items: Any = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return {}
    found: dict[str, Tensor] = {}
    for key, inner in items:
        found |= _tensors(inner, f"{prefix}.{key}" if prefix else str(key))
    return found


def _to_plain(value: Any, *, at: str) -> Any:
    """Copy nested values with numpy turned into what the safe default opens."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, np.ndarray):
        return {_ARRAY: torch.from_numpy(np.ascontiguousarray(value)).reshape(value.shape)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _to_plain(inner, at=f"{at}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_to_plain(inner, at=f"{at}.{i}") for i, inner in enumerate(value)]
    if isinstance(value, tuple):
        return tuple(_to_plain(inner, at=f"{at}.{i}") for i, inner in enumerate(value))
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{at or 'the state'} is a {type(value).__name__}: only plain values and arrays can be saved")


def _from_plain(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {_ARRAY}:
            return value[_ARRAY].numpy()
        return {key: _from_plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_from_plain(inner) for inner in value]
    if isinstance(value, tuple):
        return tuple(_from_plain(inner) for inner in value)
    return value
