"""Ratings from games between policies: Bradley-Terry on the Elo scale, how sure they are, and whether they make sense.

A rating is one number a policy, r. It says that a beats b in a share 1 / (1 + 10^((r_b - r_a) / 400)) of their games:

    Bradley, Terry: Rank analysis of incomplete block designs, Biometrika 39 (1952)
    Hunter: MM algorithms for generalized Bradley-Terry models, Annals of Statistics 32 (2004)

A tie is half a win. **Prior**: between two policies that met, half a seed is won by either side on top of what was
played, so that a policy that never lost has a finite rating. For two policies this is the estimate with the least bias,
log((w + 1/2) / (l + 1/2)) for w seeds won and l lost (Haldane, Annals of Human Genetics 20, 1956).

**Uncertainty**: the unit is the seed, for all pairs and simulations at once, since all of them met on the same maps.
Seeds get random weights, and the prior's halves do too: the Bayesian bootstrap (Rubin, Annals of Statistics 9,
1981) with a Gamma(1/2) weight on each half. For two policies that is the Jeffreys interval of a share but for a
rounding, which covers 95 % down to few games and does not shrink to a point when one side won them all, as resampling
would. Results are the same for the same numbers: the generator is seeded.

Letters: N policies  S strata (simulations)  E seeds of a stratum  B bootstrap draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metta.eval.cross_play.cycles import Graph, find_cycles, reachable, strong_components
from metta.eval.cross_play.decisions import decide
from metta.eval.resampling import RESAMPLES, Values, percentile_bounds
from metta.eval.statistics import Interval

ELO = 400 / math.log(10)  # points of one unit of log-odds
HALF = 0.5  # the prior: seeds that each side of a pair has won beforehand
_CHUNK = 2_000_000  # numbers at a time


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """What the games say about N policies, by index."""

    ratings: list[Interval | None]  # [N] Elo; the mean of each group, or the anchor, is 0; None: it met nobody
    # [N][N] share of games that the row won, ties half; None: they never met. Intervals are each pair's own: one in
    # twenty is wrong.
    wins: list[list[Interval | None]]
    seeds: list[list[int]]  # [N][N] on how many seeds they met, in any simulation
    groups: list[list[int]]  # who met, directly or through others; between groups ratings cannot be compared
    tiers: list[list[list[int]]]  # of each group, best first: nobody lost or tied a game against a lower tier
    beats: list[list[bool]]  # [N][N] the row wins more than half of the games: all decisions are right at 95 %
    cycles: list[list[int]]  # each beats the next, and the last the first


def rate(strata: Sequence[Values], *, anchor: int | None = None, seed: int = 0) -> Ratings:
    """Rate N policies by their games.

    `strata`: float64 [E, N, N] for each simulation: the share of their games on a seed that the row won against the
    column, in quarters (a tie is half a win); `[e, j, i]` is 1 - `[e, i, j]`, NaN where they did not meet; the diagonal
    is not looked at. The e-th rows of all simulations are of one seed.
    `anchor`: the policy whose rating is 0; none: the mean of all (of each group, if they fall apart).
    """
    number = strata[0].shape[1]
    met = [~np.isnan(games) & ~np.eye(number, dtype=np.bool_) for games in strata]
    won = [np.where(mask, games, 0.0) for mask, games in zip(met, strata, strict=True)]
    longest = max(map(len, met))
    seeds = np.any([np.pad(mask, ((0, longest - len(mask)), (0, 0), (0, 0))) for mask in met], axis=0).sum(axis=0)
    wins = np.sum([games.sum(axis=0) for games in won], axis=0)
    groups = strong_components(seeds > 0)
    drawn = _draws(won, seeds > 0, seed=seed)
    low, high = percentile_bounds(_shares(drawn))
    beats = decide(strata)
    shares = np.stack([_shares(wins[None])[0], low, high], axis=-1).tolist()
    return Ratings(
        ratings=[
            rating if seeds[policy].any() else None
            for policy, rating in enumerate(_ratings(wins + HALF * (seeds > 0), drawn, groups, anchor))
        ],
        wins=[[Interval(*shares[i][j]) if seeds[i, j] else None for j in range(number)] for i in range(number)],
        seeds=seeds.tolist(),
        groups=groups,
        tiers=[_tiers(wins, group) for group in groups],
        beats=beats.tolist(),
        cycles=find_cycles(beats),
    )


def fit(wins: Values, groups: Sequence[Sequence[int]]) -> Values:
    """Return the log-strengths [B, N] that make `wins` [B, N, N] most likely; their mean is 0 in each group.

    `wins[:, i, j]`: what i won against j, the prior included.
    """
    strengths = np.zeros(wins.shape[:2])
    for group in groups:
        if len(group) > 1:
            strengths[:, group] = _fit_group(wins[:, group][:, :, group])
    return strengths


def _fit_group(wins: Values) -> Values:
    """Climb by Newton's method.

    Along a step that moves no difference by more than d, the second derivative of each pair's term grows by no more
    than e^d, for |f'''| <= |f''| there. So log(1 + d) / d of the step goes uphill from anywhere, and near the top it is
    all of it (Sun, Tran-Dinh: Generalized self-concordant functions, Mathematical Programming 178, 2019).
    """
    strengths = np.zeros(wins.shape[:2])
    games = wins + wins.transpose(0, 2, 1)
    for _ in range(100):
        chance = 1 / (1 + np.exp(strengths[:, None, :] - strengths[:, :, None]))
        gradient = (wins - games * chance).sum(axis=2)
        step = np.linalg.solve(_curvature(games * chance * (1 - chance)), gradient[:, :, None])[:, :, 0]
        length = np.maximum(np.ptp(step, axis=1, keepdims=True), 1e-300)
        strengths += step * np.log1p(length) / length
        if length.max() < 1e-6:  # the next one would be of its square's size
            centred: Values = strengths - strengths.mean(axis=1, keepdims=True)
            return centred
    raise AssertionError("Newton's method did not converge")


def _curvature(pairs: Values) -> Values:
    """Return minus the second derivatives [B, N, N]; the direction in which nothing changes is filled up."""
    own = pairs.sum(axis=2)
    matrix: Values = own[:, :, None] * np.eye(pairs.shape[1]) - pairs
    matrix += own.mean(axis=1)[:, None, None] / pairs.shape[1]
    return matrix


def _draws(won: Sequence[Values], met: Graph, *, seed: int) -> Values:
    """Return what each side won in B draws of weights for seeds and for the prior's halves, [B, N, N]."""
    generator = np.random.default_rng(seed)
    drawn: Values = np.zeros((RESAMPLES, *met.shape))
    of_seeds = generator.standard_exponential((RESAMPLES, max(map(len, won))))
    for games in won:
        weights = of_seeds[:, : len(games)] * (len(games) / of_seeds[:, : len(games)].sum(axis=1, keepdims=True))
        drawn += (weights @ games.reshape(len(games), -1)).reshape(drawn.shape)
    # a Gamma(1/2) draw can be as good as 0, and a rating must stay finite
    drawn += met * np.maximum(generator.standard_gamma(HALF, drawn.shape), 1e-6)
    return drawn


def _ratings(wins: Values, drawn: Values, groups: Sequence[Sequence[int]], anchor: int | None) -> list[Interval]:
    chunk = max(1, _CHUNK // wins.size)
    samples = np.concatenate([fit(drawn[start : start + chunk], groups) for start in range(0, len(drawn), chunk)])
    value = _anchored(ELO * fit(wins[None], groups)[0], groups, anchor)
    low, high = percentile_bounds(_anchored(ELO * samples, groups, anchor))
    # where sweep follows upon sweep, nearly all draws of the prior's halves lie further out than the estimate
    low, high = np.minimum(low, value), np.maximum(high, value)
    return [Interval(*numbers) for numbers in zip(value.tolist(), low.tolist(), high.tolist(), strict=True)]


def _anchored(ratings: Values, groups: Sequence[Sequence[int]], anchor: int | None) -> Values:
    """Move the group of the anchor to where the anchor is 0. `ratings` [..., N]."""
    moved = ratings.copy()
    for group in groups:
        if anchor is not None and anchor in group:
            moved[..., group] -= ratings[..., [anchor]]
    return moved


def _tiers(wins: Values, group: Sequence[int]) -> list[list[int]]:
    """Return the tiers of a group: policies between whom wins lead both ways, directly or through others.

    Only within a tier do games alone, without the prior, give finite ratings (Ford, American Mathematical Monthly 64,
    1957).
    """
    among = wins[np.ix_(group, group)] > 0
    reaches = reachable(among).sum(axis=1)
    tiers = sorted(strong_components(among), key=lambda tier: -int(reaches[tier[0]]))
    return [[group[member] for member in tier] for tier in tiers]


def _shares(wins: Values) -> Values:
    """Return the share of its games that the row won; one half where there are none."""
    games = wins + wins.transpose(0, 2, 1)
    shares: Values = np.divide(wins, games, out=np.full_like(wins, 0.5), where=games > 0)
    return shares
