from __future__ import annotations

import json
from collections import deque
from pathlib import Path

import numpy as np
import pytest

from metta.envs import SingleTask, VecEnv
from metta.rl.build import build_trainer
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.loss.base_loss import BaseLoss, LossConfig
from metta.rl.stats_tracker import StatsTracker
from metta.rl.trainer_state import TrainerState

from .small_world import small_config, small_world


def test_an_episode_counts_with_the_means_over_its_agents_unless_it_was_shortened() -> None:
    env = VecEnv(SingleTask(small_world(), seed=3), num_worlds=3, stagger=True)
    env.reset()
    tracker, ends, shortened = StatsTracker(env), [], 0
    rng = np.random.default_rng(0)
    for _ in range(100):
        env.step(rng.integers(0, env.num_actions, env.num_agents).astype(np.int32))
        tracker.gather()
        ends += [end for end in env.episode_ends if not end.staggered]
        shortened += sum(end.staggered for end in env.episode_ends)
    heart = env.resource_names.index("heart")
    expected = {
        "reward": [float(end.rewards.mean()) for end in ends],
        "hearts": [float(end.inventory[:, heart].mean()) for end in ends],
        "episode_length": [float(end.length) for end in ends],
        **{
            f"env_agent/{name}": [float(end.agent_stats[:, column].mean()) for end in ends]
            for column, name in enumerate(env.agent_stat_names)
        },
        **{f"env_world/{name}": [end.world_stats[name] for end in ends] for name in ends[0].world_stats},
    }
    assert len(ends) >= 3 and shortened == 3
    assert tracker.rollout_stats == expected
    assert tracker.recent_mean("reward") is None


def test_a_rollout_ends_with_the_episodes_of_all_ranks_and_a_window_of_the_last_hundred(tmp_path: Path) -> None:
    tracker = build_trainer(small_config(tmp_path), run="run").tracker
    seen: list[float] = []
    for epoch in range(8):
        parts = [{"reward": [float(epoch)] * 10}, {}, {"reward": [float(-epoch)] * 7, "env_agent/x": [1.0]}]
        tracker.finish_rollout(parts)
        seen += [*parts[0]["reward"], *parts[2]["reward"]]
        assert tracker.rollout_stats == {"reward": seen[-17:], "env_agent/x": [1.0]}
        assert tracker.recent_mean("reward") == pytest.approx(np.mean(seen[-100:]))


def test_an_epoch_begins_without_statistics_but_the_recent_episodes_stay_over_a_resume(tmp_path: Path) -> None:
    tracker = build_trainer(small_config(tmp_path), run="run").tracker
    tracker.rollout_stats["reward"] = [1.0]
    tracker.recent["reward"] = deque([1.0, 3.0])
    tracker.add_gradient("norm", 1.0)
    tracker.add_epoch("mine/thing", 2.0)
    tracker.clear()
    assert (tracker.rollout_stats, tracker.gradient_stats, tracker.epoch_stats) == ({}, {}, {})
    other = build_trainer(small_config(tmp_path), run="run").tracker
    other.load_state_dict(tracker.state_dict())
    assert other.recent_mean("reward") == 2.0
    assert other.recent_mean("hearts") is None


class CountingHook(TrainerHook):
    def on_mb_end(self, state: TrainerState) -> None:
        assert state.stats_tracker is not None
        state.stats_tracker.add_epoch("mine/minibatch", float(state.mb_idx))


class CountingLoss(BaseLoss):
    def on_rollout_end(self, state: TrainerState) -> None:
        assert state.stats_tracker is not None
        if state.epoch == 1:
            state.stats_tracker.add_epoch("mine/epoch", 7.0)
            state.stats_tracker.add_gradient("of_mine", 0.5)


def test_what_hooks_and_losses_add_in_an_epoch_is_written_as_its_mean(tmp_path: Path) -> None:
    trainer = build_trainer(small_config(tmp_path, total=512 * 3, minibatch_size=128), run="run")
    trainer.hooks.append(CountingHook())
    trainer.losses["counting"] = CountingLoss(LossConfig())
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["mine/minibatch"] for line in lines] == [1.5, 1.5, 1.5]  # of 0, 1, 2, 3
    assert [line.get("mine/epoch") for line in lines] == [None, 7.0, None]
    assert [line.get("grad/of_mine") for line in lines] == [None, 0.5, None]
