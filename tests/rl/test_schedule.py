from __future__ import annotations

import pytest

from metta.rl.schedule import ScheduleConfig, scheduled


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("constant", [2.0, 2.0, 2.0]), ("linear", [2.0, 1.1, 0.2]), ("cosine", [2.0, 1.1, 0.2])],
)
def test_a_schedule_goes_from_the_setting_to_its_share_of_it(kind: str, expected: list[float]) -> None:
    config = ScheduleConfig.model_validate({"type": kind, "final": 0.1})
    assert [scheduled(config, 2.0, p) for p in (0.0, 0.5, 1.0)] == pytest.approx(expected)


def test_progress_past_the_end_stays_at_the_end() -> None:
    assert scheduled(ScheduleConfig(type="linear", final=0.5), 1.0, 3.0) == 0.5
