"""Navigation: one agent, walls, and altars with one heart each."""

from __future__ import annotations

from metta.grid.worlds import navigation
from metta.tools import AnalyzeTool, CompareTool, EvaluateTool, PlayTool, ReplayTool, TrainTool

__all__ = ["analyze", "compare", "evaluate", "play", "replay", "train"]


def train() -> TrainTool:
    """Train on scattered obstacles, a new map for each episode."""
    return TrainTool(world=navigation())


def evaluate() -> EvaluateTool:
    """Score policies on fixed terrains, mazes and rooms."""
    return EvaluateTool(suite="navigation")


def compare() -> CompareTool:
    """Compare policies in fixed terrains, mazes and rooms."""
    return CompareTool(suite="navigation")


def analyze() -> AnalyzeTool:
    """Analyse a run on what it was evaluated on; suite=navigation takes the fixed maps."""
    return AnalyzeTool()


def play() -> PlayTool:
    """Walk one map yourself."""
    return PlayTool(world=navigation())


def replay() -> ReplayTool:
    """Watch an episode."""
    return ReplayTool(world=navigation())
