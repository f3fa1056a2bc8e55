"""Which segments a pass over the batch visits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from metta.rl.build import build_trainer
from metta.rl.loss.base_loss import BaseLoss
from metta.rl.run import train
from metta.rl.segment_sampling import PrioritizedSamplingConfig, priorities, visit_order

from .small_world import small_config

ADVANTAGES = np.array([[0.0, 0.0], [1.0, -1.0], [3.0, 3.0], [-0.5, 0.5]], np.float32)


def test_without_priorities_every_segment_is_visited_once() -> None:
    visits = visit_order(PrioritizedSamplingConfig(), ADVANTAGES, progress=0.0, rng=np.random.default_rng(0))
    assert sorted(visits.segments) == [0, 1, 2, 3] and visits.weights is None


def test_a_segment_is_as_likely_as_its_mean_absolute_advantage_to_the_power_alpha() -> None:
    for alpha in (0.5, 1.0, 2.0):
        expected = np.array([0.0, 1.0, 3.0, 0.5]) ** alpha
        assert priorities(ADVANTAGES, alpha) == pytest.approx(expected / expected.sum(), abs=2e-3)
    assert priorities(np.zeros((3, 2), np.float32), 1.0) == pytest.approx([1 / 3] * 3)


def test_at_the_end_of_training_weighted_visits_average_to_the_plain_mean() -> None:
    config, values = PrioritizedSamplingConfig(alpha=0.6, beta=0.2), np.array([5.0, -2.0, 7.0, 1.0])
    means = []
    for seed in range(4000):
        visits = visit_order(config, ADVANTAGES + 0.2, progress=1.0, rng=np.random.default_rng(seed))
        assert visits.weights is not None
        means.append(float((values[visits.segments] * visits.weights).mean()))
    assert np.mean(means) == pytest.approx(values.mean(), abs=4 * np.std(means) / np.sqrt(len(means)))


def test_weights_grow_towards_full_correction_as_training_goes_on() -> None:
    config = PrioritizedSamplingConfig(alpha=1.0, beta=0.25)
    spread = []
    for progress in (0.0, 0.5, 1.0):
        visits = visit_order(config, ADVANTAGES + 0.2, progress=progress, rng=np.random.default_rng(1))
        assert visits.weights is not None
        spread.append(float(np.log(visits.weights).std()))
    assert spread == pytest.approx([0.25 / 1.0 * spread[2], 0.625 * spread[2], spread[2]], rel=1e-4)


def test_a_run_with_priorities_visits_some_segments_twice_and_weighs_their_advantages(tmp_path: Path) -> None:
    config = small_config(tmp_path, total=512)
    config.trainer.prioritized_sampling = PrioritizedSamplingConfig(alpha=1.0)
    trainer = build_trainer(config, run="run")
    seen: list[int] = []
    weights: list[float] = []

    class Watch(BaseLoss):
        def run_train(self, state, minibatch, output):
            seen.extend(minibatch.segments.tolist())
            plain = trainer.experience.minibatch(minibatch.segments).advantages
            weights.extend((minibatch.advantages / plain).mean(1).tolist())

    trainer.losses["watch"] = Watch(trainer.losses["ppo"].config)
    trainer.begin()
    trainer.run_epoch()
    trainer.end()
    assert len(seen) == trainer.experience.num_segments > len(set(seen))
    assert np.std(weights) > 0.01


def test_a_run_with_priorities_is_reproducible(tmp_path: Path) -> None:
    lines = []
    for name in ("one", "other"):
        config = small_config(tmp_path / name, total=1024)
        config.trainer.prioritized_sampling = PrioritizedSamplingConfig(alpha=0.8)
        train(config)
        written = (tmp_path / name / "run" / "metrics.jsonl").read_text().splitlines()
        lines.append([{k: v for k, v in json.loads(line).items() if k.startswith("losses/")} for line in written])
    assert lines[0] == lines[1] and len(lines[0]) == 2
