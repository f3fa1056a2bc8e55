"""Games of which only the scores are known, played again to be watched: the same seeds, hence the same games."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import torch

from metta.agent import load_policy_from_uri
from metta.eval.game_pairs import GamePair
from metta.eval.policy_evaluator import load_npcs, weights_of
from metta.eval.stored_evaluation import StoredEvaluation
from metta.sim import Simulation, SimulationStatsDB


def record_games(evaluation: StoredEvaluation, uri: str, games: Iterable[tuple[str, int]]) -> None:
    """Play `games`, (simulation, seed), of the policy at `uri` again and keep their replays with their episodes.

    A game depends on its world, its seed and its players alone, so the scores stay what they are. Raises as
    `StoredEvaluation.evaluate` does.
    """
    assert evaluation.replay_dir is not None, "a folder for replays"
    wanted = set(games)
    device = torch.device(evaluation.device)
    for config in evaluation.suite.simulations:
        seeds = {seed for simulation, seed in wanted if simulation == config.name}
        if not seeds:
            continue
        actor = load_policy_from_uri(uri, data_dir=evaluation.data_dir, device=device)
        npcs = load_npcs(config, data_dir=evaluation.data_dir, device=device)
        simulation = Simulation(
            config,
            actor,
            policy_key=actor.key,
            policy_version=actor.version,
            npcs=npcs,
            threads=evaluation.threads,
            replay_dir=evaluation.replay_dir,
            only_seeds=seeds,
            attributes=weights_of(actor, npcs),
        )
        result = simulation.run(on_progress=partial(evaluation.tell, f"recording {actor.key} in {config.name}"))
        SimulationStatsDB.write(evaluation.stats_uri, [result.rows])


def unrecorded(pairs: Sequence[GamePair], policy: str) -> list[tuple[str, int]]:
    """Return the games of `policy` among `pairs` that cannot be watched yet: (simulation, seed)."""
    mine = [(pair.simulation, pair.seed) for pair in pairs if pair.policy == policy and pair.replay is None]
    return mine + [(pair.simulation, pair.seed) for pair in pairs if pair.other == policy and pair.other_replay is None]
