"""A world and a configuration small enough to train within a test."""

from __future__ import annotations

from pathlib import Path

from metta.agent.architectures import policy_config
from metta.grid import WorldConfig
from metta.grid.config import ActionConfig, ActionsConfig, ConverterConfig
from metta.grid.maps.config import ScatterMapConfig
from metta.rl.config import TrainConfig, TrainerConfig


def small_world() -> WorldConfig:
    """Four agents in a room of machines that give a heart for nothing."""
    heart = ConverterConfig(type_id=8, output_resources={"heart": 1}, cooldown=3, initial_resource_count=1)
    world = WorldConfig(
        num_agents=4,
        max_steps=40,
        actions=ActionsConfig(put_items=ActionConfig(enabled=True)),
        objects={"altar": heart},
        map=ScatterMapConfig(width=8, height=8, border=1, agents=4, objects={"altar": 10}),
    )
    world.agent.rewards.inventory = {"heart": 1.0}
    return world


def small_config(data_dir: Path, *, architecture: str = "fast", total: int = 1024, **trainer: object) -> TrainConfig:
    """Epochs of 512 steps: eight worlds of four agents, sixteen steps."""
    sizes = {"batch_size": 512, "minibatch_size": 256, "bptt_horizon": 16, "total_timesteps": total, **trainer}
    made = TrainConfig(
        run="run",
        data_dir=str(data_dir),
        world=small_world(),
        trainer=TrainerConfig.model_validate(sizes),
    )
    made.policy = policy_config(architecture)
    made.system.threads = 1
    made.hooks.display = False
    made.evaluation.interval = 0
    return made
