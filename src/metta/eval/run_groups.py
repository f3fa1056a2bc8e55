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

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from metta.eval.resampling import Seeds, Values, episode_weights, num_seeds, percentile_bounds
from metta.eval.rounding import gap
from metta.eval.significance import label_p, runs_needed
from metta.eval.statistics import Comparison, Interval, Summary, interquartile_mean, weighted_iqm


def group_mean(strata: Sequence[Values], *, seeds: Seeds = None, rng_seed: int = 0) -> Interval:
    """Return the mean over strata, runs and episodes with its interval. `strata`: S arrays float64 [R, E_s]."""
    value = float(run_scores(strata).mean())
    if any(stratum.shape[1] < 2 for stratum in strata):
        return Interval(value, float("nan"), float("nan"))
    resampled = []
    for (runs,), episodes in _drawn([len(strata[0])], strata, seeds, rng_seed=rng_seed):
        resampled.append((runs * _scores(strata, episodes)).mean(axis=1))
    return Interval(value, *percentile_bounds(np.concatenate(resampled)).tolist())


def group_iqm(strata: Sequence[Values], *, seeds: Seeds = None, rng_seed: int = 0) -> Interval:
    """Return the interquartile mean over all episodes of all runs and strata, with its interval; [R, E_s] each."""
    values = np.concatenate([stratum.ravel() for stratum in strata])
    value = interquartile_mean(values)
    if any(stratum.shape[1] < 2 for stratum in strata):
        return Interval(value, float("nan"), float("nan"))
    order, resampled = np.argsort(values), []
    run_of, episode_of = (places[order] for places in _places([stratum.shape for stratum in strata]))
    for (runs,), episodes in _drawn([len(strata[0])], strata, seeds, rng_seed=rng_seed, more=len(values)):
        weights = np.concatenate(episodes, axis=1)[:, episode_of]
        weights *= runs[:, run_of]  # in the order of the values, so that there is one such array
        resampled.append(weighted_iqm(values[order], weights))
    return Interval(value, *percentile_bounds(np.concatenate(resampled)).tolist())


def summarize_group(strata: Sequence[Values], *, seeds: Seeds = None, rng_seed: int = 0) -> Summary:
    """Return mean and interquartile mean with intervals, as `summarize` does. `strata`: S arrays float64 [R, E_s]."""
    episodes, lengths = sum(stratum.size for stratum in strata), [stratum.shape[1] for stratum in strata]
    mean, iqm = group_mean(strata, seeds=seeds, rng_seed=rng_seed), group_iqm(strata, seeds=seeds, rng_seed=rng_seed)
    return Summary(mean, iqm, episodes, num_seeds(lengths, seeds), min(lengths), len(strata[0]))


def run_scores(strata: Sequence[Values]) -> Values:
    """Return each run's score, [R]: the mean over strata of its mean over episodes."""
    scores: Values = np.mean([np.asarray(stratum, np.float64).mean(axis=1) for stratum in strata], axis=0)
    return scores


def compare_groups(x: Sequence[Values], y: Sequence[Values], *, seeds: Seeds = None, rng_seed: int = 0) -> Comparison:
    """Compare two groups of runs on the same episodes. `x`: S arrays float64 [R_x, E_s]; `y`: S of [R_y, E_s].

    `x[s][r, e]` and `y[s][r, e]` come from the same simulation and seed. A group of one run counts as that one policy:
    nothing is said of other runs of its recipe. p-value and `needed` are of runs, not of episodes.
    """
    if [stratum.shape[1] for stratum in x] != [stratum.shape[1] for stratum in y]:
        raise ValueError("compare_groups needs the same episodes of both groups, in the same order")
    runs_x, runs_y = run_scores(x), run_scores(y)
    difference = float(gap(runs_x.mean(), runs_y.mean()))
    wins = np.sign(gap(runs_x[:, None], runs_y[None, :])) / 2 + 0.5
    pairs = [stratum.shape[1] for stratum in x]
    low_high, chance = [float("nan")] * 2, [float("nan")] * 2
    if min(pairs) > 1:
        low_high, chance = _bounds(x, y, seeds, rng_seed=rng_seed)
    return Comparison(
        pairs=sum(pairs),
        fewest=min(pairs),
        difference=Interval(difference, *low_high),
        probability_of_improvement=Interval(float(wins.mean()), *chance),
        share_of_wins=float(wins.mean()),
        p_value=label_p(runs_x, runs_y, rng_seed=rng_seed),
        needed=runs_needed(runs_x, runs_y),
        runs=(len(runs_x), len(runs_y)),
    )


def _bounds(
    x: Sequence[Values], y: Sequence[Values], seeds: Seeds, *, rng_seed: int
) -> tuple[list[float], list[float]]:
    """Return the bounds of the difference and of the probability: runs of each group and episodes of both drawn."""
    joined = [np.concatenate([a, b]) for a, b in zip(x, y, strict=True)]
    difference, chance = [], []
    sizes = len(x[0]), len(y[0])
    for (runs_x, runs_y), episodes in _drawn(sizes, joined, seeds, rng_seed=rng_seed, more=sizes[0] * sizes[1]):
        scores = _scores(joined, episodes)
        scores_x, scores_y = scores[:, : len(x[0])], scores[:, len(x[0]) :]
        difference.append(gap((runs_x * scores_x).mean(axis=1), (runs_y * scores_y).mean(axis=1)))
        wins = np.sign(gap(scores_x[:, :, None], scores_y[:, None, :])) / 2 + 0.5
        chance.append(np.einsum("bx,bxy,by->b", runs_x, wins, runs_y) / wins[0].size)
    low_high, of_chance = (percentile_bounds(np.concatenate(found)).tolist() for found in (difference, chance))
    return low_high, of_chance


def _places(shapes: Sequence[tuple[int, ...]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return of every game of strata [R, E_s], in their order, its run and its episode, numbered over all strata."""
    before = np.cumsum([0, *(episodes for _, episodes in shapes)])
    runs = [np.repeat(np.arange(size), episodes) for size, episodes in shapes]
    games = [
        np.tile(np.arange(first, first + episodes), size)
        for (size, episodes), first in zip(shapes, before[:-1], strict=True)
    ]
    return np.concatenate(runs), np.concatenate(games)


def _drawn(
    groups: Sequence[int], strata: Sequence[Values], seeds: Seeds, *, rng_seed: int, more: int = 0
) -> Iterator[tuple[list[Values], list[Values]]]:
    """Give chunks of resamples: how often each run of groups of these sizes is drawn, and what each episode counts.

    [b, R] of each group and [b, E_s] of each stratum. To the draw a group of runs is one more stratum, whose "seeds"
    nobody shares. `more` as in `episode_weights`.
    """
    lengths = [*groups, *(stratum.shape[1] for stratum in strata)]
    if seeds is not None:
        runs = [[("run", group, run) for run in range(size)] for group, size in enumerate(groups)]
        seeds = [*runs, *seeds]
    for weights in episode_weights(lengths, seeds, rng_seed=rng_seed, more=more):
        yield weights[: len(groups)], weights[len(groups) :]


def _scores(strata: Sequence[Values], episodes: Sequence[Values]) -> Values:
    """Return each run's score on resampled episodes, [b, R]: all runs of a stratum play the same ones."""
    means = [drawn @ np.asarray(s, np.float64).T / s.shape[1] for drawn, s in zip(episodes, strata, strict=True)]
    scores: Values = np.mean(means, axis=0)
    return scores
