"""Seeds are drawn, and with them every episode that was played on them: against plain loops, and the truth."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from metta.eval import resampling
from metta.eval.cross_play.partners import with_partners
from metta.eval.cross_play.scores import CrossScores
from metta.eval.resampling import episode_weights, num_seeds
from metta.eval.run_groups import compare_groups, summarize_group
from metta.eval.significance import pairs_needed, sign_flip_p
from metta.eval.statistics import compare, interquartile_mean, iqm_interval, mean_interval, weighted_iqm

DESIGNS = {
    "the same": [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]],
    "in another order": [[1, 2, 3, 4], [4, 3, 2, 1]],
    "one missing": [[1, 2, 3, 4, 5], [1, 2, 4, 5]],
    "none shared": [[1, 2, 3], [4, 5, 6, 7]],
    "a chain": [list(range(8)), list(range(4, 12)), list(range(8, 16))],
    "two blocks": [[1, 2, 3, 4], [11, 12, 13, 14], [3, 4, 5, 6], [13, 14, 15, 16], [20, 21]],
    "a few of many": [list(range(30)), [3, 17]],
}


def drawn_seeds(seeds: Sequence[Sequence[int]]) -> list[list[list[int]]]:
    """What each resample draws, for each group of strata that a chain of shared seeds links: written plainly."""
    groups: list[list[int]] = []
    for stratum, labels in enumerate(seeds):
        linked = [group for group in groups if any(set(labels) & set(seeds[other]) for other in group)]
        joined = sorted([stratum, *(other for group in linked for other in group)])
        groups = [group for group in groups if group not in linked] + [joined]
    groups.sort()
    generators = np.random.default_rng(0).spawn(len(groups))
    found: list[list[list[int]]] = [[] for _ in range(resampling.RESAMPLES)]
    for group, generator in zip(groups, generators, strict=True):
        union = list(dict.fromkeys(label for stratum in group for label in seeds[stratum]))
        draws = generator.integers(len(union), size=(resampling.RESAMPLES, len(union)))
        for resample, draw in zip(found, draws.tolist(), strict=True):
            resample.append([union[place] for place in draw])
    return found


def games_of(labels: Sequence[int], resample: Sequence[Sequence[int]]) -> list[int]:
    """The places of a stratum's episodes among those that a resample drew."""
    return [labels.index(seed) for group in resample for seed in group if seed in labels]


def trimmed(numbers: list[tuple[float, float]], total: int) -> float:
    """The interquartile mean of (number, weight): a quarter of the weight, rounded down, is cut at each end."""
    left, right, below, found = total // 4, total - total // 4, 0.0, 0.0
    for number, weight in sorted(numbers):
        found += number * max(0.0, min(below + weight, right) - max(below, left))
        below += weight
    return found / (right - left)


def wins(x: float, y: float) -> float:
    return 1.0 if x > y else 0.5 if x == y else 0.0


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "RESAMPLES", 40)


