"""Calling functions whose gradients we have written ourselves."""

from __future__ import annotations

from typing import Any

import torch


def apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """Return what the function's `forward` makes of the arguments, connected to its `backward`."""
    # torch gives `apply` no types; called on a class of ours, each call would be an error
    return function.apply(*arguments)
