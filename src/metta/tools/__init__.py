"""The verbs, one a file. Importing the room loads nothing heavy: a tool's module is loaded when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metta.tools.analyze import AnalyzeTool
    from metta.tools.compare import CompareTool
    from metta.tools.cross_play import CrossPlayTool
    from metta.tools.demo import DemoTool
    from metta.tools.play import PlayTool
    from metta.tools.replay import ReplayTool
    from metta.tools.sim import EvaluateTool
    from metta.tools.tool import Tool
    from metta.tools.train import TrainTool

__all__ = [
    "AnalyzeTool", "CompareTool", "CrossPlayTool", "DemoTool", "EvaluateTool", "PlayTool", "ReplayTool", "Tool",
    "TrainTool",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'metta.tools' has no attribute {name!r}")
    named = {"CrossPlayTool": "cross_play", "EvaluateTool": "sim"}
    home = named.get(name, (name.removesuffix("Tool") or "tool").lower())
    return getattr(importlib.import_module(f"metta.tools.{home}"), name)
