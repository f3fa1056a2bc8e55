"""Sampling by the inverse of the cumulative distribution, to its edges."""

from __future__ import annotations

import torch

from metta.agent.sampling import greedy, log_prob_entropy, sample_actions

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
