"""Intervals and comparisons, against numbers of the reference implementation and against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from metta.eval import resampling
from metta.eval.statistics import (
    FEW,
    Interval,
    compare,
    interquartile_mean,
    iqm_interval,
    mean_interval,
    mean_intervals,
    probability_of_improvement,
    summarize,
)

# 12 runs of 3 tasks each, and what rliable 1.2.0 (the code of Agarwal et al. 2021, by its authors) says of them:
# metrics.aggregate_mean, metrics.aggregate_iqm, metrics.probability_of_improvement, and
# library.get_interval_estimates with reps=20_000. SciPy 1.17.1 says the same: stats.trim_mean(X, 0.25, axis=None) is
# the interquartile mean, stats.mannwhitneyu(x, y).statistic / 144 averaged over tasks P(X > Y), and the bounds of the
# mean from stats.bootstrap(tasks, mean of means, method="percentile", n_resamples=50_000) are 1.9589 and 2.8993.
X = np.array(
    [
        *([2.502, 2.006, 1.719], [2.618, 1.663, 3.574], [2.71, 2.444, 0.696], [0.361, 2.965, 2.816]),
        *([2.407, 0.553, 2.795], [1.238, 1.24, 4.633], [2.29, 2.626, 2.65], [0.541, 2.738, 8.719]),
        *([0.823, 3.791, 4.069], [4.028, 1.407, 1.706], [0.834, 2.139, 5.438], [1.255, 0.286, 2.316]),
    ]
)
Y = np.array(
    [
        *([3.369, 1.582, 5.51], [1.665, 1.919, 0.823], [1.489, 3.292, 3.324], [4.213, 3.147, 2.687]),
        *([0.314, 1.005, 7.983], [1.281, 2.965, 1.798], [3.018, 1.98, 0.871], [1.044, 2.414, 1.317]),
        *([0.327, 2.716, 3.719], [3.516, 3.566, 0.539], [5.268, 1.705, 0.938], [1.371, 1.106, 0.702]),
    ]
)
MEAN_X, MEAN_BOUNDS_X = 2.4054444444444445, (1.95652708, 2.90359375)
IQM_X, IQM_BOUNDS_X, IQM_Y = 2.221722222222222, (1.79416528, 2.6165), 2.0806666666666667
IQM_OF_33 = 2.3080000000000003
# SciPy 1.17.1, stats.bootstrap(method="percentile", n_resamples=50_000): the mean of X - Y resampled within each task,
# and P(X > Y) of the first task with paired=True.
DIFFERENCE, DIFFERENCE_BOUNDS = 0.058694444444444334, (-0.69680625, 0.78842014)
PAIRED_IMPROVEMENT, PAIRED_IMPROVEMENT_BOUNDS = 0.4097222222222222, (0.19444444, 0.63194444)
IMPROVEMENT, IMPROVEMENT_BOUNDS = 0.49652777777777785, (0.36342593, 0.63078704)


def tasks(scores: np.ndarray) -> list[np.ndarray]:
    return list(scores.T)


def test_point_estimates_are_those_of_the_reference_implementation() -> None:
    assert mean_interval(tasks(X)).value == pytest.approx(MEAN_X, abs=1e-12)
    assert iqm_interval(tasks(X)).value == pytest.approx(IQM_X, abs=1e-12)
    assert interquartile_mean(Y) == pytest.approx(IQM_Y, abs=1e-12)
    assert interquartile_mean(X[:11]) == pytest.approx(IQM_OF_33, abs=1e-12)
    assert probability_of_improvement(tasks(X), tasks(Y)).value == pytest.approx(IMPROVEMENT, abs=1e-12)
    assert compare(tasks(X), tasks(Y)).difference.value == pytest.approx(DIFFERENCE, abs=1e-12)
    first = probability_of_improvement([X[:, 0]], [Y[:, 0]], paired=True)
    assert first.value == pytest.approx(PAIRED_IMPROVEMENT, abs=1e-12)


@pytest.mark.parametrize(
    ("interval", "bounds"),
    [
        (mean_interval(tasks(X)), MEAN_BOUNDS_X),
        (iqm_interval(tasks(X)), IQM_BOUNDS_X),
        (probability_of_improvement(tasks(X), tasks(Y)), IMPROVEMENT_BOUNDS),
        (compare(tasks(X), tasks(Y)).difference, DIFFERENCE_BOUNDS),
        (probability_of_improvement([X[:, 0]], [Y[:, 0]], paired=True), PAIRED_IMPROVEMENT_BOUNDS),
    ],
)
def test_intervals_are_those_of_the_reference_implementation_but_for_chance(interval: Interval, bounds: tuple) -> None:
    width = bounds[1] - bounds[0]
    assert (interval.low, interval.high) == pytest.approx(bounds, abs=0.06 * width)


def test_the_interval_of_a_mean_is_that_of_a_plain_loop() -> None:
    values = np.random.default_rng(3).gamma(2.0, size=30)
    generator = np.random.default_rng(4)
    means = [np.mean(generator.choice(values, len(values))) for _ in range(20_000)]
    interval = mean_interval([values])
    assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), rel=0.03)


def test_an_interval_covers_the_truth_about_nineteen_times_in_twenty() -> None:
    trials = np.random.default_rng(5).exponential(1.0, size=(64, 1000))  # 64 episodes, a thousand times
    covered = [interval.low <= 1.0 <= interval.high for interval in mean_intervals([trials])]
    assert 0.90 < np.mean(covered) < 0.98


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["normal", "exponential", "rarely one"])
def test_intervals_of_many_episodes_cover_the_truth_and_those_of_few_do_not(shape: str) -> None:
    generator = np.random.default_rng(6)
    draw, truth = {
        "normal": (generator.standard_normal, 0.0),
        "exponential": (generator.standard_exponential, 1.0),
        "rarely one": (lambda size: (generator.random(size) < 0.2) * 1.0, 0.2),
    }[shape]

    def covered(episodes: int) -> float:
        intervals = mean_intervals([draw((episodes, 4000))])
        return float(np.mean([interval.low <= truth <= interval.high for interval in intervals]))

    assert covered(5) < 0.86 and 0.84 < covered(FEW) < 0.95  # the bound below which the tables warn
    assert 0.91 < covered(64) < 0.97 and 0.93 < covered(400) < 0.965


@pytest.mark.slow
def test_the_intervals_of_a_comparison_cover_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "RESAMPLES", 500)
    generator, hits = np.random.default_rng(7), np.zeros(3)
    noise = 0.5
    truth = 0.5 * (1 + math.erf(0.5 / math.sqrt(2 * (1 + noise**2)) / math.sqrt(2)))  # P(X > Y) of two normals
    for trial in range(400):
        maps = generator.normal(size=64)
        x = maps + noise * generator.normal(size=64) + 0.5
        found = compare([x], [maps + noise * generator.normal(size=64)], rng_seed=trial)
        hits += [found.difference.low <= 0.5 <= found.difference.high, found.p_value < 0.05, 0]
        chance = found.probability_of_improvement
        hits[2] += chance.low <= truth <= chance.high
    assert 0.91 < hits[0] / 400 < 0.98 and 0.91 < hits[2] / 400 < 0.98
    assert hits[1] == 400


def test_simulations_on_the_same_seeds_are_resampled_together() -> None:
    basic = np.random.default_rng(8).normal(size=40)
    alone, apart = mean_interval([basic]), mean_interval([basic, basic])
    together = mean_interval([basic, basic], seeds=[range(40)] * 2)
    assert together == pytest.approx(alone)  # the same games twice say no more than once
    assert apart.high - apart.low < 0.8 * (alone.high - alone.low)
    assert iqm_interval([basic, basic], seeds=[range(40)] * 2)[1:] == pytest.approx(iqm_interval([basic])[1:], abs=0.1)
    x, y = [basic, basic], [basic * 0, basic * 0]
    once, twice = compare(x[:1], y[:1]), compare(x, y, seeds=[range(40)] * 2)
    assert (twice.p_value, twice.needed) == (once.p_value, once.needed)
    assert twice.probability_of_improvement == pytest.approx(once.probability_of_improvement)
    assert compare(x, y).p_value != once.p_value


def test_strata_are_resampled_within_themselves() -> None:
    low, high = np.full(20, 1.0), np.full(20, 9.0)
    assert mean_interval([low, high]) == Interval(5.0, 5.0, 5.0)
    assert mean_interval([np.concatenate([low, high])]).low < 4.0


def test_every_stratum_counts_the_same_in_a_mean_however_many_episodes_it_has() -> None:
    assert mean_interval([np.zeros(10), np.full(30, 4.0)]).value == 2.0


def test_many_metrics_at_once_are_the_same_as_one_by_one() -> None:
    strata = [np.random.default_rng(6).normal(size=(12, 5)), np.random.default_rng(7).normal(size=(8, 5))]
    together = mean_intervals(strata)
    alone = [mean_interval([stratum[:, column] for stratum in strata]) for column in range(5)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_the_same_numbers_give_the_same_interval_always() -> None:
    assert summarize(tasks(X)) == summarize(tasks(X))


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> list[object]:
        return [summarize(tasks(X)), compare(tasks(X), tasks(Y)), probability_of_improvement(tasks(X), tasks(Y))]

    whole = found()
    monkeypatch.setattr(resampling, "_CHUNK", 36 * 2 * 700)
    assert found() == whole


def test_one_episode_has_no_interval() -> None:
    summary = summarize([np.array([3.0])])
    assert summary.mean.value == summary.iqm.value == 3.0
    assert np.isnan(summary.mean.low) and np.isnan(summary.iqm.high)
    assert str(summary.mean) == "3.00"


def test_a_simulation_of_one_episode_leaves_the_mean_without_an_interval() -> None:
    assert np.isnan(mean_interval([np.arange(20.0), np.ones(1)]).low)
    assert np.isnan(probability_of_improvement([np.ones(1)], [np.zeros(1)]).low)


def test_a_summary_says_how_many_episodes_and_seeds_and_whether_they_are_few() -> None:
    summary = summarize([np.arange(12.0), np.arange(9.0)], seeds=[range(12), range(9)])
    assert (summary.episodes, summary.seeds, summary.fewest, summary.is_small()) == (21, 12, 9, True)
    assert summarize([np.arange(12.0)]).seeds == 12 and not summarize([np.arange(12.0)]).is_small()


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(3.14159, 2.9, 3.4), "3.14 [2.90, 3.40]"),
        (Interval(31415.9, 29000, 34000), "31,416 [29,000, 34,000]"),
        (Interval(0.00031, 0.00021, 0.00042), "0.00031 [0.00021, 0.00042]"),
        (Interval(-0.0001, -0.4, 0.4), "0.00 [-0.40, 0.40]"),
        (Interval(2.0, 2.0, 2.0), "2.00 [2.00, 2.00]"),
    ],
)
def test_a_number_is_printed_with_the_digits_that_its_interval_allows(interval: Interval, text: str) -> None:
    assert str(interval) == text


def test_the_probability_of_improvement_is_that_of_counting_all_pairs() -> None:
    x, y = np.array([1.0, 2.0, 2.0, 5.0]), np.array([2.0, 3.0, 0.0])
    wins = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a in x for b in y)
    assert probability_of_improvement([x], [y]).value == pytest.approx(wins / 12)


def test_many_episodes_are_compared_in_a_moment() -> None:
    generator = np.random.default_rng(9)
    x, y = generator.integers(0, 50, 3000) / 24, generator.integers(0, 40, 2000) / 24
    wins = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
    assert probability_of_improvement([x], [y]).value == pytest.approx(wins.mean(), abs=1e-12)


def test_a_policy_against_itself_improves_nothing() -> None:
    found = compare(tasks(X), tasks(X))
    assert found.difference == Interval(0.0, 0.0, 0.0)
    assert found.probability_of_improvement == Interval(0.5, 0.5, 0.5)
    assert (found.share_of_wins, found.p_value, found.needed, found.pairs) == (0.5, 1.0, None, 36)


def test_pairing_takes_out_the_luck_of_the_map() -> None:
    maps = np.random.default_rng(8).normal(10.0, 3.0, size=40)
    noise = np.random.default_rng(9).normal(0.0, 0.1, size=40)
    found = compare([maps + 0.5 + noise], [maps])
    assert 0.4 < found.difference.low < found.difference.high < 0.6
    assert found.share_of_wins == 1.0 and found.p_value < 0.001
    independent = probability_of_improvement([maps + 0.5 + noise], [maps])
    assert independent.low < 0.5 < found.probability_of_improvement.low


def test_a_simulation_counts_the_same_in_the_share_of_wins_however_many_pairs_it_has() -> None:
    assert compare([np.ones(10), np.zeros(30)], [np.zeros(10), np.zeros(30)]).share_of_wins == 0.75


def test_scores_that_differ_by_rounding_alone_are_equal() -> None:
    summed, product = np.full(20, 0.1 + 0.2), np.full(20, 0.3)
    assert (summed > product).all()
    for scale in (1.0, 1e9, -1.0):
        found = compare([scale * summed], [scale * product])
        assert found.difference == Interval(0.0, 0.0, 0.0) and found.needed is None
        assert found.probability_of_improvement == Interval(0.5, 0.5, 0.5)
        assert (found.share_of_wins, found.p_value) == (0.5, 1.0)
    assert str(mean_interval([np.array([0.1 + 0.2, 0.3, 0.3])])) == "0.30 [0.30, 0.30]"
    assert compare([np.full(20, 1.0)], [np.full(20, 1.0 - 1e-5)]).p_value < 0.001


def test_comparing_other_episodes_is_refused() -> None:
    with pytest.raises(ValueError, match="same episodes"):
        compare([np.zeros(3)], [np.zeros(4)])
