"""Adam's step and the clipping of gradients by kernels against torch's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from metta.rl.adam import KernelAdam, clip_gradients

SHAPES = ((70, 64), (3, 5), (16,), (1, 1))
RESTING = 30  # rows of the first that never have a gradient


def parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]


def give_gradients(several: list[nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for i, parameter in enumerate(several):
        gradient = torch.randn(parameter.shape, generator=generator) * 10.0 ** (step % 3 - 1)
        if i == 0:
            gradient[:RESTING] = 0
            gradient[torch.rand(len(gradient), generator=generator) < 0.3] = 0
        parameter.grad = gradient.to(parameter.dtype)


def ours(several: list[nn.Parameter], *, decay: float = 0.0, decoupled: bool = False) -> KernelAdam:
    return KernelAdam(several, lr=2e-3, weight_decay=decay, decoupled_weight_decay=decoupled, fused=True)


@pytest.mark.parametrize(("decay", "decoupled"), [(0.0, False), (0.1, False), (0.1, True)])
def test_many_steps_end_where_those_of_torch_do(decay: float, decoupled: bool) -> None:
    mine, theirs = parameters(), parameters()
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    pair = ours(mine, decay=decay, decoupled=decoupled), kind(theirs, lr=2e-3, weight_decay=decay, fused=True)
    for step in range(40):
        for several, optimizer in zip((mine, theirs), pair, strict=True):
            give_gradients(several, step)
            for group in optimizer.param_groups:  # as schedules do
                group["lr"] = 2e-3 * (1 - step / 50)
            optimizer.step()
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
        for name in ("step", "exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(pair[0].state[one][name], pair[1].state[other][name], atol=1e-7, rtol=1e-5)


def test_rows_without_a_gradient_stay_and_rows_that_had_one_go_on_moving() -> None:
    several = parameters()
    before = several[0].detach().clone()
    optimizer = ours(several)
    give_gradients(several, 1)
    optimizer.step()
    after_one = several[0].detach().clone()
    several[0].grad = torch.zeros_like(several[0])
    optimizer.step()
    assert torch.equal(several[0][:RESTING], before[:RESTING])
    moved = (after_one != before).any(dim=1)
    assert moved.sum() > 10 and (several[0] != after_one).any(dim=1)[moved].all()


def test_its_state_goes_to_the_optimizer_of_torch_and_comes_back() -> None:
    several = parameters()
    optimizer: torch.optim.Optimizer = ours(several)
    for step in range(4):
        give_gradients(several, step)
        optimizer.step()
        kind = torch.optim.Adam if step % 2 else KernelAdam
        following = kind(several, lr=1.0, fused=True)
        following.load_state_dict(optimizer.state_dict())
        optimizer = following
    reference = parameters()
    theirs = torch.optim.Adam(reference, lr=2e-3, fused=True)
    for step in range(4):
        give_gradients(reference, step)
        theirs.step()
    for one, other in zip(several, reference, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


def test_a_copy_steps_its_own_parameters() -> None:
    several = parameters()
    give_gradients(several, 0)
    optimizer = ours(several)
    optimizer.step()
    twin = copy.deepcopy(optimizer)
    before = [parameter.detach().clone() for parameter in several]
    for parameter, own in zip(twin.param_groups[0]["params"], several, strict=True):
        assert own.grad is not None
        parameter.grad = own.grad.clone()
    twin.step()
    assert all(torch.equal(one, other) for one, other in zip(several, before, strict=True))
    optimizer.step()
    for one, other in zip(several, twin.param_groups[0]["params"], strict=True):
        assert torch.equal(one, other)


def test_parameters_that_no_kernel_fits_are_stepped_by_torch() -> None:
    mine, theirs = parameters(torch.float64), parameters(torch.float64)
    optimizer, reference = ours(mine), torch.optim.Adam(theirs, lr=2e-3, fused=True)
    for several in (mine, theirs):
        give_gradients(several, 0)
    optimizer.step()
    reference.step()
    assert all(torch.equal(one, other) for one, other in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_gradients_are_clipped_as_torch_clips_them(max_norm: float) -> None:
    mine, theirs = parameters(), parameters()
    for several in (mine, theirs):
        give_gradients(several, 2)
    several[1].grad = mine[1].grad = None
    norm = clip_gradients(mine, max_norm)
    torch.testing.assert_close(norm, torch.nn.utils.clip_grad_norm_(theirs, max_norm), rtol=1e-5, atol=0)
    for one, other in zip(mine, theirs, strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None and other.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-9)


def test_a_gradient_that_is_no_number_shows_in_the_norm_and_in_every_gradient() -> None:
    several = parameters()
    give_gradients(several, 0)
    assert several[2].grad is not None
    several[2].grad[0] = float("nan")
    assert clip_gradients(several, 0.5).isnan()
    assert all(parameter.grad is not None and parameter.grad.isnan().all() for parameter in several)
