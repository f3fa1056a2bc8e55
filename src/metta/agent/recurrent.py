"""One LSTM layer over segments with resets inside, by kernels of our own on a CPU; by torch's elsewhere.

B segments, T ticks, I inputs, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from metta.agent.cpu import Floats, array, arrays, has_kernels, in_ranges, num_parts
from metta.agent.dense import packed
from metta.agent.gradients import apply
from metta.agent.kernels import recurrent as kernels
from metta.agent.kernels.products import LANES


class LstmOutput(NamedTuple):
    """What a layer says and what it remembers."""

    hidden: Tensor  # float32 [B, T, H]
    h: Tensor  # float32 [B, H], after the last tick
    c: Tensor  # float32 [B, H]


def lstm(layer: nn.LSTM, x: Tensor, h: Tensor, c: Tensor, reset: Tensor) -> LstmOutput:
    """Run one layer over x, float32 [B, T, I].

    Args:
        layer: of one layer and one direction, `batch_first`.
        x: inputs.
        h: [B, H], before the first tick.
        c: the same.
        reset: bool [B, T]: nothing is remembered from before this tick.
    """
    if not has_kernels(x) or layer.input_size % LANES or layer.hidden_size % LANES:
        return lstm_torch(layer, x, h, c, reset)
    if torch.is_grad_enabled():
        return LstmOutput(*apply(_Lstm, x, h, c, reset, layer, *layer.all_weights[0]))
    return LstmOutput(*map(torch.from_numpy, _forward(layer, *arrays(x, reset, h, c), keep=False)[:3]))


def lstm_torch(layer: nn.LSTM, x: Tensor, h: Tensor, c: Tensor, reset: Tensor) -> LstmOutput:
    """The same with torch's layer: all ticks between two resets anywhere in the batch at once, as episodes are long."""
    if x.is_cpu and torch.is_autocast_enabled("cpu") and not is_narrow_lstm_supported(torch.get_autocast_dtype("cpu")):
        with torch.autocast("cpu", enabled=False):
            return lstm_torch(layer, x.float(), h.float(), c.float(), reset)
    cuts = [tick for tick in reset.any(0).nonzero().flatten().tolist() if tick > 0]
    pieces = []
    for start, stop in zip([0, *cuts], [*cuts, x.shape[1]], strict=True):
        fresh = reset[:, start, None]
        state = h.masked_fill(fresh, 0).unsqueeze(0), c.masked_fill(fresh, 0).unsqueeze(0)
        hidden, (h, c) = layer(x[:, start:stop], state)
        h, c = h.squeeze(0), c.squeeze(0)
        pieces.append(hidden)
    return LstmOutput(torch.cat(pieces, dim=1) if len(pieces) > 1 else pieces[0], h, c)


def _probe(dtype: torch.dtype) -> bool:
    """Whether torch's LSTM can compute in `dtype` on this CPU: without AVX-512 it has none in bfloat16, and raises."""
    # the probe's weights are random numbers, and a run that goes on would have drawn others than one that never ended
    with torch.random.fork_rng(devices=[]), torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        try:
            nn.LSTM(LANES, LANES, batch_first=True)(torch.zeros(1, 1, LANES))
        except RuntimeError:
            return False
    return True


is_narrow_lstm_supported: Callable[[torch.dtype], bool] = cache(torch.compiler.disable(_probe))


class _Lstm(torch.autograd.Function):
    """The layer with its gradient; what the forward pass keeps is used up by the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h: Tensor, c: Tensor, reset: Tensor, layer: nn.LSTM, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x, reset, h, c, *parameters[:2])
        hidden, last_h, last_c, *ctx.kept = _forward(layer, *arrays(x, reset, h, c), keep=True)
        return torch.from_numpy(hidden), torch.from_numpy(last_h), torch.from_numpy(last_c)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, reset, h, c, weight_x, weight_h = (array(tensor) for tensor in ctx.saved_tensors)
        inputs, width, parts = x.shape[2], h.shape[1], num_parts(len(x) * x.shape[1])
        given = arrays(*grad_outputs)
        grads = [np.empty(of.shape, np.float32) for of in (x, h, c)]
        # Every thread adds to gradients of its own; they are summed in order, so only the number of threads matters.
        sums = [np.zeros((parts, *shape), np.float32) for shape in (weight_x.shape, weight_h.shape, (4 * width,))]

        def run(part: int, start: int, stop: int) -> None:
            room = _room(inputs, inputs, width, width, width, width, 4 * width, width)
            added = (total[part] for total in sums)
            kernels.lstm_backward(
                *given, x, reset, h, c, weight_x, weight_h, *ctx.kept, *grads, *added, room, start, stop
            )

        in_ranges(len(x), run, parts=parts, multiple_of=kernels.C)
        grad_x, grad_h, grad_c = map(torch.from_numpy, grads)
        to_x, to_h, to_bias = (torch.from_numpy(total.sum(0) if parts > 1 else total[0]) for total in sums)
        return grad_x, grad_h, grad_c, None, None, to_x, to_h, to_bias, to_bias.clone()


def _forward(layer: nn.LSTM, x: Floats, reset: NDArray[np.bool_], h: Floats, c: Floats, *, keep: bool) -> list[Floats]:
    """Return hidden, h and c, and for the gradient the gates, h and c of every tick in chunks."""
    (B, T, inputs), width = x.shape, h.shape[1]
    columns = packed((layer,), _columns)
    out = [np.empty(shape, np.float32) for shape in ((B, T, width), (B, width), (B, width))]
    chunks = -(-B // kernels.C) if keep else 0
    kept = [np.empty((chunks, T, kernels.C, size), np.float32) for size in (4 * width, width, width)]

    def run(part: int, start: int, stop: int) -> None:
        kernels.lstm_forward(x, reset, h, c, columns, *out, *kept, _room(inputs, width, width, 4 * width), start, stop)

    in_ranges(B, run, parts=num_parts(B * T), multiple_of=kernels.C)
    return out + kept


def _columns(layer: nn.LSTM) -> Floats:
    """Return [I + H + 1, 4 H]: the weights of inputs and of what is remembered, transposed, and the bias."""
    with torch.no_grad():
        weight_x, weight_h, bias_x, bias_h = layer.all_weights[0]
        return array(torch.cat([weight_x.t(), weight_h.t(), (bias_x + bias_h).unsqueeze(0)]))


def _room(*widths: int) -> tuple[Floats, ...]:
    return tuple(np.empty((kernels.C, width), np.float32) for width in widths)
