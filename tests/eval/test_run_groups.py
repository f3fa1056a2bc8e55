"""Groups of runs: the luck of training is in the interval, and a group of one run is that policy."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from metta.eval import resampling
from metta.eval.run_groups import compare_groups, group_mean, run_scores, summarize_group
from metta.eval.statistics import interquartile_mean, mean_interval


def played(runs: int, episodes: int, *, seed: int, luck: float = 1.0) -> np.ndarray:
    """Scores [R, E]: a run's luck, a map's, and that of each game."""
    generator = np.random.default_rng(seed)
    lucks = luck * generator.normal(size=(runs, 1)), generator.normal(size=(1, episodes))
    return lucks[0] + lucks[1] + generator.normal(size=(runs, episodes))


def test_one_run_has_the_interval_of_its_episodes() -> None:
    scores = played(1, 30, seed=1)
    ours, theirs = group_mean([scores]), mean_interval([scores[0]])
    assert ours.value == pytest.approx(theirs.value)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.06 * (theirs.high - theirs.low))


def test_the_interval_is_that_of_a_plain_loop_over_drawn_runs_and_drawn_episodes() -> None:
    strata, generator, means, iqms = [played(4, 12, seed=2), played(4, 9, seed=3)], np.random.default_rng(4), [], []
    for _ in range(6000):
        rows = generator.integers(4, size=4)
        drawn = [stratum[rows][:, generator.integers(stratum.shape[1], size=stratum.shape[1])] for stratum in strata]
        means.append(np.mean([part.mean() for part in drawn]))
        iqms.append(interquartile_mean(np.concatenate([part.ravel() for part in drawn])))
    summary = summarize_group(strata)
    for interval, values in ((summary.mean, means), (summary.iqm, iqms)):
        low, high = np.percentile(values, [2.5, 97.5])
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.08 * (high - low))
    assert (summary.episodes, summary.runs, summary.fewest, summary.is_small()) == (84, 4, 9, True)


def test_simulations_on_the_same_seeds_are_drawn_together() -> None:
    scores = played(5, 30, seed=5)
    once, twice = group_mean([scores]), group_mean([scores, scores], seeds=[range(30)] * 2)
    assert twice == pytest.approx(once)


@pytest.mark.parametrize("shape", [(10, 400), (60, 20)])
def test_groups_of_many_games_need_little_memory(shape: tuple[int, int]) -> None:
    """All resamples of all games of all runs would be 128 MB, those of each run against each other 58 MB."""
    x, y = played(*shape, seed=11), played(*shape, seed=12)
    tracemalloc.start()
    summarize_group([x, y], seeds=[range(shape[1])] * 2)
    compare_groups([x], [y])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 40e6


def test_the_interval_is_the_same_however_many_resamples_are_drawn_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    strata, seeds = [played(4, 12, seed=2), played(4, 9, seed=3)], [range(12), range(3, 12)]
    whole = summarize_group(strata, seeds=seeds)
    monkeypatch.setattr(resampling, "_CHUNK", 1000)
    for ours, theirs in zip(summarize_group(strata, seeds=seeds)[:2], whole[:2], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-12)


@pytest.mark.slow
def test_the_interval_holds_the_recipes_mean_where_that_of_pooled_episodes_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resampling, "RESAMPLES", 400)
    held = np.zeros(2)
    for trial in range(300):
        scores = played(10, 32, seed=trial)
        for index, interval in enumerate((group_mean([scores]), mean_interval([scores.ravel()]))):
            held[index] += interval.low <= 0 <= interval.high
    assert held[0] / 300 > 0.9 and held[1] / 300 < 0.6


def test_groups_are_compared_run_by_run() -> None:
    x, y = played(4, 20, seed=6, luck=0.1) + 3.0, played(5, 20, seed=7, luck=0.1)
    found = compare_groups([x], [y])
    assert found.runs == (4, 5) and found.is_of_runs() and found.pairs == 20
    assert found.difference.value == pytest.approx(x.mean() - y.mean())
    wins = [a > b for a in run_scores([x]) for b in run_scores([y])]
    assert found.probability_of_improvement.value == found.share_of_wins == np.mean(wins) == 1.0
    assert found.p_value == pytest.approx(1 / 126)  # of all ways to choose 4 of 9 runs none other is as extreme
    assert found.difference.low > 2


def test_three_runs_against_three_cannot_show_a_difference_but_say_what_it_would_take() -> None:
    found = compare_groups([played(3, 20, seed=8, luck=0.1) + 5.0], [played(3, 20, seed=9, luck=0.1)])
    assert found.p_value == pytest.approx(0.1) and found.needed == 4 and found.is_small()


def test_the_same_group_on_both_sides_differs_by_nothing() -> None:
    scores = played(4, 20, seed=10)
    found = compare_groups([scores], [scores])
    assert found.difference.value == 0.0 and found.probability_of_improvement.value == 0.5 and found.p_value == 1.0


def test_runs_that_differ_by_rounding_alone_are_equal() -> None:
    found = compare_groups([np.full((4, 20), 0.1 + 0.2)], [np.full((4, 20), 0.3)])
    assert found.probability_of_improvement == (0.5, 0.5, 0.5) and found.share_of_wins == 0.5
    assert found.p_value == 1.0 and found.needed is None and found.difference == (0.0, 0.0, 0.0)


def test_groups_that_played_other_episodes_are_refused() -> None:
    with pytest.raises(ValueError, match="same episodes"):
        compare_groups([np.zeros((2, 5))], [np.zeros((2, 6))])
