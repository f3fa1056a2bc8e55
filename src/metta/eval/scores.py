"""What a statistics file says of policies in exactly the episodes that a simulation asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metta.eval.analysis import PolicyVersion
from metta.eval.eval_stats_db import EvalStatsDB
from metta.eval.statistics import Comparison, Summary, Values, compare, summarize
from metta.sim import SimulationConfig, evaluation_seeds


@dataclass(frozen=True, kw_only=True)
class Score:
    """A policy in a simulation."""

    policy: PolicyVersion
    simulation: str
    summary: Summary
    episodes: Values  # float64 [E] score of each, in the order of seeds


@dataclass(frozen=True, kw_only=True)
class Versus:
    """A policy against another on the same episodes of a simulation."""

    policy: PolicyVersion
    other: PolicyVersion
    simulation: str
    comparison: Comparison


def episodes_of(simulation: SimulationConfig) -> dict[str, object]:
    """Return the filter for exactly the episodes that `simulation` asks for: its name, its world, its seeds."""
    seeds = evaluation_seeds(simulation.num_episodes, base=simulation.seed)
    return {"sim_name": simulation.name, "sim_env": simulation.env(), "seed": seeds}


def policy_score(database: EvalStatsDB, policy: PolicyVersion, simulation: SimulationConfig) -> Score | None:
    """Return how `policy` scored in `simulation`; None if no episode of it is there."""
    episodes = database.episode_values(simulation.score(), *policy, filter=episodes_of(simulation))
    if episodes.empty:
        return None
    values = episodes["value"].to_numpy(np.float64)
    return Score(policy=policy, simulation=simulation.name, summary=summarize([values]), episodes=values)


def compare_policies(
    database: EvalStatsDB, policy: PolicyVersion, other: PolicyVersion, simulations: Sequence[SimulationConfig]
) -> Comparison | None:
    """Compare two policies, stratified by simulation, on the episodes that both have played; None without any."""
    strata = []
    for simulation in simulations:
        metric, where = simulation.score(), episodes_of(simulation)
        ours, theirs = (
            database.episode_values(metric, *who, filter=where).set_index("seed")["value"] for who in (policy, other)
        )
        both = ours.index.intersection(theirs.index).sort_values()
        if len(both):
            strata.append((ours.loc[both].to_numpy(np.float64), theirs.loc[both].to_numpy(np.float64)))
    return compare([x for x, _ in strata], [y for _, y in strata]) if strata else None
