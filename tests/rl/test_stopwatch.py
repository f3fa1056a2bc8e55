from __future__ import annotations

import pytest

from metta.rl.stopwatch import LAPS, Lap, Stopwatch, format_seconds


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nested_phases_are_charged_to_both_names() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    with watch.phase("train"):
        clock.now += 1
        with watch.phase("forward"):
            assert watch.path == "train/forward"
            clock.now += 2
    assert watch.path == ""
    assert watch.lap_seconds() == {"train/forward": 2.0, "train": 3.0}
    assert watch.elapsed() == 3.0


def test_the_same_name_below_two_phases_is_two_phases() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    for outer in ("rollout", "train", "rollout"):
        with watch.phase(outer), watch.phase("policy"):
            clock.now += 1
    assert watch.cumulative() == {"rollout": 2.0, "rollout/policy": 2.0, "train": 1.0, "train/policy": 1.0}


def test_a_phase_that_fails_is_charged_and_closed() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    with pytest.raises(ZeroDivisionError), watch.phase("train"):
        clock.now += 2
        raise ZeroDivisionError
    assert watch.path == ""
    assert watch.cumulative() == {"train": 2.0}


def test_a_lap_begins_anew_and_the_sum_goes_on() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    for seconds in (1, 4):
        with watch.phase("rollout"):
            clock.now += seconds
        assert watch.lap() == {"rollout": seconds}
    assert watch.lap_seconds() == {}
    assert watch.cumulative() == {"rollout": 5.0}


def test_laps_after_the_first_are_remembered_and_not_more_than_a_few() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    seconds = [float(60 + i % 7) for i in range(3 * LAPS)]
    done = 0.0
    for i, span in enumerate(seconds):
        clock.now += span
        done += 10.0 * i
        watch.lap(done)
        assert watch.laps() == [Lap(seconds[k], 10.0 * k) for k in range(1, i + 1)][-LAPS:]


def test_the_rate_is_that_of_the_last_laps_and_the_average_that_of_the_whole_run() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    assert watch.rate() is None
    assert watch.average_rate(0) is None
    clock.now += 30  # the first lap compiles
    watch.lap(100)
    assert watch.rate() is None
    for done in (300, 500):
        clock.now += 10
        watch.lap(done)
    assert watch.rate() == 20.0
    assert watch.average_rate(500) == 10.0


def test_a_resumed_stopwatch_counts_only_the_time_in_which_it_ran() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    with watch.phase("rollout"):
        clock.now += 10
    watch.lap(100)
    clock.now += 10
    watch.lap(300)
    saved = watch.state_dict()
    clock.now += 1000
    resumed = Stopwatch(clock)
    resumed.load_state_dict(saved)
    assert (resumed.rate(), resumed.laps()) == (20.0, [Lap(10.0, 200.0)])
    clock.now += 5
    assert resumed.elapsed() == 25.0
    assert resumed.cumulative() == {"rollout": 10.0}
    assert resumed.average_rate(500) == 20.0
    resumed.lap(500)  # the first of its process
    clock.now += 30
    resumed.lap(800)
    assert resumed.laps() == [Lap(10.0, 200.0), Lap(30.0, 300.0)]
    assert resumed.rate() == 12.5


def test_the_time_left_follows_the_rate_since_the_first_lap() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    assert watch.remaining(0, 100) is None
    clock.now += 10
    assert watch.remaining(0, 100) is None
    assert watch.remaining(25, 100) == 30.0  # nothing better is known within the first lap
    watch.lap(25)
    assert watch.remaining(25, 100) == 30.0
    clock.now += 1
    assert watch.remaining(50, 100) == 2.0
    assert watch.remaining(101, 100) == 0.0


def test_seconds_are_written_for_people() -> None:
    assert [format_seconds(s) for s in (4.4, 61, 7385)] == ["4s", "1m01s", "2h03m"]
