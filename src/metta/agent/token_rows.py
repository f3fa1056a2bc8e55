"""Sums of learned rows over the tokens that are there: numba kernels on CPU, `embedding_bag` elsewhere.

A token (place, feature, value) is first decoded into a row of the table and a scale; then rows are summed. Decoding
and summing are apart because training sums the tokens of one rollout several times: decode once, sum often.

N samples, K tokens a sample, H width of the table, R its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numba
import torch
from numpy.typing import NDArray
from torch import Tensor

from metta.agent import token_kernels as kernels

PARALLEL_FROM = 512  # samples; below, handing a range to a thread costs more than it saves


class TokenLuts(NamedTuple):
    """How the tokens of one environment address the rows of one policy's table. All four on one device."""

    row: Tensor  # int32 [256, 256] by (feature, value): first row, or DROP
    scale: Tensor  # float32 [256, 256] by (feature, value)
    place: Tensor  # int32 [2, 256] by (WHERE_GLOBAL or _PLACE, place byte): what to add to the row, or DROP
    where: Tensor  # uint8 [256] by feature: WHERE_*

    def to(self, device: torch.device | str) -> TokenLuts:
        """Return the same tables on `device`."""
        return TokenLuts(*(table.to(device) for table in self))


@dataclass
class DecodedTokens:
    """Tokens as rows and scales, for S stored samples; `samples` picks, orders and shapes those that are meant.

    Slicing and indexing copy no tokens: they only choose samples. `reshape` and `transpose` change the leading shape,
    so that a decoded rollout can stand wherever an observation tensor [B, T, K, 3] stands.
    """

    rows: Tensor  # int32 [S, 1 + K], first the row of everyone; from counts[s] on, what stands there means nothing
    scales: Tensor  # float32 [S, 1 + K]
    counts: Tensor  # int32 [S]
    samples: Tensor  # int64 [...]: numbers of stored samples

    @classmethod
    def empty(cls, num_samples: int, num_tokens: int, device: torch.device | str = "cpu") -> DecodedTokens:
        """Return room for `num_samples` samples of at most `num_tokens` tokens; nothing is in it yet."""
        return cls(
            rows=torch.empty(num_samples, 1 + num_tokens, dtype=torch.int32, device=device),
            scales=torch.empty(num_samples, 1 + num_tokens, dtype=torch.float32, device=device),
            counts=torch.zeros(num_samples, dtype=torch.int32, device=device),
            samples=torch.arange(num_samples, device=device),
        )

    @property
    def shape(self) -> torch.Size:
        """The leading shape: that of `samples`."""
        return self.samples.shape

    def __getitem__(self, index: Any) -> DecodedTokens:
        """Return the chosen samples; `index` is anything that indexes a tensor of the leading shape."""
        return DecodedTokens(self.rows, self.scales, self.counts, self.samples[index])

    def reshape(self, *shape: int) -> DecodedTokens:
        """Return the same samples with another leading shape."""
        return DecodedTokens(self.rows, self.scales, self.counts, self.samples.reshape(*shape))

    def transpose(self, first: int, second: int) -> DecodedTokens:
        """Return the same samples with two leading axes exchanged."""
        return DecodedTokens(self.rows, self.scales, self.counts, self.samples.transpose(first, second))


def decode_tokens(tokens: Tensor, luts: TokenLuts, *, out: DecodedTokens | None = None) -> DecodedTokens:
    """Decode `tokens`, uint8 [..., K, 3]; the result has the leading shape [...].

    With `out` (its stored samples `out.samples`, as many as there are in `tokens`, are overwritten) nothing is
    allocated. A sample ends at its first token whose place byte is 255; tokens that mean nothing to the policy, and
    amounts of 0, are left out. Every sample begins with the row of everyone, at scale 1.
    """
    leading, num_tokens = tokens.shape[:-2], tokens.shape[-2]
    flat = tokens.reshape(-1, num_tokens, 3)
    if out is None:
        out = DecodedTokens.empty(flat.shape[0], num_tokens, tokens.device).reshape(*leading)
    if _has_kernels(tokens):
        arrays = _arrays(flat, *luts, out.samples.reshape(-1), out.rows, out.scales, out.counts)
        _in_ranges(flat.shape[0], lambda part, start, stop: kernels.decode_range(*arrays, start, stop))
    else:
        _decode_torch(flat, luts, out)
    return out


def sum_decoded_rows(table: Tensor, decoded: DecodedTokens, *, relu: bool = False) -> Tensor:
    """Return float32 [..., H]: for each sample the sum of scale times row of `table` [R, H] over its tokens.

    Negative sums become 0 with `relu`. The gradient of `table` is dense; on CPU it is the same to the bit in every run
    with the same number of threads.
    """
    samples = decoded.samples.reshape(-1)
    if _has_kernels(table) and table.dtype == torch.float32:
        summed: Tensor = _SumRows.apply(table, decoded.rows, decoded.scales, decoded.counts, samples, relu)  # type: ignore[no-untyped-call]
    else:
        summed = sum_decoded_rows_torch(table, decoded)
        summed = torch.relu(summed) if relu else summed
    return summed.reshape(*decoded.shape, table.shape[1])


