"""Tests by re-labelling, Holm's correction, and how much play would be needed: against SciPy and plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tests.eval.test_statistics import X, Y

from metta.eval import significance
from metta.eval.significance import holm, label_p, more_for, pairs_needed, runs_needed, sign_flip_p

# SciPy 1.17.1, stats.permutation_test(n_resamples=np.inf, vectorized=True) of the difference of means: the first task
# of X and Y with permutation_type="samples"; its size, alternative="greater", of the first 5 and 4 numbers with
# permutation_type="independent".
SIGN_FLIP_P, LABEL_P = 0.4521484375, 0.5158730158730159


def test_p_values_are_those_of_scipy() -> None:
    assert sign_flip_p([X[:, 0] - Y[:, 0]]) == pytest.approx(SIGN_FLIP_P, abs=1e-12)
    assert label_p(X[:5, 0], Y[:4, 0]) == pytest.approx(LABEL_P, abs=1e-12)


def test_drawn_signs_and_labels_come_near_to_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(0.5, size=16), generator.normal(size=16)
    signs = np.array(list(itertools.product((-1, 1), repeat=16)))
    exact = (np.abs(signs @ (x - y)) >= abs((x - y).sum()) - 1e-9).mean()
    assert sign_flip_p([x - y]) == pytest.approx(exact, abs=0.015)
    exact = label_p(x[:7], y[:7])
    monkeypatch.setattr(significance, "FLIPS", 3000)
    assert label_p(x[:7], y[:7]) == pytest.approx(exact, abs=0.03)


def test_the_sign_flip_counts_every_simulation_the_same_and_every_seed_once() -> None:
    strata = [np.array([1.0, -2.0, 3.0]), np.array([4.0, 1.0])]
    parts = np.array([1 / 3, -2 / 3, 1.0, 2.0, 0.5])
    signs = np.array(list(itertools.product((-1, 1), repeat=5)))
    assert sign_flip_p(strata) == (np.abs(signs @ parts) >= abs(parts.sum()) - 1e-9).mean()
    assert sign_flip_p([strata[0], strata[0]], seeds=[[1, 2, 3]] * 2) == sign_flip_p([strata[0]])


def test_p_cannot_be_small_with_few_pairs_or_runs() -> None:
    assert sign_flip_p([np.ones(5)]) == 2 / 2**5 > 0.05 > sign_flip_p([np.ones(significance.FEWEST_PAIRS)])
    low, high = np.arange(3.0), np.arange(10.0, 13.0)
    assert label_p(high, low) == pytest.approx(0.1)
    assert label_p(np.arange(10.0, 14.0), np.arange(4.0)) == pytest.approx(2 / 70)
    assert label_p(np.arange(3.0) + 9, np.zeros(1)) == pytest.approx(0.25)  # a fixed yardstick: signs


def test_no_difference_at_all_has_p_one() -> None:
    assert sign_flip_p([np.zeros(8)]) == 1.0 == label_p(np.ones(4), np.ones(4))


def test_holm_is_that_of_statsmodels() -> None:
    # statsmodels 0.15.0: multipletests([0.01, 0.04, 0.03, 0.005, 0.2], method="holm")[1]
    assert holm([0.01, 0.04, 0.03, 0.005, 0.2]) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.2])
    assert holm([]) == [] and holm([0.4, 0.9]) == [0.8, 0.9]


def test_of_true_and_false_differences_holm_errs_rarely() -> None:
    generator = np.random.default_rng(1)
    erred = sum(min(holm(generator.random(10).tolist())) < 0.05 for _ in range(2000))
    assert 0.03 < erred / 2000 < 0.07


@pytest.mark.slow
def test_the_needed_pairs_show_the_difference_four_times_in_five() -> None:
    generator = np.random.default_rng(2)
    found = pairs_needed([generator.normal(0.3, 1.0, size=100_000)])
    assert found is not None and 80 < found < 95
    shown = [sign_flip_p([generator.normal(0.3, 1.0, size=found)], rng_seed=trial) < 0.05 for trial in range(300)]
    assert 0.72 < np.mean(shown) < 0.88
    several = pairs_needed([generator.normal(0.3, 1.0, size=50_000) for _ in range(4)])
    assert several == pytest.approx(found / 4, rel=0.05)


def test_nothing_is_needed_where_there_is_nothing_to_find() -> None:
    assert pairs_needed([np.zeros(5)]) is None and runs_needed(np.ones(3), np.ones(3)) is None
    assert pairs_needed([np.array([1.0])]) is None  # what varies is not known
    assert pairs_needed([np.arange(9.0), np.array([1.0])]) is None


def test_a_difference_that_never_varies_needs_as_many_as_the_test_can_tell() -> None:
    assert pairs_needed([np.ones(5)]) == significance.FEWEST_PAIRS
    assert pairs_needed([np.ones(5), np.ones(5)]) == significance.FEWEST_PAIRS / 2
    assert runs_needed(np.ones(3), np.zeros(3)) == significance.FEWEST_RUNS


def test_no_fewer_are_needed_than_the_test_can_tell() -> None:
    assert pairs_needed([np.array([9.0, 9.1, 9.2])]) == significance.FEWEST_PAIRS
    assert runs_needed(np.array([9.0, 9.1]), np.array([1.0, 1.2])) == significance.FEWEST_RUNS
    assert runs_needed(np.array([9.0, 9.1]), np.array([1.0])) == 6  # against a yardstick p is 2 / 2^6 at best


def test_one_of_twenty_comparisons_needs_nearly_twice_the_play() -> None:
    assert more_for(1) == 1.0
    assert more_for(20) == pytest.approx((3.023341 + 0.841621) ** 2 / (1.959964 + 0.841621) ** 2, abs=1e-5)
