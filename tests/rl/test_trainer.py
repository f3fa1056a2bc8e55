"""The trainer on a world small enough for a test."""

from __future__ import annotations

import fnmatch
import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from metta.agent.sampling import log_prob_entropy
from metta.errors import CheckpointError, ConfigError, TrainingError
from metta.rl.batch import fit_batch
from metta.rl.build import build_trainer
from metta.rl.config import TrainerConfig
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.loss.base_loss import BaseLoss
from metta.rl.resume import resume
from metta.rl.run import train
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager
from metta.rl.trainer import Trainer

from .same_bits import assert_same
from .small_world import small_config as config

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def metrics(tmp_path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]


def tensors(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.policy.state_dict().items()}


@pytest.mark.parametrize("architecture", ["fast", "lstm", "agalite"])
def test_training_replays_exactly_what_acted(tmp_path: Path, architecture: str) -> None:
    trainer = build_trainer(config(tmp_path, architecture=architecture), run="run")
    for _ in range(3):  # later rollouts begin with recurrent state and hold episode ends
        trainer.rollout.run([], trainer.tracker, trainer.state)
    experience = trainer.experience
    experience.compute_advantages(gamma=0.99, gae_lambda=0.95, normalize=True)
    assert experience.resets[1:-1].any()
    minibatch = experience.minibatch(torch.arange(experience.num_segments))
    output = trainer.policy.sequence(minibatch.observations, minibatch.state, minibatch.resets)
    log_probs, _ = log_prob_entropy(output.logits, minibatch.actions)
    torch.testing.assert_close(log_probs, minibatch.log_probs, atol=1e-5, rtol=0)
    torch.testing.assert_close(output.values, minibatch.values, atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["fast", "lstm"])
def test_with_kernels_of_our_own_the_replay_has_the_bits_of_what_acted(tmp_path: Path, architecture: str) -> None:
    made = config(tmp_path, architecture=architecture)
    made.system.device = "cpu"
    trainer = build_trainer(made, run="run")
    trainer.begin()
    for _ in range(2):
        trainer.run_epoch()
    trainer.rollout.run([], trainer.tracker, trainer.state)
    minibatch = trainer.experience.minibatch(torch.arange(trainer.experience.num_segments))
    output = trainer.policy.sequence(minibatch.observations, minibatch.state, minibatch.resets)
    assert torch.equal(log_prob_entropy(output.logits, minibatch.actions)[0], minibatch.log_probs)
    assert torch.equal(output.values, minibatch.values)


def test_a_truncated_episode_bootstraps_from_its_final_observation(tmp_path: Path) -> None:
    trainer = build_trainer(config(tmp_path), run="run")
    finals: list[tuple[int, np.ndarray, np.ndarray]] = []
    env, experience = trainer.rollout.env, trainer.experience
    step, count = env.step, iter(range(10**6))

    def watched(actions: np.ndarray) -> None:
        step(actions)
        t = next(count) % experience.num_steps
        if len(env.final_index):
            finals.append((t, env.final_index.copy(), env.final_observation.copy()))

    env.step = watched
    while not finals:
        trainer.rollout.run([], trainer.tracker, trainer.state)
    for t, rows, observations in finals:
        reset = torch.zeros(len(rows), dtype=torch.bool)
        values = trainer.policy.step(torch.from_numpy(observations), {}, reset).values
        assert experience.truncations[t, rows].all()
        torch.testing.assert_close(experience.next_values[t, rows], values, atol=1e-6, rtol=0)


def test_every_segment_is_used_once_an_epoch(tmp_path: Path) -> None:
    trainer = build_trainer(config(tmp_path), run="run")
    seen: list[int] = []

    class Watch(BaseLoss):
        def run_train(self, state, minibatch, output):
            seen.extend(minibatch.segments.tolist())

    trainer.losses["watch"] = Watch(trainer.losses["ppo"].config)
    trainer.begin()
    trainer.run_epoch()
    assert sorted(seen) == list(range(trainer.experience.num_segments))


def test_importance_ratios_move_within_an_epoch(tmp_path: Path) -> None:
    train(config(tmp_path, total=2048, update_epochs=2))
    assert any(
        abs(line["losses/importance"] - 1) > 1e-4 or line["losses/approx_kl"] > 1e-5 for line in metrics(tmp_path)
    )


def test_an_epoch_goes_through_its_moments_in_order(tmp_path: Path) -> None:
    calls: list[str] = []
    moments = [name for name in vars(TrainerHook) if name.startswith("on_")]

    class Recorder(TrainerHook):
        pass

    class LossRecorder(BaseLoss):
        pass

    for moment in moments:
        setattr(Recorder, moment, lambda self, *a, m=moment: calls.append(f"hook {m}"))
        if hasattr(BaseLoss, moment):
            setattr(LossRecorder, moment, lambda self, *a, m=moment: calls.append(f"loss {m}"))
    trainer = build_trainer(config(tmp_path, total=1), run="run")
    trainer.hooks.append(Recorder())
    trainer.losses["recorder"] = LossRecorder(trainer.losses["ppo"].config)
    trainer.train()
    both = [f"{who} on_mb_end" for who in ("hook", "loss")]
    assert calls == [
        *(f"{who} on_new_training_run" for who in ("hook", "loss")),
        *(f"{who} on_rollout_start" for who in ("hook", "loss")),
        *(f"{who} on_rollout_end" for who in ("hook", "loss")),
        *both,
        *(f"{who} on_train_phase_end" for who in ("hook", "loss")),
        "hook on_evaluation",
        *(f"{who} on_epoch_end" for who in ("hook", "loss")),
        "hook on_checkpoint",
        *(f"{who} on_training_end" for who in ("hook", "loss")),
    ]


