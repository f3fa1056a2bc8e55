"""What statistics files say of policies in exactly the episodes that a simulation asks for."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from metta.errors import StatsError
from metta.eval.analysis import PolicyVersion
from metta.eval.eval_stats_db import EvalStatsDB
from metta.eval.replays import replay_urls
from metta.eval.resampling import Values
from metta.eval.run_groups import compare_groups, summarize_group
from metta.eval.significance import holm
from metta.eval.statistics import Comparison, Summary, compare, summarize
from metta.grid.own_rules import rules_hash
from metta.sim import SimulationConfig, evaluation_seeds

OVERALL = "all"  # the name of the mean over simulations


@dataclass(frozen=True, kw_only=True)
class Score:
    """A policy in a simulation."""

    policy: PolicyVersion
    simulation: str
    summary: Summary
    episodes: Values  # float64 [E] score of each, in the order of seeds


@dataclass(frozen=True, kw_only=True)
class Player:
    """Who is compared: a policy, or a group of policies that were trained alike (runs)."""

    name: str
    runs: tuple[PolicyVersion, ...]
    episodes: Mapping[str, pd.DataFrame]  # simulation -> scores: a row an evaluation seed, a column a run
    replays: Mapping[str, Mapping[int, str]] = field(default_factory=dict)  # simulation -> seed -> address

    def missing(self, simulations: Sequence[SimulationConfig]) -> list[str]:
        """Return a line for every simulation of which episodes that were asked for were never finished."""
        lines = []
        for simulation in simulations:
            asked = simulation.num_episodes * len(self.runs)
            found = self.episodes[simulation.name].size if simulation.name in self.episodes else 0
            if found < asked:
                lines.append(f"{self.name}: {asked - found} of {asked} episodes of {simulation.name} are missing")
        return lines

    def summary(self, simulations: Sequence[str]) -> Summary:
        """Return mean and interquartile mean over `simulations`; of a group, the interval is of its recipe."""
        tables = [self.episodes[name] for name in simulations]
        if len(self.runs) > 1:
            return summarize_group([_by_run(table) for table in tables], seeds=_seeds(tables))
        return summarize([_by_run(table)[0] for table in tables], seeds=_seeds(tables))


@dataclass(frozen=True, kw_only=True)
class Versus:
    """Someone against another on the same episodes of a simulation; of all of them, under the name `OVERALL`."""

    policy: str
    other: str
    simulation: str
    comparison: Comparison
    p_adjusted: float  # the p-value after Holm, for all comparisons of its kind that are shown together


def episodes_of(simulation: SimulationConfig) -> dict[str, object]:
    """Return the filter for exactly the episodes that `simulation` asks for: its name, its world, its seeds."""
    seeds = evaluation_seeds(simulation.num_episodes, base=simulation.seed)
    return {"sim_name": simulation.name, "sim_env": simulation.env(), "seed": seeds}


def own_episodes(simulation: SimulationConfig) -> dict[str, object]:
    """Return the filter for those of them that a policy was asked to play, by the rules that hold now.

    Without its games as somebody else's opponent, and without those from before an edit of the world's sources.
    """
    return {**episodes_of(simulation), "player": 0, "rules": rules_hash(simulation.world)}


def policy_score(database: EvalStatsDB, policy: PolicyVersion, simulation: SimulationConfig) -> Score | None:
    """Return how `policy` scored in `simulation`; None if no episode of it is there. Raises as `read_player`."""
    episodes = database.episode_values(simulation.score(), *policy, filter=own_episodes(simulation))
    if episodes.empty:
        return None
    _check(episodes, policy, simulation)
    values = episodes["value"].to_numpy(np.float64)
    summary = summarize([values], seeds=[episodes["seed"].tolist()])
    return Score(policy=policy, simulation=simulation.name, summary=summary, episodes=values)


def read_player(
    database: EvalStatsDB,
    policy: PolicyVersion,
    simulations: Sequence[SimulationConfig],
    *,
    replay_dir: str | Path | None = None,
) -> Player:
    """Return what a file knows of a policy in `simulations`; those of which it has no episode are left out.

    `replay_dir`: where replays are looked for too (`replay_urls`). Raises StatsError if a score is infinite or nan.
    """
    tables, replays = {}, {}
    for simulation in simulations:
        found = database.episode_values(simulation.score(), *policy, filter=own_episodes(simulation))
        if not found.empty:
            _check(found, policy, simulation)
            tables[simulation.name] = found.set_index("seed")[["value"]].rename(columns={"value": str(policy)})
            replays[simulation.name] = replay_urls(database, policy, simulation, folder=replay_dir)
    return Player(name=str(policy), runs=(policy,), episodes=tables, replays=replays)


def join_players(name: str, players: Sequence[Player]) -> Player:
    """Return the group of `players`, on the episodes that all of them have played."""
    shared = [simulation for simulation in players[0].episodes if all(simulation in p.episodes for p in players)]
    tables = {s: pd.concat([player.episodes[s] for player in players], axis=1, join="inner") for s in shared}
    runs = tuple(run for player in players for run in player.runs)
    return Player(name=name, runs=runs, episodes={s: table for s, table in tables.items() if len(table)})


def compare_players(player: Player, other: Player, simulations: Sequence[str]) -> Comparison | None:
    """Compare on the episodes that both have played, stratified by simulation; None where there are none."""
    tables = []
    for name in simulations:
        if name in player.episodes and name in other.episodes:
            mine, his = player.episodes[name], other.episodes[name]
            both = mine.index.intersection(his.index).sort_values()
            tables += [(mine.loc[both], his.loc[both])] if len(both) else []
    if not tables:
        return None
    x, y = [_by_run(mine) for mine, _ in tables], [_by_run(his) for _, his in tables]
    seeds = _seeds([mine for mine, _ in tables])
    if len(player.runs) == len(other.runs) == 1:
        return compare([table[0] for table in x], [table[0] for table in y], seeds=seeds)
    return compare_groups(x, y, seeds=seeds)


def compare_all(
    players: Sequence[Player], other: Player, simulations: Sequence[str], *, have_mean: bool = True
) -> list[Versus]:
    """Compare each of `players` with `other`: a line a simulation, and one of all where there are several.

    Who has no episode of some simulation has no line of all of them, nor has anybody unless simulations `have_mean`:
    hearts and rewards have none. p-values are corrected (`adjusted`).
    """
    lines = []
    for player in players:
        has_all = all(name in player.episodes and name in other.episodes for name in simulations)
        wanted = [(name, [name]) for name in simulations]
        wanted += [(OVERALL, list(simulations))] if has_all and have_mean and len(simulations) > 1 else []
        for title, names in wanted:
            found = compare_players(player, other, names)
            if found is not None:
                who, whom, p_value = player.name, other.name, found.p_value
                lines.append(Versus(policy=who, other=whom, simulation=title, comparison=found, p_adjusted=p_value))
    return adjusted(lines)


def adjusted(comparisons: Sequence[Versus]) -> list[Versus]:
    """Return the comparisons with p-values corrected for their number: of single simulations, and of all of them."""
    found = list(comparisons)
    for is_overall in (False, True):
        family = [index for index, versus in enumerate(found) if (versus.simulation == OVERALL) == is_overall]
        values = holm([found[index].comparison.p_value for index in family])
        for index, value in zip(family, values, strict=True):
            found[index] = replace(found[index], p_adjusted=value)
    return found


def _check(episodes: pd.DataFrame, policy: PolicyVersion, simulation: SimulationConfig) -> None:
    """Refuse a score of which no mean can be made."""
    for seed in episodes.loc[~np.isfinite(episodes["value"].to_numpy(np.float64)), "seed"]:
        raise StatsError(f"{policy} in {simulation.name}: {simulation.score()} of seed {seed} is no finite number")


def _seeds(tables: Sequence[pd.DataFrame]) -> list[list[Hashable]]:
    """The seed of each episode of each simulation: one that several share is resampled together."""
    return [table.index.tolist() for table in tables]


def _by_run(table: pd.DataFrame) -> Values:
    """[R, E]: the scores of each run."""
    return table.to_numpy(np.float64).T
