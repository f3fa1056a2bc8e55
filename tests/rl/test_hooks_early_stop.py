from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from metta.errors import ConfigError
from metta.eval import EvalRewardSummary
from metta.rl.config import HooksConfig
from metta.rl.hooks.early_stop import EarlyStopConfig, EarlyStopHook
from metta.rl.ranks import Ranks
from metta.rl.run import train
from metta.rl.trainer_state import TrainerState

from .small_world import small_config


def hook_of(**settings: Any) -> EarlyStopHook:
    return EarlyStopHook(EarlyStopConfig.model_validate({"metric": "losses/x", **settings}), Ranks())


def epochs_until_stop(hook: EarlyStopHook, values: list[float | None], *, first: int = 1) -> int | None:
    """The epoch in which the hook stops a run whose epochs have `values` of losses/x; None if it does not."""
    for epoch, value in enumerate(values, start=first):
        state = TrainerState(epoch=epoch, loss_stats=None if value is None else {"x": value})
        hook.on_evaluation(state)
        if state.stop_rollout:
            return epoch
    return None


@pytest.mark.parametrize(
    ("settings", "values", "epoch"),
    [
        ({"value": 3.0}, [1.0, 2.9, 3.0, 9.0], 3),
        ({"value": 3.0}, [1.0, 2.0], None),
        ({"value": -1.0, "better": "lower"}, [1.0, 0.0, -1.5], 3),
        ({"value": 3.0, "better": "lower"}, [4.0, 3.1, 3.0], 3),
        ({"patience": 2}, [1.0, 2.0, 2.0, 2.0, 5.0], 4),
        ({"patience": 2}, [1.0, 2.0, 1.0, 2.1, 1.0, 2.2, 1.0, 1.0], 8),
        ({"patience": 2, "min_improvement": 0.5}, [1.0, 2.0, 2.4, 2.5, 9.0], 4),
        ({"patience": 2, "better": "lower"}, [1.0, 2.0, 0.5, 0.6, 0.5], 5),
        (
            {"patience": 2},
            [1.0, None, None, None, 0.5, None, 0.9, 2.0],
            7,
        ),  # an epoch without a value
        ({"patience": 2}, [1.0, None, None, None, 0.5, None, 2.0, 1.0], None),
        ({"patience": 3}, [None, None, None, None, 1.0], None),
        ({"patience": 2}, [math.nan, 1.0, math.nan, 2.0, math.nan, math.nan], 6),  # no number is no improvement
        ({"patience": 2}, [math.nan, math.nan, 1.0], 2),
        ({"patience": 1, "value": 2.0}, [1.0, 2.0], 2),
    ],
)
def test_a_run_ends_when_its_metric_is_good_enough_or_no_longer_gets_better(
    settings: dict[str, Any], values: list[float | None], epoch: int | None
) -> None:
    assert epochs_until_stop(hook_of(**settings), values) == epoch


@pytest.mark.parametrize("cut", range(1, 7))
def test_a_resumed_run_ends_in_the_same_epoch(cut: int) -> None:
    values: list[float | None] = [1.0, 2.0, 1.0, 2.1, 1.0, 2.0, 1.0, 1.0]
    hook, resumed = hook_of(patience=3), hook_of(patience=3)
    assert epochs_until_stop(hook, values[:cut]) is None
    resumed.load_state_dict(json.loads(json.dumps(hook.state_dict())))
    assert epochs_until_stop(resumed, values[cut:], first=cut + 1) == 7


def evaluations_until_stop(hook: EarlyStopHook, scores: list[float | None], *, first: int = 1) -> int | None:
    """The epoch in which the hook stops a run whose epochs are evaluated with these scores, None: not evaluated."""
    for epoch, score in enumerate(scores, start=first):
        state = TrainerState(epoch=epoch)
        if score is not None:
            state.eval_scores = EvalRewardSummary.from_simulation_scores({"arena/basic": score})
        hook.on_evaluation(state)
        if state.stop_rollout:
            return epoch
    return None


SCORES: list[float | None] = [None, 1.0, None, None, 2.0, None, None, 1.5, None, None, 1.9, None, None, 9.0]


def test_patience_with_a_score_counts_evaluations_not_the_epochs_between_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hook = hook_of(metric="eval_arena/score", patience=2)
    assert evaluations_until_stop(hook, SCORES) == 11
    assert "eval_arena/score has not improved on 2 in 2 evaluations" in capsys.readouterr().err