def test_all_are_told_that_training_has_ended_also_when_one_of_them_fails(tmp_path: Path) -> None:
    class Full(TrainerHook):
        critical = True

        def on_training_end(self, state: object, error: BaseException | None) -> None:
            raise OSError("the disk is full")

    heard = signal.getsignal(signal.SIGINT)
    trainer = build_trainer(config(tmp_path), run="run")
    trainer.hooks.insert(0, Full())
    with pytest.raises(OSError, match="the disk is full"):
        trainer.train()
    assert signal.getsignal(signal.SIGINT) is heard


def test_a_failing_hook_does_not_stop_the_run_and_a_critical_one_does(tmp_path: Path) -> None:
    class Broken(TrainerHook):
        def on_epoch_end(self, state):
            raise RuntimeError("broken")

    trainer = build_trainer(config(tmp_path), run="run")
    trainer.hooks.insert(0, Broken())
    trainer.train()
    assert trainer.is_finished
    trainer = build_trainer(config(tmp_path / "other"), run="run")
    broken = Broken()
    broken.critical = True
    trainer.hooks.insert(0, broken)
    with pytest.raises(RuntimeError, match="broken"):
        trainer.train()


@pytest.mark.parametrize("architecture", ["fast", "lstm"])
def test_a_resumed_run_ends_with_the_bits_of_one_that_was_never_interrupted(tmp_path: Path, architecture: str) -> None:
    whole = config(tmp_path / "whole", architecture=architecture, total=512 * 6)
    train(whole)
    halved = config(tmp_path / "halved", architecture=architecture, total=512 * 6)
    first = build_trainer(halved, run="run")
    first.begin()
    for _ in range(3):
        first.run_epoch()
    first.hooks[-1].save(first.state)
    first.hooks[-1].finish(first.state)
    train(halved)
    ends = [TinyCheckpointManager("run", tmp_path / name) for name in ("whole", "halved")]
    left, right = (manager.load_agent(6).state_dict() for manager in ends)
    assert all(torch.equal(left[name], right[name]) for name in left)
    left_state, right_state = (manager.load_trainer_state(6) for manager in ends)
    assert_same(left_state["ranks"], right_state["ranks"])
    assert {"rollout", "random"} <= left_state["ranks"][0].keys()
    for part in ("optimizer", "stats_tracker"):
        assert_same(left_state["shared"][part], right_state["shared"][part], part)
    volatile = ("timing", "monitor/", "overview/sps", "metric/total_time")
    for one, other in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "halved"), strict=True):
        for name in one.keys() | other.keys():
            assert name.startswith(volatile) or one[name] == other[name], name


def test_every_metric_of_a_run_is_explained_in_the_docs(tmp_path: Path) -> None:
    made = config(tmp_path, total=512 * 8)
    made.evaluation.interval = 4
    made.evaluation.episodes = 2
    made.hooks.gradient_interval, made.hooks.monitor_seconds = 3, 1e-9
    train(made)
    explained = [re.sub(r"<\w+>", "*", name) for name in re.findall(r"`([\w*<>./]+)`", DOCS.read_text())]
    names = {name for line in metrics(tmp_path) for name in line}
    assert {"overview/hearts", "losses/entropy", "eval_training/score", "grad/norm", "monitor/cpu_percent"} <= names
    assert [name for name in sorted(names) if not any(fnmatch.fnmatch(name, pattern) for pattern in explained)] == []


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    made = config(tmp_path, total=512 * 4)
    made.checkpoint.interval = 1
    train(made)
    made.trainer.total_timesteps = 512 * 8
    trainer = build_trainer(made, run="run")
    assert resume(trainer, TinyCheckpointManager("run", tmp_path)) == 4
    with torch.no_grad():
        next(trainer.policy.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"epoch 4.*agent_epoch_4\.pt"):
        trainer.train()
    assert TinyCheckpointManager("run", tmp_path).latest_epoch() == 4


def test_a_run_of_fewer_steps_than_a_batch_shrinks_it() -> None:
    made, worlds = fit_batch(TrainerConfig(total_timesteps=100), agents_per_world=24)
    assert (worlds, made.batch_size, made.minibatch_size) == (1, 24 * 32, 24 * 32)


