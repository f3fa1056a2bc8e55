"""How sure a score is: means with bootstrap intervals, and comparisons of two policies.

The unit of resampling is the episode: agents of one episode share a map and each other, so they are no independent
samples. With several simulations (strata) each is resampled within itself: the stratified percentile bootstrap of

    Agarwal, Schwarzer, Castro, Courville, Bellemare: Deep Reinforcement Learning at the Edge of the Statistical
    Precipice, NeurIPS 2021, sections 3 and 4, https://arxiv.org/abs/2108.13264

Results are the same for the same numbers: the generator is seeded.

Letters: S strata (simulations)  E episodes of a stratum  B bootstrap resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95
_CHUNK = 2_000_000  # numbers drawn at a time

Values = NDArray[np.float64]


class Interval(NamedTuple):
    """A statistic and its 95 % bootstrap interval; `low` and `high` are NaN where one episode is all there is."""

    value: float
    low: float
    high: float

    def decimals(self) -> int:
        """Return how many decimals are worth printing: two digits of the interval's width, 0 to 4."""
        width = self.high - self.low
        return int(np.clip(1 - np.floor(np.log10(width)), 0, 4)) if width > 0 else 2

    def text(self, *, like: Interval | None = None, sign: str = "") -> str:
        """Return the value with as many decimals as it, or `like`, is known to; `sign` "+" shows a plus too."""
        return f"{self.value:{sign},.{(like or self).decimals()}f}"

    def bounds(self) -> str:
        """Return `[low, high]`; an empty text without them."""
        digits = self.decimals()
        return "" if np.isnan(self.low) else f"[{self.low:,.{digits}f}, {self.high:,.{digits}f}]"

    def __str__(self) -> str:
        return f"{self.text()} {self.bounds()}".strip()


class Summary(NamedTuple):
    """What is known of one metric: mean, interquartile mean, and on how many episodes that rests."""

    mean: Interval
    iqm: Interval
    episodes: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Policy x against policy y, on episodes of the same simulations and seeds."""

    pairs: int
    difference: Interval  # mean of x - y over pairs; the interval resamples pairs
    probability_of_improvement: Interval  # P(X > Y) as in Agarwal et al.: any episode of x against any of y
    share_of_wins: float  # of pairs where x scored more, ties half


def interquartile_mean(values: Values) -> float:
    """Return the mean of the middle half of all numbers of `values`: a quarter, rounded down, is cut at each end.

    Agarwal et al. 2021, section 4.2; `scipy.stats.trim_mean(values, 0.25, axis=None)`.
    """
    return float(_iqm_rows(np.asarray(values, np.float64).reshape(1, -1))[0])


def mean_interval(strata: Sequence[Values], *, seed: int = 0) -> Interval:
    """Return the mean over strata of each one's mean, and its interval. `strata`: S arrays float64 [E_s]."""
    return mean_intervals([np.asarray(stratum, np.float64)[:, None] for stratum in strata], seed=seed)[0]


def mean_intervals(strata: Sequence[Values], *, seed: int = 0) -> list[Interval]:
    """Return `mean_interval` of many metrics at once. `strata`: S arrays float64 [E_s, M]; gives M intervals."""
    value = np.mean([stratum.mean(axis=0) for stratum in strata], axis=0)
    if all(len(stratum) < 2 for stratum in strata):
        return [Interval(float(mean), float("nan"), float("nan")) for mean in value]
    generator = np.random.default_rng(seed)
    resampled = np.mean([_counts(generator, len(stratum)) @ stratum / len(stratum) for stratum in strata], axis=0)
    low, high = _bounds(resampled)
    return [Interval(*numbers) for numbers in zip(value.tolist(), low.tolist(), high.tolist(), strict=True)]


def iqm_interval(strata: Sequence[Values], *, seed: int = 0) -> Interval:
    """Return the interquartile mean over all episodes of all strata, and its interval."""
    value = interquartile_mean(np.concatenate(strata))
    if all(len(stratum) < 2 for stratum in strata):
        return Interval(value, float("nan"), float("nan"))
    resampled = [_iqm_rows(np.concatenate(rows, axis=1)) for rows in _resampled(strata, seed=seed)]
    low, high = _bounds(np.concatenate(resampled))
    return Interval(value, float(low), float(high))


