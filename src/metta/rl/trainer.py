"""`Trainer`: the loop over built parts. It does not log, save, evaluate, schedule or draw: hooks do.

The order within an epoch is in `Trainer.run_epoch`; what each moment may rely on, in `BaseLoss` and `TrainerHook`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch

from metta.agent import PolicyAgent
from metta.errors import MettaError, TrainingError
from metta.rl.adam import clip_gradients
from metta.rl.config import TrainerConfig
from metta.rl.experience import Experience, Minibatch, experience_stats
from metta.rl.hooks.base_hook import MOMENTS, TrainerHook
from metta.rl.loss.base_loss import BaseLoss
from metta.rl.ranks import Ranks
from metta.rl.rollout import Rollout
from metta.rl.segment_sampling import Visits, visit_order
from metta.rl.stats_tracker import StatsTracker, joined
from metta.rl.stopwatch import Stopwatch
from metta.rl.trainer_state import TrainerState
from metta.rl.value_scale import ValueScale

log = logging.getLogger(__name__)


class Trainer:
    """Teaches `policy`, which plays in `rollout`, by `losses`, watched by `hooks`."""

    def __init__(
        self,
        config: TrainerConfig,
        *,
        seed: int,
        policy: PolicyAgent,
        optimizer: torch.optim.Optimizer,
        rollout: Rollout,
        experience: Experience,
        losses: dict[str, BaseLoss],
        hooks: list[TrainerHook],
        state: TrainerState,
        ranks: Ranks,
        value_scale: ValueScale,
    ) -> None:
        self.config, self.seed, self.policy, self.optimizer = config, seed, policy, optimizer
        self.rollout, self.experience, self.losses, self.hooks, self.state = rollout, experience, losses, hooks, state
        self.ranks, self.value_scale = ranks, value_scale
        self.parameters = [one for group in optimizer.param_groups for one in group["params"]]  # of losses too
        assert state.timer is not None and state.stats_tracker is not None
        self.timer: Stopwatch = state.timer
        self.tracker: StatsTracker = state.stats_tracker
        self.failed_hooks: set[str] = set()  # names of hooks that failed at least once
        self._listeners: dict[str, list[TrainerHook]] = {}  # moment -> the hooks that do something at it

    def train(self) -> None:
        """Train until `total_timesteps` or until something sets `state.stop_rollout`; at least one epoch."""
        error = None
        try:
            self.begin()
            while not self.run_epoch():
                pass
        except BaseException as caught:
            error = caught
            raise
        finally:
            self.end(error)

    def begin(self) -> None:
        """Tell every hook and loss that training begins, or goes on after a resume."""
        self.ranks.copy_from_first(self.policy.state_dict().values())
        self._listeners = {moment: [hook for hook in self.hooks if hook.listens_to(moment)] for moment in MOMENTS}
        self._call("on_new_training_run")

    def end(self, error: BaseException | None = None) -> None:
        """Tell every hook and loss that training has ended, with the exception that ended it, if any.

        All are told, also when one of them fails: signals are given back and files are closed.
        """
        with ExitStack() as told:  # which calls in reverse order
            for loss in reversed(self.losses.values()):
                told.callback(loss.on_training_end, self.state, error)
            for hook in reversed(self.hooks):
                told.callback(self._guard, hook, partial(hook.on_training_end, self.state, error))

    def run_epoch(self) -> bool:
        """Play one rollout and learn from it; return whether the run is over."""
        state, timer = self.state, self.timer
        active = [loss for loss in self.losses.values() if loss.is_active(state.epoch)]
        self._begin_epoch()
        with timer.phase("rollout"):
            self._call("on_rollout_start")
            self.rollout.run(active, self.tracker, state)
            state.agent_step += self.config.batch_size
            self.tracker.finish_rollout(self.ranks.gather(self.tracker.rollout_stats))
            state.rollout_stats = self.tracker.rollout_stats
            self._call("on_rollout_end")
        with timer.phase("train"):
            loss_stats = self._update(active)
            self._call("on_train_phase_end")
        state.epoch += 1
        state.loss_stats = loss_stats
        with timer.phase("evaluate"):
            self._call_hooks("on_evaluation")
        with timer.phase("hooks"):
            self._call("on_epoch_end")
            state.stop_rollout = self.ranks.any(state.stop_rollout or self.is_finished)
            with timer.phase("checkpoint"):
                self._call_hooks("on_checkpoint")
        timer.lap(state.agent_step)
        return state.stop_rollout

    @property
    def is_finished(self) -> bool:
        """Whether the run has played its `total_timesteps`."""
        return self.state.agent_step >= self.config.total_timesteps

    def _begin_epoch(self) -> None:
        state = self.state
        self.tracker.clear()
        state.metrics = {}
        state.rollout_stats = state.loss_stats = state.experience_stats = state.eval_scores = None
        state.eval_replay_urls = None
        state.stop_update_epoch = False

    def _update(self, losses: list[BaseLoss]) -> dict[str, float]:
        """Pass over the batch `update_epochs` times; return each metric's mean over the minibatches."""
        state, config = self.state, self.config
        metrics: dict[str, list[torch.Tensor]] = {}
        for state.update_epoch in range(config.update_epochs):
            if state.update_epoch == 0 or config.losses.ppo.has_vtrace:
                self._compute_advantages()
            has_ppo = self.losses.get("ppo") in losses
            if state.update_epoch == 0 and has_ppo and config.losses.ppo.scale_values:
                self.value_scale.update(self.experience.returns)
            visits = self._visit_order()
            size = config.minibatch_size // self.ranks.size // self.experience.segment_length
            for state.mb_idx, minibatch in enumerate(self.experience.minibatches(visits, size=size)):
                for name, value in self._step(losses, minibatch).items():
                    metrics.setdefault(name, []).append(value)
                self._call("on_mb_end")
                state.stop_update_epoch = self.ranks.any(state.stop_update_epoch)
                if state.stop_update_epoch:
                    break
            if state.stop_update_epoch:
                break
        sums = {name: sum(torch.stack(values).tolist()) for name, values in metrics.items()}
        means = self._means(sums, {name: len(values) for name, values in metrics.items()})
        self._stop_if_not_finite(means)
        return means

    def _means(self, sums: dict[str, float], counts: dict[str, int]) -> dict[str, float]:
        """Return each loss metric's mean over the minibatches of all ranks; fills `state.experience_stats`."""
        every = self.ranks.gather((sums, counts, self.experience.sums(), self.tracker.epoch_stats))
        self.state.experience_stats = experience_stats([sums for _, _, sums, _ in every])
        self.tracker.epoch_stats = joined([stats for *_, stats in every])
        names = dict.fromkeys(name for sums, *_ in every for name in sums)
        return {
            name: sum(sums.get(name, 0.0) for sums, *_ in every) / sum(counts.get(name, 0) for _, counts, *_ in every)
            for name in names
        }

    def _compute_advantages(self) -> None:
        """Advantages of the batch; with V-trace, by the importance ratios that the last pass over it saw."""
        ppo = self.config.losses.ppo
        with self.timer.phase("advantages"):
            self.experience.compute_advantages(
                gamma=ppo.gamma,
                gae_lambda=ppo.gae_lambda,
                normalize=ppo.normalize_advantages,
                rho_clip=ppo.vtrace_rho_clip,
                c_clip=ppo.vtrace_c_clip,
            )

    def _visit_order(self) -> Visits:
        """The segments of a pass; beside priorities the order depends on seed, epoch, pass and rank alone."""
        key = [self.seed, self.state.epoch, self.state.update_epoch]
        if self.ranks.rank:
            key.append(self.ranks.rank)
        return visit_order(
            self.config.prioritized_sampling,
            self.experience.segment_advantages(),
            progress=self.state.agent_step / self.config.total_timesteps,
            rng=np.random.default_rng(np.random.SeedSequence(key)),
        )

    def _step(self, losses: list[BaseLoss], minibatch: Minibatch) -> dict[str, torch.Tensor]:
        """One optimizer step on the sum of the losses."""
        with self.timer.phase("forward"):
            output = self.policy.sequence(minibatch.observations, minibatch.state, minibatch.resets)
            results = [(loss.run_train(self.state, minibatch, output), loss.metric_prefix) for loss in losses]
        given = [result for result, _ in results if result is not None]
        metrics: dict[str, torch.Tensor] = {}
        for result, prefix in results:
            if result is not None:
                metrics |= {prefix + name: value for name, value in result.metrics.items()}
        if given:
            with self.timer.phase("backward"):
                for parameter in self.parameters:  # the optimizer's `zero_grad` takes 130 us to do this
                    parameter.grad = None
                torch.autograd.backward(sum((result.loss for result in given[1:]), given[0].loss))
            with self.timer.phase("average"):
                self.ranks.average_gradients(self.parameters)
            with self.timer.phase("optimizer"):
                norm = clip_gradients(self.parameters, self.config.max_grad_norm)
                self.optimizer.step()
            metrics["grad_norm"] = norm
        return metrics

    def _stop_if_not_finite(self, means: dict[str, float]) -> None:
        for name, value in means.items():
            if not math.isfinite(value):
                last = self.state.latest_checkpoint_uri or "none was saved"
                raise TrainingError(
                    f"training stopped in epoch {self.state.epoch}: losses/{name} became {value}; "
                    f"the last good checkpoint: {last} (hint: a lower trainer.optimizer.learning_rate)"
                )

    def _call(self, moment: str) -> None:
        """Call a moment of every hook, then of every loss; a failing loss stops the run."""
        self._call_hooks(moment)
        for loss in self.losses.values():
            getattr(loss, moment)(self.state)

    def _call_hooks(self, moment: str) -> None:
        for hook in self._listeners[moment]:
            self._guard(hook, partial(getattr(hook, moment), self.state))

    def _guard(self, hook: TrainerHook, call: Callable[[], None]) -> None:
        try:
            call()
        except MettaError as error:
            if hook.critical:
                raise
            self.failed_hooks.add(hook.name)
            log.error("%s failed and training goes on: %s", hook.name, error)
        except Exception:
            if hook.critical:
                raise
            self.failed_hooks.add(hook.name)
            log.exception("%s failed and training goes on", hook.name)
