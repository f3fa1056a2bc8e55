"""How sure a score is: means with bootstrap intervals, and comparisons of two policies.

The unit of resampling is the episode: agents of one episode share a map and each other, so they are no independent
samples. With several simulations (strata) each is resampled within itself: the stratified percentile bootstrap of

    Agarwal, Schwarzer, Castro, Courville, Bellemare: Deep Reinforcement Learning at the Edge of the Statistical
    Precipice, NeurIPS 2021, sections 3 and 4, https://arxiv.org/abs/2108.13264

Simulations that share seeds, all or some of them, are no independent strata: a seed is drawn together in all of them
(`resampling.py`).

What it says holds for the policy that played, on other maps of these simulations; several policies that were trained
alike, to say something of the training, are in `run_groups.py`. Results are the same for the same numbers: the
generator is seeded.

Letters: S strata (simulations)  E episodes of a stratum  B bootstrap resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from metta.eval.resampling import Seeds, Values, episode_weights, num_seeds, percentile_bounds
from metta.eval.rounding import SAME, gap
from metta.eval.significance import pairs_needed, sign_flip_p

FEW_RUNS = 5  # runs of a group below which its interval says little of the next run
FEW = 10  # episodes below which intervals are too narrow: of 5 they hold the truth 8 times in 10 (docs/evaluation.md)


class Interval(NamedTuple):
    """A statistic and its 95 % bootstrap interval; `low` and `high` are NaN where a simulation has a single episode."""

    value: float
    low: float
    high: float

    def decimals(self) -> int:
        """Return how many decimals are worth printing: two digits of the interval's width, 0 to 6."""
        width = self.high - self.low
        is_rounding = width <= SAME * max(abs(self.low), abs(self.high))
        return int(np.clip(1 - np.floor(np.log10(width)), 0, 6)) if width > 0 and not is_rounding else 2

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
    ordered = np.sort(np.asarray(values, np.float64), axis=None)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def weighted_iqm(values: Values, weights: Values) -> Values:
    """Return the interquartile mean of N numbers that count `weights` times, [B]; an N-th of the sum is one number.

    `values`: [N], ascending. `weights`: [B, N], rows sum to N; where all are whole it is `interquartile_mean` of so
    many copies. One order for all resamples: sorting each of them would take ten times as long.
    """
    cut = len(values) // 4
    inside = np.clip(np.cumsum(weights, axis=1), cut, len(values) - cut)
    means: Values = np.diff(inside, prepend=cut, axis=1) @ values / (len(values) - 2 * cut)
    return means


def mean_interval(strata: Sequence[Values], *, seeds: Seeds = None, rng_seed: int = 0) -> Interval:
    """Return the mean over strata of each one's mean, and its interval. `strata`: S arrays float64 [E_s]."""
    columns = [np.asarray(stratum, np.float64)[:, None] for stratum in strata]
    return mean_intervals(columns, seeds=seeds, rng_seed=rng_seed)[0]


def mean_intervals(strata: Sequence[Values], *, seeds: Seeds = None, rng_seed: int = 0) -> list[Interval]:
    """Return `mean_interval` of many metrics at once. `strata`: S arrays float64 [E_s, M]; gives M intervals."""
    value = np.mean([stratum.mean(axis=0) for stratum in strata], axis=0)
    if any(len(stratum) < 2 for stratum in strata):
        return [Interval(float(mean), float("nan"), float("nan")) for mean in value]
    lengths, resampled = [len(stratum) for stratum in strata], []
    for weights in episode_weights(lengths, seeds, rng_seed=rng_seed):
        means = [drawn @ stratum / len(stratum) for drawn, stratum in zip(weights, strata, strict=True)]
        resampled.append(np.mean(means, axis=0))
    low, high = percentile_bounds(np.concatenate(resampled))
    return [Interval(*numbers) for numbers in zip(value.tolist(), low.tolist(), high.tolist(), strict=True)]


def iqm_interval(strata: Sequence[Values], *, seeds: Seeds = None, rng_seed: int = 0) -> Interval:
    """Return the interquartile mean over all episodes of all strata, and its interval."""
    values = np.concatenate(strata)
    value = interquartile_mean(values)
    if any(len(stratum) < 2 for stratum in strata):
        return Interval(value, float("nan"), float("nan"))
    order, lengths = np.argsort(values), [len(stratum) for stratum in strata]
    drawn = (np.concatenate(weights, axis=1) for weights in episode_weights(lengths, seeds, rng_seed=rng_seed))
    resampled = [weighted_iqm(values[order], weights[:, order]) for weights in drawn]
    low, high = percentile_bounds(np.concatenate(resampled))
    return Interval(value, float(low), float(high))


