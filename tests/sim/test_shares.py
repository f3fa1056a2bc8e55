"""Who plays which agent: everyone every place equally often, counted one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from metta.sim.shares import cycle_length, players_of

TEAMS = {
    "one team": [0] * 24,
    "two teams": [0] * 3 + [1] * 3,
    "two teams, mixed up": [0, 1, 1, 0, 1, 0, 0, 1],
    "three teams": [0, 1, 2] * 4,
    "teams of different sizes": [0] * 4 + [1] * 6,
    "a team of one": [0] + [1] * 3,
    "everyone for himself": [0, 1, 2, 3, 4],
    "two agents": [0, 0],
}
SHARES = [0.01, 0.25, 1 / 3, 0.5, 0.7, 0.99]


def teams_of(name: str) -> np.ndarray:
    return np.array(TEAMS[name], np.int32)


def cycle(teams: np.ndarray, share: float, num_others: int, *, first: int = 0) -> np.ndarray:
    """The players of a whole cycle of episodes, [episodes, A]."""
    episodes = range(first, first + cycle_length(teams, share=share, num_others=num_others))
    return np.array([players_of(teams, share=share, num_others=num_others, episode=e) for e in episodes])


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("num_others", [1, 2, 3])
@pytest.mark.parametrize("name", TEAMS)
def test_over_a_cycle_everyone_plays_every_place_of_a_team_equally_often(
    name: str, num_others: int, share: float
) -> None:
    teams = teams_of(name)
    players = cycle(teams, share, num_others)
    for player in range(num_others + 1):
        times = (players == player).sum(axis=0)  # [A]
        assert all(len(set(times[teams == team])) == 1 for team in set(TEAMS[name])), (player, times)
        assert player == 0 or times.sum() == (players == 1).sum()  # the others among each other
    assert (players == 0).any(axis=1).all() and (players > 0).any(axis=1).all()


@pytest.mark.parametrize("num_others", [1, 2, 3])
@pytest.mark.parametrize("name", TEAMS)
def test_cycles_repeat_and_none_is_longer_than_said(name: str, num_others: int) -> None:
    teams = teams_of(name)
    players = cycle(teams, 0.5, num_others)
    np.testing.assert_array_equal(players, cycle(teams, 0.5, num_others, first=len(players)))
    for shorter in range(1, len(players)):
        if len(players) % shorter == 0:
            assert (players != np.roll(players, shorter, axis=0)).any()


def test_half_of_two_teams_is_a_team_and_they_are_swapped_every_episode() -> None:
    assert cycle(teams_of("two teams"), 0.5, 1).tolist() == [[0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0]]


def test_three_policies_get_a_team_each_and_go_through_all_of_them() -> None:
    players = cycle(teams_of("three teams"), 1 / 3, 2)
    assert len(players) == 6
    assert sorted(map(tuple, players[:, :3].tolist())) == [
        (0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)
    ]  # fmt: skip


def test_a_share_of_no_whole_teams_is_one_of_every_team() -> None:
    teams = teams_of("teams of different sizes")
    quarters = cycle(teams, 0.25, 1)
    assert {tuple((row[teams == team] == 0).sum() for team in (0, 1)) for row in quarters} == {(1, 2)}


@pytest.mark.parametrize("num_others", [2, 3])
def test_the_others_share_what_is_left_evenly_in_every_episode(num_others: int) -> None:
    for players in cycle(teams_of("one team"), 0.25, num_others):
        counts = np.bincount(players, minlength=num_others + 1)
        assert counts[0] == 6 and counts[1:].sum() == 18 and np.ptp(counts[1:]) == 0


def test_alone_the_policy_plays_everyone() -> None:
    assert not players_of(teams_of("two teams"), share=1.0, num_others=0, episode=3).any()
    assert cycle_length(teams_of("two teams"), share=1.0, num_others=0) == 1


def test_a_place_is_left_before_it_comes_again() -> None:
    """With a third of six agents the policy has been everywhere after three episodes, not only after a long cycle."""
    teams = np.zeros(6, np.int32)
    first = [players_of(teams, share=1 / 3, num_others=1, episode=e) for e in range(math.ceil(6 / 2))]
    assert (np.array(first) == 0).sum(axis=0).tolist() == [1] * 6
