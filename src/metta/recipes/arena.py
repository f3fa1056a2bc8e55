"""The arena: 24 agents, mines, generators, altars, and attacks (the world that a tool without a recipe gets)."""

from __future__ import annotations

from metta.grid import WorldConfig
from metta.grid.config import RewardsConfig
from metta.grid.worlds import arena
from metta.tools import AnalyzeTool, CompareTool, CrossPlayTool, EvaluateTool, PlayTool, ReplayTool, TrainTool

__all__ = ["analyze", "compare", "cross_play", "evaluate", "play", "replay", "train"]


def train(num_agents: int = 24, combat: bool = True, shaped: bool = True) -> TrainTool:
    """Train in the arena. `shaped`: paid on the way to a heart too; without it learning has not been seen to begin.

    Of the weights that were tried these were the only ones that led to hearts: three batteries must be worth carrying.
    """
    world = arena(combat=combat, num_agents=num_agents)
    if shaped:
        world.agent.rewards = RewardsConfig(
            inventory={"ore_red": 0.1, "battery_red": 0.3, "heart": 2.0},
            inventory_max={"ore_red": 1.0, "battery_red": 0.9},
        )
    return TrainTool(world=world)


def evaluate() -> EvaluateTool:
    """Score policies in the arena with and without combat."""
    return EvaluateTool(suite="arena")


def compare() -> CompareTool:
    """Compare policies in the arena with and without combat."""
    return CompareTool(suite="arena")


def cross_play() -> CrossPlayTool:
    """Let policies meet pairwise in the arena with and without combat."""
    return CrossPlayTool(suite="arena")


def analyze() -> AnalyzeTool:
    """Analyse a run on what it was evaluated on."""
    return AnalyzeTool()


def play(num_agents: int = 24, combat: bool = True) -> PlayTool:
    """Be one agent of the arena."""
    return PlayTool(world=_world(num_agents, combat))


def replay(num_agents: int = 24, combat: bool = True) -> ReplayTool:
    """Watch an episode of the arena."""
    return ReplayTool(world=_world(num_agents, combat))


def _world(num_agents: int, combat: bool) -> WorldConfig:
    return arena(combat=combat, num_agents=num_agents)