@pytest.mark.parametrize("cut", range(2, 11))
def test_a_resumed_run_waits_for_as_many_evaluations_as_one_that_was_not_interrupted(cut: int) -> None:
    hook, resumed = (hook_of(metric="eval_arena/score", patience=2) for _ in range(2))
    assert evaluations_until_stop(hook, SCORES[:cut]) is None
    resumed.load_state_dict(json.loads(json.dumps(hook.state_dict())))
    assert evaluations_until_stop(resumed, SCORES[cut:], first=cut + 1) == 11


def test_the_best_of_another_metric_is_not_taken_over() -> None:
    hook, other = hook_of(patience=1), hook_of(metric="losses/y", patience=1)
    assert epochs_until_stop(hook, [9.0]) is None
    other.load_state_dict(hook.state_dict())
    state = TrainerState(epoch=2, loss_stats={"y": 1.0})
    other.on_evaluation(state)
    assert not state.stop_rollout


def test_a_hook_that_has_seen_nothing_keeps_nothing_so_that_it_can_be_added_to_a_run() -> None:
    assert hook_of(patience=1).state_dict() == {}


def test_episodes_are_averaged_before_they_count() -> None:
    hook = hook_of(metric="overview/reward", value=2.0, episodes=3)
    rewards = [[5.0], [], [1.0], [0.0], [4.5, 1.5]]
    stops = []
    for ended in rewards:
        state = TrainerState(rollout_stats={"reward": ended} if ended else {})
        hook.on_evaluation(state)
        stops.append(state.stop_rollout)
    assert np.mean([5.0, 1.0, 0.0]) == 2.0
    assert stops == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give a `value` to reach, a `patience`"),
        ({"value": 1.0, "min_improvement": 0.1}, "no meaning without `patience`"),
        ({"value": 1.0, "metric": "overview"}, "'overview' is not a metric that can steer"),
    ],
)
def test_a_configuration_that_could_never_stop_a_run_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HooksConfig.model_validate({"early_stop": {"metric": "losses/x", **settings}})


def lines(tmp_path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]


def test_a_run_that_ends_early_saves_and_exits_well_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = small_config(tmp_path, total=512 * 20)
    made.hooks.early_stop = EarlyStopConfig(metric="losses/entropy", better="lower", value=100.0)
    assert train(made) == 0
    assert [line["metric/epoch"] for line in lines(tmp_path)] == [1]
    assert (tmp_path / "run" / "checkpoints" / "trainer_epoch_1.pt").exists()
    assert "stopping: losses/entropy has reached" in capsys.readouterr().err


def test_the_policy_of_a_run_that_ends_early_is_evaluated(tmp_path: Path) -> None:
    made = small_config(tmp_path, total=512 * 20)
    made.evaluation.interval, made.evaluation.episodes = 10, 1
    made.hooks.early_stop = EarlyStopConfig(metric="losses/entropy", better="lower", value=100.0)
    train(made)
    (line,) = lines(tmp_path)
    scores = yaml.safe_load((tmp_path / "run" / "checkpoints" / "agent_epoch_1.yaml").read_text())["scores"]
    assert scores["score"] == line["eval_training/score"]


def test_a_score_of_an_evaluation_can_end_a_run(tmp_path: Path) -> None:
    made = small_config(tmp_path, total=512 * 6)
    made.evaluation.interval, made.evaluation.episodes = 2, 1
    made.hooks.early_stop = EarlyStopConfig(metric="eval_training/score", value=-1.0)
    train(made)
    assert [line["metric/epoch"] for line in lines(tmp_path)] == [1, 2]


def test_a_run_whose_evaluations_get_no_better_ends_with_the_second_of_them(tmp_path: Path) -> None:
    made = small_config(tmp_path, total=512 * 8)
    made.evaluation.interval, made.evaluation.episodes = 3, 1
    made.hooks.early_stop = EarlyStopConfig(metric="eval_training/score", patience=1, min_improvement=1e9)
    train(made)
    assert [line["metric/epoch"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_a_metric_that_the_world_lacks_is_refused_when_training_begins(tmp_path: Path) -> None:
    made = small_config(tmp_path)
    made.hooks.early_stop = EarlyStopConfig(metric="overview/heart", value=1.0)
    with pytest.raises(ConfigError, match=r"no metric 'overview/heart' in this world \(did you mean hearts"):
        train(made)