def sum_rows(table: Tensor, tokens: Tensor, luts: TokenLuts) -> Tensor:
    """Return float32 [..., H] for `tokens`, uint8 [..., K, 3]: decode, then sum."""
    return sum_decoded_rows(table, decode_tokens(tokens, luts))


class _SumRows(torch.autograd.Function):
    """The sum on CPU with its gradient: a gather forward, a scatter-add backward."""

    @staticmethod
    def forward(
        ctx: Any, table: Tensor, rows: Tensor, scales: Tensor, counts: Tensor, samples: Tensor, relu: bool
    ) -> Tensor:
        out = torch.empty(samples.shape[0], table.shape[1])
        arrays = (*_arrays(table.detach(), rows, scales, counts, samples), relu, out.numpy())
        _in_ranges(samples.shape[0], lambda part, start, stop: kernels.sum_range(*arrays, start, stop))
        ctx.save_for_backward(rows, scales, counts, samples, out)
        ctx.table_shape, ctx.relu = table.shape, relu
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        rows, scales, counts, samples, out = ctx.saved_tensors
        given = (*_arrays(grad_outputs[0], out), ctx.relu, *_arrays(rows, scales, counts, samples))
        # Every thread adds to a gradient of its own; they are summed in order, so only the number of threads matters.
        grads = torch.zeros(_threads(samples.shape[0]), *ctx.table_shape)
        parts = grads.numpy()
        _in_ranges(samples.shape[0], lambda part, start, stop: kernels.scatter_range(*given, parts[part], start, stop))
        grad = grads[0]
        for other in grads[1:]:
            grad += other
        return grad, None, None, None, None, None


def _in_ranges(num_samples: int, run: Callable[[int, int, int], None]) -> None:
    """Call `run(part, start, stop)` for equal ranges of samples, one for each thread; this thread takes the first."""
    threads = _threads(num_samples)
    cuts = [num_samples * part // threads for part in range(threads + 1)]
    others = [_pool(threads - 1).submit(run, part, cuts[part], cuts[part + 1]) for part in range(1, threads)]
    run(0, cuts[0], cuts[1])
    for other in others:
        other.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="token-rows")


def _threads(num_samples: int) -> int:
    """How many threads share `num_samples`: as many as torch was given, if it is worth it."""
    return torch.get_num_threads() if num_samples >= PARALLEL_FROM else 1


def _has_kernels(tensor: Tensor) -> bool:
    """Whether numba can work on `tensor`: it is on the CPU, and the compiler was not switched off."""
    return tensor.device.type == "cpu" and not numba.config.DISABLE_JIT  # type: ignore[attr-defined]


def _arrays(*tensors: Tensor) -> tuple[NDArray[Any], ...]:
    return tuple(tensor.contiguous().numpy() for tensor in tensors)


def _decode_torch(tokens: Tensor, luts: TokenLuts, out: DecodedTokens) -> None:
    """The same decoding in torch operations; dropped tokens stay in place with scale 0, so counts is 1 + K."""
    place, feature, value = tokens.long().unbind(-1)
    there = torch.cumsum(place == kernels.EMPTY, dim=1) == 0
    where = luts.where.long()[feature]
    ordered = where == kernels.WHERE_ORDER
    order = torch.cumsum(ordered & there, dim=1) - 1
    offset = torch.where(ordered, order, luts.place.long()[where.clamp(max=1), place])
    row = luts.row.long()[feature, value] + offset
    valid = there & (row >= 0) & ~(ordered & (order >= kernels.ORDER_LIMIT))
    samples = out.samples.reshape(-1)
    everyone = torch.zeros_like(row[:, :1])
    out.rows[samples] = torch.cat([everyone + kernels.ALWAYS, torch.where(valid, row, 0)], dim=1).int()
    out.scales[samples] = torch.cat([everyone + 1, torch.where(valid, luts.scale[feature, value], 0.0)], dim=1)
    out.counts[samples] = 1 + tokens.shape[1]


def sum_decoded_rows_torch(table: Tensor, decoded: DecodedTokens) -> Tensor:
    """The same sum by `embedding_bag`, on any device: [N, H] over the flattened samples."""
    samples = decoded.samples.reshape(-1)
    there = torch.arange(decoded.rows.shape[1], device=table.device) < decoded.counts[samples, None]
    rows = torch.where(there, decoded.rows[samples], 0)
    scales = torch.where(there, decoded.scales[samples], 0.0).to(table.dtype)
    return torch.nn.functional.embedding_bag(rows.long(), table, per_sample_weights=scales, mode="sum")
