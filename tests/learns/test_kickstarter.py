"""A student with a teacher learns faster than one without."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.rl.small_world import small_config

from metta.rl.build import build_trainer
from metta.rl.config import TrainConfig
from metta.rl.run import train

SEEDS = (1, 2, 3, 4, 5)


def config(folder: Path, *, total: int = 160_000, seed: int = 1, **kickstarter: Any) -> TrainConfig:
    sizes = {"batch_size": 2048, "minibatch_size": 512}
    made = small_config(folder, total=total, losses={"kickstarter": kickstarter}, **sizes)
    made.system.seed = seed
    return made


def area_under_hearts(made: TrainConfig) -> float:
    """Hearts at an episode's end, mean over training: each epoch is as many agent steps as any other."""
    trainer = build_trainer(made, run="run")
    trainer.hooks = trainer.hooks[:1]  # the schedules; nothing is written
    trainer.begin()
    curve, is_over = [], False
    while not is_over:
        is_over = trainer.run_epoch()
        stats = trainer.state.rollout_stats
        if stats:
            curve.append(float(np.mean(stats["hearts"])))
    return float(np.mean(curve))


def p_value(differences: list[float]) -> float:
    """The exact one-sided permutation test of pairs: how often random signs give a mean that is as large."""
    signs = np.array(list(itertools.product((1, -1), repeat=len(differences))))
    return float(((signs * differences).mean(axis=1) >= np.mean(differences) - 1e-12).mean())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The area of each seed without a teacher."""
    folder = tmp_path_factory.mktemp("alone")
    return [area_under_hearts(config(folder, seed=seed)) for seed in SEEDS]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scripted", "checkpoint"])
def test_the_area_under_the_hearts_curve_is_larger_with_a_teacher(
    tmp_path: Path, alone: list[float], kind: str
) -> None:
    uri = "mock://scripted"
    if kind == "checkpoint":
        train(config(tmp_path, total=250_000, seed=99, teacher_uri=uri))
        uri = "run"  # found below data_dir, its latest checkpoint
    taught = [area_under_hearts(config(tmp_path, seed=seed, teacher_uri=uri)) for seed in SEEDS]
    differences = [more - less for more, less in zip(taught, alone, strict=True)]
    print(f"{kind}: taught {taught}, alone {alone}, p = {p_value(differences)}")
    assert p_value(differences) < 0.05, (taught, alone)


def test_the_permutation_test_is_that_of_the_definition() -> None:
    assert p_value([1.0, 2.0, 3.0, 4.0, 5.0]) == 1 / 32
    assert p_value([1.0, -2.0]) == 3 / 4
    assert p_value([-1.0]) == 1.0
