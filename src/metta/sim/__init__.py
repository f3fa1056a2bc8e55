"""Plays episodes that were decided beforehand, and writes down what happened."""

from metta.sim.episode_rows import EpisodeRecord, SimulationRows
from metta.sim.seeds import evaluation_seeds
from metta.sim.simulation import Simulation, SimulationConfig, SimulationResult
from metta.sim.simulation_stats_db import SimulationStatsDB, parse_policy_uri

__all__ = [
    "EpisodeRecord",
    "Simulation",
    "SimulationConfig",
    "SimulationResult",
    "SimulationRows",
    "SimulationStatsDB",
    "evaluation_seeds",
    "parse_policy_uri",
]
