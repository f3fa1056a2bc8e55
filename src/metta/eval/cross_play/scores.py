"""What came of cross-play in one simulation: everybody's score in every game, and what follows from that.

Letters: N policies  H partners held out  E seeds.

Three questions, three numbers, all from the same games of (i, j), i focal and j its partner:

- **focal score** [i, j]: how well does i do beside j? The mean over i's agents; on the diagonal self-play.
- **partner score** [i, j]: how well does j do beside i? The mean over j's agents: what i leaves to others.
- **win share** [i, j]: who does better of the two? 1 if i's agents have more than j's in a game, 1/2 if equal, else 0;
  the mean over both games of a seed, (i, j) and (j, i), so that either has been focal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from metta.eval.analysis import PolicyVersion
from metta.eval.eval_stats_db import EvalStatsDB
from metta.eval.resampling import Values
from metta.eval.rounding import SAME, gap
from metta.eval.statistics import Interval, mean_interval
from metta.sim import SimulationConfig, evaluation_seeds

_NOTHING = SAME  # so small a difference is a tie, whatever its share: rewards that cancel out do not sum to exactly 0


@dataclass(frozen=True, kw_only=True)
class CrossScores:
    """The games of one simulation."""

    simulation: str
    metric: str
    focal: Values  # float64 [E, N, N + H] mean over the focal policy's agents, NaN where nothing was played
    partner: Values  # float64 [E, N, N + H] mean over the partner's agents; equal on the diagonal
    focal_agents: int  # of the focal policy in a shared game
    agents: int  # in a game

    def focal_interval(self, row: int, column: int) -> Interval | None:
        """Return the focal score of a pair, with its interval over seeds; None if it has no games."""
        return _interval(self.focal[:, row, column])

    def partner_interval(self, row: int, column: int) -> Interval | None:
        """Return the partner score of a pair, with its interval over seeds; None if it has no games."""
        return _interval(self.partner[:, row, column])

    def num_seeds(self) -> int:
        """Return on how many seeds anybody played."""
        return int((~np.isnan(self.focal).all(axis=(1, 2))).sum())

    def outcomes(self) -> Values:
        """Return who did better, for `rating.rate`: [E, N, N] share of a seed's games that the row won."""
        number = self.focal.shape[1]
        focal, partner = self.focal[:, :, :number], self.partner[:, :, :number]
        won = _won(focal, partner)
        both = np.stack([won, 1 - won.transpose(0, 2, 1)])
        counts = (~np.isnan(both)).sum(axis=0)
        shares: Values = np.full(won.shape, np.nan)
        np.divide(np.nansum(both, axis=0), counts, out=shares, where=counts > 0)
        shares[:, range(number), range(number)] = np.nan
        return shares


def read_scores(
    database: EvalStatsDB,
    simulation: SimulationConfig,
    focal: Sequence[PolicyVersion],
    partners: Sequence[tuple[PolicyVersion, SimulationConfig]],
) -> CrossScores:
    """Read the games of N policies with each of N + H partners from a statistics file.

    `simulation`: what everybody plays with itself. `partners`: each with the simulation in which it is met; the first N
    are the policies themselves.
    """
    seeds = evaluation_seeds(simulation.num_episodes, base=simulation.seed)
    own_agents: list[float] = []
    scores = np.full((2, len(seeds), len(focal), len(partners)), np.nan)
    found = _games(database, [simulation, *(shared for _, shared in partners)], metric=simulation.score())
    for row, policy in enumerate(focal):
        for column, (partner, shared) in enumerate(partners):
            played = simulation if partner == policy else shared
            for who in range(2):
                games = found.get((played.name, *policy, 0 if partner == policy else who))
                if games is not None:
                    scores[who, :, row, column] = games["value"].reindex(seeds).to_numpy(np.float64)
                    own_agents += [games["agents"].mean()] if partner != policy and who == 0 else []
    return CrossScores(
        simulation=simulation.name,
        metric=simulation.score(),
        focal=scores[0],
        partner=scores[1],
        focal_agents=round(np.mean(own_agents)) if own_agents else simulation.world.num_agents,
        agents=simulation.world.num_agents,
    )


def _games(
    database: EvalStatsDB, simulations: Sequence[SimulationConfig], *, metric: str
) -> dict[tuple[Any, ...], pd.DataFrame]:
    """Return everybody's score in all games of `simulations`, by seed: the mean over its agents, 0 where it is missing.

    The key: simulation, the focal policy's name and version, the player: 0 the focal policy, 1 its partner. Several
    focal policies meet one partner in simulations of one name.
    """
    table = database.query(
        """SELECT s.name, s.policy_key AS focal, s.policy_version AS focal_version, v.player, v.seed,
                  avg(coalesce(m.value, 0.0)) AS value, count(*) AS agents
           FROM policy_simulation_agent_samples v JOIN simulations s ON s.id = v.simulation_id
           LEFT JOIN agent_metrics m ON m.episode_id = v.episode_id AND m.agent_id = v.agent_id AND m.metric = $metric
           WHERE (s.name, s.env) IN (SELECT (unnest($names), unnest($envs))) GROUP BY ALL""",
        {
            "metric": metric,
            "names": [simulation.name for simulation in simulations],
            "envs": [simulation.env() for simulation in simulations],
        },
    )
    keys = ["name", "focal", "focal_version", "player"]
    return {key: games.set_index("seed") for key, games in table.groupby(keys)}


def _won(x: Values, y: Values) -> Values:
    """Return 1 where x is more, 1/2 where they are equal but for rounding, else 0; NaN where one is missing."""
    won: Values = 0.5 * (1 + np.sign(np.where(np.abs(x - y) <= _NOTHING, 0.0, gap(x, y))))
    return won


def _interval(values: Values) -> Interval | None:
    played = values[~np.isnan(values)]
    return mean_interval([played]) if len(played) else None
