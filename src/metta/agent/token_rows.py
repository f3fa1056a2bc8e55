"""Sums of learned rows over the tokens that are there: numba kernels on CPU, `embedding_bag` elsewhere.

A token (place, feature, value) is first decoded into a row of the table and an amount; then rows are summed. Decoding
and summing are apart because training sums the tokens of one rollout several times: decode once, sum often.

N samples, K tokens a sample, H width of the table, R its rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metta.agent import token_kernels as kernels
from metta.agent.cpu import Floats, array, arrays, has_kernels, in_ranges, num_parts
from metta.agent.gradients import apply


@dataclass(frozen=True)
class TokenLuts:
    """How the tokens of one environment address the rows of one policy's table. All three on one device."""

    code: Tensor  # int32 [256, 256] by (feature, value): code (see `DecodedTokens`) of the first row, or DROP
    place: Tensor  # int32 [2, 256] by (WHERE_GLOBAL or _PLACE, place byte): what to add to the code, or DROP
    where: Tensor  # uint8 [256] by feature: WHERE_*

    def to(self, device: torch.device | str) -> TokenLuts:
        """Return the same tables on `device`."""
        return TokenLuts(*(table.to(device) for table in self))

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.code, self.place, self.where))

    @cached_property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The three as arrays, on a CPU; made once: at every tick that would cost as much as decoding many samples."""
        return arrays(*self)


@dataclass
class DecodedTokens:
    """Tokens as rows and amounts, for S stored samples; `samples` picks, orders and shapes those that are meant.

    Both are in one number: `code` = row << AMOUNT_BITS | which of AMOUNTS. A rollout of them is read three times, and
    half the bytes are half the time. Slicing and indexing copy no tokens: they only choose samples. `reshape` and
    `transpose` change the leading shape, so that a decoded rollout can stand wherever an observation tensor
    [B, T, K, 3] stands.
    """

    codes: Tensor  # int32 [S, 1 + K], first the row of everyone; from counts[s] on, what stands there means nothing
    counts: Tensor  # int32 [S]
    samples: Tensor  # int64 [...]: numbers of stored samples
    _stored: tuple[NDArray[Any], ...] | None = field(default=None, repr=False)  # the first two as arrays
    _chosen: NDArray[np.int64] | None = field(default=None, repr=False)  # the third as one, once asked for

    @classmethod
    def empty(cls, num_samples: int, num_tokens: int, device: torch.device | str = "cpu") -> DecodedTokens:
        """Return room for `num_samples` samples of at most `num_tokens` tokens; nothing is in it yet."""
        return cls(
            codes=torch.empty(num_samples, 1 + num_tokens, dtype=torch.int32, device=device),
            counts=torch.zeros(num_samples, dtype=torch.int32, device=device),
            samples=torch.arange(num_samples, device=device),
        )

    @property
    def rows(self) -> Tensor:
        """Rows of the table, int32 [S, 1 + K]."""
        return self.codes >> kernels.AMOUNT_BITS

    @property
    def amounts(self) -> Tensor:
        """What the rows are multiplied by, float32 [S, 1 + K]."""
        return _amounts(self.codes.device)[(self.codes & (2**kernels.AMOUNT_BITS - 1)).long()]

    @property
    def shape(self) -> torch.Size:
        """The leading shape: that of `samples`."""
        return self.samples.shape

    def __getitem__(self, index: Any) -> DecodedTokens:
        """Return the chosen samples; `index` is anything that indexes a tensor of the leading shape."""
        if isinstance(index, Tensor) and index.dtype == torch.int64 and index.ndim == self.samples.ndim == 1:
            return self._with(self.samples.index_select(0, index))  # a third of the time of what follows
        return self._with(self.samples[index])

    def reshape(self, *shape: int) -> DecodedTokens:
        """Return the same samples with another leading shape."""
        return self._with(self.samples.reshape(*shape))

    def transpose(self, first: int, second: int) -> DecodedTokens:
        """Return the same samples with two leading axes exchanged."""
        return self._with(self.samples.transpose(first, second))

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Codes, counts and the flattened samples as arrays, on a CPU."""
        if self._stored is None:
            self._stored = arrays(self.codes, self.counts)
        if self._chosen is None:
            self._chosen = array(self.samples).reshape(-1)
        return (*self._stored, self._chosen)

    def _with(self, samples: Tensor) -> DecodedTokens:
        return DecodedTokens(self.codes, self.counts, samples, self._stored)


def decode_tokens(tokens: Tensor, luts: TokenLuts, *, out: DecodedTokens | None = None) -> DecodedTokens:
    """Decode `tokens`, uint8 [..., K, 3]; the result has the leading shape [...].

    With `out` (its stored samples `out.samples`, as many as there are in `tokens`, are overwritten) nothing is
    allocated. A sample ends at its first token whose place byte is 255; tokens that mean nothing to the policy, and
    amounts of 0, are left out. Every sample begins with the row of everyone, at amount 1.
    """
    leading, num_tokens = tokens.shape[:-2], tokens.shape[-2]
    flat = tokens if tokens.ndim == 3 else tokens.reshape(-1, num_tokens, 3)
    if out is None:
        out = DecodedTokens.empty(flat.shape[0], num_tokens, tokens.device).reshape(*leading)
    if has_kernels(tokens):
        given = array(flat), *luts.arrays, *out.arrays
        in_ranges(flat.shape[0], lambda part, start, stop: kernels.decode_range(*given, start, stop))
    else:
        _decode_torch(flat, luts, out)
    return out


