"""Which agents a policy plays when it shares a world with another: evenly, and swapped from episode to episode."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def share_of_agents(teams: NDArray[np.int32], *, share: float, episode: int) -> NDArray[np.bool_]:
    """Return which agents (bool [A]) the policy plays in the `episode`-th episode; the others are the opponent's.

    `teams` int32 [A]; `share` 0..1, at least one agent plays. Whole teams if the share comes out at whole teams (half
    of two), else the share of every team's agents, at least one. The choice moves on by its own size every episode,
    round and round: over a cycle each team, or agent, is played equally often by either side.
    """
    names = np.unique(teams)
    if share >= 1:
        return np.ones(len(teams), np.bool_)
    whole_teams = round(len(names) * share)
    if len(names) > 1 and whole_teams > 0 and abs(whole_teams - len(names) * share) < 1e-9:
        return np.isin(teams, names[_moving(len(names), whole_teams, episode)])
    mask = np.zeros(len(teams), np.bool_)
    for name in names:
        members = np.flatnonzero(teams == name)
        mask[members[_moving(len(members), max(1, round(len(members) * share)), episode)]] = True
    return mask


def _moving(total: int, size: int, episode: int) -> NDArray[np.int64]:
    """`size` of `total` places in a row, beginning where the episode before left off."""
    return (np.arange(size) + episode * size) % total
