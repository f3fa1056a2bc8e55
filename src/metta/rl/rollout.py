"""The rollout: the policy acts in every world for T steps, and `Experience` keeps what happened."""

from __future__ import annotations

from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metta.agent import Observations, PolicyAgent, PolicyOutput
from metta.agent.dense import fixed_weights
from metta.agent.sampling import log_prob_entropy, sample_actions
from metta.envs import BatchedEnv
from metta.rl.experience import Experience
from metta.rl.loss.base_loss import BaseLoss
from metta.rl.stats_tracker import StatsTracker
from metta.rl.stopwatch import Stopwatch
from metta.rl.trainer_state import TrainerState


class _Steps(NamedTuple):
    """The buffers of `Experience` that are written at every step, as arrays: a third of the time of tensors."""

    actions: NDArray[np.int64]
    log_probs: NDArray[np.float32]
    values: NDArray[np.float32]
    rewards: NDArray[np.float32]
    terminals: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    resets: NDArray[np.bool_]

    @classmethod
    def of(cls, experience: Experience) -> _Steps:
        return cls(*(getattr(experience, name).numpy() for name in cls._fields))


class Rollout:
    """Plays the environment with the policy; holds what is carried from one rollout to the next.

    That is the recurrent state [N, ...] and whether each row's next observation begins an episode.
    """

    def __init__(self, env: BatchedEnv, policy: PolicyAgent, experience: Experience, timer: Stopwatch) -> None:
        self.env, self.policy, self.experience, self.timer = env, policy, experience, timer
        self.state: dict[str, Tensor] = policy.initial_state(env.num_agents)
        self._noise = torch.zeros(env.num_agents)
        self._slot: int | None = None  # where the environment writes
        self._observations = experience.observations.numpy()  # [T+1, N, ...], the environment writes into it
        self._token_counts = experience.token_counts.numpy()
        self._steps = _Steps.of(experience)
        # parts of buffers by step, made once: making one takes as long as a small operation on it
        self._reset_rows = experience.resets.unbind()
        room = experience.prepared
        self._rooms = [None if room is None else room[t] for t in range(experience.num_steps + 1)]
        self._final: list[tuple[int, Tensor, Tensor]] = []  # step, rows, values of final observations

    def begin(self) -> None:
        """Start every world's first episode."""
        self._write_to_slot(self.experience.num_steps)
        self.env.reset()
        self.experience.resets[-1] = True

    @torch.no_grad()
    @fixed_weights()
    def run(self, losses: list[BaseLoss], tracker: StatsTracker, trainer_state: TrainerState) -> None:
        """Fill the experience with T steps; `tracker` and every loss's `run_rollout` see each of them."""
        env, experience, policy, steps = self.env, self.experience, self.policy, self._steps
        if len(experience.observations) > 1:
            experience.observations[0].copy_(experience.observations[-1])
            experience.token_counts[0].copy_(experience.token_counts[-1])
        experience.resets[0].copy_(experience.resets[-1])
        experience.begin_rollout()
        inference = stepping = 0.0
        for t in range(experience.num_steps):
            start = perf_counter()
            if t % experience.segment_length == 0:
                experience.states.append({name: value.cpu().clone() for name, value in self.state.items()})
            output = policy.step(self._observe(t), self.state, self._resets(t))
            self.state = output.state
            env.action_noise(self._noise.numpy())
            actions, log_probs = sample_actions(output.logits, self._noise.to(output.logits.device))
            log_probs = self._ask_losses(losses, trainer_state, t, output, actions, log_probs)
            steps.actions[t] = actions.cpu().numpy()
            steps.log_probs[t] = log_probs.cpu().numpy()
            steps.values[t] = output.values.cpu().numpy()
            acted = perf_counter()
            self._write_to_slot(t + 1)
            env.step(steps.actions[t].astype(np.int32))
            self._store(t)
            tracker.gather()
            stepped = perf_counter()
            for loss in losses:
                loss.run_rollout(trainer_state, t, output, experience)
            inference += acted - start
            stepping += stepped - acted
        start = perf_counter()
        last = experience.num_steps
        experience.next_values[:-1] = experience.values[1:]
        experience.next_values[-1] = policy.step(self._observe(last), self.state, self._resets(last)).values
        # written last: the value of a truncated episode's final observation stands in for that of the next episode's
        self._bootstrap_final()
        inference += perf_counter() - start
        self.timer.add(f"{self.timer.path}/inference", inference)
        self.timer.add(f"{self.timer.path}/env", stepping)

    def _ask_losses(
        self,
        losses: list[BaseLoss],
        trainer_state: TrainerState,
        t: int,
        output: PolicyOutput,
        actions: Tensor,
        log_probs: Tensor,
    ) -> Tensor:
        """Let losses choose rows of `actions` in place; return the policy's log-probabilities of what will be played.

        PPO leaves these rows out, and still every step of the experience has the log-probability of its action.
        """
        for loss in losses:
            rows = loss.on_act(trainer_state, t, self.env, actions)
            if rows is not None:
                self.experience.mark_foreign(t, rows)
                log_probs = log_prob_entropy(output.logits, actions)[0]
        return log_probs

    def _write_to_slot(self, t: int) -> None:
        """Let the environment's next observations be those of step `t`."""
        slot = t % len(self._observations)
        if slot != self._slot:
            self.env.set_observation_buffer(self._observations[slot], self._token_counts[slot])
            self._slot = slot

    def _observe(self, t: int) -> Observations:
        """Decode the observations of step t once, for acting now and for every pass of training later."""
        experience = self.experience
        observations = experience.observations[t % len(experience.observations)].to(experience.device)
        return self.policy.prepare(observations, out=self._rooms[t])

    def _resets(self, t: int) -> Tensor:
        return self._reset_rows[t].to(self.experience.device)

    def _store(self, t: int) -> None:
        env, steps = self.env, self._steps
        steps.rewards[t] = env.rewards
        steps.terminals[t] = env.terminals
        steps.truncations[t] = env.truncations
        np.logical_or(env.terminals, env.truncations, out=steps.resets[t + 1])
        if len(env.final_index):
            self._final_values(t)

    def _final_values(self, t: int) -> None:
        """Keep the values of final observations until all of `next_values` is known."""
        env = self.env
        rows = torch.from_numpy(env.final_index)
        observations = torch.from_numpy(env.final_observation).to(self.experience.device)
        state = {name: value[rows.to(value.device)] for name, value in self.state.items()}
        no_reset = torch.zeros(len(rows), dtype=torch.bool, device=self.experience.device)
        values = self.policy.step(observations, state, no_reset).values
        self._final.append((t, rows, values.cpu()))

    def _bootstrap_final(self) -> None:
        for t, rows, values in self._final:
            self.experience.next_values[t, rows] = values
        self._final.clear()

    def state_dict(self) -> dict[str, Any]:
        return {
            "env": self.env.snapshot(),
            "state": {name: value.cpu().clone() for name, value in self.state.items()},
            "resets": self.experience.resets[-1].clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._write_to_slot(self.experience.num_steps)
        self.env.restore(state["env"])
        self.state = {name: value.to(self.experience.device) for name, value in state["state"].items()}
        self.experience.resets[-1] = state["resets"]
