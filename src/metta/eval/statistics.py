"""How sure a score is: means with bootstrap intervals, and comparisons of two policies.

The unit of resampling is the episode: agents of one episode share a map and each other, so they are no independent
samples. With several simulations (strata) each is resampled within itself: the stratified percentile bootstrap of

    Agarwal, Schwarzer, Castro, Courville, Bellemare: Deep Reinforcement Learning at the Edge of the Statistical
    Precipice, NeurIPS 2021, sections 3 and 4, https://arxiv.org/abs/2108.13264

Simulations that are played on the same seeds are no independent strata: the same maps come up, and the scores of one
seed may go together (0.96 to 1 between the arena with and without combat, where nobody fights). They form a block, in
which each resample draws the same seeds for all.

What it says holds for the policy that played, on other maps of these simulations; several policies that were trained
alike, to say something of the training, are in `run_groups.py`. Results are the same for the same numbers: the
generator is seeded.

Letters: S strata (simulations)  E episodes of a stratum  B bootstrap resamples.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metta.eval.significance import pairs_needed, sign_flip_p

RESAMPLES = 2000
CONFIDENCE = 0.95
FEW_RUNS = 5  # runs of a group below which its interval says little of the next run
FEW = 10  # episodes below which intervals are too narrow: of 5 they hold the truth 8 times in 10 (docs/evaluation.md)
_CHUNK = 2_000_000  # numbers drawn at a time

Values = NDArray[np.float64]
# A label for each stratum: those of one label have the same seeds in the same order. None: each has seeds of its own.
Blocks = Sequence[Hashable] | None


class Interval(NamedTuple):
    """A statistic and its 95 % bootstrap interval; `low` and `high` are NaN where a simulation has a single episode."""

    value: float
    low: float
    high: float

    def decimals(self) -> int:
        """Return how many decimals are worth printing: two digits of the interval's width, 0 to 6."""
        width = self.high - self.low
        return int(np.clip(1 - np.floor(np.log10(width)), 0, 6)) if width > 0 else 2

    def text(self, *, like: Interval | None = None, sign: str = "") -> str:
        """Return the value with as many decimals as it, or `like`, is known to; `sign` "+" shows a plus too."""
        return f"{self.value:{sign}z,.{(like or self).decimals()}f}"  # z: no -0.00

    def bounds(self) -> str:
        """Return `[low, high]`; an empty text without them."""
        digits = self.decimals()
        return "" if np.isnan(self.low) else f"[{self.low:z,.{digits}f}, {self.high:z,.{digits}f}]"

    def __str__(self) -> str:
        return f"{self.text()} {self.bounds()}".strip()


class Summary(NamedTuple):
    """What is known of one metric: mean, interquartile mean, and on how many episodes that rests."""

    mean: Interval
    iqm: Interval
    episodes: int
    seeds: int  # different evaluation seeds among the episodes; a seed is a map
    fewest: int  # episodes, of each run, of the simulation that has the fewest
    runs: int = 1  # policies; above 1 the intervals are of their recipe

    def is_small(self) -> bool:
        """Whether there are too few episodes, or too few runs in a group, for the intervals to be trusted."""
        return self.fewest < FEW or 1 < self.runs < FEW_RUNS


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Policy x against policy y, on episodes of the same simulations and seeds."""

    pairs: int
    fewest: int  # pairs of the simulation that has the fewest
    difference: Interval  # mean of x - y over pairs; the interval resamples pairs
    probability_of_improvement: Interval  # P(X > Y) as in Agarwal et al.: any episode of x against any of y
    share_of_wins: float  # of pairs where x scored more, ties half; mean over simulations
    p_value: float  # that chance alone makes a difference as large: `significance.py`
    needed: int | None  # pairs of each simulation that would show this difference; None: none, or nothing varies
    runs: tuple[int, int] = (1, 1)  # policies of each side; above 1 a probability is of runs, `needed` counts runs

    def is_small(self) -> bool:
        """Whether there are too few pairs, or too few runs in a group, for the intervals to be trusted."""
        return self.fewest < FEW or any(1 < runs < FEW_RUNS for runs in self.runs)

    def is_of_runs(self) -> bool:
        """Whether groups of runs are compared, not two policies."""
        return max(self.runs) > 1


def interquartile_mean(values: Values) -> float:
    """Return the mean of the middle half of all numbers of `values`: a quarter, rounded down, is cut at each end.

    Agarwal et al. 2021, section 4.2; `scipy.stats.trim_mean(values, 0.25, axis=None)`.
    """
    return float(_iqm_rows(np.asarray(values, np.float64).reshape(1, -1))[0])


def mean_interval(strata: Sequence[Values], *, blocks: Blocks = None, seed: int = 0) -> Interval:
    """Return the mean over strata of each one's mean, and its interval. `strata`: S arrays float64 [E_s]."""
    columns = [np.asarray(stratum, np.float64)[:, None] for stratum in strata]
    return mean_intervals(columns, blocks=blocks, seed=seed)[0]


