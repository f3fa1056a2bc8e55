from __future__ import annotations

from metta.rl.stopwatch import Stopwatch, format_seconds


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
            clock.now += 2
    assert watch.lap_seconds() == {"train/forward": 2.0, "train": 3.0}
    assert watch.elapsed() == 3.0


def test_a_lap_begins_anew_and_the_sum_goes_on() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    for seconds in (1, 4):
        with watch.phase("rollout"):
            clock.now += seconds
        assert watch.lap() == {"rollout": seconds}
    assert watch.lap_seconds() == {}
    assert watch.cumulative() == {"rollout": 5.0}


def test_a_resumed_stopwatch_counts_only_the_time_in_which_it_ran() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    with watch.phase("rollout"):
        clock.now += 10
    saved = watch.state_dict()
    clock.now += 1000
    resumed = Stopwatch(clock)
    resumed.load_state_dict(saved)
    clock.now += 5
    assert resumed.elapsed() == 15.0
    assert resumed.cumulative() == {"rollout": 10.0}


def test_the_time_left_follows_the_average_rate() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    clock.now += 10
    assert watch.remaining(0, 100) is None
    assert watch.remaining(25, 100) == 30.0


def test_seconds_are_written_for_people() -> None:
    assert [format_seconds(s) for s in (4.4, 61, 7385)] == ["4s", "1m01s", "2h03m"]
