"""What a node of a Ray cluster does with an order."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from metta.eval.eval_service.play import PlayOrder, play


def play_there(order_json: str, files: Mapping[str, bytes]) -> str:
    """Play on a node, which need not see the service's copies: `files` are those of all who play; return the answer."""
    order = PlayOrder.model_validate_json(order_json)
    with tempfile.TemporaryDirectory(prefix="metta_eval_") as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        order.policies_dir = folder
        return play(order).model_dump_json()