def played(seeds: Sequence[Sequence[int]], *, noise: int) -> list[np.ndarray]:
    """Whole numbers, so that there are ties; scores of one seed go together."""
    generator = np.random.default_rng(noise)
    luck = generator.integers(0, 9, size=100)
    return [np.array([luck[seed] + generator.integers(0, 4) for seed in labels], np.float64) for labels in seeds]


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("design", [name for name in DESIGNS if name != "a few of many"])
def test_intervals_are_those_of_plain_loops_over_drawn_seeds(design: str) -> None:
    seeds = DESIGNS[design]
    x, y = played(seeds, noise=1), played(seeds, noise=2)
    means, iqms, differences, improvements = [], [], [], []
    for resample in drawn_seeds(seeds):
        places = [games_of(labels, resample) for labels in seeds]
        assert all(places)  # a stratum of which nothing is drawn is tested below
        means.append(np.mean([np.mean([a[e] for e in own]) for a, own in zip(x, places, strict=True)]))
        pooled = [(a[e], len(a) / len(own)) for a, own in zip(x, places, strict=True) for e in own]
        iqms.append(trimmed(pooled, sum(map(len, x))))
        both = list(zip(x, y, places, strict=True))
        differences.append(np.mean([np.mean([a[e] - b[e] for e in own]) for a, b, own in both]))
        improvements.append(np.mean([np.mean([wins(a[e], b[f]) for e in own for f in own]) for a, b, own in both]))
    found = compare(x, y, seeds=seeds)
    for interval, values in (
        (mean_interval(x, seeds=seeds), means),
        (iqm_interval(x, seeds=seeds), iqms),
        (found.difference, differences),
        (found.probability_of_improvement, improvements),
    ):
        assert interval[1:] == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=1e-12)


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("design", ["the same", "one missing", "none shared", "a chain"])
def test_groups_of_runs_are_those_of_plain_loops_over_drawn_runs_and_seeds(design: str) -> None:
    """The runs of a group are drawn first, as a stratum of their own."""
    seeds, runs = DESIGNS[design], [[-1, -2, -3], [-4, -5, -6, -7]]
    x = [np.stack(rows) for rows in zip(*(played(seeds, noise=run) for run in range(3)), strict=True)]
    y = [np.stack(rows) for rows in zip(*(played(seeds, noise=run) for run in range(3, 7)), strict=True)]
    difference, chance = [], []
    for resample in drawn_seeds([*runs, *seeds]):
        ours, theirs, *places = [games_of(labels, resample) for labels in (*runs, *seeds)]
        assert all(places)
        mine = [np.mean([a[run][own].mean() for a, own in zip(x, places, strict=True)]) for run in ours]
        other = [np.mean([b[run][own].mean() for b, own in zip(y, places, strict=True)]) for run in theirs]
        difference.append(np.mean(mine) - np.mean(other))
        chance.append(np.mean([wins(round(a - b, 12), 0) for a in mine for b in other]))
    found = compare_groups(x, y, seeds=seeds)
    assert found.difference[1:] == pytest.approx(np.percentile(difference, [2.5, 97.5]), abs=1e-12)
    assert found.probability_of_improvement[1:] == pytest.approx(np.percentile(chance, [2.5, 97.5]), abs=1e-12)
    means, iqms = [], []
    for resample in drawn_seeds([runs[0], *seeds]):
        ours, *places = [games_of(labels, resample) for labels in (runs[0], *seeds)]
        both = list(zip(x, places, strict=True))
        means.append(np.mean([np.mean([a[run][own].mean() for a, own in both]) for run in ours]))
        pooled = [(a[run][e], a.shape[1] / len(own)) for a, own in both for run in ours for e in own]
        iqms.append(trimmed(pooled, sum(a.size for a in x)))
    summary = summarize_group(x, seeds=seeds)
    assert summary.mean[1:] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=1e-12)
    assert summary.iqm[1:] == pytest.approx(np.percentile(iqms, [2.5, 97.5]), abs=1e-12)
    assert summary.seeds == len(set().union(*seeds))


@pytest.mark.parametrize("design", DESIGNS)
def test_every_stratum_keeps_its_weight_in_every_resample(design: str) -> None:
    seeds = DESIGNS[design]
    lengths = [len(labels) for labels in seeds]
    (weights,) = episode_weights(lengths, seeds)
    for length, drawn in zip(lengths, weights, strict=True):
        assert drawn.shape == (resampling.RESAMPLES, length)
        np.testing.assert_allclose(drawn.sum(axis=1), length, rtol=1e-12)
        np.testing.assert_allclose(drawn.mean(axis=0), 1.0, atol=0.15)


