"""The LSTM layer by kernels equals torch's, in values and in gradients, with resets anywhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from metta.agent.kernels.recurrent import C
from metta.agent.recurrent import lstm, lstm_torch


def inputs(rows: int, ticks: int, *, seed: int = 0, resets: float = 0.2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x [B, T, 16], h and c [B, 32], reset [B, T]."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, ticks, 16, generator=generator)
    h, c = torch.randn(2, rows, 32, generator=generator)
    return x, h, c, torch.rand(rows, ticks, generator=generator) < resets


def layer() -> nn.LSTM:
    return nn.LSTM(16, 32, batch_first=True)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("resets", [0.0, 0.2, 1.1])
@pytest.mark.parametrize(("rows", "ticks"), [(1, 1), (7, 5), (C, 3), (2 * C + 5, 6)])
def test_values_and_gradients_are_those_of_torch(rows: int, ticks: int, resets: float, threads: int) -> None:
    torch.set_num_threads(threads)
    made = layer()
    found = []
    for run in (lstm, lstm_torch):
        x, h, c, reset = inputs(rows, ticks, resets=resets)
        given = [tensor.requires_grad_() for tensor in (x, h, c)] + list(made.parameters())
        outputs = run(made, x, h, c, reset)
        generator = torch.Generator().manual_seed(1)
        directions = [torch.randn(output.shape, generator=generator) for output in outputs]
        grads = torch.autograd.grad(list(outputs), given, directions, materialize_grads=True)
        found.append([*(output.detach() for output in outputs), *grads])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)


def test_a_sequence_is_its_ticks_one_after_the_other_to_the_bit_and_each_row_is_alone() -> None:
    made = layer()
    x, h, c, reset = inputs(C + 9, 8)
    with torch.no_grad():
        whole = lstm(made, x, h, c, reset)
        for rows in (slice(0, 1), slice(3, 20), slice(C - 2, C + 9)):
            part = lstm(made, x[rows], h[rows], c[rows], reset[rows])
            assert all(torch.equal(one, other[rows]) for one, other in zip(part, whole, strict=True))
        for t in range(8):
            hidden, h, c = lstm(made, x[:, t : t + 1], h, c, reset[:, t : t + 1])
            assert torch.equal(hidden[:, 0], whole.hidden[:, t])
        assert torch.equal(h, whole.h) and torch.equal(c, whole.c)
    training = lstm(made, *inputs(C + 9, 8))
    assert torch.equal(training.hidden.detach(), whole.hidden)


def test_only_the_gradient_of_the_last_state_may_be_asked_for() -> None:
    made = layer()
    x, h, c, reset = inputs(5, 3)
    expected = torch.autograd.grad(lstm_torch(made, x, h, c, reset).c.sum(), list(made.parameters()))
    found = torch.autograd.grad(lstm(made, x, h, c, reset).c.sum(), list(made.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_widths_that_no_kernel_fits_take_the_way_of_torch() -> None:
    made = nn.LSTM(10, 12, batch_first=True)
    x, h, c = torch.randn(4, 3, 10), torch.randn(4, 12), torch.randn(4, 12)
    reset = torch.rand(4, 3) < 0.3
    ours, theirs = lstm(made, x, h, c, reset), lstm_torch(made, x, h, c, reset)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
