"""Who played which episodes: pairs, groups of runs, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.sim.rows import hearts

from metta.errors import StatsError
from metta.eval import EvalStatsDB
from metta.eval.analysis import PolicyVersion
from metta.eval.scores import OVERALL, Player, compare_all, compare_players, join_players, policy_score, read_player
from metta.eval.statistics import Comparison, Interval
from metta.eval.verdict import format_comparisons, verdict
from metta.grid.cache import source_hash
from metta.grid.worlds import easy_arena
from metta.sim import SimulationConfig, SimulationStatsDB, evaluation_seeds


def player(name: str, **simulations: dict[int, float]) -> Player:
    """A policy and its scores: simulation -> {seed: score}."""
    tables = {
        simulation: pd.DataFrame({name: list(scores.values())}, index=list(scores))
        for simulation, scores in simulations.items()
    }
    return Player(name=name, runs=(PolicyVersion(name, 0),), episodes=tables)


def scores(mean: float, *, seeds: int = 20, noise: int = 0) -> dict[int, float]:
    drawn = np.random.default_rng(noise).normal(mean, 0.5, size=seeds)
    return dict(zip(range(100, 100 + seeds), drawn.tolist(), strict=True))


def test_pairs_are_the_seeds_that_both_have_played() -> None:
    one, other = player("one", a={3: 1.0, 1: 2.0, 2: 5.0}), player("other", a={2: 4.0, 3: 3.0, 9: 7.0})
    found = compare_players(one, other, ["a"])
    assert found is not None
    assert (found.pairs, found.difference.value, found.share_of_wins) == (2, -0.5, 0.5)
    assert compare_players(one, player("other", a={9: 1.0}), ["a"]) is None
    assert compare_players(one, player("other", b={1: 1.0}), ["a", "b"]) is None


def test_a_group_keeps_the_seeds_that_all_of_its_runs_have_played() -> None:
    group = join_players("g", [player("x", a={1: 1.0, 2: 2.0}, b={1: 0.0}), player("y", a={2: 4.0, 3: 9.0})])
    assert list(group.episodes) == ["a"] and group.episodes["a"].to_numpy().tolist() == [[2.0, 4.0]]
    summary = group.summary(["a"])
    assert (summary.mean.value, summary.episodes, summary.seeds, summary.runs) == (3.0, 2, 1, 2)


def test_episodes_of_two_simulations_on_the_same_maps_count_their_seeds_once() -> None:
    one = player("one", a=scores(1.0), b=scores(1.0))
    summary = one.summary(["a", "b"])
    assert (summary.episodes, summary.seeds) == (40, 20)
    assert summary.mean[1:] == pytest.approx(one.summary(["a"]).mean[1:])


def test_seeds_are_drawn_together_also_where_an_episode_is_missing() -> None:
    whole = scores(1.0, seeds=40)
    lacking = {seed: value for seed, value in whole.items() if seed != 107}
    one, other = player("one", a=whole, b=lacking), player("other", a=scores(1.2, seeds=40, noise=1))
    other = player("other", a=other.episodes["a"]["other"].to_dict(), b=other.episodes["a"]["other"].to_dict())
    found, alone = (other_than(one, other, names) for names in (["a", "b"], ["a"]))
    assert width(one.summary(["a", "b"]).mean) == pytest.approx(width(one.summary(["a"]).mean), rel=0.1)
    assert width(one.summary(["a", "b"]).iqm) == pytest.approx(width(one.summary(["a"]).iqm), rel=0.25)
    assert width(found.difference) == pytest.approx(width(alone.difference), rel=0.1)
    assert found.p_value == pytest.approx(alone.p_value, rel=0.5) and found.pairs == 79
    assert found.needed == pytest.approx(alone.needed, rel=0.3)


def other_than(one: Player, other: Player, names: list[str]) -> Comparison:
    found = compare_players(other, one, names)
    assert found is not None
    return found


def width(interval: Interval) -> float:
    return interval.high - interval.low


def test_every_policy_has_a_line_a_simulation_and_one_of_all_with_corrected_p_values() -> None:
    first = player("first", a=scores(1.0), b=scores(1.0, noise=1))
    others = [player(name, a=scores(m, noise=2), b=scores(m, noise=3)) for name, m in (("x", 1.3), ("y", 1.1))]
    lines = compare_all(others, first, ["a", "b"])
    assert [(line.policy, line.simulation) for line in lines] == [
        *[("x", "a"), ("x", "b"), ("x", OVERALL), ("y", "a"), ("y", "b"), ("y", OVERALL)]
    ]
    single = [line for line in lines if line.simulation != OVERALL]
    smallest = min(single, key=lambda line: line.comparison.p_value)
    assert smallest.p_adjusted == pytest.approx(4 * smallest.comparison.p_value)
    assert len(compare_all(others[:1], first, ["a"])) == 1
    without = compare_all(others, first, ["a", "b"], have_mean=False)
    assert OVERALL not in {line.simulation for line in without} and len(without) == 2 * len(others)
    assert len(format_comparisons(lines).splitlines()) == 8


def test_the_verdict_says_who_is_better() -> None:
    worse, better = player("worse", a=scores(1.0)), player("better", a=scores(3.0, noise=1))
    (line,) = compare_all([better], worse, ["a"])
    text = verdict(line, metric="hearts")
    assert text.startswith("better is better than worse: +2.") and "hearts per agent" in text and "p <0.001" in text
    (line,) = compare_all([worse], better, ["a"])
    assert verdict(line, metric="hearts").startswith("worse is worse than better: -2.")


def test_the_verdict_says_how_much_play_it_would_take() -> None:
    one, other = player("one", a=scores(1.0)), player("other", a=scores(1.1, noise=1))
    (line,) = compare_all([other], one, ["a"])
    text = verdict(line, metric="hearts", comparisons=3)
    assert text.startswith("No difference between other and one could be shown")
    assert "corrected after Holm for 3 comparisons" in text
    assert "episodes of each simulation would be needed to show one of this size (here: 20)" in text


def test_the_verdict_on_equal_scores_and_on_too_little_to_see() -> None:
    one, same = player("one", a=scores(1.0)), player("same", a=scores(1.0))
    (line,) = compare_all([same], one, ["a"])
    assert verdict(line, metric="hearts") == "same and one score the same in every pair of episodes over a."
    hardly = player("hardly", a={seed: value + 1e-6 * (-1.02) ** seed for seed, value in scores(1.0).items()})
    (line,) = compare_all([hardly], one, ["a"])
    assert "would be needed" in verdict(line, metric="hearts") or "million" in verdict(line, metric="hearts")


def test_the_verdict_on_three_runs_each_asks_for_a_fourth() -> None:
    groups = []
    for name, mean in (("x", 1.0), ("y", 9.0)):
        runs = [player(f"{name}{k}", a=scores(mean + 0.1 * k, noise=k)) for k in range(3)]
        groups.append(join_players(name, runs))
    (line,) = compare_all(groups[1:], groups[0], ["a"])
    text = verdict(line, metric="hearts")
    assert "could be shown" in text and "About 4 runs of each recipe would be needed" in text and "(here: 3)" in text
    assert format_comparisons([line]).count("*") == 1


def test_the_verdict_on_a_single_episode_asks_for_more_and_on_five_alike_for_a_sixth() -> None:
    (line,) = compare_all([player("x", a={1: 1.0})], player("y", a={1: 2.0}), ["a"])
    assert verdict(line, metric="hearts").endswith("One episode does not tell what is chance: play more (episodes=64).")
    assert "-1.00*" in format_comparisons([line])
    five = dict.fromkeys(range(5), 1.0)
    (line,) = compare_all([player("x", a=five)], player("y", a=dict.fromkeys(five, 2.0)), ["a"])
    assert "About 6 episodes of each simulation would be needed" in verdict(line, metric="hearts")


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused_by_name(tmp_path: Path, score: float) -> None:
    config = SimulationConfig(name="tiny/world", world=easy_arena(num_agents=6), num_episodes=2)
    seeds = evaluation_seeds(2)
    rows = hearts(1.0, score, name="tiny/world", env=config.env(), seeds=seeds, attributes={"rules": source_hash()})
    SimulationStatsDB.write(tmp_path / "s.duckdb", [rows])
    with EvalStatsDB.from_uri(tmp_path / "s.duckdb") as database:
        for read in (read_player, policy_score):
            with pytest.raises(
                StatsError, match=rf"run:1 in tiny/world: hearts of seed {seeds[1]} is no finite number"
            ):
                read(database, PolicyVersion("run", 1), [config] if read is read_player else config)


def test_episodes_that_were_never_finished_are_named_and_leave_no_verdict_over_all() -> None:
    one, other = player("one", a=scores(1.0, seeds=3), b=scores(1.0)), player("other", a=scores(2.0))
    worlds = [SimulationConfig(name=name, world=easy_arena(num_agents=6), num_episodes=20) for name in ("a", "b")]
    assert one.missing(worlds) == ["one: 17 of 20 episodes of a are missing"]
    assert other.missing(worlds) == ["other: 20 of 20 episodes of b are missing"]
    assert [line.simulation for line in compare_all([other], one, ["a", "b"])] == ["a"]
