"""Actions from logits: sampling, log-probabilities, entropies and their gradients.

N rows, A actions, in blocks of R = 64 rows: inner loops run over a block's rows, action by action, since a row of a
dozen actions is too short for vector instructions (twice as long). A row's sums go through its actions in order, so
its bits do not depend on the rows beside it, and sampling and training compute a log-probability in the same way.
`room` is float32 [2 A + ROOM, R].
"""

# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call, call-arg, import-untyped"

from __future__ import annotations

import math

import numpy as np

from metta.agent.kernels.functions import exp
from metta.agent.kernels.jit import inlined, kernel

R = 64
ROOM = 5  # rows of `room` beside two for each action


@inlined
def _weigh(logits, first, rows, scores, weights, highest):
    """Take the block of `rows` rows from `first` on: scores [A, R], the highest [R], weights e^(score - highest)."""
    num_actions = logits.shape[1]
    for r in range(rows):
        for a in range(num_actions):
            scores[a, r] = logits[first + r, a]
    for a in range(num_actions):
        for r in range(rows, R):
            scores[a, r] = np.float32(0.0)
    for r in range(R):
        highest[r] = scores[0, r]
    for a in range(1, num_actions):
        for r in range(R):
            highest[r] = max(highest[r], scores[a, r])
    for a in range(num_actions):
        for r in range(R):
            weights[a, r] = exp(scores[a, r] - highest[r])


@kernel
def sample(logits, noise, actions, log_probs, room):
    """Choose actions [N] for logits [N, A] by the inverse of the cumulative distribution, with noise [N] in [0, 1)."""
    num_rows, num_actions = logits.shape
    one, zero = np.float32(1.0), np.float32(0.0)
    scores, weights, rest = room[:num_actions], room[num_actions : 2 * num_actions], room[2 * num_actions :]
    highest, total, threshold, passed, short = rest[0], rest[1], rest[2], rest[3], rest[4]
    for first in range(0, num_rows, R):
        rows = min(R, num_rows - first)
        _weigh(logits, first, rows, scores, weights, highest)
        for r in range(R):
            total[r] = zero
        for a in range(num_actions):
            for r in range(R):
                total[r] += weights[a, r]
                weights[a, r] = total[r]
        # The noise is stretched to the sum of weights; the product may round up to the sum itself, and then the first
        # action that reaches it (the last of positive probability) is meant.
        for r in range(rows):
            threshold[r] = noise[first + r] * total[r]
        for r in range(R):
            passed[r] = short[r] = zero
        for a in range(num_actions):
            for r in range(R):
                passed[r] += one if weights[a, r] <= threshold[r] else zero
                short[r] += one if weights[a, r] < total[r] else zero
        for r in range(rows):
            action = int(min(passed[r], short[r]))
            actions[first + r] = action
            log_probs[first + r] = scores[action, r] - highest[r] - np.float32(math.log(total[r]))


@kernel
def log_prob_entropy(logits, actions, log_probs, entropies, log_softmax, room):
    """For logits [N, A], write the log-probability [N] of `actions` [N] and the entropy [N].

    `log_softmax` [ceil(N / R), A, R] is kept for the gradient.
    """
    num_rows, num_actions = logits.shape
    scores, weights, rest = room[:num_actions], room[num_actions : 2 * num_actions], room[2 * num_actions :]
    highest, total, log_total, weighted = rest[0], rest[1], rest[2], rest[3]
    for first in range(0, num_rows, R):
        rows, block = min(R, num_rows - first), log_softmax[first // R]
        _weigh(logits, first, rows, scores, weights, highest)
        for r in range(R):
            total[r] = weighted[r] = np.float32(0.0)
        for a in range(num_actions):
            for r in range(R):
                total[r] += weights[a, r]
        for r in range(R):
            log_total[r] = math.log(total[r])
        for a in range(num_actions):
            for r in range(R):
                block[a, r] = scores[a, r] - highest[r] - log_total[r]
                weighted[r] += weights[a, r] * block[a, r]
        for r in range(rows):
            log_probs[first + r] = block[actions[first + r], r]
            entropies[first + r] = -weighted[r] / total[r]


@kernel
def log_prob_entropy_backward(log_softmax, actions, entropies, given_log_probs, given_entropies, grad_logits, room):
    """Write the gradient of logits [N, A] from those of the log-probabilities [N] and of the entropies [N]."""
    # d log p_i / d logit_a = [a = i] - p_a;  d H / d logit_a = -p_a (log p_a + H)
    num_rows, num_actions = grad_logits.shape
    grads, rest = room[:num_actions], room[2 * num_actions :]
    chosen, spread, entropy = rest[0], rest[1], rest[2]
    for first in range(0, num_rows, R):
        rows, block = min(R, num_rows - first), log_softmax[first // R]
        for r in range(R):
            n = min(first + r, num_rows - 1)
            chosen[r], spread[r], entropy[r] = given_log_probs[n], given_entropies[n], entropies[n]
        for a in range(num_actions):
            for r in range(R):
                grads[a, r] = -exp(block[a, r]) * (chosen[r] + spread[r] * (block[a, r] + entropy[r]))
        for r in range(rows):
            for a in range(num_actions):
                grad_logits[first + r, a] = grads[a, r]
            grad_logits[first + r, actions[first + r]] += chosen[r]
