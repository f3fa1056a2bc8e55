"""The verbs, one a file. Importing the room loads nothing heavy: a tool's module is loaded when it is asked for."""

from typing import TYPE_CHECKING

from metta.lazy import load_when_asked

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
else:
    __getattr__, __dir__ = load_when_asked(__name__, {
        "analyze": "AnalyzeTool", "compare": "CompareTool", "cross_play": "CrossPlayTool", "demo": "DemoTool",
        "play": "PlayTool", "replay": "ReplayTool", "sim": "EvaluateTool", "tool": "Tool", "train": "TrainTool",
    })  # fmt: skip

__all__ = [
    "AnalyzeTool", "CompareTool", "CrossPlayTool", "DemoTool", "EvaluateTool", "PlayTool", "ReplayTool", "Tool",
    "TrainTool",
]  # fmt: skip