def mean_intervals(strata: Sequence[Values], *, blocks: Blocks = None, seed: int = 0) -> list[Interval]:
    """Return `mean_interval` of many metrics at once. `strata`: S arrays float64 [E_s, M]; gives M intervals."""
    value = np.mean([stratum.mean(axis=0) for stratum in strata], axis=0)
    if any(len(stratum) < 2 for stratum in strata):
        return [Interval(float(mean), float("nan"), float("nan")) for mean in value]
    generator = np.random.default_rng(seed)
    counts = block_counts(generator, [len(stratum) for stratum in strata], blocks)
    resampled = np.mean([drawn @ stratum / len(stratum) for drawn, stratum in zip(counts, strata, strict=True)], axis=0)
    low, high = percentile_bounds(resampled)
    return [Interval(*numbers) for numbers in zip(value.tolist(), low.tolist(), high.tolist(), strict=True)]


def iqm_interval(strata: Sequence[Values], *, blocks: Blocks = None, seed: int = 0) -> Interval:
    """Return the interquartile mean over all episodes of all strata, and its interval."""
    value = interquartile_mean(np.concatenate(strata))
    if any(len(stratum) < 2 for stratum in strata):
        return Interval(value, float("nan"), float("nan"))
    resampled = [_iqm_rows(np.concatenate(rows, axis=1)) for rows in _resampled(strata, blocks, seed=seed)]
    low, high = percentile_bounds(np.concatenate(resampled))
    return Interval(value, float(low), float(high))


def summarize(strata: Sequence[Values], *, blocks: Blocks = None, seeds: int | None = None, seed: int = 0) -> Summary:
    """Return mean and interquartile mean with intervals. `strata`: at least one array, none of them empty.

    `seeds`: how many different evaluation seeds the episodes have, if strata share some.
    """
    lengths = [len(stratum) for stratum in strata]
    mean = mean_interval(strata, blocks=blocks, seed=seed)
    iqm = iqm_interval(strata, blocks=blocks, seed=seed)
    return Summary(mean, iqm, sum(lengths), sum(lengths) if seeds is None else seeds, min(lengths))


def probability_of_improvement(
    x: Sequence[Values], y: Sequence[Values], *, paired: bool = False, blocks: Blocks = None, seed: int = 0
) -> Interval:
    """Return P(X > Y): the chance that an episode of x scores more than one of y, averaged over strata; ties half.

    Agarwal et al. 2021, section 4.3: the Mann-Whitney U statistic over all pairs of a stratum, divided by their number.
    x and y are resampled independently, as there; if they are `paired`, pair by pair, since x[s][e] and y[s][e] played
    the same map. `x`, `y`: the same S strata, of any lengths.
    """
    once = [_wins(a, b, np.ones((1, len(a))), np.ones((1, len(b)))) for a, b in zip(x, y, strict=True)]
    value = float(np.mean(once))
    if any(min(len(a), len(b)) < 2 for a, b in zip(x, y, strict=True)):
        return Interval(value, float("nan"), float("nan"))
    generator = np.random.default_rng(seed)
    drawn_x = block_counts(generator, [len(stratum) for stratum in x], blocks)
    drawn_y = drawn_x if paired else block_counts(generator, [len(stratum) for stratum in y], blocks)
    low, high = percentile_bounds(np.mean(list(map(_wins, x, y, drawn_x, drawn_y)), axis=0))
    return Interval(value, float(low), float(high))


