"""The kernel of PPO's terms against the same in torch operations."""

from __future__ import annotations

import pytest
import torch

from metta.agent.policy_agent import SequenceOutput
from metta.agent.sampling import log_prob_entropy
from metta.rl.experience import Minibatch
from metta.rl.loss.ppo_terms import Coefficients, PPOTerms, ppo_terms

B, L, A = 20, 9, 7


def inputs(dtype: torch.dtype, own: str) -> tuple[Minibatch, SequenceOutput]:
    """Segments whose policy moved so far that ratios and values are clipped on both sides; some advantages are 0."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float32).to(dtype)

    logits, actions = normal(B, L, A), torch.randint(A, (B, L), generator=generator)
    acted = torch.log_softmax(logits + 0.3 * normal(B, L, A), -1).gather(-1, actions[..., None])[..., 0]
    advantages = normal(B, L)
    advantages[:2] = 0
    values = normal(B, L)
    masks = {"all": None, "some": torch.rand(B, L, generator=generator) < 0.6, "none": torch.zeros(B, L).bool()}
    minibatch = Minibatch(
        segments=torch.arange(B),
        observations=torch.zeros(B, L, 1),
        resets=torch.zeros(B, L, dtype=torch.bool),
        state={},
        actions=actions,
        log_probs=acted,
        values=values,
        advantages=advantages,
        returns=normal(B, L),
        extra={},
        is_own=masks[own],
    )
    now = (values + 0.4 * normal(B, L)).requires_grad_()
    now.data[3] = values[3]  # not moved: clipped and unclipped errors are equal
    return minibatch, SequenceOutput(logits.requires_grad_(), now, torch.zeros(B, L, 1))


def terms_and_gradients(
    dtype: torch.dtype, own: str, coefficients: Coefficients
) -> tuple[PPOTerms, list[torch.Tensor]]:
    minibatch, output = inputs(dtype, own)
    terms = ppo_terms(output, minibatch, coefficients)
    return terms, list(torch.autograd.grad(3.0 * terms.loss, [output.logits, output.values]))


@pytest.mark.parametrize("own", ["all", "some", "none"])
@pytest.mark.parametrize(
    "coefficients",
    [
        Coefficients(0.2, None, 0.5, 0.01),
        Coefficients(0.05, 0.3, 2.0, 0.7),
        Coefficients(0.2, 0.1, torch.tensor(0.3), 0.0),
    ],
)
def test_terms_and_gradients_are_those_of_torch_in_float64(coefficients: Coefficients, own: str) -> None:
    found, gradients = terms_and_gradients(torch.float32, own, coefficients)
    expected, expected_gradients = terms_and_gradients(torch.float64, own, coefficients)  # which no kernel takes
    assert own == "none" or 0 < float(expected.clipfrac) < 1
    for name, ours, theirs in zip(PPOTerms._fields, found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs.double(), atol=2e-6, rtol=2e-6, msg=name)
        assert ours.requires_grad == theirs.requires_grad == (name == "loss")
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours.double(), theirs, atol=1e-6, rtol=1e-5)
        assert ours.any() == (own != "none")


def test_a_policy_that_has_not_moved_has_ratios_of_exactly_one() -> None:
    minibatch, output = inputs(torch.float32, "all")
    minibatch.log_probs = log_prob_entropy(output.logits, minibatch.actions)[0].detach()
    terms = ppo_terms(output, minibatch, Coefficients(0.2, None, 0.5, 0.01))
    assert (terms.ratios == 1).all() and terms.clipfrac == 0 and terms.approx_kl == 0
