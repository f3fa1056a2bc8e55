"""Seeds of evaluation episodes: a namespace of its own, never drawn in training."""

from __future__ import annotations

import hashlib

# Evaluation's seeds lie in the upper half of 0..2**63-1, those of training (`grid.rng.episode_seed`) in the lower.
EVALUATION_NAMESPACE = 1 << 62


def evaluation_seeds(num_episodes: int, *, base: int = 0) -> list[int]:
    """Return the seeds of an evaluation's episodes; the first n of a longer list are the shorter list.

    `base` chooses another list: scores compare only on the same one. All simulations use the same seeds, so that two
    policies meet on the same maps.
    """
    return [_evaluation_seed(base, index) for index in range(num_episodes)]


def _evaluation_seed(base: int, index: int) -> int:
    digest = hashlib.sha256(f"metta evaluation {base} {index}".encode()).digest()
    return EVALUATION_NAMESPACE | int.from_bytes(digest[:8], "big") >> 2
