"""Which agents each policy plays when several share a world: evenly, and swapped from episode to episode."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def players_of(teams: NDArray[np.int32], *, share: float, num_others: int, episode: int) -> NDArray[np.int32]:
    """Return who plays each agent in the `episode`-th episode: int32 [A], 0 the policy, 1..num_others the others.

    `teams` int32 [A]; `share` in (0, 1] is the policy's, of which at least one agent is its own and, below 1, at least
    one is not; the others share the rest evenly. Places are whole teams where both come out at whole teams (half of
    two), else the agents of each team, else (where a team has a single agent) all agents.

    Who plays which place moves on from episode to episode: over `cycle_length` episodes everyone plays every place
    equally often.
    """
    players = np.zeros(len(teams), np.int32)
    if num_others == 0:
        return players
    for places in _groups(teams, share, num_others):
        order = _players_in_order(len(places), share, num_others, episode)
        for agents, player in zip(places, order.tolist(), strict=True):
            players[agents] = player
    return players


def cycle_length(teams: NDArray[np.int32], *, share: float, num_others: int) -> int:
    """Return after how many episodes the players of every agent come again: everyone has then played all places."""
    if num_others == 0:
        return 1
    sizes = [len(places) for places in _groups(teams, share, num_others)]
    return math.lcm(*(_turns(size, _own(size, share)) * num_others for size in sizes))


def _groups(teams: NDArray[np.int32], share: float, num_others: int) -> list[list[NDArray[np.int64]]]:
    """Return groups of places, a place being the agents [n] that one player takes together."""
    members = [np.flatnonzero(teams == name) for name in np.unique(teams)]
    whole = len(members) * share
    own = round(whole)
    if 0 < own < len(members) and abs(own - whole) < 1e-9 and (len(members) - own) % num_others == 0:
        return [members]
    if min(map(len, members)) == 1:
        return [[np.array([agent]) for agent in range(len(teams))]]
    return [[np.array([agent]) for agent in group] for group in members]


def _own(size: int, share: float) -> int:
    """How many of `size` places the policy takes."""
    return size if size == 1 else min(max(1, round(size * share)), size - 1)


def _turns(size: int, own: int) -> int:
    """After how many episodes the policy has played every place equally often."""
    return size // math.gcd(size, own)


def _players_in_order(size: int, share: float, num_others: int, episode: int) -> NDArray[np.int32]:
    """Return the players int32 [size] of a group of places.

    The policy's places are a row that begins where that of the episode before ended. When it has been everywhere, the
    others, who take turns in what it leaves, move on by one.
    """
    own = _own(size, share)
    players = np.zeros(size, np.int32)
    left = np.ones(size, np.bool_)
    left[(np.arange(own) + episode * own) % size] = False
    round_number = episode // _turns(size, own)
    players[left] = 1 + (np.arange(size - own) + round_number) % num_others
    return players
