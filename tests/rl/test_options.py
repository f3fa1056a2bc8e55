"""Every option of training does something."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch

from metta.errors import ConfigError
from metta.rl.build import build_trainer
from metta.rl.optimizer import OptimizerConfig
from metta.rl.resume import resume
from metta.rl.run import train
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager

from .small_world import small_config

EPOCHS = 3
Weights = dict[str, torch.Tensor]


def settings(path: str, value: object) -> dict[str, Any]:
    """{"a": {"b": value}} for the path "a.b"."""
    for part in reversed(path.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def merged(options: dict[str, Any]) -> dict[str, Any]:
    """One tree of settings out of dotted paths and their values."""

    def merge(into: dict[str, Any], tree: dict[str, Any]) -> None:
        for name, value in tree.items():
            if isinstance(value, dict) and isinstance(into.get(name), dict):
                merge(into[name], value)
            else:
                into[name] = value

    whole: dict[str, Any] = {}
    for path, value in options.items():
        merge(whole, settings(path, value))
    return whole


@pytest.fixture(scope="module")
def weights_after(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], Weights]:
    """The weights after a few epochs below given settings of the trainer; each setting is trained once."""
    known: dict[str, Weights] = {}

    def weights(options: dict[str, Any]) -> Weights:
        key = json.dumps(options, sort_keys=True)
        if key not in known:
            folder = tmp_path_factory.mktemp("options")
            trainer = build_trainer(small_config(folder, total=512 * EPOCHS, **merged(options)), run="run")
            trainer.hooks = trainer.hooks[:1]  # the schedules; nothing is written
            trainer.begin()
            for _ in range(EPOCHS):
                trainer.run_epoch()
            known[key] = {name: value.clone() for name, value in trainer.policy.state_dict().items()}
        return known[key]

    return weights


def equal(left: Weights, right: Weights) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def rate_schedule(**changed: object) -> dict[str, Any]:
    return {"schedules": {"optimizer.learning_rate": changed}}


def label(options: dict[str, Any]) -> str:
    return ",".join(f"{path}={value}".replace("'", "") for path, value in options.items()) or "default"


LOSS, DECAY = "losses.ppo.", {"optimizer.weight_decay": 0.1}
LINEAR = {"type": "linear", "final": 0.1}


@pytest.mark.parametrize(
    ("change", "base"),
    [
        ({LOSS + "clip_coef": 1e-4}, {}),
        ({LOSS + "value_coef": 0.1}, {}),
        ({LOSS + "value_clip_coef": 1e-4}, {}),
        ({LOSS + "entropy_coef": 0.1}, {}),
        ({LOSS + "gamma": 0.5}, {}),
        ({LOSS + "gae_lambda": 0.5}, {}),
        ({LOSS + "normalize_advantages": False}, {}),
        ({LOSS + "target_kl": 1e-9}, {"update_epochs": 2}),
        ({LOSS + "enabled": False}, {}),
        ({LOSS + "begin_epoch": 1}, {}),
        ({LOSS + "end_epoch": 2}, {}),
        ({LOSS + "cycle_length": 2}, {}),
        ({LOSS + "active_in_cycle": 2}, {LOSS + "cycle_length": 3}),
        ({"max_grad_norm": 1e-4}, {}),
        ({"update_epochs": 2}, {}),
        ({"minibatch_size": 128}, {}),
        ({"bptt_horizon": 8}, {"num_worlds": 8}),
        ({"num_worlds": 4}, {}),
        ({"batch_size": 1024}, {}),
        ({"total_timesteps": 512 * EPOCHS * 2}, {}),  # by the schedules
        ({"schedules": {}}, {}),
        ({"schedules": {"max_grad_norm": {"type": "linear", "final": 0.001}}}, {"schedules": {}}),
        ({"schedules": {"losses.ppo.gamma": LINEAR}}, {"schedules": {}}),
        ({"schedules": {"losses.ppo.clip_coef": {"type": "linear", "final": 0.0}}}, {"schedules": {}}),
        (
            {"schedules": {"optimizer.learning_rate": {"type": "cosine", "final": 0.1}}},
            {"schedules": {"optimizer.learning_rate": LINEAR}},
        ),
        (
            {"schedules": {"optimizer.learning_rate": {"type": "linear", "final": 0.5}}},
            {"schedules": {"optimizer.learning_rate": LINEAR}},
        ),
        ({"optimizer.type": "adamw"}, DECAY),
        ({"optimizer.learning_rate": 1e-2}, {}),
        ({"optimizer.beta1": 0.5}, {}),
        ({"optimizer.beta2": 0.9}, {}),
        ({"optimizer.eps": 1e-3}, {}),
        (DECAY, {}),
    ],
    ids=label,
)
def test_a_setting_changes_what_is_learned(
    weights_after: Callable[[dict[str, Any]], Weights], change: dict[str, Any], base: dict[str, Any]
) -> None:
    assert not equal(weights_after({**base, **change}), weights_after(base))


@pytest.mark.parametrize(
    ("path", "final", "base"),
    [
        ("beta1", 0.1, {}),
        ("beta2", 0.1, {}),
        ("eps", 1e6, {}),
        ("weight_decay", 0.1, DECAY),
    ],
)
def test_a_schedule_of_an_optimizer_setting_reaches_the_optimizer(
    weights_after: Callable[[dict[str, Any]], Weights], path: str, final: float, base: dict[str, Any]
) -> None:
    schedule = {"schedules": {f"optimizer.{path}": {"type": "linear", "final": final}}}
    assert not equal(weights_after({**base, **schedule}), weights_after({**base, "schedules": {}}))


def test_a_loss_that_is_not_enabled_leaves_the_weights_as_they_were(
    tmp_path: Path, weights_after: Callable[[dict[str, Any]], Weights]
) -> None:
    untouched = build_trainer(small_config(tmp_path), run="run").policy.state_dict()
    assert equal(weights_after({LOSS + "enabled": False}), untouched)
    assert equal(weights_after({LOSS + "begin_epoch": EPOCHS}), untouched)


def test_a_setting_given_at_its_default_changes_nothing(weights_after: Callable[[dict[str, Any]], Weights]) -> None:
    assert equal(weights_after({LOSS + "clip_coef": 0.2, "optimizer.type": "adam"}), weights_after({}))


def test_a_resumed_run_uses_the_optimizer_settings_that_it_is_given(tmp_path: Path) -> None:
    made = small_config(tmp_path, total=512)
    train(made)
    made.trainer.total_timesteps = 1024
    made.trainer.optimizer = OptimizerConfig(beta1=0.5, beta2=0.9, eps=1e-3, weight_decay=0.1)
    trainer = build_trainer(made, run="run")
    resume(trainer, TinyCheckpointManager("run", tmp_path))
    trainer.hooks = trainer.hooks[:1]
    trainer.begin()
    group = trainer.optimizer.param_groups[0]
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.5, 0.9), 1e-3, 0.1)


HOOK = """
from metta.rl.hooks.base_hook import TrainerHook

