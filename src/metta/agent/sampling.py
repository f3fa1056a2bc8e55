"""Choosing actions from logits. N agents, A actions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from metta.agent.cpu import Floats, array, has_kernels
from metta.agent.gradients import apply
from metta.agent.kernels import choices as kernels


def sample_actions(logits: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Choose actions by the inverse of the cumulative distribution.

    Args:
        logits: float32 [N, A].
        noise: float32 [N], uniform in [0, 1).

    Returns:
        actions int64 [N], never one of probability 0; and their log-probabilities, float32 [N], without a gradient.
    """
    if not has_kernels(logits):
        return sample_actions_torch(logits, noise)
    actions, log_probs = np.empty(logits.shape[0], np.int64), np.empty(logits.shape[0], np.float32)
    kernels.sample(array(logits), array(noise), actions, log_probs, _room(logits))
    return torch.from_numpy(actions), torch.from_numpy(log_probs)


def log_prob_entropy(logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-probability of `actions` int64 [...] and the entropy in nats, both [...], of logits [..., A]."""
    if not has_kernels(logits):
        return log_prob_entropy_torch(logits, actions)
    log_probs, entropies = apply(_LogProbEntropy, logits, actions)
    return log_probs, entropies


def greedy(logits: Tensor) -> Tensor:
    """Return the likeliest actions, int64 [...]; the first among equals."""
    return logits.argmax(dim=-1)


class _LogProbEntropy(torch.autograd.Function):
    """One pass over the rows forward and one backward, where torch's operations take a dozen."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        rows, chosen = array(logits).reshape(-1, logits.shape[-1]), array(actions).reshape(-1)
        log_softmax = np.empty((-(-len(rows) // kernels.R), rows.shape[1], kernels.R), np.float32)
        log_probs, entropies = np.empty((2, len(rows)), np.float32)
        kernels.log_prob_entropy(rows, chosen, log_probs, entropies, log_softmax, _room(rows))
        ctx.kept, ctx.shape = (log_softmax, chosen, entropies), logits.shape
        return torch.from_numpy(log_probs).view(actions.shape), torch.from_numpy(entropies).view(actions.shape)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        grad_logits = np.empty((len(ctx.kept[1]), ctx.shape[-1]), np.float32)
        given = (array(grad).reshape(-1) for grad in grad_outputs)
        kernels.log_prob_entropy_backward(*ctx.kept, *given, grad_logits, _room(grad_logits))
        return torch.from_numpy(grad_logits).view(ctx.shape), None


def _room(logits: Tensor | Floats) -> Floats:
    return np.empty((2 * logits.shape[1] + kernels.ROOM, kernels.R), np.float32)


def sample_actions_torch(logits: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The same as `sample_actions` in torch operations, on any device."""
    log_probs = torch.log_softmax(logits, dim=-1)
    cumulative = torch.cumsum(log_probs.exp(), dim=-1)
    # Rounding: the sum of probabilities is only near 1, so the noise is stretched to it; the product may round up to
    # the sum itself, and then the first action that reaches it (the last of positive probability) is meant.
    total = cumulative[:, -1:]
    actions = torch.minimum((cumulative <= noise[:, None] * total).sum(-1), (cumulative < total).sum(-1))
    return actions, log_probs.gather(-1, actions[:, None]).squeeze(-1)


def log_prob_entropy_torch(logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """The same as `log_prob_entropy` in torch operations, on any device."""
    log_probs = torch.log_softmax(logits, dim=-1)
    chosen = log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    return chosen, -(log_probs.exp() * log_probs).sum(-1)
