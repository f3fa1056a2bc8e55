"""Groups of runs: what can be said of a training recipe, of which several runs were trained with different seeds.

A score of one policy tells nothing of the luck of its training. Here both are resampled: the runs of a group, each
with all that it played, and the evaluation episodes (seeds, maps), which every run has played. Since all runs meet the
same maps, the two are crossed and resampled independently of each other:

    Owen: The pigeonhole bootstrap, Annals of Applied Statistics 1(2), 2007, https://arxiv.org/abs/0712.1111

With one run it is the bootstrap over episodes of `statistics.py`. The unit of comparison is the run, as in Agarwal et
al. 2021: P(X > Y) is the chance that a run of one group scores more than a run of the other.

Letters: R runs of a group  S strata (simulations)  E episodes of a stratum  B bootstrap resamples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metta.eval.significance import label_p, runs_needed
from metta.eval.statistics import (
    RESAMPLES,
    Blocks,
    Comparison,
    Interval,
    Summary,
    Values,
    block_counts,
    interquartile_mean,
    percentile_bounds,
    resample_counts,
)


def group_mean(strata: Sequence[Values], *, blocks: Blocks = None, seed: int = 0) -> Interval:
    """Return the mean over strata, runs and episodes with its interval. `strata`: S arrays float64 [R, E_s]."""
    value = float(run_scores(strata).mean())
    if any(stratum.shape[1] < 2 for stratum in strata):
        return Interval(value, float("nan"), float("nan"))
    generator = np.random.default_rng(seed)
    runs = resample_counts(generator, len(strata[0]))
    resampled = (runs * _scores(generator, strata, blocks)).mean(axis=1)
    return Interval(value, *percentile_bounds(resampled).tolist())


def group_iqm(strata: Sequence[Values], *, blocks: Blocks = None, seed: int = 0) -> Interval:
    """Return the interquartile mean over all episodes of all runs and strata, with its interval; [R, E_s] each."""
    value = interquartile_mean(np.concatenate([stratum.ravel() for stratum in strata]))
    if any(stratum.shape[1] < 2 for stratum in strata):
        return Interval(value, float("nan"), float("nan"))
    labels = range(len(strata)) if blocks is None else blocks
    lengths = {label: stratum.shape[1] for label, stratum in zip(labels, strata, strict=True)}
    generator, found = np.random.default_rng(seed), np.empty(RESAMPLES)
    for draw in range(RESAMPLES):
        runs = generator.integers(len(strata[0]), size=len(strata[0]))
        drawn = {label: generator.integers(length, size=length) for label, length in lengths.items()}
        rows = [s[np.ix_(runs, drawn[label])].ravel() for s, label in zip(strata, labels, strict=True)]
        found[draw] = interquartile_mean(np.concatenate(rows))
    return Interval(value, *percentile_bounds(found).tolist())


def summarize_group(
    strata: Sequence[Values], *, blocks: Blocks = None, seeds: int | None = None, seed: int = 0
) -> Summary:
    """Return mean and interquartile mean with intervals, as `summarize` does. `strata`: S arrays float64 [R, E_s]."""
    episodes, lengths = sum(stratum.size for stratum in strata), [stratum.shape[1] for stratum in strata]
    mean, iqm = group_mean(strata, blocks=blocks, seed=seed), group_iqm(strata, blocks=blocks, seed=seed)
    fewest, runs = min(lengths), len(strata[0])
    return Summary(mean, iqm, episodes, sum(lengths) if seeds is None else seeds, fewest, runs)


def run_scores(strata: Sequence[Values]) -> Values:
    """Return each run's score, [R]: the mean over strata of its mean over episodes."""
    scores: Values = np.mean([np.asarray(stratum, np.float64).mean(axis=1) for stratum in strata], axis=0)
    return scores


def compare_groups(x: Sequence[Values], y: Sequence[Values], *, blocks: Blocks = None, seed: int = 0) -> Comparison:
    """Compare two groups of runs on the same episodes. `x`: S arrays float64 [R_x, E_s]; `y`: S of [R_y, E_s].

    `x[s][r, e]` and `y[s][r, e]` come from the same simulation and seed. A group of one run counts as that one policy:
    nothing is said of other runs of its recipe. p-value and `needed` are of runs, not of episodes.
    """
    if [stratum.shape[1] for stratum in x] != [stratum.shape[1] for stratum in y]:
        raise ValueError("compare_groups needs the same episodes of both groups, in the same order")
    runs_x, runs_y = run_scores(x), run_scores(y)
    difference = float(runs_x.mean() - runs_y.mean())
    wins = np.sign(runs_x[:, None] - runs_y[None, :]) / 2 + 0.5
    pairs = [stratum.shape[1] for stratum in x]
    low_high, chance = (
        _resample(x, y, blocks, seed=seed) if min(pairs) > 1 else ([float("nan")] * 2, [float("nan")] * 2)
    )
    return Comparison(
        pairs=sum(pairs),
        fewest=min(pairs),
        difference=Interval(difference, *low_high),
        probability_of_improvement=Interval(float(wins.mean()), *chance),
        share_of_wins=float(wins.mean()),
        p_value=label_p(runs_x, runs_y, seed=seed),
        needed=runs_needed(runs_x, runs_y),
        runs=(len(runs_x), len(runs_y)),
    )


def _resample(
    x: Sequence[Values], y: Sequence[Values], blocks: Blocks, *, seed: int
) -> tuple[list[float], list[float]]:
    """Return the bounds of the difference and of the probability: runs of each group and episodes of both drawn."""
    generator = np.random.default_rng(seed)
    drawn_x, drawn_y = (resample_counts(generator, len(group[0])) for group in (x, y))
    joined = _scores(generator, [np.concatenate([a, b]) for a, b in zip(x, y, strict=True)], blocks)
    scores_x, scores_y = joined[:, : len(x[0])], joined[:, len(x[0]) :]
    difference = (drawn_x * scores_x).mean(axis=1) - (drawn_y * scores_y).mean(axis=1)
    wins = np.sign(np.round(scores_x[:, :, None] - scores_y[:, None, :], 12)) / 2 + 0.5
    chance = np.einsum("bx,bxy,by->b", drawn_x, wins, drawn_y) / wins[0].size
    return percentile_bounds(difference).tolist(), percentile_bounds(chance).tolist()


def _scores(generator: np.random.Generator, strata: Sequence[Values], blocks: Blocks) -> Values:
    """Return each run's score on resampled episodes, [B, R]: a stratum's episodes are drawn once for all its runs."""
    counts = block_counts(generator, [stratum.shape[1] for stratum in strata], blocks)
    means = [drawn @ np.asarray(s, np.float64).T / s.shape[1] for drawn, s in zip(counts, strata, strict=True)]
    scores: Values = np.mean(means, axis=0)
    return scores
