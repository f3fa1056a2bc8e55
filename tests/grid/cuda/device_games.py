"""Batches of worlds with pools of maps, played on a device, and what happens in them, as digests.

Run as a script it prints the digests of `device="cuda"` as JSON: in a process with `NUMBA_ENABLE_CUDASIM=1` and
`NUMBA_DISABLE_JIT=1` those of the kernels as plain Python.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import random
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metta.envs import EpisodeEnd, SingleTask, VecEnv
from metta.grid import WorldConfig
from metta.grid.config import RuleConfig
from metta.grid.maps.config import ScatterMapConfig
from metta.grid.worlds import arena

spec = importlib.util.spec_from_file_location("random_games", Path(__file__).parent.parent / "random_games.py")
assert spec is not None and spec.loader is not None
random_games = importlib.util.module_from_spec(spec)
sys.modules["random_games"] = random_games
spec.loader.exec_module(random_games)


class Batch(NamedTuple):
    config: WorldConfig
    seed: int
    map_pool: int
    num_worlds: int
    stagger: bool

    def begin(self, device: str) -> Any:
        """Return the batch, begun."""
        source = SingleTask(self.config, seed=self.seed, map_pool=self.map_pool, label="pool")
        env = VecEnv(source, num_worlds=self.num_worlds, stagger=self.stagger, device=device)
        env.reset()
        return env


def random_batch(seed: int, *, max_steps: int | None = None, num_worlds: int = 2) -> Batch:
    """Return worlds in which anything may be switched on, on scattered maps that differ from seed to seed."""
    config = random_games.random_config(seed)
    draw = random.Random(seed)
    if max_steps is not None:
        config.max_steps = max_steps
    teams = [0, *(agent.team for agent in config.agents)]
    config.num_agents = draw.randint(2, 5)
    agents = {team: len(range(i, config.num_agents, len(teams))) for i, team in enumerate(teams)}
    objects = {"first": 4, "second": 3, "wall": 3, "block": 3, "box": 2}
    config.map = ScatterMapConfig(width=draw.randint(5, 9), height=draw.randint(4, 8), agents=agents, objects=objects)
    return Batch(config, seed, map_pool=draw.randint(1, 4), num_worlds=num_worlds, stagger=draw.random() < 0.5)


def batch_with_own_rules(seed: int) -> Batch:
    """Return worlds with rules of the user's own at both moments, with parameters of every kind."""
    batch = random_batch(seed, max_steps=3)
    resource = batch.config.resources[0]
    own: list[dict[str, Any]] = [
        {"function": "tests.grid.own.warm", "parameters": {"fire": "first", "warmth": resource, "gain": 2}},
        {"function": "tests.grid.own.slip", "moment": "before_turns", "parameters": {"percent": 30}},
        {"function": "tests.grid.own.pay", "parameters": {"amount": 0.3}},
        {"function": "tests.grid.own.double"},
    ]
    batch.config.rules = [RuleConfig.model_validate(rule) for rule in own]
    return batch


def arena_batch(*, num_worlds: int, max_steps: int) -> Batch:
    """Return the standard arena."""
    config = arena()
    config.max_steps = max_steps
    return Batch(config, seed=7, map_pool=5, num_worlds=num_worlds, stagger=True)


def host(array: Any) -> np.ndarray[Any, Any]:
    """Return an array or tensor as an array."""
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()


def plain(end: EpisodeEnd) -> tuple[Any, ...]:
    """Return the end of an episode as numbers and texts."""
    task = end.task.seed, end.task.map_seed, end.task.label, end.task.key
    arrays = (end.agent_stats.tolist(), end.rewards.tolist(), end.inventory.tolist())
    return end.world, task, end.length, end.truncated, end.staggered, arrays, end.world_stats


def actions_at(env: Any, seed: int, tick: int) -> np.ndarray[Any, Any]:
    """Return an action for each agent; now and then one that does not exist."""
    return np.random.default_rng([seed, tick]).integers(-1, env.num_actions + 1, env.num_agents, np.int32)


RESULTS = "observations token_counts rewards terminals truncations action_success active final_index final_observation"


def results(env: Any) -> dict[str, Any]:
    """Return everything that a step puts out, the state, and the noise of the next actions."""
    noise = np.empty(env.num_agents, np.float32)
    if not isinstance(env, VecEnv):
        import torch

        noise = torch.empty(env.num_agents, device=env.device)
    found: dict[str, Any] = {name: host(getattr(env, name)) for name in RESULTS.split()}
    found |= {f"state.{name}": host(array) for name, array in env.state._asdict().items()}
    return found | {"noise": host(env.action_noise(noise)), "ends": [plain(end) for end in env.episode_ends]}


def digest(env: Any) -> str:
    """Return a digest of `results`, dtypes and shapes included, and of the environment's own hash."""
    total = hashlib.sha256(env.hash().encode())
    for name, value in results(env).items():
        text = f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else repr(value)
        total.update(f"{name}{text}".encode() + (value.tobytes() if isinstance(value, np.ndarray) else b""))
    return total.hexdigest()[:24]


def play(batch: Batch, device: str, *, ticks: int) -> dict[str, Any]:
    """Play a batch; return a digest of every tick, and how much happened, so that a test sees that much did.

    On a device observations go to memory of the caller's, another one each tick, and half-way the games move to the
    CPU and back: neither may change anything.
    """
    env = batch.begin(device)
    digests, ends = [digest(env)], 0
    slots = [] if device == "cpu" else [foreign_memory(env) for _ in range(2)]
    for tick in range(ticks):
        if slots and tick == ticks // 2:
            env = moved(env, batch.begin("cpu"), batch.begin(device))
        if slots:
            env.set_observation_buffer(*slots[tick % 2])
        env.step(actions_at(env, batch.seed, tick))
        digests.append(digest(env))
        ends += len(env.episode_ends)
    return {"digests": digests, "episodes": ends, "stats": int(host(env.state.stats).sum())}


def moved(env: Any, *others: Any) -> Any:
    """Return the last of `others`, after the games have gone through all of them."""
    for other in others:
        other.restore(env.snapshot())
        assert other.hash() == env.hash()
        env = other
    return env


def foreign_memory(env: Any) -> tuple[Any, Any]:
    """Return tensors for observations, and counts that say that anything may be in them."""
    import torch

    counts = torch.full((env.num_agents,), env.space.num_tokens, dtype=torch.int32, device=env.device)
    return torch.full_like(env.observations, 77), counts


def simulated_batches(number: int) -> list[Batch]:
    """Return tiny batches, every other one with episodes of three ticks, and some with rules of the user's own."""
    plain_batches = [random_batch(seed, max_steps=3 if seed % 2 else None) for seed in range(number)]
    return [*plain_batches, *(batch_with_own_rules(seed) for seed in range(number // 8))]


if __name__ == "__main__":
    json.dump(
        [play(batch, "cuda", ticks=int(sys.argv[2])) for batch in simulated_batches(int(sys.argv[1]))], sys.stdout
    )
