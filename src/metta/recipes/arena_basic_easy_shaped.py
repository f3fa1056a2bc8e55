"""The easy arena: rewards on the way to a heart, and one battery a heart. Learned in minutes; begin here."""

from __future__ import annotations

from metta.grid.worlds import easy_arena
from metta.tools import AnalyzeTool, CompareTool, CrossPlayTool, DemoTool, EvaluateTool, PlayTool, ReplayTool, TrainTool

__all__ = ["analyze", "compare", "cross_play", "demo", "evaluate", "play", "replay", "train"]


def train(num_agents: int = 24, combat: bool = True) -> TrainTool:
    """Train in the easy arena."""
    return TrainTool(world=easy_arena(combat=combat, num_agents=num_agents))


def evaluate() -> EvaluateTool:
    """Score policies in the easy arena with and without combat."""
    return EvaluateTool(suite="arena_basic_easy_shaped")


def compare() -> CompareTool:
    """Compare policies in the easy arena with and without combat."""
    return CompareTool(suite="arena_basic_easy_shaped")


def cross_play() -> CrossPlayTool:
    """Let policies meet pairwise in the easy arena with and without combat."""
    return CrossPlayTool(suite="arena_basic_easy_shaped")


def analyze() -> AnalyzeTool:
    """Analyse a run on what it was evaluated on."""
    return AnalyzeTool()


def play(num_agents: int = 24, combat: bool = True) -> PlayTool:
    """Be one agent of the easy arena."""
    return PlayTool(world=easy_arena(combat=combat, num_agents=num_agents))


def replay(num_agents: int = 24, combat: bool = True) -> ReplayTool:
    """Watch an episode of the easy arena."""
    return ReplayTool(world=easy_arena(combat=combat, num_agents=num_agents))


def demo() -> DemoTool:
    """Train for two minutes, evaluate, and write a report and a replay."""
    return DemoTool(training=train())