def test_a_seed_counts_equally_often_wherever_it_was_played() -> None:
    (weights,) = episode_weights([5, 4], DESIGNS["one missing"])
    ratios = weights[0][:, [0, 1, 3, 4]] / weights[0].sum(axis=1, keepdims=True)
    others = weights[1] / weights[1].sum(axis=1, keepdims=True)
    share = ratios.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ratios, others * share, atol=1e-12)
    (weights,) = episode_weights([5, 5], DESIGNS["the same"])
    np.testing.assert_array_equal(weights[0], weights[1])
    assert set(np.unique(weights[0])) <= {0, 1, 2, 3, 4, 5}


def test_a_resample_without_any_episode_of_a_stratum_draws_it_within_itself() -> None:
    seeds = DESIGNS["a few of many"]
    generator = np.random.default_rng(0).spawn(1)[0]
    draws = generator.integers(30, size=(resampling.RESAMPLES, 30))
    empty = ~np.isin(draws, [3, 17]).any(axis=1)
    (weights,) = episode_weights([30, 2], seeds)
    assert 0.05 < empty.mean() < 0.25  # (28 / 30) ** 30
    drawn, times = np.unique(weights[1][empty][:, 0], return_counts=True)
    assert drawn.tolist() == [0, 1, 2] and times[1] == pytest.approx(empty.sum() / 2, rel=0.25)


def test_an_episode_that_is_missing_does_not_narrow_the_interval_over_all() -> None:
    luck = np.random.default_rng(0).normal(size=64)
    whole = mean_interval([luck, luck], seeds=[range(64)] * 2)
    lacking = mean_interval([luck, luck[:-1]], seeds=[range(64), range(63)])
    apart = mean_interval([luck, luck[:-1]])
    width, narrow, wide = (interval.high - interval.low for interval in (whole, apart, lacking))
    assert wide == pytest.approx(width, rel=0.05) and narrow < 0.8 * width


def test_with_its_partners_too_a_policys_seeds_are_drawn_together() -> None:
    focal = np.random.default_rng(0).normal(size=(64, 1, 1))
    lacking = focal.copy()
    lacking[5] = np.nan
    tables = [
        CrossScores(simulation=name, metric="hearts", focal=values, partner=values, focal_agents=12, agents=24)
        for name, values in (("a", focal), ("b", lacking))
    ]
    once, twice = with_partners(tables[:1], 0).itself, with_partners(tables, 0).itself
    assert once is not None and twice is not None
    assert twice.high - twice.low == pytest.approx(once.high - once.low, rel=0.05)


def test_a_seed_changes_its_sign_in_all_simulations_that_share_it() -> None:
    for seeds in [*DESIGNS.values(), [[1, 2, 3, 4], [3, 4, 5, 6], [6, 7, 8]]]:
        if num_seeds([], seeds) > 10:
            continue
        differences = [x - y - 0.5 for x, y in zip(played(seeds, noise=1), played(seeds, noise=2), strict=True)]
        everyone, sums = sorted(set().union(*seeds)), []
        for signs in itertools.product((-1, 1), repeat=len(everyone)):
            sign = dict(zip(everyone, signs, strict=True))
            means = [
                np.mean([sign[seed] * value for seed, value in zip(labels, values, strict=True)])
                for labels, values in zip(seeds, differences, strict=True)
            ]
            sums.append(abs(np.mean(means)))
        assert sign_flip_p(differences, seeds=seeds) == np.mean(np.array(sums) >= sums[0] - 1e-9)


def test_what_is_needed_rests_on_the_seeds_that_are_shared() -> None:
    generator = np.random.default_rng(3)
    luck = generator.normal(0.3, 1.0, size=96)
    once = pairs_needed([luck[:64]])
    assert once is not None
    same = pairs_needed([luck[:64], luck[:64]], seeds=[range(64)] * 2)
    apart = pairs_needed([luck[:64], luck[:64]])
    lacking = pairs_needed([luck[:64], luck[:63]], seeds=[range(64), range(63)])
    assert same == once and apart == pytest.approx(once / 2, abs=1)
    assert lacking == pytest.approx(once, rel=0.1)


