"""What libraries call an action, as the worlds take it: whatever is sent, the world goes on."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray


def action_ids(actions: Any, num_actions: int) -> NDArray[np.int32]:
    """Return integers of any size and shape as int32 of that shape; -1 for those that are not in 0..num_actions-1.

    The world counts -1 as `action.invalid`. Raises TypeError for what is no integer: 1.7 is not action 1.
    """
    ids = np.asarray(actions)
    if ids.dtype.kind not in "biu":  # also where integers are larger than 64 bits, or of no common type
        ids = np.asarray(actions, object)
        ids = np.array([_id(action, num_actions) for action in ids.flat], np.int64).reshape(ids.shape)
    ids = ids.astype(np.int64)  # unsigned ones above 2**63 become negative
    return np.where((ids >= 0) & (ids < num_actions), ids, -1).astype(np.int32)


def _id(action: Any, num_actions: int) -> int:
    try:
        number = index(action)
    except TypeError as error:
        raise TypeError(
            f"action: given {action!r}, a {type(action).__name__}; allowed: integers, 0 to {num_actions - 1}"
        ) from error
    return number if 0 <= number < num_actions else -1
