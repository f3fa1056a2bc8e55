"""Who beats whom: p-values against trying all signs, and how often all decisions are right at once."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from metta.eval.cross_play.cycles import find_cycles
from metta.eval.cross_play.decisions import decide, fewest_seeds, sign_p
from metta.eval.significance import sign_flip_p

Games = np.ndarray  # [E, N, N]


def drawn(chances: np.ndarray, *, seeds: int, generator: np.random.Generator, luck: float = 0.0) -> Games:
    """Two games a seed; `chances[i, j]`: of i against j. With `luck` seeds favour some policies in all their games."""
    number = len(chances)
    rows, columns = np.tril_indices(number, -1)
    favour = luck * generator.standard_normal((seeds, number))
    odds = np.log(chances[rows, columns] / (1 - chances[rows, columns])) + favour[:, rows] - favour[:, columns]
    won = (generator.random((2, *odds.shape)) < 1 / (1 + np.exp(-odds))).mean(axis=0)
    games = np.full((seeds, number, number), np.nan)
    games[:, rows, columns], games[:, columns, rows] = won, 1 - won
    return games


def ordered(number: int) -> np.ndarray:
    """Three kinds: the first nearly always beats the second, that the third, and the third plays even with the first.

    The most dangerous truth: one wrong decision anywhere, and there is a circle that is none.
    """
    kinds = np.arange(number) % 3
    chances = np.full((number, number), 0.5)
    for better, worse in ((0, 1), (1, 2)):
        chances[np.ix_(kinds == better, kinds == worse)] = 0.99
        chances[np.ix_(kinds == worse, kinds == better)] = 0.01
    return chances


def rock_paper_scissors(number: int, share: float) -> np.ndarray:
    """Three that go round in a circle among others who are all alike."""
    chances = np.full((number, number), 0.5)
    for winner, loser in ((0, 1), (1, 2), (2, 0)):
        chances[winner, loser], chances[loser, winner] = share, 1 - share
    return chances


@pytest.mark.parametrize("seed", range(10))
def test_a_p_value_is_the_share_of_all_signs_that_give_as_much(seed: int) -> None:
    results = np.random.default_rng(seed).integers(-3, 5, size=9)
    sums = [
        abs(sum(sign * abs(size) for sign, size in zip(signs, results, strict=True)))
        for signs in product((1, -1), repeat=9)
    ]
    assert sign_p(results) == pytest.approx(np.mean([total >= abs(results.sum()) for total in sums]))
    assert sign_p(results) == pytest.approx(sign_flip_p([results.astype(float)]))
    assert sign_p(-results) == pytest.approx(sign_p(results))


def test_p_values_stay_exact_where_they_are_very_small() -> None:
    assert sign_p(np.array([2] * 200)) == pytest.approx(2 * 0.5**200)
    assert sign_p(np.array([2, 1] * 100)) == pytest.approx(2 * 0.5**200)
    assert sign_p(np.array([2, -2] * 300 + [0])) == sign_p(np.zeros(5, np.int64)) == 1.0


@pytest.mark.parametrize("pairs", [1, 3, 10, 780])
def test_so_many_seeds_are_needed_as_is_said(pairs: int) -> None:
    number = round((1 + (1 + 8 * pairs) ** 0.5) / 2)
    for seeds, is_decided in ((fewest_seeds(pairs) - 1, False), (fewest_seeds(pairs), True)):
        games = np.full((seeds, number, number), 0.5)
        games[:, 0, 1], games[:, 1, 0] = 1.0, 0.0
        beats = decide([games])
        assert beats[0, 1] == is_decided and beats.sum() == is_decided
    assert fewest_seeds(1) == 6


def test_who_never_met_is_neither_decided_nor_counted() -> None:
    apart, met = np.full((2, 8, 3, 3), np.nan)
    for games in (apart, met):
        games[:, 0, 1], games[:, 1, 0] = 1.0, 0.0
    met[:, 0, 2] = met[:, 2, 0] = met[:, 1, 2] = met[:, 2, 1] = 0.5
    assert decide([apart[:6]])[0, 1] and not decide([met[:6]])[0, 1] and decide([met])[0, 1]


def test_a_seed_of_two_worlds_is_one_result() -> None:
    games = drawn(np.array([[0.5, 0.9], [0.1, 0.5]]), seeds=5, generator=np.random.default_rng(0))
    games[:, 0, 1], games[:, 1, 0] = 1.0, 0.0
    assert not decide([games]).any() and not decide([games, games]).any()
    assert decide([np.concatenate([games, games])])[0, 1]


def alarms(chances: np.ndarray, *, seeds: int, sets: int, luck: float = 0.0) -> tuple[float, float]:
    """Share of sets with a circle, and with any decision between policies that are alike."""
    generator = np.random.default_rng(7)
    circles = wrong = 0
    for _ in range(sets):
        beats = decide([drawn(chances, seeds=seeds, generator=generator, luck=luck)])
        circles += bool(find_cycles(beats))
        wrong += bool(beats[chances == 0.5].any())
    return circles / sets, wrong / sets


@pytest.mark.parametrize("number", [5, 12])
def test_among_equals_hardly_anything_is_decided(number: int) -> None:
    circles, wrong = alarms(np.full((number, number), 0.5), seeds=32, sets=100)
    assert circles == 0 and wrong <= 0.08


@pytest.mark.slow
@pytest.mark.parametrize("luck", [0.0, 1.0])
@pytest.mark.parametrize("number", [5, 20, 40])
def test_of_a_whole_set_a_decision_is_wrong_at_most_once_in_twenty(number: int, luck: float) -> None:
    for chances in (np.full((number, number), 0.5), ordered(number)):
        circles, wrong = alarms(chances, seeds=32, sets=200, luck=luck)
        assert circles <= wrong
        if luck == 0 or chances[0, 1] == 0.5:  # luck moves chances of 99 %, and those of 50 % not
            assert wrong <= 0.05 + 0.03  # 3 % is two standard errors


@pytest.mark.parametrize(("number", "seeds"), [(3, 32), (5, 48), (20, 64)])
def test_rock_paper_scissors_is_found_also_among_others(number: int, seeds: int) -> None:
    generator, found = np.random.default_rng(0), 0
    for _ in range(20):
        games = drawn(rock_paper_scissors(number, 0.75), seeds=seeds, generator=generator)
        found += [0, 1, 2] in find_cycles(decide([games]))
    assert found >= 16
