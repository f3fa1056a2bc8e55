"""What every loss in the table must do: finite, gradient arrives, metrics explained, state survives, options count."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.rl.small_world import small_config
from torch import Tensor

from metta.agent import make_policy, save_policy
from metta.agent.artifact import read_state, write_state
from metta.rl.build import build_trainer
from metta.rl.loss.base_loss import LossConfig, LossResult
from metta.rl.loss.table import LOSSES, LossesConfig
from metta.rl.trainer import Trainer

METRICS = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
EPOCHS = 3

# What turns each loss on. TEACHER stands for the path of a network.
ON: dict[str, dict[str, Any]] = {
    "ppo": {},
    "kickstarter": {"teacher_uri": "TEACHER", "anneal_share": None},
    "ema": {"enabled": True},
    "dynamics": {"enabled": True},
}
# For every setting of every loss: a change of it, and what else must be set for it to matter.
WHEN: dict[str, tuple[Any, dict[str, Any]]] = {
    "enabled": (False, {}),
    "begin_epoch": (1, {}),
    "end_epoch": (2, {}),
    "cycle_length": (2, {}),
    "active_in_cycle": (2, {"cycle_length": 3}),
}
CHANGES: dict[str, dict[str, tuple[Any, dict[str, Any]]]] = {
    "ppo": {
        "clip_coef": (1e-4, {}),
        "value_coef": (0.1, {}),
        "value_clip_coef": (1e-4, {}),
        "scale_values": (False, {}),
        "entropy_coef": (0.1, {}),
        "gamma": (0.5, {}),
        "gae_lambda": (0.5, {}),
        "normalize_advantages": (False, {}),
        "vtrace_rho_clip": (1.0, {}),
        "vtrace_c_clip": (1.0, {}),
        "target_kl": (1e-9, {}),
    },
    "kickstarter": {
        "teacher_uri": ("mock://scripted", {}),
        "action_loss_coef": (0.5, {}),
        "value_loss_coef": (0.5, {}),
        "teacher_acts": (0.5, {}),
        "anneal_share": (0.5, {}),
    },
    "ema": {"coef": (10.0, {}), "decay": (0.5, {})},
    "dynamics": {"reward_coef": (5.0, {}), "feature_coef": (5.0, {}), "width": (32, {})},
}
OPTIONS = [(name, option) for name, changes in CHANGES.items() for option in {**WHEN, **changes}]

losses = pytest.mark.parametrize("name", list(LOSSES))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a network that plays the small world, with random weights."""
    folder = tmp_path_factory.mktemp("teacher")
    env = build_trainer(small_config(folder), run="run").rollout.env
    save_policy(folder / "teacher.pt", make_policy("lstm", env.space, seed=3), run="t", epoch=1, agent_step=0)
    return str(folder / "teacher.pt")


@pytest.fixture
def begun(tmp_path: Path, teacher: str) -> Callable[..., Trainer]:
    """Makes a trainer with one loss set as asked for, beside PPO; nothing is written."""

    def begin(name: str, settings: dict[str, Any], architecture: str = "fast") -> Trainer:
        chosen = {key: teacher if value == "TEACHER" else value for key, value in settings.items()}
        sizes = {"total": 512 * EPOCHS, "update_epochs": 2 if name == "ppo" else 1}  # some of PPO's need two passes
        made = small_config(tmp_path, architecture=architecture, losses={name: chosen}, **sizes)
        trainer = build_trainer(made, run="run")
        trainer.hooks = []
        trainer.begin()
        return trainer

    return begin


@pytest.fixture(scope="module")
def known() -> dict[str, list[Tensor]]:
    """Weights by the settings that they were trained with."""
    return {}


def trained(trainer: Trainer, epochs: int) -> list[Tensor]:
    for _ in range(epochs):
        trainer.run_epoch()
    return [weight.clone() for weight in trainer.policy.state_dict().values()]


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(left, right, strict=True))


def test_every_setting_of_every_loss_stands_in_the_list_of_changes() -> None:
    assert set(ON) == set(CHANGES) == set(LOSSES)
    for name, loss_class in LOSSES.items():
        assert {*WHEN, *CHANGES[name]} == set(loss_class.config_class.model_fields), name


