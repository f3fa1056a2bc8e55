"""How well a policy does with whom: with itself, with the others of its set, with partners that are held out.

Policies that were trained together can agree on habits that nobody else has. The difference between the score with
itself and with others, on the same seeds, is what that is worth: the gap between self-play and cross-play of Hu et al.
2020, https://arxiv.org/abs/2003.02979; with partners that nobody trained with, the generalisation gap of Leibo et al.
2021, https://arxiv.org/abs/2107.06857.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metta.eval.cross_play.scores import CrossScores
from metta.eval.resampling import Values
from metta.eval.statistics import Interval, mean_interval


@dataclass(frozen=True, kw_only=True)
class WithPartners:
    """The focal scores of a policy: means over partners, simulations and seeds, with intervals over seeds.

    The partners are those that were given, not a sample: the intervals say nothing about others. None: not played.
    """

    itself: Interval | None
    each_other: Interval | None  # the mean over the other policies of the set
    held_out: Interval | None  # the mean over the partners held out
    gap_each_other: Interval | None  # itself - each_other, seed by seed
    gap_held_out: Interval | None  # itself - held_out, seed by seed


def with_partners(scores: Sequence[CrossScores], row: int) -> WithPartners:
    """Return how well the `row`-th policy does with whom, over all simulations of `scores`, which have one metric."""
    assert len({table.metric for table in scores}) == 1, "a mean over different scores says nothing"
    number, everybody = scores[0].focal.shape[1:]
    itself = [table.focal[:, row, row] for table in scores]
    others = _over_partners(scores, row, [column for column in range(number) if column != row])
    held_out = _over_partners(scores, row, range(number, everybody))
    return WithPartners(
        itself=_interval(itself),
        each_other=_interval(others),
        held_out=_interval(held_out),
        gap_each_other=_interval([x - y for x, y in zip(itself, others, strict=True)]),
        gap_held_out=_interval([x - y for x, y in zip(itself, held_out, strict=True)]),
    )


def _over_partners(scores: Sequence[CrossScores], row: int, columns: Sequence[int]) -> list[Values]:
    """Return the mean over partners of each seed, [E] a simulation; NaN unless every partner played that seed.

    A partner that played no seed of a simulation at all is left out there.
    """
    means = []
    for table in scores:
        played = table.focal[:, row, list(columns)]
        there = played[:, ~np.isnan(played).all(axis=0)]
        means.append(there.mean(axis=1) if there.shape[1] else np.full(len(played), np.nan))
    return means


def _interval(strata: Sequence[Values]) -> Interval | None:
    """The mean over simulations, whose e-th rows are of one seed; NaN where nothing was played."""
    seeds = [np.flatnonzero(~np.isnan(stratum)) for stratum in strata]
    known = [(stratum[rows], rows.tolist()) for stratum, rows in zip(strata, seeds, strict=True) if len(rows)]
    return mean_interval([values for values, _ in known], seeds=[rows for _, rows in known]) if known else None
