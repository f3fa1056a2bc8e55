"""V-trace in training: the ratios that one pass sees weigh the advantages of the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from metta.agent.sampling import log_prob_entropy
from metta.rl.build import build_trainer
from metta.rl.trainer import Trainer

from .small_world import small_config


def begun(folder: Path, passes: int, **ppo: Any) -> Trainer:
    made = small_config(folder, update_epochs=passes, num_worlds=4, losses={"ppo": ppo})  # two segments an agent
    trainer = build_trainer(made, run="run")
    trainer.hooks = []
    trainer.begin()
    return trainer


def test_ratios_are_kept_where_their_steps_are(tmp_path: Path) -> None:
    experience = begun(tmp_path, 1).experience
    experience.log_probs = torch.arange(experience.batch_size).reshape(experience.log_probs.shape).float()
    order = torch.randperm(experience.num_segments, generator=torch.Generator().manual_seed(0))
    assert experience.blocks == 2
    for segments in order.split(5):
        experience.keep_ratios(segments, experience.minibatch(segments).log_probs)
    assert torch.equal(experience.ratios, experience.log_probs)


@pytest.mark.parametrize("ppo", [{"vtrace_rho_clip": 1.0}, {"vtrace_c_clip": 2.0}])
def test_a_further_pass_is_weighed_by_the_ratios_that_the_one_before_it_saw(
    tmp_path: Path, ppo: dict[str, float]
) -> None:
    trainer = begun(tmp_path, 3, **ppo)
    experience, loss = trainer.experience, trainer.losses["ppo"]
    used: list[torch.Tensor] = []
    seen = [torch.ones_like(experience.ratios) for _ in range(3)]
    compute, run_train = experience.compute_advantages, loss.run_train

    def watched_compute(**settings: Any) -> None:
        used.append(experience.ratios.clone())
        compute(**settings)

    def watched_train(state: Any, minibatch: Any, output: Any) -> Any:
        ratios = (log_prob_entropy(output.logits, minibatch.actions)[0] - minibatch.log_probs).exp().detach()
        result = run_train(state, minibatch, output)
        for segment, row in zip(minibatch.segments.tolist(), ratios, strict=True):
            block, agent = divmod(segment, experience.num_rows)
            seen[state.update_epoch][block * 16 : block * 16 + 16, agent] = row
        return result

    experience.compute_advantages, loss.run_train = watched_compute, watched_train
    for _ in range(2):
        used.clear()
        trainer.run_epoch()
        assert (used[0] == 1).all()
        for one, other in zip(used[1:], seen, strict=False):  # the loss's kernel rounds in its own order
            torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
        assert (used[1] - 1).abs().max() > 1e-3


def test_without_it_advantages_are_computed_once_an_epoch(tmp_path: Path) -> None:
    trainer = begun(tmp_path, 3)
    calls = []
    compute = trainer.experience.compute_advantages
    trainer.experience.compute_advantages = lambda **s: calls.append(1) or compute(**s)
    trainer.run_epoch()
    assert calls == [1]
