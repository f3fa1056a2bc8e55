"""What a run is evaluated on, and what it trains in: read from its `config.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metta.errors import RunError
from metta.eval.suites import Suite, named_suite
from metta.grid import WorldConfig
from metta.sim import SimulationConfig


def suite_of_run(run_dir: Path, *, name: str | None = None, episodes: int | None = None) -> Suite:
    """Return the suite `name`, else that of the run's `config.json`, else the world in it (64 episodes)."""
    if name is not None:
        return named_suite(name, episodes=episodes)
    config = _config_of_run(run_dir)
    if config is None:
        path = run_dir / "config.json"
        raise RunError(f"there is no run in {run_dir}: {path} is missing; name a suite, or train the run first")
    trained_on = (config.get("evaluation") or {}).get("suite")
    if trained_on is not None:
        return named_suite(trained_on, episodes=episodes)
    world = training_simulation(run_dir, episodes=episodes or 64)
    if world is None:
        raise RunError(f"{run_dir / 'config.json'} names no world to evaluate in; name a suite")
    return Suite(name="training", simulations=[world])


def training_simulation(run_dir: Path, *, episodes: int = 64) -> SimulationConfig | None:
    """Return the world that a run trains in as a simulation; None if there are several, or no `config.json`."""
    world = (_config_of_run(run_dir) or {}).get("world")
    if world is None:
        return None
    world = WorldConfig.model_validate(world)
    return SimulationConfig(name="training/world", world=world, num_episodes=episodes)


def _config_of_run(run_dir: Path) -> dict[str, Any] | None:
    path = run_dir / "config.json"
    config: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return config