def summarize(strata: Sequence[Values], *, seed: int = 0) -> Summary:
    """Return mean and interquartile mean with intervals. `strata`: at least one array, none of them empty."""
    episodes = sum(len(stratum) for stratum in strata)
    return Summary(mean_interval(strata, seed=seed), iqm_interval(strata, seed=seed), episodes)


def probability_of_improvement(x: Sequence[Values], y: Sequence[Values], *, seed: int = 0) -> Interval:
    """Return P(X > Y): the chance that an episode of x scores more than one of y, averaged over strata; ties half.

    Agarwal et al. 2021, section 4.3: the Mann-Whitney U statistic over all pairs of a stratum, divided by their number.
    x and y are resampled independently, as there. `x`, `y`: the same S strata, of any lengths.
    """
    wins = [_wins(a, b) for a, b in zip(x, y, strict=True)]
    value = float(np.mean([win.mean() for win in wins]))
    if all(min(win.shape) < 2 for win in wins):
        return Interval(value, float("nan"), float("nan"))
    generator = np.random.default_rng(seed)
    resampled = np.zeros(RESAMPLES)
    for win in wins:
        rows, columns = (_counts(generator, number) for number in win.shape)
        resampled += ((rows @ win) * columns).sum(axis=1) / win.size
    low, high = _bounds(resampled / len(wins))
    return Interval(value, float(low), float(high))


def compare(x: Sequence[Values], y: Sequence[Values], *, seed: int = 0) -> Comparison:
    """Compare x with y, paired: `x[s][e]` and `y[s][e]` come from the same simulation and seed.

    Pairing takes the luck of the map out of the difference; its interval is narrower than two intervals side by side.
    """
    if [len(a) for a in x] != [len(b) for b in y]:
        raise ValueError("compare needs the same episodes of both policies, in the same order")
    differences = [np.asarray(a, np.float64) - b for a, b in zip(x, y, strict=True)]
    joined = np.concatenate(differences)
    return Comparison(
        pairs=len(joined),
        difference=mean_interval(differences, seed=seed),
        probability_of_improvement=probability_of_improvement(x, y, seed=seed),
        share_of_wins=float(((joined > 0) + 0.5 * (joined == 0)).mean()),
    )


def _wins(x: Values, y: Values) -> Values:
    """[E_x, E_y]: 1 where x is more, 0.5 where they are equal."""
    wins: Values = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
    return wins


def _iqm_rows(rows: Values) -> Values:
    """Return the interquartile mean of every row."""
    ordered = np.sort(rows, axis=1)
    cut = rows.shape[1] // 4
    middle: Values = ordered[:, cut : rows.shape[1] - cut].mean(axis=1)
    return middle


def _counts(generator: np.random.Generator, episodes: int) -> Values:
    """Return how often each episode is drawn in each resample, [B, E]: enough to know every mean."""
    counts: Values = generator.multinomial(episodes, np.full(episodes, 1 / episodes), size=RESAMPLES).astype(np.float64)
    return counts


def _resampled(strata: Sequence[Values], *, seed: int) -> Iterator[list[Values]]:
    """Give resamples of every stratum with replacement, in chunks that fit in memory."""
    generator = np.random.default_rng(seed)
    chunk = max(1, min(RESAMPLES, _CHUNK // sum(len(stratum) for stratum in strata)))
    for start in range(0, RESAMPLES, chunk):
        count = min(chunk, RESAMPLES - start)
        yield [stratum[generator.integers(len(stratum), size=(count, len(stratum)))] for stratum in strata]


def _bounds(resampled: Values) -> Values:
    """Return the lower and the upper bound, [2, ...], of resampled statistics [B, ...]."""
    tail = 50 * (1 - CONFIDENCE)
    bounds: Values = np.percentile(resampled, [tail, 100 - tail], axis=0)
    return bounds
