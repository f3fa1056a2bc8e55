"""Could chance have made this difference? Tests by re-labelling, Holm's correction, how much play would be needed.

Both tests are exact in small samples, where a bootstrap interval is too narrow: they ask how often a difference as
large comes up when the labels "x" and "y" are dealt out by chance (Fisher 1935, The Design of Experiments, section 21).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np

from metta.eval.resampling import Seeds, Values
from metta.eval.rounding import gap

LEVEL = 0.05
POWER = 0.8
FEWEST_PAIRS = 6  # with fewer, p is never below 5 %: 2 / 2^5 is more
FEWEST_RUNS = 4  # of each group, for the same reason: 2 / C(6, 3) is more
FLIPS = 10_000  # random relabellings where there are more than that; the smallest p is then 1e-4
_Z = 1.959964 + 0.841621  # normal quantiles of 1 - LEVEL / 2 and of POWER
_CHUNK = 2_000_000  # numbers drawn at a time


def sign_flip_p(strata: Sequence[Values], *, seeds: Seeds = None, rng_seed: int = 0) -> float:
    """Return the two-sided p-value of paired differences, `strata`: S arrays float64 [E_s].

    If the two policies were alike, each pair's difference could as well have had the other sign. The statistic is the
    mean over strata of each one's mean. What belongs to a seed changes its sign together, in all strata that share it.
    All 2^n signs are tried up to 8,192, else 10,000 are drawn. 1 if all are 0.
    """
    parts = _by_seed([np.asarray(stratum, np.float64) / len(stratum) for stratum in strata], seeds)
    parts = parts[parts != 0]
    if not len(parts):
        return 1.0
    at_least = abs(parts.sum()) - 1e-9 * np.abs(parts).sum()  # but for rounding, as large counts as larger
    if len(parts) <= 13:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(parts))))
        return float((np.abs(signs @ parts) >= at_least).mean())
    generator, larger, drawn = np.random.default_rng(rng_seed), 0, 0
    while drawn < FLIPS:
        rows = min(FLIPS - drawn, max(1, _CHUNK // len(parts)))
        signs = generator.integers(0, 2, size=(rows, len(parts)), dtype=np.int8) * 2.0 - 1.0
        larger += int((np.abs(signs @ parts) >= at_least).sum())
        drawn += rows
    return (1 + larger) / (1 + FLIPS)  # the labels as they are count too: Phipson and Smyth 2010


def label_p(x: Values, y: Values, *, rng_seed: int = 0) -> float:
    """Return the two-sided p-value of a difference of means, `x`: float64 [R_x], `y`: float64 [R_y], unpaired.

    All ways to deal the numbers out to two groups of these sizes are tried up to 10,000, else as many are drawn. With
    few numbers p cannot be small: at best 0.1 with 3 against 3, 0.03 with 4 against 4. A single number on one side is
    taken as fixed: the differences from it change signs.
    """
    if min(len(x), len(y)) == 1:
        return sign_flip_p([(x - y).astype(np.float64)], rng_seed=rng_seed)
    joined = np.concatenate([x, y])
    at_least = abs(x.mean() - y.mean()) - 1e-9 * np.abs(joined).max()
    if math.comb(len(joined), len(x)) <= FLIPS:
        chosen = np.array(list(itertools.combinations(range(len(joined)), len(x))))
        drawn = 0
    else:
        generator = np.random.default_rng(rng_seed)
        chosen = generator.permuted(np.tile(np.arange(len(joined)), (FLIPS, 1)), axis=1)[:, : len(x)]
        drawn = 1
    ours = joined[chosen].sum(axis=1)
    differences = ours / len(x) - (joined.sum() - ours) / len(y)
    return float((drawn + (np.abs(differences) >= at_least).sum()) / (drawn + len(chosen)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for their number: the chance that any of them errs stays below the level.

    Holm 1979, A simple sequentially rejective multiple test procedure: the k-th smallest of m is multiplied by
    m + 1 - k; none becomes smaller than one before it, nor larger than 1.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, most = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        most = max(most, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = most
    return corrected


def pairs_needed(strata: Sequence[Values], *, seeds: Seeds = None) -> int | None:
    """Return how many pairs of each stratum would show a difference of the size found, at 5 % with a power of 80 %.

    n = (1.96 + 0.84)^2 v / d^2, where v / n is the variance of the mean over strata of their means: the normal
    approximation, and no less than the test can tell. None where there is no difference, or a stratum's single pair
    does not tell what is chance. Rough, since the size is uncertain itself; strata that share seeds are taken to share
    as many of the new ones.
    """
    difference = float(np.mean([stratum.mean() for stratum in strata]))
    several = [(stratum - stratum.mean()) / math.sqrt(max(1, len(stratum) - 1)) for stratum in strata]
    parts = _by_seed(several, seeds)
    variance = float((parts**2).sum()) / len(strata) ** 2
    if abs(difference) < 1e-12 or min(map(len, strata)) < 2:
        return None
    fewest = FEWEST_PAIRS * sum(map(len, strata)) / len(strata) / len(parts)
    return math.ceil(max(_Z**2 * variance / difference**2, fewest))


def more_for(comparisons: int) -> float:
    """Return how many times as much play one of so many comparisons needs: Holm leaves LEVEL / n to the first of n."""
    if comparisons == 1:
        return 1.0
    normal = NormalDist()
    return ((normal.inv_cdf(1 - LEVEL / comparisons / 2) + normal.inv_cdf(POWER)) / _Z) ** 2


def runs_needed(x: Values, y: Values) -> int | None:
    """Return how many runs of each group would show a difference of this size, as `pairs_needed`: [R_x], [R_y].

    A group of one is a fixed policy: it needs no more runs, the other one a few more.
    """
    difference = float(gap(x.mean(), y.mean()))
    variance = sum(float(group.var(ddof=1)) for group in (x, y) if len(group) > 1)
    if difference == 0:
        return None
    fewest = FEWEST_PAIRS if min(len(x), len(y)) == 1 else FEWEST_RUNS
    return max(fewest, math.ceil(_Z**2 * variance / difference**2))


def _by_seed(strata: Sequence[Values], seeds: Seeds) -> Values:
    """Return the sum of all numbers of each seed, one a different seed; without seeds all numbers as they are."""
    if seeds is None:
        return np.concatenate(strata)
    sums: dict[Hashable, float] = {}
    for stratum, labels in zip(strata, seeds, strict=True):
        for label, value in zip(labels, stratum.tolist(), strict=True):
            sums[label] = sums.get(label, 0.0) + value
    return np.array(list(sums.values()), np.float64)
