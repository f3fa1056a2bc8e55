"""`PolicyEvaluator`: plays a suite with a policy, keeps every episode, and says how good that was."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from metta.agent import Actor, PolicyActor, PolicyAgent, load_policy_from_uri
from metta.agent.checkpoints import DATA_DIR, ResolvedPolicy
from metta.eval.reward_summary import EvalRewardSummary
from metta.eval.statistics import Interval, summarize
from metta.eval.suites import Suite, named_suite
from metta.sim import Simulation, SimulationConfig, SimulationResult, SimulationStatsDB

logger = logging.getLogger(__name__)

_UNKNOWN = Interval(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True, kw_only=True)
class SimulationScore:
    """How a policy did in one simulation; numbers are NaN if no episode was finished."""

    name: str
    metric: str  # the score's name
    mean: Interval
    iqm: Interval
    episodes: int
    seeds: int  # different ones among the episodes
    missing_episodes: int  # asked for, and not finished when the time was up


@dataclass(frozen=True, kw_only=True)
class EvalResults:
    """What an evaluation found. A simulation of which no episode was finished is missing in `scores` alone."""

    policy_key: str
    policy_version: int
    scores: EvalRewardSummary
    replay_urls: dict[str, list[str]]  # simulation -> addresses
    missing_episodes: int
    simulations: dict[str, SimulationScore] = field(default_factory=dict)
    seconds: float = 0.0
    agent_steps: int = 0


class PolicyEvaluator:
    """Plays a suite; used by training, by `metta evaluate` and by the service."""

    def __init__(
        self,
        suite: Suite | str | Sequence[SimulationConfig],
        *,
        device: torch.device | str = "cpu",
        replay_dir: str | None = None,
        stats_uri: str | None = None,
        threads: int = 1,
        num_worlds: int | None = None,
        record_episodes: int = 1,
        data_dir: str = DATA_DIR,
        opponents: Mapping[str, ResolvedPolicy] | None = None,
        on_progress: Callable[[str, float], None] | None = None,
    ) -> None:
        """Prepare to evaluate.

        `suite`: one, its name, or its simulations. `device` cpu, cuda or auto: for policies given as an address.
        `replay_dir`: folder or address for replays of each simulation's first `record_episodes` episodes; None: none.
        `stats_uri`: the statistics file that episodes are merged into; None: none. `threads`: cores to use. `data_dir`:
        where runs are looked up. `opponents`: by address, other players whose files are found already. `on_progress` is
        called very often with a simulation's name and the share of it that has been played, 0 to 1. Raises SuiteError
        for an unknown suite or two simulations of one name.
        """
        self.suite = _suite(suite)
        self._device = _device(device)
        self._replay_dir, self._stats_uri = replay_dir, stats_uri
        self._threads, self._num_worlds, self._record_episodes = threads, num_worlds, record_episodes
        self._data_dir, self._opponents = data_dir, opponents or {}
        self._on_progress = on_progress

    def evaluate(
        self, policy: PolicyAgent | Actor | str | Path, run: str | None = None, epoch: int | None = None
    ) -> EvalResults:
        """Play every simulation; each is kept as soon as it is over, whatever becomes of a later one.

        `policy`: a network as it is in memory, anything that acts, or an address. `run` and `epoch` are the policy's
        name and version; if not given, what its address or actor says. Raises CheckpointError if the address cannot be
        loaded, PolicyMismatchError if the policy cannot play in a world.
        """
        actor = self._actor(policy)
        key, version = run or actor.key, actor.version if epoch is None else epoch
        results: list[SimulationResult] = []
        for config in self.suite.simulations:
            simulation = self._simulation(config, actor, key, version)
            result = simulation.run(on_progress=self._progress_of(config))
            if self._stats_uri is not None:
                SimulationStatsDB.write(self._stats_uri, [result.rows])
            results.append(result)
        return self._results(results, key, version)

    def _progress_of(self, config: SimulationConfig) -> Callable[[float], None] | None:
        return None if self._on_progress is None else partial(self._on_progress, config.name)

    def _simulation(self, config: SimulationConfig, actor: Actor, key: str, version: int) -> Simulation:
        npcs = load_npcs(config, data_dir=self._data_dir, device=self._device, found=self._opponents)
        return Simulation(
            config,
            actor,
            policy_key=key,
            policy_version=version,
            npcs=npcs,
            threads=self._threads,
            num_worlds=self._num_worlds,
            replay_dir=self._replay_dir,
            record_episodes=self._record_episodes,
            attributes=weights_of(actor, npcs),
        )

    def _actor(self, policy: PolicyAgent | Actor | str | Path) -> Actor:
        if isinstance(policy, str | Path):
            return load_policy_from_uri(str(policy), data_dir=self._data_dir, device=self._device)
        if isinstance(policy, PolicyAgent):
            return PolicyActor(policy, device=next(policy.parameters()).device)
        return policy

    def _results(self, results: Sequence[SimulationResult], key: str, version: int) -> EvalResults:
        scores = [
            simulation_score(config, result) for config, result in zip(self.suite.simulations, results, strict=True)
        ]
        known = {score.name: score.mean.value for score in scores if score.episodes}
        return EvalResults(
            policy_key=key,
            policy_version=version,
            scores=EvalRewardSummary.from_simulation_scores(known),
            replay_urls={result.rows.name: result.replay_urls for result in results},
            missing_episodes=sum(result.missing_episodes for result in results),
            simulations={score.name: score for score in scores},
            seconds=sum(result.seconds for result in results),
            agent_steps=sum(result.agent_steps for result in results),
        )


def load_npcs(
    config: SimulationConfig,
    *,
    data_dir: str,
    device: torch.device,
    found: Mapping[str, ResolvedPolicy] = MappingProxyType({}),
) -> list[Actor]:
    """Return those who play beside the policy; `found`: by address, those that need not be looked for.

    Raises CheckpointError if one cannot be loaded.
    """
    uris = config.npc_policy_uris
    return [load_policy_from_uri(found.get(uri, uri), data_dir=data_dir, device=device) for uri in uris]


def weights_of(actor: Actor, npcs: Sequence[Actor] = ()) -> dict[str, str]:
    """Return the attributes of episodes that tell networks from others of the same name; empty without networks."""
    hashes = [one.weights if isinstance(one, PolicyActor) else one.key for one in (actor, *npcs)]
    own = {"weights": hashes[0]} if isinstance(actor, PolicyActor) else {}
    return own | ({"others": " ".join(hashes[1:])} if npcs else {})


def simulation_score(config: SimulationConfig, result: SimulationResult) -> SimulationScore:
    """Return the score of a simulation, over the policy's own agents."""
    rows = result.rows
    column = list(rows.metric_names).index(config.score())
    values = [episode.metrics[episode.policies == 0, column].mean() for episode in rows.episodes]
    mean, iqm = _UNKNOWN, _UNKNOWN
    if values:
        mean, iqm, *_ = summarize([np.array(values)])
    return SimulationScore(
        name=config.name,
        metric=config.score(),
        mean=mean,
        iqm=iqm,
        episodes=len(values),
        seeds=len({episode.seed for episode in rows.episodes}),
        missing_episodes=result.missing_episodes,
    )


def _suite(suite: Suite | str | Sequence[SimulationConfig]) -> Suite:
    if isinstance(suite, str):
        return named_suite(suite)
    return suite if isinstance(suite, Suite) else Suite(name="suite", simulations=list(suite))


def _device(device: torch.device | str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
