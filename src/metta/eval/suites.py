"""Suites: named lists of simulations. A suite's hash tells whether two scores were won on the same games."""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError, field_validator

from metta.agent import resolve_policy_uri
from metta.agent.checkpoints import DATA_DIR, ResolvedPolicy
from metta.config import Config
from metta.errors import SuiteError, nearest
from metta.grid import WorldConfig
from metta.grid.own_rules import own_hash
from metta.grid.worlds import arena, easy_arena, navigation, navigation_suite
from metta.sim import SimulationConfig


class Suite(Config):
    """Simulations that are scored together."""

    name: str
    simulations: list[SimulationConfig]

    @field_validator("simulations")
    @classmethod
    def _check_names(cls, simulations: list[SimulationConfig]) -> list[SimulationConfig]:
        """Keep copies of our own, and refuse none at all, and two of one name."""
        if not simulations:
            raise SuiteError("a suite holds no simulations: there is nothing to play")
        names = [simulation.name for simulation in simulations]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SuiteError(f"a suite's simulations need different names; given twice: {', '.join(twice)}")
        in_files = [re.sub("[/:]", "-", name) for name in names]  # as replays are called
        alike = [name for name, in_file in zip(names, in_files, strict=True) if in_files.count(in_file) > 1]
        if alike:
            raise SuiteError(f"a suite's simulations need names that differ in more than / : and -: {', '.join(alike)}")
        if "all" in names:
            raise SuiteError("a simulation cannot be called 'all': so tables call all of a suite's together")
        return [simulation.model_copy(deep=True) for simulation in simulations]

    @property
    def has_one_score(self) -> bool:
        """Whether all simulations are scored by the same metric, so that a mean over them says something."""
        return len({simulation.score() for simulation in self.simulations}) == 1

    @property
    def hash(self) -> str:
        """A hash of everything that is played: worlds, their own rules and maps, seeds, episodes, opponents."""
        content = self.model_dump_json(exclude={"name"}) + "".join(own_hash(one.world) for one in self.simulations)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def world_suite(world: WorldConfig, *, name: str, episodes: int = 64) -> Suite:
    """Return a suite of one world; `name` is category/simulation."""
    simulation = SimulationConfig(name=name, world=world, num_episodes=episodes)
    return Suite(name=name.split("/", maxsplit=1)[0], simulations=[simulation])


def named_suite(name: str, *, episodes: int | None = None) -> Suite:
    """Return a new copy of the suite called `name`; `episodes` replaces each simulation's own number.

    `name` is one of `SUITES`, or `package.module.function`: a function of the user's own that returns a `Suite`.
    Raises SuiteError, with the nearest names, if there is none.
    """
    suite = (SUITES[name] if name in SUITES else _users_own(name))()
    if not isinstance(suite, Suite):
        raise SuiteError(f"{name} returned a {type(suite).__name__}; a suite is a metta.eval.Suite")
    if episodes is not None:
        for simulation in suite.simulations:
            simulation.num_episodes = episodes
    return suite


def shared_suite(
    suite: Suite, npc_policy_uri: Sequence[str], *, policy_agents_pct: float = 0.5, data_dir: str = DATA_DIR
) -> Suite:
    """Return the simulations of `suite` with agents left to other policies: `shared_simulation` of each.

    A run means its latest epoch now: `my_run` becomes `my_run:120`, for against a later epoch it is another game.
    Raises CheckpointError if an address names nothing, SuiteError if the agents of a world cannot be shared so.
    """
    others = [resolve_policy_uri(uri, data_dir=data_dir) for uri in npc_policy_uri]
    shared = [
        shared_simulation(simulation, others, policy_agents_pct=policy_agents_pct, data_dir=data_dir)
        for simulation in suite.simulations
    ]
    return Suite(name=suite.name, simulations=shared)


def shared_simulation(
    simulation: SimulationConfig,
    others: Sequence[ResolvedPolicy],
    *,
    policy_agents_pct: float = 0.5,
    data_dir: str = DATA_DIR,
) -> SimulationConfig:
    """Return `simulation` with agents left to other policies.

    It gets a name of its own, `arena/basic/against-scripted`, so that its episodes stand beside those of the policy
    alone and do not replace them. Raises SuiteError if the agents of its world cannot be shared so.
    """
    names = "-and-".join(_label(policy) for policy in others)
    share = "" if policy_agents_pct == 0.5 else f"-at-{policy_agents_pct:g}"
    changes = {
        "name": f"{simulation.name}/against-{names}{share}",
        "npc_policy_uri": [_fixed_uri(policy, data_dir) for policy in others],
        "policy_agents_pct": policy_agents_pct,
    }
    try:
        return SimulationConfig.model_validate({**simulation.model_dump(), **changes})
    except ValidationError as error:
        raise SuiteError(f"{simulation.name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def _label(policy: ResolvedPolicy) -> str:
    """Return the policy's name as a part of a simulation's name, different for different names."""
    plain = re.sub(r"[^\w.-]", "-", policy.policy_key)
    mark = "" if plain == policy.policy_key else "-" + hashlib.sha256(policy.policy_key.encode()).hexdigest()[:6]
    return f"{plain}{mark}:{policy.policy_version}" if policy.policy_version else plain + mark


def _fixed_uri(policy: ResolvedPolicy, data_dir: str) -> str:
    """Return an address that means the same tomorrow, and for a run in `data_dir` also in another folder."""
    if policy.path is not None and policy.path.parts[:-3] == Path(data_dir).resolve().parts and policy.policy_version:
        return f"{policy.policy_key}:{policy.policy_version}"
    return policy.uri


def _users_own(name: str) -> Callable[[], Suite]:
    module, _, function = name.rpartition(".")
    unknown = f"there is no suite {name!r}; there are {', '.join(SUITES)}{nearest(name, SUITES)}"
    if not module:
        raise SuiteError(f"{unknown}, or package.module.function for a suite of your own")
    try:
        found: Callable[[], Suite] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise SuiteError(f"{unknown}; as a suite of your own it cannot be imported: {error}") from error
    return found


def _worlds(name: str, worlds: dict[str, WorldConfig], *, episodes: dict[str, int] | None = None) -> Suite:
    simulations = [
        SimulationConfig(name=simulation, world=world, num_episodes=(episodes or {}).get(simulation, 64))
        for simulation, world in worlds.items()
    ]
    return Suite(name=name, simulations=simulations)


def _arena() -> Suite:
    return _worlds("arena", {"arena/basic": arena(combat=False), "arena/combat": arena(combat=True)})


def _easy_arena() -> Suite:
    worlds = {"arena_easy/basic": easy_arena(combat=False), "arena_easy/combat": easy_arena(combat=True)}
    return _worlds("arena_basic_easy_shaped", worlds)


def _navigation() -> Suite:
    """32 seeds of the training terrain, a map each, and 8 mazes and rooms by name, each one map."""
    maps = {name: world for name, world in navigation_suite().items() if not name.startswith("terrain")}
    worlds = {f"navigation/{name}": world for name, world in {"terrain": navigation(), **maps}.items()}
    return _worlds("navigation", worlds, episodes=dict.fromkeys(worlds, 16) | {"navigation/terrain": 32})


SUITES: dict[str, Callable[[], Suite]] = {
    "arena": _arena,
    "arena_basic_easy_shaped": _easy_arena,
    "navigation": _navigation,
}
