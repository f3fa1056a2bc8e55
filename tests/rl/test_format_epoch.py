from __future__ import annotations

import pytest

from metta.rl.format_epoch import format_epoch

FIRST = {
    "metric/epoch": 1,
    "metric/agent_step": 24_576,
    "experience/reward": 0.000123,
    "losses/entropy": 2.0788,
}
LATER = {**FIRST, "metric/epoch": 300, "metric/agent_step": 7_372_800, "losses/entropy": 1.5}
GIVEN = {
    "run": "r1",
    "total_timesteps": 100_000_000,
    "recent": {"reward": 6.25, "hearts": 3.125},
    "steps_per_second": 412_345.6,
    "seconds_left": 225.2,
}


@pytest.mark.parametrize(
    ("metrics", "changed", "line"),
    [
        pytest.param(
            FIRST,
            {"recent": {}, "seconds_left": None, "steps_per_second": 1_234.5},
            "r1  epoch 1  24,576/100,000,000 steps (0 %)  1,234 steps/s  reward per step +0.00012  entropy 2.079"
            "  left ?",
            id="the first epoch, in which no episode has ended",
        ),
        pytest.param(
            LATER,
            {},
            "r1  epoch 300  7,372,800/100,000,000 steps (7 %)  412,346 steps/s  reward 6.25  hearts 3.12  entropy 1.500"
            "  left 3m45s",
            id="an epoch in the middle",
        ),
        pytest.param(
            LATER,
            {"recent": {"reward": -0.5}},
            "r1  epoch 300  7,372,800/100,000,000 steps (7 %)  412,346 steps/s  reward -0.50  entropy 1.500"
            "  left 3m45s",
            id="a world without hearts",
        ),
        pytest.param(
            {**LATER, "eval_training/score": 5.5, "eval_training/world": 5.5, "eval_nav_easy/score": 0.25},
            {},
            "r1  epoch 300  7,372,800/100,000,000 steps (7 %)  412,346 steps/s  reward 6.25  hearts 3.12  entropy 1.500"
            "  eval training 5.50  eval nav_easy 0.25  left 3m45s",
            id="with an evaluation",
        ),
        pytest.param(
            LATER,
            {"resumed_epoch": 299},
            "r1  epoch 300 (resumed from 299)  7,372,800/100,000,000 steps (7 %)  412,346 steps/s  reward 6.25"
            "  hearts 3.12  entropy 1.500  left 3m45s",
            id="the first after a resume",
        ),
        pytest.param(
            LATER,
            {"processes": 4},
            "r1  epoch 300  7,372,800/100,000,000 steps (7 %)  412,346 steps/s on 4 processes  reward 6.25  hearts 3.12"
            "  entropy 1.500  left 3m45s",
            id="several processes",
        ),
        pytest.param(
            {name: value for name, value in LATER.items() if name != "losses/entropy"},
            {},
            "r1  epoch 300  7,372,800/100,000,000 steps (7 %)  412,346 steps/s  reward 6.25  hearts 3.12  left 3m45s",
            id="without a loss that has an entropy",
        ),
        pytest.param(
            {**LATER, "metric/agent_step": 99_999_999},
            {"seconds_left": 0.2},
            "r1  epoch 300  99,999,999/100,000,000 steps (99 %)  412,346 steps/s  reward 6.25  hearts 3.12"
            "  entropy 1.500  left 0s",
            id="nearly done is not done",
        ),
        pytest.param(
            {**LATER, "metric/agent_step": 100_007_936},
            {"seconds_left": 0.0},
            "r1  epoch 300  100,007,936/100,000,000 steps (100 %)  412,346 steps/s  reward 6.25  hearts 3.12"
            "  entropy 1.500  left 0s",
            id="the last epoch, past the end",
        ),
    ],
)
def test_an_epoch_is_one_line(metrics: dict[str, float], changed: dict[str, object], line: str) -> None:
    assert format_epoch(metrics, **{**GIVEN, **changed}) == line
