from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from metta.errors import ConfigError
from metta.eval import EvalRewardSummary
from metta.rl.build import build_trainer
from metta.rl.trainer_state import TrainerState
from metta.rl.watched_metric import WatchedMetric, check_metric

from .small_world import small_config


def test_an_episode_metric_is_the_mean_of_the_last_episodes_once_there_are_enough() -> None:
    metric = WatchedMetric("overview/reward", episodes=5)
    seen: list[float] = []
    rng = np.random.default_rng(0)
    for _ in range(20):
        ended = rng.normal(size=rng.integers(0, 4)).tolist()
        metric.update(TrainerState(rollout_stats={"reward": ended} if ended else {}))
        seen += ended
        assert metric.value == (None if len(seen) < 5 else pytest.approx(sum(seen[-5:]) / 5))
    assert len(seen) > 10


def test_statistics_of_agents_and_worlds_keep_their_names() -> None:
    for name in ("env_agent/heart.gained", "env_world/converter.altar.used"):
        metric = WatchedMetric(name, episodes=2)
        metric.update(TrainerState(rollout_stats={name: [1.0, 3.0], "reward": [0.0, 0.0]}))
        assert metric.value == 2.0


def test_means_of_an_epoch_are_taken_as_they_are_and_stay_where_one_has_none() -> None:
    metric = WatchedMetric("losses/entropy", episodes=100)
    assert metric.value is None
    for given, value in ((2.0, 2.0), (1.5, 1.5), (None, 1.5)):
        metric.update(TrainerState(loss_stats=None if given is None else {"entropy": given}))
        assert metric.value == value
    metric = WatchedMetric("experience/return", episodes=100)
    metric.update(TrainerState(experience_stats={"return": 4.0}))
    assert metric.value == 4.0


def test_an_epoch_says_whether_it_measured_the_metric() -> None:
    scores = EvalRewardSummary.from_simulation_scores({"arena/basic": 2.0})
    for name, measured, silent in (
        ("eval_arena/score", TrainerState(eval_scores=scores), TrainerState()),
        ("overview/reward", TrainerState(rollout_stats={"reward": [1.0]}), TrainerState(rollout_stats={"reward": []})),
        ("losses/entropy", TrainerState(loss_stats={"entropy": 1.0}), TrainerState(loss_stats={})),
    ):
        metric = WatchedMetric(name, episodes=100)
        assert [metric.update(state) for state in (measured, silent, measured)] == [True, False, True]


def test_a_score_is_found_by_its_category() -> None:
    simulations = {"arena/basic": 2.0, "arena/combat": 4.0}
    scores = EvalRewardSummary(category_scores={"arena": 3.0}, simulation_scores=simulations)
    for name, value in (("eval_arena/score", 3.0), ("eval_arena/combat", 4.0)):
        metric = WatchedMetric(name, episodes=100)
        metric.update(TrainerState(eval_scores=scores))
        assert metric.value == value


def test_what_was_seen_goes_on_after_a_resume_unless_it_was_another_metric() -> None:
    metric = WatchedMetric("overview/reward", episodes=3)
    assert metric.state_dict() == {}
    metric.update(TrainerState(rollout_stats={"reward": [1.0, 2.0, 6.0]}))
    for name, value in (("overview/reward", 3.0), ("overview/hearts", None)):
        resumed = WatchedMetric(name, episodes=3)
        resumed.load_state_dict(metric.state_dict())
        assert resumed.value == value


@pytest.mark.parametrize("name", ["reward", "overview/", "timing_per_epoch/train", "overview", "monitor/cpu_percent"])
def test_a_metric_that_is_not_the_same_everywhere_cannot_steer(name: str) -> None:
    with pytest.raises(ValueError, match=rf"'{name}' is not a metric that can steer.*overview/<name>"):
        check_metric(name, evaluation=True)


def test_a_score_steers_only_what_one_process_can_decide() -> None:
    assert check_metric("eval_arena/score", evaluation=True)
    with pytest.raises(ValueError, match="eval_arena/score"):
        check_metric("eval_arena/score", evaluation=False)


@pytest.mark.parametrize(
    ("name", "hint"), [("overview/rewards", "mean reward"), ("env_agent/heart.gaine", r"mean heart\.gained")]
)
def test_a_name_that_a_world_does_not_have_is_refused_with_the_nearest(tmp_path: Path, name: str, hint: str) -> None:
    env = build_trainer(small_config(tmp_path), run="run").tracker.env
    WatchedMetric("overview/hearts", episodes=1).check(env)
    WatchedMetric("env_agent/heart.gained", episodes=1).check(env)
    with pytest.raises(ConfigError, match=f"{name}.*{hint}"):
        WatchedMetric(name, episodes=1).check(env)


def test_a_name_that_an_epoch_does_not_have_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    metric = WatchedMetric("losses/entropi", episodes=1)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            metric.update(TrainerState(loss_stats={"entropy": 1.0}))
    assert [record.getMessage() for record in caplog.records] == [
        "losses/entropi is not among this epoch's metrics (did you mean entropy?)"
    ]
