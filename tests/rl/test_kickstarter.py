"""The kickstarter: what the teacher says, for whom it acts, and for how long."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metta.agent import PolicyAgent, load_policy, make_policy, save_policy
from metta.agent.mocks import ScriptedActor
from metta.agent.policy_agent import SequenceOutput
from metta.agent.sampling import log_prob_entropy, sample_actions
from metta.envs import TokenSpace
from metta.errors import CheckpointError, ConfigError, PolicyMismatchError
from metta.rl.build import build_trainer
from metta.rl.kickstarter import Kickstarter, remaining_share
from metta.rl.trainer import Trainer

from .small_world import small_config


def kickstarted(folder: Path, *, total: int = 512 * 6, architecture: str = "fast", **settings: Any) -> Trainer:
    """A trainer with a teacher that writes nothing."""
    settings = {"teacher_uri": "mock://scripted", **settings}
    made = small_config(folder, total=total, architecture=architecture, losses={"kickstarter": settings})
    trainer = build_trainer(made, run="run")
    trainer.hooks = []
    trainer.begin()
    return trainer


def loss_of(trainer: Trainer) -> Kickstarter:
    loss = trainer.losses["kickstarter"]
    assert isinstance(loss, Kickstarter)
    return loss


def saved_teacher(
    folder: Path, architecture: str = "lstm", *, run: str = "teacher", epoch: int = 7, action_names: Any = None
) -> str:
    """The path of a policy with random weights whose opinions differ from observation to observation."""
    env = build_trainer(small_config(folder), run="run").rollout.env
    assert isinstance(env.space, TokenSpace)
    agent = make_policy(architecture, replace(env.space, action_names=action_names or env.action_names), seed=epoch)
    with torch.no_grad():
        agent.policy_head.weight *= 300.0
    path = folder / run / "checkpoints" / f"agent_epoch_{epoch}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_policy(path, agent, run=run, epoch=epoch, agent_step=0)
    return str(path)


def watch_steps(trainer: Trainer, look: Callable[[int, Tensor], None]) -> None:
    """Let `look` see step and actions, when the losses have spoken and the environment has not yet moved."""
    loss = loss_of(trainer)
    on_act = loss.on_act

    def watched(state: Any, step: int, env: Any, actions: Tensor) -> Tensor | None:
        rows = on_act(state, step, env, actions)
        look(step, actions)
        return rows

    loss.on_act = watched


@pytest.mark.parametrize("student", ["fast", "lstm"])
def test_a_network_teacher_says_what_it_would_say_had_it_seen_every_tick_alone(tmp_path: Path, student: str) -> None:
    uri = saved_teacher(tmp_path)
    trainer = kickstarted(tmp_path, architecture=student, teacher_uri=uri)
    alone, env, experience = load_policy(uri), trainer.rollout.env, trainer.experience
    state, expected = alone.initial_state(env.num_agents), []

    def look(step: int, actions: Tensor) -> None:
        nonlocal state
        with torch.no_grad():
            out = alone.step(torch.from_numpy(env.observations.copy()), state, experience.resets[step])
        state = out.state
        expected.append((torch.softmax(out.logits, -1), out.values))

    watch_steps(trainer, look)
    resets = 0
    for _ in range(3):
        expected.clear()
        trainer.run_epoch()
        resets += int(experience.resets[1:-1].sum())
        probs, values = (torch.stack(column) for column in zip(*expected, strict=True))
        torch.testing.assert_close(experience.extra["teacher_probs"], probs, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(experience.extra["teacher_values"], values, atol=1e-5, rtol=1e-5)
    assert resets > 0
    assert probs.std(dim=(0, 1)).max() > 0.05


def test_the_scripted_teacher_says_what_it_would_play(tmp_path: Path) -> None:
    trainer = kickstarted(tmp_path)
    env, actor, expected = trainer.rollout.env, ScriptedActor(), []
    actor.reset(env)
    watch_steps(trainer, lambda step, actions: expected.append(actor.act(env)))
    for _ in range(3):
        expected.clear()
        trainer.run_epoch()
        probs = trainer.experience.extra["teacher_probs"]
        assert (probs.sum(-1) == 1).all() and (probs.max(-1).values == 1).all()
        assert (probs.argmax(-1).numpy() == np.stack(expected)).all()
    assert len(np.unique(expected)) > 3


def test_a_teacher_whose_actions_stand_in_another_order_is_understood_by_name(tmp_path: Path) -> None:
    names = build_trainer(small_config(tmp_path), run="run").rollout.env.action_names
    uri = saved_teacher(tmp_path, "fast", action_names=tuple(reversed(names)))
    trainer = kickstarted(tmp_path, teacher_uri=uri)
    env, agent, expected = trainer.rollout.env, load_policy(uri), []

    def look(step: int, actions: Tensor) -> None:
        with torch.no_grad():
            out = agent.step(torch.from_numpy(env.observations), {}, trainer.experience.resets[step])
        expected.append(torch.softmax(out.logits, -1).flip(-1))

    # its own order of actions is also what it reads `last_action` by
    agent.initialize_to_environment(env.space, env.action_names)
    agent.connection = agent.connection.__class__(agent.connection.space, names, agent.connection.luts, None)
    watch_steps(trainer, look)
    trainer.run_epoch()
    torch.testing.assert_close(trainer.experience.extra["teacher_probs"], torch.stack(expected))


def test_a_teacher_that_lacks_actions_is_refused_by_their_names(tmp_path: Path) -> None:
    names = build_trainer(small_config(tmp_path), run="run").rollout.env.action_names
    others = (*(name for name in names if name not in ("put_items", "move_north")), "dance")
    uri = saved_teacher(tmp_path, "fast", action_names=others)
    with pytest.raises(PolicyMismatchError, match=r"lacks (put_items, move_north|move_north, put_items); .* dance"):
        kickstarted(tmp_path, teacher_uri=uri)


def test_a_teachers_actions_that_cannot_be_taught_are_named_in_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = build_trainer(small_config(tmp_path), run="run").rollout.env.action_names
    kickstarted(tmp_path, teacher_uri=saved_teacher(tmp_path, "fast", action_names=(*names, "dance")))
    assert "this world lacks: dance" in caplog.text


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"value_loss_coef": 0.5}, ConfigError, "estimates no values; allowed: 0"),
        ({"teacher_uri": "no_such_run"}, CheckpointError, "no policy at 'no_such_run'"),
        ({"teacher_uri": "mock://scriptd"}, CheckpointError, "did you mean scripted"),
    ],
)
def test_a_teacher_that_cannot_be_had_is_a_mistake_that_is_named(
    tmp_path: Path, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        kickstarted(tmp_path, **settings)


@pytest.mark.parametrize("teacher", ["scripted", "fast"])
def test_the_loss_is_the_cross_entropy_to_the_teacher_and_half_the_squared_distance_of_values(
    tmp_path: Path, teacher: str
) -> None:
    is_network = teacher == "fast"
    uri = saved_teacher(tmp_path, "fast") if is_network else "mock://scripted"
    coefs = {"action_loss_coef": 2.0, "value_loss_coef": 0.25 * is_network, "anneal_share": 1.0}
    trainer = kickstarted(tmp_path, total=512 * 4, teacher_uri=uri, **coefs)
    trainer.run_epoch()  # a quarter is done
    loss, experience = loss_of(trainer), trainer.experience
    trainer._begin_epoch()
    loss.on_rollout_start(trainer.state)
    trainer.rollout.run([loss], trainer.tracker, trainer.state)
    minibatch = experience.minibatch(torch.arange(experience.num_segments))
    output = trainer.policy.sequence(minibatch.observations, minibatch.state, minibatch.resets)
    result = loss.run_train(trainer.state, minibatch, output)
    assert result is not None
    action, value, agree = plain_losses(minibatch.extra, output)
    np.testing.assert_allclose(
        float(result.loss.detach()), 0.75 * (2.0 * action + 0.25 * is_network * value), rtol=1e-5
    )
    assert {name: float(number) for name, number in result.metrics.items()} == pytest.approx(
        {
            "kickstarter_action_loss": action,
            "kickstarter_agreement": agree,
            "kickstarter_share": 0.75,
            **({"kickstarter_value_loss": value} if is_network else {}),
        },
        rel=1e-5,
    )


def plain_losses(extra: dict[str, Tensor], output: SequenceOutput) -> tuple[float, float, float]:
    """Action loss, value loss and agreement, one step at a time."""
    action, value, agree = [], [], []
    for place in np.ndindex(*output.values.shape):
        logits = output.logits.detach().numpy()[place].astype(np.float64)
        student = np.exp(logits) / np.exp(logits).sum()
        teacher = extra["teacher_probs"].numpy()[place]
        action.append(-sum(p * math.log(q) for p, q in zip(teacher, student, strict=True)))
        agree.append(teacher.argmax() == student.argmax())
        if "teacher_values" in extra:
            value.append(0.5 * (float(output.values[place].detach()) - float(extra["teacher_values"][place])) ** 2)
    return float(np.mean(action)), float(np.mean(value)) if value else 0.0, float(np.mean(agree))


@pytest.mark.parametrize(
    ("progress", "anneal_share", "left"),
    [
        (0.0, 0.5, 1.0),
        (0.125, 0.5, 0.75),
        (0.5, 0.5, 0.0),
        (0.9, 0.5, 0.0),
        (1.0, 1.0, 0.0),
        (1.7, 1.0, 0.0),
        (0.5, None, 1.0),
        (1.0, None, 1.0),
        (0.0, 1e-300, 1.0),
        (1e-9, 1e-300, 0.0),
        (0.3, 0.0, 0.0),  # where a schedule may lead
        (0.0, 0.0, 0.0),
    ],
)
def test_the_teachers_part_falls_to_nothing_in_a_line(progress: float, anneal_share: float | None, left: float) -> None:
    assert remaining_share(progress, anneal_share) == left


def test_the_teacher_is_not_asked_any_more_when_its_part_is_over(tmp_path: Path) -> None:
    trainer = kickstarted(tmp_path, total=512 * 6, anneal_share=0.5, teacher_acts=1.0)
    loss, asked = loss_of(trainer), []
    judge = loss._teacher.judge
    loss._teacher.judge = lambda *arguments: asked.append(1) or judge(*arguments)
    counts, shares = [], []
    for _ in range(6):
        asked.clear()
        trainer.run_epoch()
        counts.append(len(asked))
        assert trainer.state.loss_stats is not None
        shares.append(trainer.state.loss_stats.get("kickstarter_share"))
    steps = trainer.experience.num_steps
    assert counts == [steps, steps, steps, 0, 0, 0]
    assert shares == pytest.approx([1.0, 2 / 3, 1 / 3, None, None, None])


def test_a_teacher_that_missed_an_epoch_begins_with_an_empty_memory(tmp_path: Path) -> None:
    cycle = {"cycle_length": 3, "active_in_cycle": 2, "anneal_share": None}
    trainer = kickstarted(tmp_path, teacher_uri=saved_teacher(tmp_path), **cycle)
    loss, forgotten = loss_of(trainer), []
    forget = loss._teacher.forget
    loss._teacher.forget = lambda: forgotten.append(trainer.state.epoch) or forget()
    for _ in range(5):
        trainer.run_epoch()
    assert forgotten == [0, 3]


@pytest.mark.parametrize("teacher", ["scripted", "lstm"])
def test_where_the_teacher_acts_its_actions_are_played_and_ppo_leaves_them_out(tmp_path: Path, teacher: str) -> None:
    uri = "mock://scripted" if teacher == "scripted" else saved_teacher(tmp_path, "lstm")
    trainer = kickstarted(tmp_path, architecture="lstm", teacher_uri=uri, teacher_acts=0.5, anneal_share=None)
    plain = build_trainer(small_config(tmp_path, architecture="lstm", total=512 * 6), run="run")
    env, noises = trainer.rollout.env, []
    watch_steps(trainer, lambda *_: noises.append(env.action_noise(np.empty(env.num_agents, np.float32))))
    for each in (trainer, plain):
        active = list(each.losses.values())
        for loss in active:
            loss.on_rollout_start(each.state)
        each.rollout.run(active, each.tracker, each.state)
    experience, own = trainer.experience, trainer.experience.is_own
    assert own is not None and plain.experience.is_own is None
    assert (own == own[0]).all() and 0 < int(own[0].sum()) < env.num_agents
    probs = experience.extra["teacher_probs"]
    wanted = torch.stack([sample_actions(p.log(), torch.from_numpy(n))[0] for p, n in zip(probs, noises, strict=True)])
    assert (experience.actions == wanted)[~own].all() and not (experience.actions == wanted)[own].all()
    if teacher == "scripted":
        assert (wanted == probs.argmax(-1)).all()
    assert (experience.actions[0] == plain.experience.actions[0])[own[0]].all()
    minibatch = experience.minibatch(torch.arange(experience.num_segments))
    assert minibatch.is_own is not None and minibatch.is_own.sum() == own.sum()
    output = trainer.policy.sequence(minibatch.observations, minibatch.state, minibatch.resets)
    log_probs, _ = log_prob_entropy(output.logits, minibatch.actions)
    torch.testing.assert_close(log_probs, minibatch.log_probs, atol=1e-5, rtol=0)


def test_advantages_are_normalised_over_the_steps_that_the_policy_chose(tmp_path: Path) -> None:
    trainer = kickstarted(tmp_path, teacher_acts=0.5)
    for _ in range(2):
        trainer.run_epoch()
    experience, own = trainer.experience, trainer.experience.is_own
    assert own is not None
    mine = experience.advantages[own]
    assert abs(float(mine.mean())) < 1e-5 and abs(float(mine.std(correction=0)) - 1) < 1e-4
    assert abs(float(experience.advantages.mean())) > 1e-3


def test_a_teacher_may_act_for_everyone(tmp_path: Path) -> None:
    trainer = kickstarted(tmp_path, teacher_acts=1.0, anneal_share=None)
    before = [weight.clone() for weight in trainer.policy.parameters()]
    trainer.run_epoch()
    assert trainer.experience.is_own is not None and not trainer.experience.is_own.any()
    assert trainer.state.loss_stats is not None
    assert trainer.state.loss_stats["policy_loss"] == 0.0
    assert any(not torch.equal(old, new) for old, new in zip(before, trainer.policy.parameters(), strict=True))


def continued(first: Trainer, second: Trainer) -> None:
    """Let `second` go on where `first` stands."""
    second.policy.load_state_dict(first.policy.state_dict())
    second.state.epoch, second.state.agent_step = first.state.epoch, first.state.agent_step
    for name, part in second.state.stateful.items():
        if not name.startswith("hook/"):
            part.load_state_dict(copy.deepcopy(first.state.stateful[name].state_dict()))


def weights(agent: PolicyAgent) -> list[Tensor]:
    return [weight.clone() for weight in agent.state_dict().values()]


@pytest.mark.parametrize("teacher", ["scripted", "lstm"])
def test_a_run_with_a_teacher_goes_on_to_the_bit(tmp_path: Path, teacher: str) -> None:
    uri = "mock://scripted" if teacher == "scripted" else saved_teacher(tmp_path)
    first, second = (kickstarted(tmp_path, teacher_uri=uri, teacher_acts=0.5, anneal_share=0.9) for _ in range(2))
    for _ in range(3):
        first.run_epoch()
    continued(first, second)
    for _ in range(3):
        first.run_epoch()
        second.run_epoch()
    for one, other in zip(weights(first.policy), weights(second.policy), strict=True):
        assert torch.equal(one, other)


def test_a_run_keeps_the_teacher_it_began_with_when_the_teachers_run_goes_on(tmp_path: Path) -> None:
    saved_teacher(tmp_path, epoch=7)
    folder = str(tmp_path / "teacher")
    first = kickstarted(tmp_path, teacher_uri=folder)
    first.run_epoch()
    saved_teacher(tmp_path, epoch=8)
    second = kickstarted(tmp_path, teacher_uri=folder)
    assert loss_of(second)._teacher.uri.endswith("agent_epoch_8.pt")
    continued(first, second)
    assert loss_of(second)._teacher.uri.endswith("agent_epoch_7.pt")


def test_a_resumed_run_may_be_given_another_teacher_which_begins_anew(tmp_path: Path) -> None:
    first = kickstarted(tmp_path)
    first.run_epoch()
    second = kickstarted(tmp_path, teacher_uri=saved_teacher(tmp_path))
    continued(first, second)
    assert loss_of(second)._teacher.has_values
    second.run_epoch()
