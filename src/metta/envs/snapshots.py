"""What a snapshot of grid worlds must fit, on whatever device it was taken and is restored."""

from __future__ import annotations

from typing import Any

from metta.errors import CheckpointError
from metta.grid.world import Sizes, allocate_state


def check_snapshot(snapshot: dict[str, Any], *, num_worlds: int, observation_shape: tuple[int, ...]) -> Sizes:
    """Return the sizes of a snapshot's worlds. Raises CheckpointError when it was taken of other worlds."""
    sizes = Sizes(*snapshot["sizes"])
    found_worlds = len(snapshot["tasks"]["worlds"])
    if found_worlds != num_worlds:
        raise CheckpointError(f"the snapshot is of {found_worlds} worlds, this environment has {num_worlds}")
    found = snapshot["state"]
    for name, array in allocate_state(sizes, num_worlds)._asdict().items():
        if name not in found or found[name].shape != array.shape or found[name].dtype != array.dtype:
            raise CheckpointError(f"the snapshot's state was written by another version: {name} does not fit")
    observations = snapshot["buffers"]["observations"]
    if observations.shape != observation_shape:
        raise CheckpointError(
            f"the snapshot holds observations of shape {observations.shape}, this environment has {observation_shape}"
        )
    return sizes
