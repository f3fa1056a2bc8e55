"""Plays episodes that were decided beforehand, and writes down what happened."""

from typing import TYPE_CHECKING

from metta.lazy import load_when_asked

if TYPE_CHECKING:
    from metta.sim.episode_rows import EpisodeRecord, SimulationRows
    from metta.sim.seeds import evaluation_seeds
    from metta.sim.simulation import Simulation, SimulationConfig, SimulationResult
    from metta.sim.simulation_stats_db import SimulationStatsDB, parse_policy_uri
else:  # reading a statistics file needs no world and no network
    __getattr__, __dir__ = load_when_asked(__name__, {
        "episode_rows": "EpisodeRecord SimulationRows", "seeds": "evaluation_seeds",
        "simulation": "Simulation SimulationConfig SimulationResult",
        "simulation_stats_db": "SimulationStatsDB parse_policy_uri",
    })  # fmt: skip

__all__ = [
    "EpisodeRecord", "Simulation", "SimulationConfig", "SimulationResult", "SimulationRows", "SimulationStatsDB",
    "evaluation_seeds", "parse_policy_uri",
]  # fmt: skip
