"""Noise for sampling actions, keyed by the game and not by the place in a batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metta.grid.jit import kernel
from metta.grid.rng import PURPOSE_POLICY, stream_key, stream_u32, unit_float
from metta.grid.world import WORLD_SEED, WORLD_STEP


@kernel
def action_noise(worlds: NDArray[np.int64], out: NDArray[np.float32]) -> None:
    """Fill `out` float32 [E * A] with numbers in [0, 1), keyed by (episode seed, tick, agent).

    `worlds` int64 [E, WORLD_FIELDS] holds each world's seed and the tick that its last action led to.
    """
    E = worlds.shape[0]
    A = out.shape[0] // E
    for e in range(E):
        key = stream_key(worlds[e, WORLD_SEED], worlds[e, WORLD_STEP], PURPOSE_POLICY)
        for a in range(A):
            out[e * A + a] = unit_float(stream_u32(key, a, 0))
