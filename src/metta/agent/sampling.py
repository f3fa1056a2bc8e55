"""Choosing actions from logits. N agents, A actions."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_actions(logits: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Choose actions by the inverse of the cumulative distribution.

    Args:
        logits: float32 [N, A].
        noise: float32 [N], uniform in [0, 1).

    Returns:
        actions int64 [N], never one of probability 0; and their log-probabilities, float32 [N].
    """
    log_probs = torch.log_softmax(logits, dim=-1)
    cumulative = torch.cumsum(log_probs.exp(), dim=-1)
    # Rounding: the sum of probabilities is only near 1, so the noise is stretched to it; the product may round up to
    # the sum itself, and then the first action that reaches it (the last of positive probability) is meant.
    total = cumulative[:, -1:]
    actions = torch.minimum((cumulative <= noise[:, None] * total).sum(-1), (cumulative < total).sum(-1))
    return actions, log_probs.gather(-1, actions[:, None]).squeeze(-1)


def log_prob_entropy(logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-probability of `actions` int64 [...] and the entropy in nats, both [...], of logits [..., A]."""
    log_probs = torch.log_softmax(logits, dim=-1)
    chosen = log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    return chosen, -(log_probs.exp() * log_probs).sum(-1)


def greedy(logits: Tensor) -> Tensor:
    """Return the likeliest actions, int64 [...]; the first among equals."""
    return logits.argmax(dim=-1)
