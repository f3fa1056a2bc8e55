"""Sampling by the inverse of the cumulative distribution, to its edges."""

from __future__ import annotations

import pytest
import torch

from metta.agent.sampling import (
    greedy,
    log_prob_entropy,
    log_prob_entropy_torch,
    sample_actions,
    sample_actions_torch,
)

ALMOST_ONE = 1 - 2**-24  # the largest float32 below 1


def test_frequencies_are_the_probabilities() -> None:
    logits = torch.tensor([0.5, -1.0, 2.0, 0.0]).expand(100_000, 4)
    noise = (torch.arange(100_000) + 0.5) / 100_000
    actions, log_probs = sample_actions(logits, noise)
    shares = torch.bincount(actions, minlength=4) / len(actions)
    torch.testing.assert_close(shares, torch.softmax(logits[0], 0), atol=2e-5, rtol=0)
    torch.testing.assert_close(log_probs, torch.log_softmax(logits, 1)[torch.arange(len(actions)), actions])


def test_an_action_of_probability_zero_is_never_chosen() -> None:
    edges = torch.tensor([0.0, 2**-24, 2**-10, 0.25, 0.5, 0.75, ALMOST_ONE])
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        logits = torch.randn(16, generator=generator) * 3
        impossible = torch.rand(16, generator=generator) < 0.6
        impossible[int(torch.randint(16, (), generator=generator))] = False
        logits[impossible] = -1e9
        actions, log_probs = sample_actions(logits.expand(len(edges), 16), edges)
        assert not impossible[actions].any()
        assert torch.isfinite(log_probs).all()


def test_the_largest_noise_stays_in_range_though_rounding_says_otherwise() -> None:
    logits = torch.randn(20_000, 21, generator=torch.Generator().manual_seed(1))
    logits[:, -3:] = -float("inf")
    actions, _ = sample_actions(logits, torch.full((20_000,), ALMOST_ONE))
    assert int(actions.max()) <= 17
    zeros, _ = sample_actions(logits, torch.zeros(20_000))
    assert not zeros.any()


def test_entropy_and_log_probabilities_are_those_of_torch() -> None:
    logits = torch.randn(5, 7, 9)
    actions = torch.randint(9, (5, 7))
    theirs = torch.distributions.Categorical(logits=logits)
    log_prob, entropy = log_prob_entropy(logits, actions)
    torch.testing.assert_close(log_prob, theirs.log_prob(actions))
    torch.testing.assert_close(entropy, theirs.entropy())


def test_impossible_actions_leave_the_entropy_finite() -> None:
    _, entropy = log_prob_entropy(torch.tensor([[0.0, 0.0, -1e9]]), torch.tensor([0]))
    torch.testing.assert_close(entropy, torch.tensor([2.0]).log())


def test_greedy_takes_the_likeliest() -> None:
    assert greedy(torch.tensor([[0.0, 3.0, 1.0], [2.0, 2.0, 0.0]])).tolist() == [1, 0]


def kernel_and_torch(
    rows: int, actions: int, *, spread: float = 3.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits float32 [rows, actions], noise [rows], actions [rows]."""
    generator = torch.Generator().manual_seed(rows)
    logits = torch.randn(rows, actions, generator=generator) * spread
    return logits, torch.rand(rows, generator=generator), torch.randint(actions, (rows,), generator=generator)


@pytest.mark.parametrize(("rows", "actions"), [(1, 1), (5, 2), (64, 16), (1000, 21)])
def test_the_kernel_chooses_and_weighs_as_torch_does(rows: int, actions: int) -> None:
    logits, noise, _ = kernel_and_torch(rows, actions)
    chosen, log_probs = sample_actions(logits, noise)
    expected, expected_log_probs = sample_actions_torch(logits, noise)
    assert torch.equal(chosen, expected)  # rounding could part them where noise meets a border; here it does not
    torch.testing.assert_close(log_probs, expected_log_probs, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("rows", "actions"), [(1, 1), (5, 2), (64, 16), (130, 21)])
def test_the_kernels_log_probabilities_entropies_and_gradients_are_those_of_torch(rows: int, actions: int) -> None:
    logits, _, chosen = kernel_and_torch(rows, actions)
    found = []
    for function in (log_prob_entropy, log_prob_entropy_torch):
        given = logits.clone().requires_grad_()
        outputs = function(given, chosen)
        directions = [torch.linspace(-1, 2, rows), torch.linspace(3, -1, rows)]
        found.append([*(output.detach() for output in outputs), *torch.autograd.grad(outputs, given, directions)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=3e-6, rtol=1e-6)


def test_a_row_is_chosen_and_weighed_alike_in_every_company_and_in_training() -> None:
    logits, noise, _ = kernel_and_torch(150, 16)
    chosen, log_probs = sample_actions(logits, noise)
    assert torch.equal(log_prob_entropy(logits, chosen)[0], log_probs)
    for rows in (slice(0, 1), slice(63, 65), slice(70, 149)):
        some = sample_actions(logits[rows], noise[rows])
        assert torch.equal(some[0], chosen[rows]) and torch.equal(some[1], log_probs[rows])


def test_logits_that_are_no_numbers_give_log_probabilities_that_are_none() -> None:
    logits = torch.full((3, 4), float("nan"))
    actions, log_probs = sample_actions(logits, torch.tensor([0.0, 0.5, ALMOST_ONE]))
    assert ((actions >= 0) & (actions < 4)).all() and log_probs.isnan().all()
    assert log_prob_entropy(logits, actions)[1].isnan().all()
