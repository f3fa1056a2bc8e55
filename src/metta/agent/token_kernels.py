"""Sums of learned rows over the tokens that are there: numba kernels on CPU, `embedding_bag` elsewhere.

A token (place, feature, value) is first decoded into a row of the table and a scale; then rows are summed. Decoding
and summing are apart because training sums the tokens of one rollout several times: decode once, sum often.

N samples, K tokens a sample, H width of the table, R its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Where the row of a token depends on more than its feature and value.
WHERE_GLOBAL = 0  # nowhere: the token describes the whole world or the agent, and always sits at the window's centre
WHERE_PLACE = 1  # on the place
WHERE_ORDER = 2  # on how many tokens of this feature came before (visitation counts: here, up, down, left, right)

ORDER_LIMIT = 5  # tokens of an ordered feature after these are dropped

EMPTY = 255  # place byte of an empty token; nothing follows it
PARALLEL_FROM = 256  # samples; below, starting threads costs more than it saves


class TokenLuts(NamedTuple):
    """How the tokens of one environment address the rows of one policy's table. All four on one device."""

    row: Tensor  # int32 [256, 256] by (feature, value): first row, -1 drops the token
    scale: Tensor  # float32 [256, 256] by (feature, value)
    place: Tensor  # int32 [256] by place byte: the policy's own place number, -1 lies outside its window
    where: Tensor  # uint8 [256] by feature: WHERE_*

    def to(self, device: torch.device | str) -> TokenLuts:
        """Return the same tables on `device`."""
        return TokenLuts(*(table.to(device) for table in self))


