"""Ratings: by hand, against another algorithm, and against what they claim about their own uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from metta.eval.cross_play.rating import ELO, HALF, rate

Games = np.ndarray  # [E, N, N]


def games_of(outcomes: dict[tuple[int, int], Sequence[float]], number: int) -> Games:
    """Games from what the first of each pair won, seed by seed."""
    seeds = max(map(len, outcomes.values()))
    games = np.full((seeds, number, number), np.nan)
    for (i, j), won in outcomes.items():
        games[: len(won), i, j] = won
        games[: len(won), j, i] = 1 - np.array(won)
    return games


def simulated(strengths: Sequence[float], *, seeds: int, generator: np.random.Generator, luck: float = 0.0) -> Games:
    """Games that the model describes; with `luck`, seeds favour some policies: pairs of a seed are dependent."""
    number = len(strengths)
    favour = luck * generator.standard_normal((seeds, number))
    outcomes = {}
    for i in range(number):
        for j in range(i):
            difference = strengths[i] - strengths[j] + favour[:, i] - favour[:, j]
            outcomes[i, j] = (generator.random(seeds) < 1 / (1 + np.exp(-difference))).astype(float)
    return games_of(outcomes, number)


def by_hunter(wins: np.ndarray) -> np.ndarray:
    """Bradley-Terry as in Hunter 2004, equation 3: the MM algorithm, one policy after the other, a thousand times."""
    number = len(wins)
    skill = np.ones(number)
    for _ in range(1000):
        for i in range(number):
            met = [j for j in range(number) if j != i]
            skill[i] = wins[i].sum() / sum((wins[i, j] + wins[j, i]) / (skill[i] + skill[j]) for j in met)
        skill /= np.exp(np.log(skill).mean())
    return ELO * np.log(skill)


def test_two_policies_by_hand() -> None:
    ratings = rate([games_of({(0, 1): [1, 1, 1, 0.5, 0]}, 2)])
    difference = ratings.ratings[0].value - ratings.ratings[1].value
    assert difference == pytest.approx(400 * math.log10(4 / 2))  # 3.5 + 0.5 against 1.5 + 0.5
    assert ratings.wins[0][1].value == 0.7 and ratings.wins[1][0].value == pytest.approx(0.3)
    assert ratings.wins[0][0] is None
    assert ratings.seeds == [[0, 5], [5, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_ratings_are_those_of_another_algorithm(seed: int) -> None:
    generator = np.random.default_rng(seed)
    games = simulated([2.0, 1.0, 0.0, -3.0], seeds=20, generator=generator)
    games[3:9] = np.where(np.isnan(games[3:9]), np.nan, 0.5)  # ties
    games[:, 0, 3] = games[:, 3, 0] = np.nan  # two that never met
    wins = np.nansum(games, axis=0) + HALF * ~np.isnan(games).all(axis=0)
    np.testing.assert_allclose([r.value for r in rate([games]).ratings], by_hunter(wins), atol=1e-6)


def test_the_interval_of_a_pair_is_that_of_jeffreys() -> None:
    won, lost = 15, 5
    interval = rate([games_of({(0, 1): [1] * won + [0] * lost}, 2)]).wins[0][1]
    posterior = np.random.default_rng(1).beta(won + 0.5, lost + 0.5, 200_000)
    np.testing.assert_allclose([interval.low, interval.high], np.percentile(posterior, [2.5, 97.5]), atol=0.02)


def test_an_undefeated_policy_has_a_finite_rating_and_is_told() -> None:
    ratings = rate([games_of({(0, 1): [1] * 30, (0, 2): [1] * 30, (1, 2): [1, 0] * 15}, 3)])
    best = ratings.ratings[0]
    assert 0 < best.low < best.value < best.high < 3000
    assert best.high - best.low > 200  # it won everything: nobody knows how good it is
    assert ratings.tiers == [[[0], [1, 2]]]
    assert rate([games_of({(0, 1): [1] * 29 + [0]}, 2)]).tiers == [[[0, 1]]]


def test_an_interval_holds_its_own_value_even_where_sweep_follows_upon_sweep() -> None:
    ladder = {(i, i + 1): [1] * 2000 for i in range(11)}
    for rating in rate([games_of(ladder, 12)]).ratings:
        assert rating.low <= rating.value <= rating.high


@pytest.mark.parametrize("seed", range(8))
def test_any_games_have_finite_ratings(seed: int) -> None:
    """Sweeps, ties, pairs that never met, one seed or very many."""
    generator = np.random.default_rng(seed)
    games = simulated(30 * generator.normal(size=6), seeds=int(generator.choice([1, 5, 2000])), generator=generator)
    for i, j in ((0, 1), (1, 2), (4, 5)):
        games[:, i, j] = games[:, j, i] = generator.choice([0.5, np.nan])
    known = [rating for rating in rate([games]).ratings if rating is not None]
    assert len(known) >= 2 and np.isfinite(known).all()


def test_policies_that_never_met_are_rated_in_groups() -> None:
    ratings = rate([games_of({(0, 2): [1, 1, 0], (1, 3): [0, 0, 1]}, 4)])
    assert ratings.groups == [[0, 2], [1, 3]]
    values = [rating.value for rating in ratings.ratings]
    assert values[0] == pytest.approx(-values[2]) and values[1] == pytest.approx(-values[3])
    assert ratings.wins[0][1] is None
    assert rate([games_of({(0, 1): [1, 0], (1, 2): [1, 0]}, 3)]).groups == [[0, 1, 2]]


def test_the_anchor_is_zero_and_changes_no_difference() -> None:
    games = simulated([1.0, 0.0, -1.0], seeds=30, generator=np.random.default_rng(0))
    free, anchored = rate([games]), rate([games], anchor=1)
    assert anchored.ratings[1] == (0.0, 0.0, 0.0)
    differences = [[r.ratings[0].value - r.ratings[i].value for i in range(3)] for r in (free, anchored)]
    np.testing.assert_allclose(*differences, atol=1e-6)
    assert anchored.wins == free.wins


def test_without_luck_of_seeds_intervals_are_as_wide_as_the_fisher_information_says() -> None:
    strengths, seeds = np.array([1.0, 0.3, -0.3, -1.0]), 400
    ratings = rate([simulated(strengths, seeds=seeds, generator=np.random.default_rng(3))])
    values = np.array([rating.value for rating in ratings.ratings]) / ELO
    chance = 1 / (1 + np.exp(values[None, :] - values[:, None]))
    information = -seeds * chance * (1 - chance)
    np.fill_diagonal(information, 0)
    np.fill_diagonal(information, -information.sum(axis=1))
    expected = ELO * np.sqrt(np.diag(np.linalg.pinv(information)))  # with the mean at 0
    widths = [(rating.high - rating.low) / (2 * 1.959964) for rating in ratings.ratings]
    np.testing.assert_allclose(widths, expected, rtol=0.08)


def test_seeds_are_drawn_for_all_pairs_at_once() -> None:
    """On half of the seeds policy 0 beats everybody: that is one coin, not three."""
    lucky = [1, 0] * 20
    apart = np.random.default_rng(0).permuted(np.tile(lucky, (3, 1)), axis=1).tolist()
    others = {(1, 2): lucky, (2, 3): lucky, (1, 3): lucky}
    joint = rate([games_of({(0, j): lucky for j in (1, 2, 3)} | others, 4)])
    split = rate([games_of({(0, j): apart[j - 1] for j in (1, 2, 3)} | others, 4)])
    width, narrow = (found.ratings[0].high - found.ratings[0].low for found in (joint, split))
    assert joint.ratings[0].value == pytest.approx(split.ratings[0].value, abs=1e-6)
    assert width > 1.3 * narrow


def test_simulations_are_drawn_within_themselves() -> None:
    """Who wins one world for sure and loses the other wins half: no draw can change that."""
    first, second = games_of({(0, 1): [1] * 40}, 2), games_of({(0, 1): [0] * 40}, 2)
    within, mixed = rate([first, second]).wins[0][1], rate([np.concatenate([first, second])]).wins[0][1]
    assert within.value == mixed.value == 0.5
    assert within.high - within.low < 0.5 * (mixed.high - mixed.low)


def test_the_games_of_one_seed_in_two_worlds_are_no_two_seeds() -> None:
    """The same games twice are no more evidence; on other seeds they are."""
    games = simulated([0.4, 0.0], seeds=40, generator=np.random.default_rng(0))
    once, twice, more = (rate(strata) for strata in ([games], [games, games], [np.concatenate([games, games])]))
    widths = [found.ratings[0].high - found.ratings[0].low for found in (once, twice, more)]
    assert widths[1] == pytest.approx(widths[0], rel=0.05) and widths[2] < 0.8 * widths[1]
    assert [found.seeds[0][1] for found in (once, twice, more)] == [40, 40, 80]


def test_the_same_games_give_the_same_numbers_and_another_seed_others() -> None:
    games = simulated([1.0, 0.0], seeds=20, generator=np.random.default_rng(0))
    assert rate([games]) == rate([games]) != rate([games], seed=1)


def test_rock_paper_scissors_is_a_cycle_that_the_rating_hides() -> None:
    mostly = [1] * 17 + [0] * 3
    ratings = rate([games_of({(0, 1): mostly, (1, 2): mostly, (2, 0): mostly}, 3)])
    assert [rating.value for rating in ratings.ratings] == pytest.approx([0, 0, 0], abs=1e-6)
    assert ratings.cycles == [[0, 1, 2]]
    assert ratings.beats == [[False, True, False], [False, False, True], [True, False, False]]


def test_a_clear_order_is_no_cycle() -> None:
    ratings = rate([simulated([3.0, 1.5, 0.0, -1.5], seeds=60, generator=np.random.default_rng(0))])
    assert ratings.cycles == []
    assert sum(map(sum, ratings.beats)) == 6


@pytest.mark.slow
@pytest.mark.parametrize("luck", [0.0, 1.0])
def test_intervals_hold_the_truth_in_about_95_of_100_draws(luck: float) -> None:
    generator = np.random.default_rng(2)
    strengths = np.array([1.2, 0.4, -0.4, -1.2])
    truth = strengths
    if luck:  # the strengths that the model sees when seeds favour some: those of very many games
        many = simulated(strengths, seeds=400_000, generator=generator, luck=luck)
        truth = by_hunter(np.nansum(many, axis=0)) / ELO
    hits = []
    for _ in range(300):
        ratings = rate([simulated(strengths, seeds=40, generator=generator, luck=luck)]).ratings
        hits.append([rating.low <= ELO * value <= rating.high for rating, value in zip(ratings, truth, strict=True)])
    assert 0.93 < np.mean(hits) < 0.97