def compare(x: Sequence[Values], y: Sequence[Values], *, blocks: Blocks = None, seed: int = 0) -> Comparison:
    """Compare x with y, paired: `x[s][e]` and `y[s][e]` come from the same simulation and seed.

    Pairing takes the luck of the map out of the difference; its interval is narrower than two intervals side by side.
    """
    if [len(a) for a in x] != [len(b) for b in y]:
        raise ValueError("compare needs the same episodes of both policies, in the same order")
    differences = [np.asarray(a, np.float64) - b for a, b in zip(x, y, strict=True)]
    return Comparison(
        pairs=sum(len(stratum) for stratum in differences),
        fewest=min(len(stratum) for stratum in differences),
        difference=mean_interval(differences, blocks=blocks, seed=seed),
        probability_of_improvement=probability_of_improvement(x, y, paired=True, blocks=blocks, seed=seed),
        share_of_wins=share_of_wins(differences),
        p_value=sign_flip_p(differences, blocks=blocks, seed=seed),
        needed=pairs_needed(differences, blocks=blocks),
    )


def share_of_wins(differences: Sequence[Values]) -> float:
    """Return the share of differences above 0, those of 0 counted half: the mean over strata, float64 [E_s] each."""
    return float(np.mean([((stratum > 0) + 0.5 * (stratum == 0)).mean() for stratum in differences]))


def _wins(x: Values, y: Values, drawn_x: Values, drawn_y: Values) -> Values:
    """Return the share of all pairs in which x is more, ties half, [B]; `drawn_x` [B, E_x]: how often each is drawn.

    A sum over y in ascending order says how many are below an x, so that no table of all pairs is made.
    """
    order = np.argsort(y)
    below = np.pad(np.cumsum(drawn_y[:, order], axis=1), ((0, 0), (1, 0)))
    fewer, no_more = np.searchsorted(y[order], x, "left"), np.searchsorted(y[order], x, "right")
    wins: Values = (drawn_x * (below[:, fewer] + below[:, no_more])).sum(axis=1) / (2 * len(x) * len(y))
    return wins


def _iqm_rows(rows: Values) -> Values:
    """Return the interquartile mean of every row."""
    ordered = np.sort(rows, axis=1)
    cut = rows.shape[1] // 4
    middle: Values = ordered[:, cut : rows.shape[1] - cut].mean(axis=1)
    return middle


def resample_counts(generator: np.random.Generator, episodes: int) -> Values:
    """Return how often each episode is drawn in each resample, [B, E]: enough to know every mean."""
    counts: Values = generator.multinomial(episodes, np.full(episodes, 1 / episodes), size=RESAMPLES).astype(np.float64)
    return counts


def block_counts(generator: np.random.Generator, lengths: Sequence[int], blocks: Blocks) -> list[Values]:
    """Return `resample_counts` of every stratum; those of a block share them."""
    labels = range(len(lengths)) if blocks is None else blocks
    drawn: dict[Hashable, Values] = {}
    for label, length in zip(labels, lengths, strict=True):
        if label not in drawn:
            drawn[label] = resample_counts(generator, length)
    return [drawn[label] for label in labels]


def _resampled(strata: Sequence[Values], blocks: Blocks, *, seed: int) -> Iterator[list[Values]]:
    """Give resamples of every stratum with replacement, in chunks that fit in memory."""
    generator = np.random.default_rng(seed)
    labels = list(range(len(strata))) if blocks is None else list(blocks)
    lengths = dict(zip(labels, map(len, strata), strict=True))
    chunk = max(1, min(RESAMPLES, _CHUNK // sum(len(stratum) for stratum in strata)))
    for start in range(0, RESAMPLES, chunk):
        count = min(chunk, RESAMPLES - start)
        drawn = {label: generator.integers(length, size=(count, length)) for label, length in lengths.items()}
        yield [stratum[drawn[label]] for stratum, label in zip(strata, labels, strict=True)]


def percentile_bounds(resampled: Values) -> Values:
    """Return the lower and the upper bound, [2, ...], of resampled statistics [B, ...]."""
    tail = 50 * (1 - CONFIDENCE)
    bounds: Values = np.percentile(resampled, [tail, 100 - tail], axis=0)
    return bounds