@dataclass
class DecodedTokens:
    """Tokens as rows and scales, for S stored samples; `samples` picks, orders and shapes those that are meant.

    Slicing and indexing copy no tokens: they only choose samples. `reshape` gives the leading shape, so that a decoded
    rollout can stand wherever an observation tensor [B, T, K, 3] stands.
    """

    rows: Tensor  # int32 [S, K]; from counts[s] on, what stands there means nothing
    scales: Tensor  # float32 [S, K]
    counts: Tensor  # int32 [S]
    samples: Tensor  # int64 [...]: numbers of stored samples

    @classmethod
    def empty(cls, num_samples: int, num_tokens: int, device: torch.device | str = "cpu") -> DecodedTokens:
        """Return room for `num_samples` samples of at most `num_tokens` tokens; nothing is in it yet."""
        return cls(
            rows=torch.empty(num_samples, num_tokens, dtype=torch.int32, device=device),
            scales=torch.empty(num_samples, num_tokens, dtype=torch.float32, device=device),
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
    amounts of 0, are left out.
    """
    leading, num_tokens = tokens.shape[:-2], tokens.shape[-2]
    flat = tokens.reshape(-1, num_tokens, 3)
    if out is None:
        out = DecodedTokens.empty(flat.shape[0], num_tokens, tokens.device).reshape(*leading)
    if tokens.device.type == "cpu":
        threads = _threads(flat.shape[0])
        launch = _decode_parallel if threads > 1 else _decode_serial
        launch(
            threads,
            flat.contiguous().numpy(),
            *(table.numpy() for table in luts),
            out.samples.reshape(-1).numpy(),
            out.rows.numpy(),
            out.scales.numpy(),
            out.counts.numpy(),
        )
    else:
        _decode_torch(flat, luts, out)
    return out


def sum_decoded_rows(table: Tensor, decoded: DecodedTokens) -> Tensor:
    """Return float32 [..., H]: for each sample the sum of scale times row of `table` [R, H] over its tokens.

    The gradient of `table` is dense. It is the same to the bit in every run with the same number of threads.
    """
    samples = decoded.samples.reshape(-1)
    if table.device.type == "cpu" and table.dtype == torch.float32:
        summed: Tensor = _SumRows.apply(table, decoded.rows, decoded.scales, decoded.counts, samples)  # type: ignore[no-untyped-call]
    else:
        summed = sum_decoded_rows_torch(table, decoded)
    return summed.reshape(*decoded.shape, table.shape[1])


def sum_rows(table: Tensor, tokens: Tensor, luts: TokenLuts) -> Tensor:
    """Return float32 [..., H] for `tokens`, uint8 [..., K, 3]: decode, then sum."""
    return sum_decoded_rows(table, decode_tokens(tokens, luts))


# --------------------------------------------------------------------------------------------- other devices


def _decode_torch(tokens: Tensor, luts: TokenLuts, out: DecodedTokens) -> None:
    """The same decoding in torch operations; dropped tokens stay in place with scale 0, so counts is K or 0."""
    place, feature, value = tokens.long().unbind(-1)
    there = torch.cumsum(place == EMPTY, dim=1) == 0
    row, scale, where = luts.row.long()[feature, value], luts.scale[feature, value], luts.where[feature]
    own_place = luts.place.long()[place]
    ordered = where == WHERE_ORDER
    order = torch.cumsum(ordered & there, dim=1) - 1
    valid = there & (row >= 0)
    valid &= (where != WHERE_PLACE) | (own_place >= 0)
    valid &= ~ordered | (order < ORDER_LIMIT)
    row = row + torch.where(where == WHERE_PLACE, own_place, 0) + torch.where(ordered, order, 0)
    samples = out.samples.reshape(-1)
    out.rows[samples] = torch.where(valid, row, 0).int()
    out.scales[samples] = torch.where(valid, scale, 0.0)
    out.counts[samples] = tokens.shape[1]


def sum_decoded_rows_torch(table: Tensor, decoded: DecodedTokens) -> Tensor:
    """The same sum by `embedding_bag`, on any device: float32 [N, H] over the flattened samples."""
    samples = decoded.samples.reshape(-1)
    there = torch.arange(decoded.rows.shape[1], device=table.device) < decoded.counts[samples, None]
    rows = torch.where(there, decoded.rows[samples], 0)
    scales = torch.where(there, decoded.scales[samples], 0.0).to(table.dtype)
    return torch.nn.functional.embedding_bag(rows.long(), table, per_sample_weights=scales, mode="sum")


# ------------------------------------------------------------------------------------------------------- CPU


class _SumRows(torch.autograd.Function):
    """The sum with its gradient: a gather forward, a scatter-add backward."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, scales: Tensor, counts: Tensor, samples: Tensor) -> Tensor:
        ctx.save_for_backward(rows, scales, counts, samples)
        ctx.table_shape = table.shape
        out = torch.empty(samples.shape[0], table.shape[1])
        threads = _threads(samples.shape[0])
        launch = _sum_parallel if threads > 1 else _sum_serial
        launch(threads, table.detach().contiguous().numpy(), *_arrays(rows, scales, counts, samples), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None, None]:
        grad_out = grad_outputs[0].contiguous()
        rows, scales, counts, samples = ctx.saved_tensors
        grad = torch.zeros(ctx.table_shape)
        threads = _threads(samples.shape[0])
        arrays = _arrays(rows, scales, counts, samples)
        if threads > 1:
            parts = torch.zeros(threads - 1, *ctx.table_shape)
            _scatter_parallel(grad_out.numpy(), *arrays, grad.numpy(), parts.numpy())
        else:
            _scatter_serial(grad_out.numpy(), *arrays, grad.numpy())
        return grad, None, None, None, None


def _arrays(*tensors: Tensor) -> tuple[NDArray[Any], ...]:
    return tuple(tensor.contiguous().numpy() for tensor in tensors)


def _threads(num_samples: int) -> int:
    """How many threads a kernel over `num_samples` may use: what both torch and numba were given."""
    if num_samples < PARALLEL_FROM:
        return 1
    return min(torch.get_num_threads(), numba.get_num_threads())


def _kernel(*, parallel: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    # "contract" lets a product and a sum become one instruction; nothing is reordered, so results are reproducible.
    return numba.njit(cache=True, nogil=True, parallel=parallel, fastmath={"contract"}, error_model="numpy")


@_kernel(parallel=False)
def _decode_range(tokens, row_lut, scale_lut, place_lut, where_lut, samples, rows, scales, counts, start, stop):  # type: ignore[no-untyped-def]
    """Decode tokens [N, K, 3] from sample `start` up to `stop`; sample n is stored at samples[n]."""
    num_tokens = tokens.shape[1]
    for n in range(start, stop):
        at = samples[n]
        count = 0
        order = 0
        for k in range(num_tokens):
            place = tokens[n, k, 0]
            if place == EMPTY:
                break
            feature = tokens[n, k, 1]
            value = tokens[n, k, 2]
            row = row_lut[feature, value]
            where = where_lut[feature]
            if where == WHERE_PLACE:
                own_place = place_lut[place]
                if own_place < 0:
                    continue
                row = row + own_place if row >= 0 else row
            elif where == WHERE_ORDER:
                if order >= ORDER_LIMIT:
                    continue
                row = row + order if row >= 0 else row
                order += 1
            if row < 0:
                continue
            rows[at, count] = row
            scales[at, count] = scale_lut[feature, value]
            count += 1
        counts[at] = count


@_kernel(parallel=False)
def _sum_range(table, rows, scales, counts, samples, out, start, stop):  # type: ignore[no-untyped-def]
    """Sum rows for samples start..stop into out [N, H]; four tokens at a time spare three of four passes over out."""
    width = table.shape[1]
    for n in range(start, stop):
        at = samples[n]
        count = counts[at]
        for h in range(width):
            out[n, h] = np.float32(0.0)
        k = 0
        while k + 4 <= count:
            r0, r1, r2, r3 = rows[at, k], rows[at, k + 1], rows[at, k + 2], rows[at, k + 3]
            s0, s1, s2, s3 = scales[at, k], scales[at, k + 1], scales[at, k + 2], scales[at, k + 3]
            for h in range(width):
                out[n, h] += s0 * table[r0, h] + s1 * table[r1, h] + s2 * table[r2, h] + s3 * table[r3, h]
            k += 4
        while k < count:
            r0, s0 = rows[at, k], scales[at, k]
            for h in range(width):
                out[n, h] += s0 * table[r0, h]
            k += 1


@_kernel(parallel=False)
def _scatter_range(grad_out, rows, scales, counts, samples, grad, start, stop):  # type: ignore[no-untyped-def]
    """Add scale times grad_out [N, H] to the rows of grad [R, H], for samples start..stop in order."""
    width = grad.shape[1]
    for n in range(start, stop):
        at = samples[n]
        for k in range(counts[at]):
            row, scale = rows[at, k], scales[at, k]
            for h in range(width):
                grad[row, h] += scale * grad_out[n, h]


@_kernel(parallel=False)
def _decode_serial(threads, tokens, row_lut, scale_lut, place_lut, where_lut, samples, rows, scales, counts):  # type: ignore[no-untyped-def]
    _decode_range(tokens, row_lut, scale_lut, place_lut, where_lut, samples, rows, scales, counts, 0, tokens.shape[0])


@_kernel(parallel=True)
def _decode_parallel(threads, tokens, row_lut, scale_lut, place_lut, where_lut, samples, rows, scales, counts):  # type: ignore[no-untyped-def]
    size = (tokens.shape[0] + threads - 1) // threads
    for part in numba.prange(threads):
        start, stop = part * size, min((part + 1) * size, tokens.shape[0])
        _decode_range(tokens, row_lut, scale_lut, place_lut, where_lut, samples, rows, scales, counts, start, stop)


@_kernel(parallel=False)
def _sum_serial(threads, table, rows, scales, counts, samples, out):  # type: ignore[no-untyped-def]
    _sum_range(table, rows, scales, counts, samples, out, 0, samples.shape[0])


@_kernel(parallel=True)
def _sum_parallel(threads, table, rows, scales, counts, samples, out):  # type: ignore[no-untyped-def]
    size = (samples.shape[0] + threads - 1) // threads
    for part in numba.prange(threads):
        start, stop = part * size, min((part + 1) * size, samples.shape[0])
        _sum_range(table, rows, scales, counts, samples, out, start, stop)


@_kernel(parallel=False)
def _scatter_serial(grad_out, rows, scales, counts, samples, grad):  # type: ignore[no-untyped-def]
    _scatter_range(grad_out, rows, scales, counts, samples, grad, 0, samples.shape[0])


@_kernel(parallel=True)
def _scatter_parallel(grad_out, rows, scales, counts, samples, grad, parts):  # type: ignore[no-untyped-def]
    """Each part of the samples has a gradient of its own: grad for the first, parts [threads-1, R, H] for the rest.

    They are added in the order of the parts, so the result depends on the number of threads alone.
    """
    num_parts = parts.shape[0] + 1
    size = (samples.shape[0] + num_parts - 1) // num_parts
    for part in numba.prange(num_parts):
        start, stop = part * size, min((part + 1) * size, samples.shape[0])
        if part == 0:
            _scatter_range(grad_out, rows, scales, counts, samples, grad, start, stop)
        else:
            _scatter_range(grad_out, rows, scales, counts, samples, parts[part - 1], start, stop)
    num_rows, width = grad.shape
    for row in numba.prange(num_rows):
        for part in range(num_parts - 1):
            for h in range(width):
                grad[row, h] += parts[part, row, h]
