"""The terms of PPO's loss on a minibatch: one pass of a kernel on a CPU, operations of torch elsewhere.

B segments, L steps, N = B * L.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metta.agent.cpu import array, arrays, has_kernels
from metta.agent.gradients import apply
from metta.agent.sampling import log_prob_entropy
from metta.rl.loss import ppo_kernels as kernels

if TYPE_CHECKING:
    from metta.agent import SequenceOutput
    from metta.rl.experience import Minibatch


class PPOTerms(NamedTuple):
    """The loss, [] with a gradient; and means over the policy's own steps, 0 where there are none, without one."""

    loss: Tensor  # policy_loss + value_coef * value_loss - entropy_coef * entropy
    policy_loss: Tensor
    value_loss: Tensor
    entropy: Tensor
    approx_kl: Tensor
    clipfrac: Tensor
    importance: Tensor
    ratios: Tensor  # [B, L], 1 at steps that are not the policy's own


class Coefficients(NamedTuple):
    """What `PPOConfig` says about the terms; the value's also depends on the scale of values."""

    clip: float
    value_clip: float | None
    value: float | Tensor
    entropy: float


def ppo_terms(output: SequenceOutput, minibatch: Minibatch, coefficients: Coefficients) -> PPOTerms:
    """Compare what the policy says now with what it did, step by step."""
    log_prob, entropy = log_prob_entropy(output.logits, minibatch.actions)
    if not has_kernels(log_prob):
        return ppo_terms_torch(log_prob, entropy, output.values, minibatch, coefficients)
    loss, means, ratios = apply(_Terms, log_prob, entropy, output.values, minibatch, coefficients)
    return PPOTerms._make((loss, *means.unbind(), ratios))


class _Terms(torch.autograd.Function):
    """The loss, the means [TERMS] and the ratios; slopes are known in the forward pass already."""

    @staticmethod
    def forward(
        ctx: Any,
        log_prob: Tensor,
        entropy: Tensor,
        values: Tensor,
        minibatch: Minibatch,
        coefficients: Coefficients,
    ) -> tuple[Tensor, Tensor, Tensor]:
        clip, value_clip, value_coef, entropy_coef = coefficients
        acted = minibatch.log_probs, minibatch.values, minibatch.advantages, minibatch.returns
        steps = (each.reshape(-1) for each in arrays(log_prob, entropy, values, *acted))
        own = np.ones(0, np.bool_) if minibatch.is_own is None else array(minibatch.is_own).reshape(-1)
        ratios, to_log_prob, to_values = np.empty((3, log_prob.numel()), np.float32)
        clips = clip, -1.0 if value_clip is None else value_clip
        sums = np.zeros(kernels.TERMS)
        count = max(1, kernels.ppo_terms(*steps, own, *clips, ratios, to_log_prob, to_values, sums))
        means = sums / count
        weights = 1.0, -float(entropy_coef), float(value_coef)
        ctx.slopes, ctx.own, ctx.shape = (to_log_prob, to_values), own, values.shape
        ctx.weights = [weight / count for weight in weights]
        loss = torch.tensor(means[0] + weights[1] * means[2] + weights[2] * means[1], dtype=torch.float32)
        known = torch.from_numpy(means.astype(np.float32)), torch.from_numpy(ratios).view(values.shape)
        ctx.mark_non_differentiable(*known)
        return loss, *known

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        policy, entropy, value = (np.float32(float(grad_outputs[0]) * weight) for weight in ctx.weights)
        to_log_prob, to_values = ctx.slopes
        of_entropy = entropy * ctx.own.astype(np.float32) if len(ctx.own) else np.full(len(to_values), entropy)
        grads = to_log_prob * policy, of_entropy, to_values * value
        return *(torch.from_numpy(grad.reshape(ctx.shape)) for grad in grads), None, None


def ppo_terms_torch(
    log_prob: Tensor, entropy: Tensor, values: Tensor, minibatch: Minibatch, coefficients: Coefficients
) -> PPOTerms:
    """The same in torch operations, on any device and in any precision."""
    clip, value_clip, value_coef, entropy_coef = coefficients
    own, advantages = minibatch.is_own, minibatch.advantages
    log_ratio = log_prob - minibatch.log_probs
    if own is not None:
        log_ratio = log_ratio.masked_fill(~own, 0.0)  # it may be large where the policy did not choose
    ratio = log_ratio.exp()
    # Schulman et al. 2017, "Proximal Policy Optimization Algorithms", eq. 7
    unclipped = advantages * ratio
    clipped = advantages * ratio.clamp(1.0 - clip, 1.0 + clip)
    value_error = (values - minibatch.returns).square()
    if value_clip is not None:
        change = values - minibatch.values
        near = minibatch.values + change.clamp(-value_clip, value_clip)
        value_error = torch.max(value_error, (near - minibatch.returns).square())
    policy_loss = -_mean(torch.min(unclipped, clipped), own)
    value_loss = 0.5 * _mean(value_error, own)
    mean_entropy = _mean(entropy, own)
    moved = ratio.detach()
    return PPOTerms(
        loss=policy_loss + value_coef * value_loss - entropy_coef * mean_entropy,
        policy_loss=policy_loss.detach(),
        value_loss=value_loss.detach(),
        entropy=mean_entropy.detach(),
        # http://joschu.net/blog/kl-approx.html, the estimator k3
        approx_kl=_mean(moved - 1.0 - log_ratio.detach(), own),
        clipfrac=_mean(((moved - 1.0).abs() > clip).float(), own),
        importance=_mean(moved, own),
        ratios=moved,
    )


def _mean(values: Tensor, own: Tensor | None) -> Tensor:
    """Return the mean of `values` [B, L] over the policy's own steps, bool [B, L]; 0 where there are none."""
    if own is None:
        return values.mean()
    return (values * own).sum() / own.sum().clamp(min=1)
