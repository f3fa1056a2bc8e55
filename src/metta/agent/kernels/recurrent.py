"""One LSTM layer on a CPU, forward and backward through time, in chunks of rows that stay in the cache.

B segments, T ticks, I inputs, H hidden (both multiples of 16); gates stand in the order input, forget, cell, output,
as torch's. A chunk is C = 48 rows: its gates at one tick take 96 KiB. What is kept for the gradient lies tick by tick:
K chunks, T, C, .... `reset` is handled here: where it is true, nothing is remembered from before the tick, and no
gradient flows back past it.
"""

# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call, call-arg, import-untyped"

from __future__ import annotations

import numpy as np

from metta.agent.kernels.functions import sigmoid, tanh
from metta.agent.kernels.jit import inlined, kernel
from metta.agent.kernels.products import add_product

C = 48


@inlined
def _copy(source, target):
    for j in range(target.shape[0]):
        target[j] = source[j]


@inlined
def _clear(target):
    for j in range(target.shape[0]):
        target[j] = np.float32(0.0)


@kernel
def lstm_forward(
    x, reset, h0, c0, columns, hidden, last_h, last_c, kept_gates, kept_h, kept_c, room, start, stop
):  # fmt: skip
    """Run the layer over rows start..stop.

    x float32 [B, T, I], reset bool [B, T], h0 and c0 [B, H] before the first tick; `columns` [I + H + 1, 4 H] are the
    weights of inputs, of what is remembered, and the bias. Written: `hidden` [B, T, H], `last_h` and `last_c` [B, H],
    and for the gradient the gates after their functions [K, T, C, 4 H], h and c after each tick [K, T, C, H]; with no
    room for chunks these are not kept.
    """
    ticks, inputs, width = x.shape[1], x.shape[2], h0.shape[1]
    from_input, from_hidden = columns[:inputs], columns[inputs : inputs + width]
    bias = columns[inputs + width]
    keep = kept_gates.shape[0] > 0
    chunk_x, chunk_h, chunk_c, chunk_gates = room
    for first in range(start, stop, C):
        rows, k = min(C, stop - first), first // C
        h, c = chunk_h[:rows], chunk_c[:rows]
        for r in range(rows):
            _copy(h0[first + r], h[r])
            _copy(c0[first + r], c[r])
        for t in range(ticks):
            gates = kept_gates[k, t][:rows] if keep else chunk_gates[:rows]
            for r in range(rows):
                _copy(x[first + r, t], chunk_x[r])
                _copy(bias, gates[r])
                if reset[first + r, t]:
                    _clear(h[r])
                    _clear(c[r])
            add_product(chunk_x[:rows], from_input, gates)
            add_product(h, from_hidden, gates)
            for r in range(rows):
                gate, now_h, now_c = gates[r], h[r], c[r]
                # loops begin at 0: numba allows for indices from the end elsewhere, and then there are no vectors
                for j in range(2 * width):
                    gate[j] = sigmoid(gate[j])
                for j in range(width):
                    gate[2 * width + j] = tanh(gate[2 * width + j])
                for j in range(width):
                    gate[3 * width + j] = sigmoid(gate[3 * width + j])
                for j in range(width):
                    now_c[j] = gate[width + j] * now_c[j] + gate[j] * gate[2 * width + j]
                for j in range(width):
                    now_h[j] = gate[3 * width + j] * tanh(now_c[j])
                _copy(now_h, hidden[first + r, t])
                if keep:
                    _copy(now_h, kept_h[k, t, r])
                    _copy(now_c, kept_c[k, t, r])
        for r in range(rows):
            _copy(h[r], last_h[first + r])
            _copy(c[r], last_c[first + r])


@kernel
def lstm_backward(
    given, given_h, given_c, x, reset, h0, c0, weight_x, weight_h, kept_gates, kept_h, kept_c,
    grad_x, grad_h0, grad_c0, grad_weight_x, grad_weight_h, grad_bias, room, start, stop,
):  # fmt: skip
    """Turn the gradients of `hidden` and of the last state into those of everything that went in, rows start..stop.

    given [B, T, H], given_h and given_c [B, H]; weight_x [4 H, I], weight_h [4 H, H]; what was kept as `lstm_forward`
    wrote it. Written: grad_x [B, T, I], grad_h0 and grad_c0 [B, H]; added to: those of the weights and grad_bias [4 H].
    """
    ticks, width = x.shape[1], h0.shape[1]
    chunk_x, chunk_dx, chunk_h, chunk_c, chunk_dh, chunk_dc, chunk_dg, tanh_c = room
    one = np.float32(1.0)
    for first in range(start, stop, C):
        rows, k = min(C, stop - first), first // C
        dx, dh, dc, dg = chunk_dx[:rows], chunk_dh[:rows], chunk_dc[:rows], chunk_dg[:rows]
        for r in range(rows):
            _copy(given_h[first + r], dh[r])
            _copy(given_c[first + r], dc[r])
        for t in range(ticks - 1, -1, -1):
            for r in range(rows):
                n = first + r
                _copy(x[n, t], chunk_x[r])
                if reset[n, t]:
                    _clear(chunk_h[r])
                    _clear(chunk_c[r])
                else:
                    _copy(kept_h[k, t - 1, r] if t > 0 else h0[n], chunk_h[r])
                    _copy(kept_c[k, t - 1, r] if t > 0 else c0[n], chunk_c[r])
                # With i, f, g, o after their functions: c' = f c + i g and h' = o tanh(c'); sigmoid' = s (1 - s),
                # tanh' = 1 - tanh^2 (Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000). Several
                # short loops: with more than a few arrays in one, the compiler gives up vectors.
                gate, after_c, from_above = kept_gates[k, t, r], kept_c[k, t, r], given[n, t]
                d, to_h, to_c, c = dg[r], dh[r], dc[r], chunk_c[r]
                for j in range(width):
                    tanh_c[0, j] = tanh(after_c[j])
                for j in range(width):
                    to_h[j] += from_above[j]
                for j in range(width):
                    to_c[j] += to_h[j] * gate[3 * width + j] * (one - tanh_c[0, j] * tanh_c[0, j])
                for j in range(width):
                    d[3 * width + j] = to_h[j] * tanh_c[0, j] * gate[3 * width + j] * (one - gate[3 * width + j])
                for j in range(width):
                    d[2 * width + j] = to_c[j] * gate[j] * (one - gate[2 * width + j] * gate[2 * width + j])
                for j in range(width):
                    d[width + j] = to_c[j] * c[j] * gate[width + j] * (one - gate[width + j])
                for j in range(width):
                    d[j] = to_c[j] * gate[2 * width + j] * gate[j] * (one - gate[j])
                for j in range(width):
                    to_c[j] *= gate[width + j]
                for j in range(4 * width):
                    grad_bias[j] += d[j]
                _clear(to_h)
                _clear(dx[r])
            add_product(dg, weight_h, dh)
            add_product(dg, weight_x, dx)
            add_product(dg.T, chunk_x[:rows], grad_weight_x)
            add_product(dg.T, chunk_h[:rows], grad_weight_h)
            for r in range(rows):
                _copy(dx[r], grad_x[first + r, t])
                if reset[first + r, t]:
                    _clear(dh[r])
                    _clear(dc[r])
        for r in range(rows):
            _copy(dh[r], grad_h0[first + r])
            _copy(dc[r], grad_c0[first + r])