def test_a_batch_that_cannot_be_cut_names_the_sizes_that_work() -> None:
    with pytest.raises(ValueError, match="the nearest that work: 8192 and 16384"):
        TrainerConfig(batch_size=10_000, minibatch_size=8192)
    with pytest.raises(ConfigError, match=r"the nearest that work: 24576 and 49152$"):
        fit_batch(TrainerConfig(batch_size=32768, minibatch_size=8192), agents_per_world=24)
    for batch in (24576, 49152):
        fit_batch(TrainerConfig(batch_size=batch, minibatch_size=8192), agents_per_world=24)


def test_another_architecture_does_not_resume_a_run(tmp_path: Path) -> None:
    train(config(tmp_path))
    with pytest.raises(CheckpointError, match=r"'fast'.*'lstm'"):
        train(config(tmp_path, architecture="lstm", total=4096))


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path: Path) -> None:
    ends = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        made = config(tmp_path / name)
        made.system.seed = seed
        train(made)
        ends.append(TinyCheckpointManager("run", tmp_path / name).load_agent(2).state_dict())
    weight = next(iter(ends[0]))
    assert torch.equal(ends[0][weight], ends[1][weight])
    assert not torch.equal(ends[0][weight], ends[2][weight])


def test_a_small_world_is_learned(tmp_path: Path) -> None:
    made = config(tmp_path, total=120_000, batch_size=2048, minibatch_size=512)
    train(made)
    hearts = [line["overview/hearts"] for line in metrics(tmp_path) if "overview/hearts" in line]
    assert np.mean(hearts[-5:]) > 1.25 * np.mean(hearts[:5])


def test_what_is_acted_on_is_the_observation_and_nothing_behind_its_tokens(tmp_path: Path) -> None:
    trainer = build_trainer(config(tmp_path), run="run")
    trainer.rollout.run([], trainer.tracker, trainer.state)
    observations, counts = trainer.rollout.env.observations, trainer.rollout.env.token_counts
    behind = np.arange(observations.shape[1]) >= counts[:, None]
    assert (observations[behind] == 255).all()
    assert trainer.experience.prepared is not None
    decoded = trainer.experience.prepared[-1]  # of the last step: no more rows than tokens, but for the bias row
    assert (decoded.counts[decoded.samples].numpy() <= counts + 1).all()


def test_a_shrunken_run_goes_on_with_its_sizes_when_it_becomes_longer(tmp_path: Path) -> None:
    train(config(tmp_path, total=10))
    assert [line["metric/agent_step"] for line in metrics(tmp_path)] == [64]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["trainer"]["batch_size"] == 64
    train(config(tmp_path, total=1000))
    assert metrics(tmp_path)[-1]["metric/agent_step"] == 1024


def test_another_number_of_worlds_does_not_resume_a_run_and_says_what_to_give(tmp_path: Path) -> None:
    train(config(tmp_path))
    with pytest.raises(CheckpointError, match=r"32 agents at once.*has 64.*trainer\.batch_size"):
        train(config(tmp_path, total=4096, batch_size=1024))


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = config(tmp_path, total=512 * 4)
    made.checkpoint.interval = 2
    train(made)
    damage(tmp_path / "run" / "checkpoints" / "trainer_epoch_4.pt")
    assert TinyCheckpointManager("run", tmp_path).latest_epoch() == 2
    assert "trainer_epoch_4.pt" in caplog.text


def test_a_run_whose_every_checkpoint_is_damaged_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    train(config(tmp_path))
    folder = tmp_path / "run" / "checkpoints"
    damage(folder / "trainer_epoch_2.pt")
    before = (folder / "agent_epoch_2.pt").read_bytes(), (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match="none is whole"):
        train(config(tmp_path))
    assert before == ((folder / "agent_epoch_2.pt").read_bytes(), (tmp_path / "run" / "metrics.jsonl").read_bytes())


def test_damaged_epochs_never_drive_out_a_whole_one(tmp_path: Path) -> None:
    made = config(tmp_path, total=512 * 3)
    made.checkpoint.interval, made.checkpoint.keep = 1, 0
    train(made)
    manager = TinyCheckpointManager("run", tmp_path)
    for epoch in (2, 3):
        damage(tmp_path / "run" / "checkpoints" / f"trainer_epoch_{epoch}.pt")
    agent, state = manager.load_agent(1), manager.load_trainer_state(1)
    for epoch in (11, 12, 10):
        manager.save_checkpoint(agent, epoch, state)
    damage(tmp_path / "run" / "checkpoints" / "trainer_epoch_12.pt")
    fresh = TinyCheckpointManager("run", tmp_path)
    fresh.remove_old(keep=1)
    assert fresh.latest_epoch() == 11
    assert {2, 3, 12} <= set(fresh.list_epochs())
    assert not (tmp_path / "run" / "checkpoints" / "trainer_epoch_10.pt").exists()


def test_an_evaluation_that_fails_is_one_line_and_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    made = config(tmp_path)
    made.evaluation.interval = 1
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stats").write_text("in the way")
    assert train(made) == 1
    assert "EvaluationHook failed and training goes on" in caplog.text
    assert "Traceback" not in caplog.text
    assert "failed while training went on: EvaluationHook" in capsys.readouterr().err
    assert TinyCheckpointManager("run", tmp_path).latest_epoch() == 2
