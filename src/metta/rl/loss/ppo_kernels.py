"""The loop of `ppo_terms` on a CPU: every term of PPO's loss and its slope in one pass. N steps, flat."""

# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call, call-arg, import-untyped"

from __future__ import annotations

import numpy as np

from metta.agent.kernels.functions import exp
from metta.agent.kernels.jit import kernel

TERMS = 6  # policy loss, value loss, entropy, divergence, share clipped, ratio


@kernel
def ppo_terms(
    log_probs, entropies, values, acted_log_probs, acted_values, advantages, returns, own, clip, value_clip,
    ratios, to_log_probs, to_values, sums,
):  # fmt: skip
    """Add up the terms over the policy's `own` steps, bool [N], or over all where that is empty; return their number.

    All arrays are float32 [N] but `sums`, float64 [TERMS]. Written: importance `ratios`, and the slopes of the summed
    policy loss and value loss, 0 at steps that are not the policy's own. A negative `value_clip` is none.
    """
    one, zero, half = np.float32(1.0), np.float32(0.0), np.float32(0.5)
    low, high = np.float32(1.0 - clip), np.float32(1.0 + clip)
    for n in range(len(values)):
        ratios[n] = exp(log_probs[n] - acted_log_probs[n])
    count = 0
    for n in range(len(values)):
        to_log_probs[n] = to_values[n] = zero
        if len(own) > 0 and not own[n]:
            ratios[n] = one
            continue
        count += 1
        ratio, advantage = ratios[n], advantages[n]
        # Schulman et al. 2017, "Proximal Policy Optimization Algorithms", eq. 7
        unclipped, clipped = advantage * ratio, advantage * min(max(ratio, low), high)
        sums[0] -= min(unclipped, clipped)
        to_log_probs[n] = -unclipped if low <= ratio <= high or unclipped < clipped else zero
        off = values[n] - returns[n]
        error, slope = off * off, off
        if value_clip >= 0.0:
            change = values[n] - acted_values[n]
            near = acted_values[n] + min(max(change, np.float32(-value_clip)), np.float32(value_clip)) - returns[n]
            near_slope = near if abs(change) <= value_clip else zero
            if error == near * near:
                slope = half * (slope + near_slope)
            elif error < near * near:
                error, slope = near * near, near_slope
        sums[1] += half * error
        to_values[n] = slope
        sums[2] += entropies[n]
        sums[3] += ratio - one - (log_probs[n] - acted_log_probs[n])  # http://joschu.net/blog/kl-approx.html, k3
        sums[4] += abs(ratio - one) > clip
        sums[5] += ratio
    return count
