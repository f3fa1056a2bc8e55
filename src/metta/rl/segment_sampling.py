"""Which segments a pass over the batch visits: each once, or by how much there is to learn from it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from metta.config import Config

# S segments of a rollout


class PrioritizedSamplingConfig(Config):
    """Prioritised sampling of segments; with `alpha` 0 every segment is used once a pass."""

    alpha: float = Field(0.0, ge=0, description="exponent of a segment's priority, its mean absolute advantage; 0: off")
    beta: float = Field(
        0.2, ge=0, le=1, description="exponent of the importance weights that undo the bias at first; 1 at the end"
    )


class Visits(NamedTuple):
    """One pass over the batch."""

    segments: NDArray[np.int64]  # [S], in the order of visiting
    weights: NDArray[np.float32] | None  # [S], of each visit's advantages; None: 1


def visit_order(
    config: PrioritizedSamplingConfig, advantages: NDArray[np.float32], *, progress: float, rng: np.random.Generator
) -> Visits:
    """Choose the segments of a pass.

    Args:
        config: whether by priority.
        advantages: float32 [S, L], those that the losses see.
        progress: share of training that is done, 0..1.
        rng: draws the order.
    """
    count = len(advantages)
    if config.alpha == 0:
        return Visits(rng.permutation(count), None)
    probabilities = priorities(advantages, config.alpha)
    segments = rng.choice(count, size=count, p=probabilities)
    # Schaul et al. 2016, "Prioritized Experience Replay", section 3.4: w = (N P)^-beta, beta going to 1 linearly
    beta = config.beta + (1.0 - config.beta) * min(1.0, progress)
    return Visits(segments, ((count * probabilities[segments]) ** -beta).astype(np.float32))


def priorities(advantages: NDArray[np.float32], alpha: float) -> NDArray[np.float64]:
    """Return the probability of each segment, float64 [S]: its mean absolute advantage to the power alpha, normalised.

    Schaul et al. 2016, equation 1, with the advantage for the error, over a segment. A segment of nothing but zeros
    keeps a small share, so that every one may come up.
    """
    error = np.abs(advantages.astype(np.float64)).mean(axis=1)
    powers = (error + 1e-6 * max(1.0, float(error.max()))) ** alpha
    probabilities: NDArray[np.float64] = powers / powers.sum()
    return probabilities