@losses
def test_the_configuration_has_a_field_for_the_loss(name: str) -> None:
    made = getattr(LossesConfig(), name)
    assert type(made) is LOSSES[name].config_class
    assert isinstance(made, LossConfig)
    assert type(made).model_validate(json.loads(made.model_dump_json())) == made


@losses
@pytest.mark.parametrize("architecture", ["fast", "lstm"])
def test_the_loss_is_finite_and_its_gradient_reaches_the_policy_and_its_own_networks(
    name: str, architecture: str, begun: Callable[..., Trainer]
) -> None:
    trainer = begun(name, ON[name], architecture)
    loss, results = trainer.losses[name], []
    run_train, weights = loss.run_train, [*trainer.policy.parameters()]
    own = [*loss.networks.parameters()]

    def watched(*arguments: Any) -> LossResult | None:
        result = run_train(*arguments)
        assert result is not None
        gradients = torch.autograd.grad(result.loss, [*weights, *own], retain_graph=True, allow_unused=True)
        results.append((result, gradients))
        return result

    loss.run_train = watched
    trainer.run_epoch()
    assert len(results) >= 2 and results[0][0].metrics
    for result, gradients in results:
        assert result.loss.shape == () and result.loss.isfinite()
        assert all(metric.shape == () and metric.isfinite() for metric in result.metrics.values())
        assert not any(metric.requires_grad for metric in result.metrics.values())
        assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None)
    last = results[-1][1]
    assert sum(gradient is not None and bool(gradient.any()) for gradient in last[: len(weights)]) >= 3
    assert all(gradient is not None and gradient.any() for gradient in last[len(weights) :])
    assert {id(weight) for weight in own} <= {id(weight) for weight in trainer.parameters}


@losses
def test_the_losses_metrics_are_explained(name: str, begun: Callable[..., Trainer]) -> None:
    trainer = begun(name, ON[name])
    trainer.run_epoch()
    assert trainer.state.loss_stats is not None
    assert [metric for metric in trainer.state.loss_stats if f"`losses/{metric}`" not in METRICS] == []


@losses
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_run_goes_on_to_the_bit_with_what_a_file_holds(
    name: str, epochs: int, begun: Callable[..., Trainer], tmp_path: Path
) -> None:
    settings = {**ON[name], **({"teacher_acts": 0.5} if name == "kickstarter" else {})}
    first, second = begun(name, settings), begun(name, settings)
    trained(first, epochs)
    parts = {part: each.state_dict() for part, each in first.state.stateful.items() if not part.startswith("hook/")}
    write_state(tmp_path / "state", {"parts": copy.deepcopy(parts)}, format="test")
    second.policy.load_state_dict(first.policy.state_dict())
    second.state.epoch, second.state.agent_step = first.state.epoch, first.state.agent_step
    for part, value in read_state(tmp_path / "state", format="test")["parts"].items():
        second.state.stateful[part].load_state_dict(value)
    assert f"loss/{name}" in parts
    assert same(trained(first, EPOCHS - epochs), trained(second, EPOCHS - epochs))
    left, right = (trainer.losses[name].networks.state_dict() for trainer in (first, second))
    assert same([*left.values()], [*right.values()])


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=str)
def test_the_setting_changes_what_is_learned(
    name: str, option: str, begun: Callable[..., Trainer], known: dict[str, list[Tensor]]
) -> None:
    value, also = {**WHEN, **CHANGES[name]}[option]
    base = {**ON[name], **also}

    def weights(settings: dict[str, Any]) -> list[Tensor]:
        key = json.dumps([name, settings], sort_keys=True)
        if key not in known:
            known[key] = trained(begun(name, settings), EPOCHS)
        return known[key]

    assert not same(weights({**base, option: value}), weights(base))


@losses
def test_a_loss_that_is_off_changes_nothing(name: str, begun: Callable[..., Trainer]) -> None:
    if name == "ppo":
        trainer = begun(name, {"enabled": False})
        assert same(trained(trainer, 1), trained(begun(name, {"enabled": False}), 0))
    else:
        off = begun(name, {**ON[name], "enabled": False})
        assert name not in off.losses
        assert same(trained(off, 2), trained(begun("user", {}), 2))  # no loss but PPO
