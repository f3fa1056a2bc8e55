"""Games of which only the scores are known, played again to be watched: the same seeds, hence the same games."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch

from metta.errors import StatsError
from metta.eval.analysis import PolicyVersion
from metta.eval.eval_stats_db import EvalStatsDB
from metta.eval.game_pairs import GamePair
from metta.eval.policy_evaluator import load_npcs, weights_of
from metta.eval.rounding import gap
from metta.eval.scores import own_episodes
from metta.eval.stored_evaluation import StoredEvaluation
from metta.sim import Simulation, SimulationRows, SimulationStatsDB


def record_games(evaluation: StoredEvaluation, policy: PolicyVersion, games: Iterable[tuple[str, int]]) -> None:
    """Play `games`, (simulation, seed), of a `policy` of `evaluation` again; keep their replays with their episodes.

    A game depends on its world, its seed and its players alone, so the scores stay what they are. Raises
    CheckpointError if the policy's file is another now, StatsError if a score is not the one that is kept: then the
    statistics stay as they are.
    """
    assert evaluation.replay_dir is not None, "a folder for replays"
    wanted = set(games)
    device = torch.device(evaluation.device)
    for config in evaluation.suite.simulations:
        seeds = {seed for simulation, seed in wanted if simulation == config.name}
        if not seeds:
            continue
        actor = evaluation.open_again(policy)
        npcs = load_npcs(config, data_dir=evaluation.data_dir, device=device)
        weights = weights_of(actor, npcs)
        simulation = Simulation(
            config,
            actor,
            policy_key=actor.key,
            policy_version=actor.version,
            npcs=npcs,
            threads=evaluation.threads,
            replay_dir=evaluation.replay_dir,
            only_seeds=seeds,
            attributes=weights,
        )
        result = simulation.run(on_progress=partial(evaluation.tell, f"recording {policy} in {config.name}"))
        filter = {**own_episodes(config), **weights, "seed": sorted(seeds)}
        _check_scores(evaluation.stats_uri, result.rows, policy, metric=config.score(), filter=filter)
        SimulationStatsDB.write(evaluation.stats_uri, [result.rows])


def _check_scores(
    stats_uri: str, rows: SimulationRows, policy: PolicyVersion, *, metric: str, filter: dict[str, object]
) -> None:
    """Raise StatsError unless the games in `rows` have the scores that the file holds of them."""

    def scores(database: EvalStatsDB) -> pd.Series[float]:
        return database.episode_values(metric, *policy, filter=filter).set_index("seed")["value"]

    with EvalStatsDB() as played:
        played.add(rows)
        now = scores(played)
    with EvalStatsDB.from_uri(stats_uri) as database:
        kept = scores(database).reindex(now.index)
    for seed, before, after in zip(now.index, kept, now, strict=True):
        if np.isnan(before) or gap(before, after):
            was = "no game of these players is kept" if np.isnan(before) else f"{metric} was {before:.6g}"
            raise StatsError(
                f"{policy} in {rows.name}, seed {seed}: {was}, played again it is {after:.6g}, so nothing is recorded; "
                "another machine or device may have played it"
            )


def unrecorded(pairs: Sequence[GamePair], policy: str) -> list[tuple[str, int]]:
    """Return the games of `policy` among `pairs` that cannot be watched yet: (simulation, seed)."""
    mine = [(pair.simulation, pair.seed) for pair in pairs if pair.policy == policy and pair.replay is None]
    return mine + [(pair.simulation, pair.seed) for pair in pairs if pair.other == policy and pair.other_replay is None]
