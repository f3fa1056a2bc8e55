"""How torch's tensors reach the kernels: whether they can, as which arrays, and on how many threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]

_settings: Any = numba.config  # its attributes are made when it is imported, from the environment

PARALLEL_FROM = 512  # samples; below, handing a range to a thread costs more than it saves


def has_kernels(tensor: Tensor) -> bool:
    """Whether kernels can work on `tensor`: on the CPU, float32 if real, and nothing else was asked for."""
    fits = tensor.is_cpu and (tensor.dtype == torch.float32 or not tensor.is_floating_point())
    is_torch_asked = torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()  # for other precision or code
    return fits and not is_torch_asked and not _settings.DISABLE_JIT


def array(tensor: Tensor) -> NDArray[Any]:
    """Return `tensor` as a C-ordered array; it shares the tensor's memory where that is C-ordered itself."""
    # only what is needed: at every tick, with nothing of torch in the cache, each of these takes microseconds
    if tensor.requires_grad:
        tensor = tensor.detach()
    plain: NDArray[Any] = (tensor if tensor.is_contiguous() else tensor.contiguous()).numpy()
    return plain


def arrays(*tensors: Tensor) -> tuple[NDArray[Any], ...]:
    """Return each as `array` does."""
    return tuple(array(tensor) for tensor in tensors)


def in_ranges(
    num_samples: int, run: Callable[[int, int, int], None], *, parts: int | None = None, multiple_of: int = 1
) -> None:
    """Call `run(part, start, stop)` for `parts` equal ranges of samples, a thread for each; this one takes the first.

    By default there are `num_parts(num_samples)`; all ranges start at multiples of `multiple_of`.
    """
    parts = num_parts(num_samples) if parts is None else parts
    if parts == 1:
        run(0, 0, num_samples)
        return
    cuts = [num_samples * part // parts // multiple_of * multiple_of for part in range(parts)] + [num_samples]
    others = [_pool(parts - 1).submit(run, part, cuts[part], cuts[part + 1]) for part in range(1, parts)]
    run(0, cuts[0], cuts[1])
    for other in others:
        other.result()


def num_parts(num_samples: int) -> int:
    """How many threads share `num_samples`: as many as torch was given, if it is worth it."""
    return torch.get_num_threads() if num_samples >= PARALLEL_FROM else 1


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kernels")
