"""What has died rests, twice as long after every death."""

from __future__ import annotations

from metta.eval.eval_service.rests import LONGEST_SECONDS, Rests


def test_the_rest_doubles_with_every_death_up_to_a_limit() -> None:
    rests = Rests(2.0, clock=lambda: 0.0)
    found = [rests.begin((1, "a"), deaths=deaths) for deaths in range(1, 12)]
    assert found[:4] == [2.0, 4.0, 8.0, 16.0] and found[-1] == LONGEST_SECONDS
    assert rests.begin((1, "a"), deaths=10**6) == LONGEST_SECONDS


def test_a_unit_rests_until_its_time_is_over_or_somebody_ends_it() -> None:
    now = [0.0]
    rests = Rests(2.0, clock=lambda: now[0])
    assert rests.resting() == [] and rests.seconds_left(5.0) == 5.0
    rests.begin((1, "a"), deaths=1)
    rests.begin((1, "b"), deaths=2)
    assert rests.resting() == [(1, "a"), (1, "b")] and rests.seconds_left(5.0) == 2.0
    now[0] = 3.0
    assert rests.resting() == [(1, "b")] and rests.seconds_left(5.0) == 1.0
    rests.end((1, "b"))
    rests.end((1, "b"))
    assert rests.resting() == []