def sum_decoded_rows(table: Tensor, decoded: DecodedTokens, *, relu: bool = False) -> Tensor:
    """Return float32 [..., H]: for each sample the sum of amount times row of `table` [R, H] over its tokens.

    Negative sums become 0 with `relu`. The gradient of `table` is dense; on CPU it is the same to the bit in every run
    with the same number of threads.
    """
    shape = *decoded.shape, table.shape[1]
    if not has_kernels(table):
        summed = sum_decoded_rows_torch(table, decoded).reshape(shape)
        return torch.relu(summed) if relu else summed
    if not torch.is_grad_enabled():
        return torch.from_numpy(_sum(array(table), decoded.arrays, relu).reshape(shape))
    added: Tensor = apply(_SumRows, table, decoded, relu)
    return added


def sum_rows(table: Tensor, tokens: Tensor, luts: TokenLuts) -> Tensor:
    """Return float32 [..., H] for `tokens`, uint8 [..., K, 3]: decode, then sum."""
    return sum_decoded_rows(table, decode_tokens(tokens, luts))


class _SumRows(torch.autograd.Function):
    """The sum on CPU with its gradient: a gather forward, a scatter-add backward."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, decoded: DecodedTokens, relu: bool) -> Tensor:
        ctx.decoded, ctx.table_shape, ctx.relu = decoded.arrays, table.shape, relu
        ctx.out = _sum(array(table), ctx.decoded, relu)
        return torch.from_numpy(ctx.out.reshape(*decoded.shape, table.shape[1]))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        given = array(grad_outputs[0]).reshape(ctx.out.shape), ctx.out, ctx.relu, *ctx.decoded, kernels.AMOUNTS
        num_samples = len(ctx.out)
        # Every thread adds to a gradient of its own; they are summed in order, so only the number of threads matters.
        parts = np.zeros((num_parts(num_samples), *ctx.table_shape), np.float32)
        in_ranges(num_samples, lambda part, start, stop: kernels.scatter_range(*given, parts[part], start, stop))
        grad = parts[0]
        for other in parts[1:]:
            grad += other
        return torch.from_numpy(grad), None, None


def _sum(table: Floats, decoded: tuple[NDArray[Any], ...], relu: bool) -> Floats:
    """Return the sums [N, H] of the samples in `decoded` (see `DecodedTokens.arrays`)."""
    out = np.empty((len(decoded[-1]), table.shape[1]), np.float32)
    given = table, *decoded, kernels.AMOUNTS, relu, out
    in_ranges(len(out), lambda part, start, stop: kernels.sum_range(*given, start, stop))
    return out


def _decode_torch(tokens: Tensor, luts: TokenLuts, out: DecodedTokens) -> None:
    """The same decoding in torch operations; dropped tokens stay in place with amount 0, so counts is 1 + K."""
    place, feature, value = tokens.long().unbind(-1)
    there = torch.cumsum(place == kernels.EMPTY, dim=1) == 0
    where = luts.where.long()[feature]
    ordered = where == kernels.WHERE_ORDER
    order = torch.cumsum(ordered & there, dim=1) - 1
    offset = torch.where(ordered, order << kernels.AMOUNT_BITS, luts.place.long()[where.clamp(max=1), place])
    code = luts.code.long()[feature, value] + offset
    valid = there & (code >= 0) & ~(ordered & (order >= kernels.ORDER_LIMIT))
    samples = out.samples.reshape(-1)
    everyone = torch.full_like(code[:, :1], (kernels.ALWAYS << kernels.AMOUNT_BITS) + 1)
    out.codes[samples] = torch.cat([everyone, torch.where(valid, code, 0)], dim=1).int()
    out.counts[samples] = 1 + tokens.shape[1]


def sum_decoded_rows_torch(table: Tensor, decoded: DecodedTokens) -> Tensor:
    """The same sum by `embedding_bag`, on any device: [N, H] over the flattened samples."""
    samples = decoded.samples.reshape(-1)
    chosen = DecodedTokens(decoded.codes[samples], decoded.counts[samples], samples)
    there = torch.arange(chosen.codes.shape[1], device=table.device) < chosen.counts[:, None]
    rows = torch.where(there, chosen.rows, 0)
    amounts = torch.where(there, chosen.amounts, 0.0).to(table.dtype)
    return torch.nn.functional.embedding_bag(rows.long(), table, per_sample_weights=amounts, mode="sum")


@cache
def _amounts(device: torch.device) -> Tensor:
    return torch.from_numpy(kernels.AMOUNTS).to(device)
