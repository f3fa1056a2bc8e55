"""Which suites the service plays: those it knows by name, and suites sent as data. Nothing that imports code."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from metta.errors import SuiteError, nearest
from metta.eval.suites import SUITES, Suite, named_suite
from metta.grid.config import RuleConfig
from metta.grid.maps.config import FunctionMapConfig
from metta.sim import SimulationConfig

MAX_EPISODES = 100_000  # of one simulation


def admitted_suite(suite: str | Suite, *, episodes: int | None) -> Suite:
    """Return what is to be played; `episodes` replaces each simulation's own number.

    Raises SuiteError for an unknown name, for a suite without simulations, and for one that would import code.
    """
    if isinstance(suite, str):
        if suite not in SUITES:
            own = "; a suite of your own, package.module.function, is sent as data by `metta request-eval`"
            raise SuiteError(
                f"there is no suite {suite!r}; there are {', '.join(SUITES)}{nearest(suite, SUITES)}"
                f"{own if '.' in suite else ''}"
            )
        return _named(suite, episodes)
    if not suite.simulations:
        raise SuiteError(f"the suite {suite.name!r} has no simulations")
    for simulation in suite.simulations:
        simulation.num_episodes = episodes or simulation.num_episodes
        if simulation.num_episodes > MAX_EPISODES:
            raise SuiteError(
                f"{simulation.name}: {simulation.num_episodes} episodes; at most {MAX_EPISODES} are played"
            )
        _refuse_code(simulation)
    return suite


def _refuse_code(simulation: SimulationConfig) -> None:
    """Raise SuiteError for a simulation whose world names functions that playing it would import."""
    for model in models_in(simulation):
        if isinstance(model, FunctionMapConfig | RuleConfig):
            role, instead = "a rule of its world", "a world without rules of its own"
            if isinstance(model, FunctionMapConfig):
                role, instead = "its map's builder", "a map that is drawn, or a built-in builder"
            raise SuiteError(
                f"{simulation.name}: {role} is the function {model.function!r}, and the service imports no code of "
                f"others; use {instead}"
            )


@lru_cache(maxsize=64)
def _named(name: str, episodes: int | None) -> Suite:
    """Building a suite takes longer than answering a request. Nobody changes what is returned."""
    return named_suite(name, episodes=episodes)


def models_in(value: Any) -> Iterator[BaseModel]:
    """Give `value` and every model that it holds, however deep."""
    if isinstance(value, BaseModel):
        yield value
        value = [getattr(value, name) for name in type(value).model_fields]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple | set):
        return
    for inner in value:
        yield from models_in(inner)
