"""Dense layers with kernels of our own on a CPU; torch's elsewhere, and where an input is no multiple of 16 floats.

At the sizes of these policies (64 wide, hundreds to thousands of rows) they take less than half the time of torch's
(LOG.md), and the bits of a row do not depend on the rows beside it.

N rows, I inputs, O outputs, P columns: outputs of all layers, rounded up to a multiple of 16.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metta.agent.cpu import Floats, array, has_kernels, in_ranges, num_parts
from metta.agent.gradients import apply
from metta.agent.kernels import dense as kernels
from metta.agent.kernels.products import LANES


def dense(x: Tensor, *layers: nn.Linear, relu: bool = False) -> Sequence[Tensor]:
    """Return what each layer makes of x, float32 [..., I]: [..., O] each; negative numbers become 0 with `relu`.

    Layers of one input cost one pass over it. On CPU results and gradients are the same to the bit in every run with
    the same number of threads.
    """
    if not has_kernels(x) or x.shape[-1] % LANES:
        outputs = [layer(x) for layer in layers]
        return [torch.relu(output) for output in outputs] if relu else outputs
    if not torch.is_grad_enabled():
        return _split(_forward(array(x), relu, layers), layers)
    parameters = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
    split: Sequence[Tensor] = apply(_Dense, x, relu, layers, *parameters)
    return split


class _Dense(torch.autograd.Function):
    """The layers side by side; their parameters come as weight, bias, weight, bias, ..."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, relu: bool, layers: Sequence[nn.Linear], *parameters: Tensor) -> Sequence[Tensor]:
        ctx.save_for_backward(x, *parameters[::2])
        ctx.relu, ctx.out = relu, _forward(array(x), relu, layers)
        return tuple(_split(ctx.out, layers))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = (array(tensor) for tensor in ctx.saved_tensors)
        weight, rows = _side_by_side(weights, 0), x.reshape(-1, x.shape[-1])
        given = _side_by_side([array(grad).reshape(len(rows), grad.shape[-1]) for grad in grad_outputs], 1)
        grad_x, parts = np.empty(x.shape, np.float32), num_parts(len(rows))
        out, grad_rows = ctx.out.reshape(len(rows), ctx.out.shape[-1]), grad_x.reshape(rows.shape)
        # Every thread adds to gradients of its own; they are summed in order, so only the number of threads matters.
        grad_weight = np.zeros((parts, *weight.shape), np.float32)
        grad_bias = np.zeros((parts, len(weight)), np.float32)

        def run(part: int, start: int, stop: int) -> None:
            room = np.empty((kernels.BLOCK, len(weight)), np.float32)
            grads = grad_rows, grad_weight[part], grad_bias[part]
            kernels.dense_backward(given, out, ctx.relu, rows, weight, *grads, room, start, stop)

        in_ranges(len(rows), run)
        widths = [len(own) for own in weights]
        sums = (torch.split(torch.from_numpy(total(grad)), widths) for grad in (grad_weight, grad_bias))
        pairs = zip(*sums, strict=True)
        return torch.from_numpy(grad_x), None, None, *(grad for pair in pairs for grad in pair)


def total(parts: Floats) -> Floats:
    """Return the sum of what each thread has added up, [parts, ...]."""
    added: Floats = parts[0] if len(parts) == 1 else parts.sum(0)
    return added


def _forward(x: Floats, relu: bool, layers: Sequence[nn.Linear]) -> Floats:
    """Return [..., P]: the outputs of all layers, and columns that mean nothing."""
    columns = packed(layers, _columns)
    rows = x.reshape(-1, x.shape[-1])
    out = np.empty((len(rows), columns.shape[1]), np.float32)
    in_ranges(len(rows), lambda part, start, stop: kernels.dense_forward(rows, columns, relu, out, start, stop))
    return out.reshape(*x.shape[:-1], out.shape[1])


def _columns(*layers: nn.Linear) -> Floats:
    """Return [I + 1, P]: the weights of all layers side by side, transposed, and below them the biases."""
    num_outputs = sum(layer.out_features for layer in layers)
    columns = np.zeros((layers[0].in_features + 1, -(-num_outputs // LANES) * LANES), np.float32)
    first = 0
    for layer in layers:
        kernels.pack(array(layer.weight), array(layer.bias), first, columns)
        first += layer.out_features
    return columns


def _split(out: Floats, layers: Sequence[nn.Linear]) -> list[Tensor]:
    """Return the outputs of each layer, as parts of `out`."""
    parts, first = [], 0
    for layer in layers:
        parts.append(torch.from_numpy(out[..., first : first + layer.out_features]))
        first += layer.out_features
    return parts


def _side_by_side(parts: list[Floats], axis: int) -> Floats:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis)


class _Kept(threading.local):
    """What each thread has packed: for every `fixed_weights` that is open in it, layers -> their columns."""

    def __init__(self) -> None:
        self.open: list[dict[tuple[int, ...], Floats]] = []


_kept = _Kept()


@contextmanager
def fixed_weights() -> Iterator[None]:
    """Promise that no weights change inside, and that whoever acts lives as long: what is made of them is made once.

    It holds in this thread alone.
    """
    _kept.open.append({})
    try:
        yield
    finally:
        _kept.open.pop()


def packed(layers: Sequence[nn.Module], pack: Callable[..., Floats]) -> Floats:
    """Return `pack(*layers)`, inside `fixed_weights` that of the first call."""
    if not _kept.open:
        return pack(*layers)
    kept, key = _kept.open[-1], tuple(map(id, layers))
    if key not in kept:
        kept[key] = pack(*layers)
    return kept[key]