def test_whole_weights_are_copies() -> None:
    values = np.sort(np.random.default_rng(4).normal(size=11))
    counts = np.random.default_rng(5).multinomial(11, np.full(11, 1 / 11), size=20).astype(np.float64)
    copies = [interquartile_mean(np.repeat(values, row.astype(int))) for row in counts]
    np.testing.assert_allclose(weighted_iqm(values, counts), copies, rtol=1e-12)


@pytest.mark.parametrize("seeds", [[[1, 1, 2], [1, 2]], [[1, 2], [1, 2]], [[1, 2, 3]]])
def test_seeds_that_do_not_fit_the_episodes_are_refused(seeds: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="needs a seed that no other of it has"):
        mean_interval([np.zeros(3), np.zeros(2)], seeds=seeds)


def cover(seeds: list[list[int]], together: float, *, draws: int, shared: bool) -> float:
    """How often the interval holds the truth, 0, where scores of a seed have the correlation `together`."""
    generator, lengths = np.random.default_rng(6), [len(labels) for labels in seeds]
    luck = generator.normal(size=(max(map(max, seeds)) + 1, draws))
    games = [
        np.sqrt(together) * luck[labels] + np.sqrt(1 - together) * generator.normal(size=(len(labels), draws))
        for labels in seeds
    ]
    chunks = list(episode_weights(lengths, seeds if shared else None))
    weights = [np.concatenate(parts) for parts in zip(*chunks, strict=True)]
    drawn = np.mean([weight @ x / len(x) for weight, x in zip(weights, games, strict=True)], axis=0)
    low, high = resampling.percentile_bounds(drawn)
    return float(np.mean((low <= 0) & (high >= 0)))


def overlapping(episodes: int) -> dict[str, list[list[int]]]:
    """The designs of the table in docs/evaluation.md."""
    generator = np.random.default_rng(7)
    kept = [sorted(generator.permutation(episodes)[: round(0.8 * episodes)].tolist()) for _ in range(4)]
    whole = list(range(episodes))
    return {
        "two": [whole, whole],
        "one missing": [whole, whole[:-1]],
        "half of the seeds": [list(range(k * episodes // 2, k * episodes // 2 + episodes)) for k in range(3)],
        "a quarter of the episodes": [whole, whole[: episodes // 4]],
        "a fifth missing": kept,
        "none": [whole, list(range(episodes, 2 * episodes))],
    }


@pytest.mark.slow
@pytest.mark.parametrize("together", [0.0, 0.99])
@pytest.mark.parametrize("name", overlapping(64))
def test_the_interval_over_simulations_that_share_seeds_covers_the_truth(name: str, together: float) -> None:
    assert 0.925 < cover(overlapping(64)[name], together, draws=2000, shared=True) < 0.965
    if together and name != "none":
        assert cover(overlapping(64)[name], together, draws=2000, shared=False) < 0.9


@pytest.mark.slow
def test_iqm_and_improvement_over_simulations_that_share_seeds_cover_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "RESAMPLES", 500)
    seeds = overlapping(48)["a fifth missing"]
    generator, held = np.random.default_rng(8), np.zeros(3)
    for trial in range(500):
        maps, *tastes = generator.normal(size=(3, 48))  # what a map is worth to all, and to either policy
        x, y = (
            [(maps + taste)[labels] + 0.1 * generator.normal(size=len(labels)) for labels in seeds] for taste in tastes
        )
        iqm, found = iqm_interval(x, seeds=seeds, rng_seed=trial), compare(x, y, seeds=seeds, rng_seed=trial)
        chance = found.probability_of_improvement
        held += [iqm.low <= 0 <= iqm.high, chance.low <= 0.5 <= chance.high, found.p_value >= 0.05]
    assert np.all(held / 500 > 0.91) and np.all(held / 500 < 0.98)
