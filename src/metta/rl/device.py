"""On which device a process computes."""

from __future__ import annotations

import torch

from metta.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Return the torch device of `system.device`. Raises ConfigError when it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"system.device={name!r} is not a device; allowed: auto, cpu, cuda, cuda:<n>") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"system.device={name!r}: there are {torch.cuda.device_count()} GPUs here; hint: auto or cpu")
    return device


def rank_device(name: str, local_rank: int) -> torch.device:
    """Return the device of a rank: a GPU each where `system.device` is cuda, or auto and there are GPUs."""
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        return torch.device("cuda", local_rank % max(1, torch.cuda.device_count()))
    return torch.device("cpu" if name == "auto" else name)