def summarize(strata: Sequence[Values], *, seeds: Seeds = None, rng_seed: int = 0) -> Summary:
    """Return mean and interquartile mean with intervals. `strata`: at least one array, none of them empty."""
    lengths = [len(stratum) for stratum in strata]
    mean = mean_interval(strata, seeds=seeds, rng_seed=rng_seed)
    iqm = iqm_interval(strata, seeds=seeds, rng_seed=rng_seed)
    return Summary(mean, iqm, sum(lengths), num_seeds(lengths, seeds), min(lengths))


def probability_of_improvement(
    x: Sequence[Values], y: Sequence[Values], *, paired: bool = False, seeds: Seeds = None, rng_seed: int = 0
) -> Interval:
    """Return P(X > Y): the chance that an episode of x scores more than one of y, averaged over strata; ties half.

    Agarwal et al. 2021, section 4.3: the Mann-Whitney U statistic over all pairs of a stratum, divided by their number.
    x and y are resampled independently, as there; if they are `paired`, pair by pair, since x[s][e] and y[s][e] played
    the same map, on `seeds[s][e]`. `x`, `y`: the same S strata, of any lengths.
    """
    if seeds is not None and not paired:
        raise ValueError("only pairs have a seed")
    once = [_wins(a, b, np.ones((1, len(a))), np.ones((1, len(b)))) for a, b in zip(x, y, strict=True)]
    value = float(np.mean(once))
    if any(min(len(a), len(b)) < 2 for a, b in zip(x, y, strict=True)):
        return Interval(value, float("nan"), float("nan"))
    lengths = [len(stratum) for stratum in x]
    if paired:
        drawn = ((weights, weights) for weights in episode_weights(lengths, seeds, rng_seed=rng_seed))
    else:
        both = episode_weights([*lengths, *(len(stratum) for stratum in y)], rng_seed=rng_seed)
        drawn = ((weights[: len(x)], weights[len(x) :]) for weights in both)
    resampled = [np.mean(list(map(_wins, x, y, *weights)), axis=0) for weights in drawn]
    low, high = percentile_bounds(np.concatenate(resampled))
    return Interval(value, float(low), float(high))


def compare(x: Sequence[Values], y: Sequence[Values], *, seeds: Seeds = None, rng_seed: int = 0) -> Comparison:
    """Compare x with y, paired: `x[s][e]` and `y[s][e]` come from the same simulation and seed.

    Pairing takes the luck of the map out of the difference; its interval is narrower than two intervals side by side.
    """
    if [len(a) for a in x] != [len(b) for b in y]:
        raise ValueError("compare needs the same episodes of both policies, in the same order")
    differences = [gap(a, b) for a, b in zip(x, y, strict=True)]
    return Comparison(
        pairs=sum(len(stratum) for stratum in differences),
        fewest=min(len(stratum) for stratum in differences),
        difference=mean_interval(differences, seeds=seeds, rng_seed=rng_seed),
        probability_of_improvement=probability_of_improvement(x, y, paired=True, seeds=seeds, rng_seed=rng_seed),
        share_of_wins=share_of_wins(differences),
        p_value=sign_flip_p(differences, seeds=seeds, rng_seed=rng_seed),
        needed=pairs_needed(differences, seeds=seeds),
    )


def share_of_wins(differences: Sequence[Values]) -> float:
    """Return the share of differences above 0, those of 0 counted half: the mean over strata, float64 [E_s] each."""
    return float(np.mean([((stratum > 0) + 0.5 * (stratum == 0)).mean() for stratum in differences]))


def _wins(x: Values, y: Values, drawn_x: Values, drawn_y: Values) -> Values:
    """Return the share of all pairs in which x is more, ties half, [B]; `drawn_x` [B, E_x]: how often each counts.

    A sum over y in ascending order says how many are below an x, so that no table of all pairs is made.
    """
    order, rounding = np.argsort(y), SAME * np.abs(x)
    below = np.pad(np.cumsum(drawn_y[:, order], axis=1), ((0, 0), (1, 0)))
    fewer = np.searchsorted(y[order], x - rounding, "left")
    no_more = np.searchsorted(y[order], x + rounding, "right")
    wins: Values = (drawn_x * (below[:, fewer] + below[:, no_more])).sum(axis=1) / (2 * len(x) * len(y))
    return wins
