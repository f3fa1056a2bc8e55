"""Arrays on a GPU as PyTorch's tensors, and the tables through which kernels find them.

PyTorch is loaded by whoever calls these functions, not by importing this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from metta.errors import ConfigError
from metta.grid.cuda.kernels import SIMULATED
from metta.grid.handles import declare, flattened, table_of
from metta.grid.jit import FLAT_FIELDS, JIT_ENABLED, prepare

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def find_device(name: str) -> torch.device:
    """Return the device that `cuda` or `cuda:<n>` names; in Numba's simulator that is the processor's own memory.

    Raises ConfigError where there is no such GPU.
    """
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type != "cuda":
        raise ConfigError(f"device: given {name!r}, allowed: 'cpu', 'cuda', or 'cuda:<number>' for one of several GPUs")
    if SIMULATED:
        if JIT_ENABLED:
            raise ConfigError("device: Numba's CUDA simulator runs plain Python; hint: set NUMBA_DISABLE_JIT=1 too")
        return torch.device("cpu")
    if not torch.cuda.is_available():
        build = f"this PyTorch ({torch.__version__}) finds no NVIDIA GPU"
        raise ConfigError(f"device: given {name!r}, but {build}; hint: device='cpu' plays the same games")
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise ConfigError(f"device: given {name!r}, allowed: up to 'cuda:{count - 1}'")
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)


class Place(NamedTuple):
    """Where a kernel is launched."""

    device: int
    capability: tuple[int, int]
    stream: int


@contextmanager
def current_place(device: torch.device) -> Iterator[Place]:
    """Make a GPU the current one, and return where PyTorch's next operation on it would go."""
    import torch

    if device.type == "cpu":  # simulated
        yield Place(0, (0, 0), 0)
        return
    with torch.cuda.device(device):
        yield Place(device.index, torch.cuda.get_device_capability(), torch.cuda.current_stream().cuda_stream)


def to_device(array: Any, device: torch.device) -> Tensor:
    """Return a copy of an array on a device."""
    import torch

    return torch.tensor(array, device=device)


def upload(arrays: Any, device: torch.device) -> Any:
    """Return a named tuple of arrays as the same tuple of tensors on a device, and let kernels know its layout."""
    declare(type(arrays).__name__, flattened(arrays, flat=FLAT_FIELDS))
    return type(arrays)(*(to_device(array, device) for array in arrays))


def download(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return tensors by name as numpy arrays of their own."""
    return {name: tensor.cpu().numpy().copy() for name, tensor in tensors.items()}


def put(target: Tensor, values: Any) -> None:
    """Write an array or a tensor on any device, of any type of numbers, into a tensor."""
    import torch

    target.copy_(torch.as_tensor(values))


class Table:
    """What a kernel is given for a named tuple of tensors; it must outlive the kernel."""

    def __init__(self, tensors: Any) -> None:
        self._tensors = tensors
        self.argument: Any
        if SIMULATED:
            self.argument = prepare(type(tensors)(*(tensor.numpy() for tensor in tensors)))
            return
        fields = tensors._asdict().items()
        words = table_of((tensor.data_ptr(), _rows_apart(tensor), _flat_shape(name, tensor)) for name, tensor in fields)
        self._words = to_device(words, tensors[0].device)
        self.argument = self._words.data_ptr()


def expand_row(tensors: Any, times: int, *, shared: tuple[str, ...]) -> Any:
    """Return a named tuple of tensors with one row as that of many, which are one in memory; the `shared` ones stay."""
    return type(tensors)(
        *(
            tensor if name in shared else tensor.expand(times, *tensor.shape[1:])
            for name, tensor in tensors._asdict().items()
        )
    )


def rows_of(worlds: Tensor, agents_per_world: int) -> Tensor:
    """Return the rows of all agents of some worlds, int64 [M]."""
    agents = to_device(np.arange(agents_per_world), worlds.device)
    return (worlds[:, None] * agents_per_world + agents).flatten()


def _rows_apart(tensor: Tensor) -> int:
    """Return the items from one row of a tensor [E, ...] to the next; 0: all E rows are one."""
    if tensor.is_contiguous():
        return prod(tensor.shape[1:])
    assert tensor.stride(0) == 0 and tensor[0].is_contiguous()
    return 0


def _flat_shape(name: str, tensor: Tensor) -> tuple[int, ...]:
    kept = FLAT_FIELDS.get(name, tensor.ndim) - 1
    return (*tensor.shape[:kept], prod(tensor.shape[kept:]))