epochs = []

class Watch(TrainerHook):
    def on_epoch_end(self, state):
        epochs.append(state.epoch)

class NoHook:
    pass

class Demanding(TrainerHook):
    def __init__(self, argument):
        pass
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = "hooks_of_a_user"
    (tmp_path / f"{name}.py").write_text(HOOK)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def test_a_users_own_hook_is_called(tmp_path: Path, user_module: str) -> None:
    made = small_config(tmp_path, total=1024)
    made.hooks.user = [f"{user_module}.Watch"]
    train(made)
    assert sys.modules[user_module].epochs == [1, 2]


@pytest.mark.parametrize(
    "path",
    [
        "{}.NoHook",
        "{}.Missing",
        "{}",
        "no_such_module_at_all.Hook",
        "Hook",
        "{}.epochs",
        "{}.Demanding",
    ],
)
def test_a_path_that_is_no_hook_is_a_mistake_that_is_named(tmp_path: Path, user_module: str, path: str) -> None:
    path = path.format(user_module)
    made = small_config(tmp_path)
    made.hooks.user = [path]
    with pytest.raises(ConfigError, match=rf"hooks\.user: '{re.escape(path)}'"):
        train(made)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("interval", "keep", "epochs"), [(200, 5, [6]), (2, 0, [2, 4, 6]), (4, 0, [4, 6]), (1, 0, [1, 2, 3, 4, 5, 6])]
)
def test_interval_says_which_epochs_are_saved(tmp_path: Path, interval: int, keep: int, epochs: list[int]) -> None:
    made = small_config(tmp_path, total=512 * 6)
    made.checkpoint.interval, made.checkpoint.keep = interval, keep
    train(made)
    assert TinyCheckpointManager("run", tmp_path).list_epochs() == epochs


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_keep_says_how_many_of_the_latest_stay_beside_the_best(tmp_path: Path, keep: int) -> None:
    made = small_config(tmp_path, total=512 * 6)
    made.checkpoint.interval, made.checkpoint.keep = 1, keep
    train(made)
    kept = TinyCheckpointManager("run", tmp_path).list_epochs()
    assert kept[-keep:] == list(range(7 - keep, 7))
    assert len(kept) <= keep + 1


@pytest.mark.parametrize(
    ("interval", "episodes", "replays", "epochs"),
    [(0, 1, True, []), (2, 1, True, [2, 3]), (3, 1, True, [3]), (1, 3, False, [1, 2, 3])],
)
def test_evaluation_happens_when_and_as_long_as_its_settings_say(
    tmp_path: Path, interval: int, episodes: int, replays: bool, epochs: list[int]
) -> None:
    made = small_config(tmp_path, total=512 * 3)
    made.evaluation.interval, made.evaluation.episodes, made.evaluation.replays = interval, episodes, replays
    train(made)
    run = tmp_path / "run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["metric/epoch"] for line in lines if "eval_training/score" in line] == epochs
    assert len(list(run.glob("replays/**/*.json.z"))) == (len(epochs) if replays else 0)
    stats = run / "stats" / "stats.duckdb"
    assert stats.exists() == bool(epochs)
    if epochs:
        with duckdb.connect(str(stats), read_only=True) as connection:
            played = connection.execute("SELECT count(*) FROM episodes").fetchone()
        assert played == (len(epochs) * episodes,)


def test_the_suite_that_is_named_is_the_one_that_is_played(tmp_path: Path) -> None:
    made = small_config(tmp_path)
    made.evaluation.interval, made.evaluation.suite = 1, "no_such_suite"
    with pytest.raises(ConfigError, match="no_such_suite"):
        train(made)


def test_precision_reaches_acting_and_training(tmp_path: Path) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        made = small_config(tmp_path / precision, total=512 * 2)
        made.system.precision = precision
        trainer = build_trainer(made, run="run")
        trainer.train()
        losses[precision] = trainer.state.loss_stats
        assert all(p.dtype == torch.float32 for p in trainer.policy.parameters())
    assert losses["float32"] != losses["bfloat16"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.1)


def test_compiling_is_asked_for_by_the_configuration(tmp_path: Path) -> None:
    made = small_config(tmp_path)
    assert not build_trainer(made, run="run").policy.compiled
    made.system.compile = True
    assert build_trainer(made, run="run").policy.compiled
