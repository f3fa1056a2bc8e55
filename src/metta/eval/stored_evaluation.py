"""Evaluations that are played once: what a statistics file holds already is used again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from metta.agent import Actor, load_policy_from_uri
from metta.agent.checkpoints import DATA_DIR, ResolvedPolicy, resolve_policy_uri
from metta.errors import CheckpointError, PolicyMismatchError, StatsError
from metta.eval.analysis import PolicyVersion
from metta.eval.eval_stats_db import EvalStatsDB
from metta.eval.policy_evaluator import PolicyEvaluator, load_npcs, weights_of
from metta.eval.scores import own_episodes, policy_score
from metta.eval.statistics import Summary
from metta.eval.suites import Suite
from metta.sim import SimulationConfig

logger = logging.getLogger(__name__)

YARDSTICKS = ("mock://scripted", "mock://random")


class Evaluated(NamedTuple):
    """Whom an evaluation was given under a name and version."""

    uri: str  # as it was given
    found: ResolvedPolicy  # what that meant then: a run in training has a later epoch soon
    weights: dict[str, str]  # `weights_of`


@dataclass(frozen=True, kw_only=True)
class StoredEvaluation:
    """A suite and the statistics file where its episodes are kept; plays what is missing there."""

    suite: Suite
    stats_uri: str
    replay_dir: str | None = None  # of policies; yardsticks are not recorded
    threads: int = 1
    device: str = "cpu"
    data_dir: str = DATA_DIR
    given: dict[PolicyVersion, Evaluated] = field(default_factory=dict)
    on_progress: Callable[[str, float], None] | None = None  # is told what is played, and the share that is, 0 to 1

    def evaluate(self, uri: str) -> PolicyVersion:
        """Play those simulations of which the file lacks an episode of the policy at `uri`; return the policy.

        Raises CheckpointError if it cannot be loaded, or if another network of its name and version was given under
        another address: a file cannot tell their games apart. PolicyMismatchError if it cannot play in a world.
        """
        found = resolve_policy_uri(uri, data_dir=self.data_dir)
        actor = load_policy_from_uri(found, device=torch.device(self.device))
        policy = PolicyVersion(actor.key, actor.version)
        first = self.given.setdefault(policy, Evaluated(uri, found, weights_of(actor)))
        if first.uri != uri and first.weights != weights_of(actor):
            raise CheckpointError(
                f"{uri} is called {policy}, as {first.uri} is, which is another network: rename its run"
            )
        missing = self._missing(policy, actor)
        if missing:
            self.tell(f"{policy} in {missing[0].name}", 0.0)
            PolicyEvaluator(
                missing,
                device=self.device,
                replay_dir=None if uri in YARDSTICKS else self.replay_dir,
                stats_uri=self.stats_uri,
                threads=self.threads,
                data_dir=self.data_dir,
                on_progress=lambda simulation, share: self.tell(f"{policy} in {simulation}", share),
            ).evaluate(actor)
        return policy

    def open_again(self, policy: PolicyVersion) -> Actor:
        """Return the policy that was evaluated as `policy`; its address may mean another one by now.

        Raises CheckpointError if its file is gone, or holds another network.
        """
        first = self.given[policy]
        actor = load_policy_from_uri(first.found, device=torch.device(self.device))
        if (actor.key, actor.version) != policy or weights_of(actor) != first.weights:
            raise CheckpointError(f"{first.found.uri} holds another network than the {policy} that was evaluated")
        return actor

    def tell(self, what: str, share: float) -> None:
        """Call `on_progress`, if somebody asked for it."""
        if self.on_progress is not None:
            self.on_progress(what, share)

    def evaluate_yardsticks(self) -> list[PolicyVersion]:
        """Play the scripted and the random agent where they are missing; return those that can play."""
        found = []
        for uri in YARDSTICKS:
            try:
                found.append(self.evaluate(uri))
            except PolicyMismatchError as error:
                logger.warning("%s is left out: %s", uri, error)
        return found

    def _missing(self, policy: PolicyVersion, actor: Actor) -> list[SimulationConfig]:
        """Return the simulations of which the file lacks an episode, played by these weights under today's rules."""
        simulations = list(self.suite.simulations)
        device = torch.device(self.device)
        weights = [weights_of(actor, load_npcs(one, data_dir=self.data_dir, device=device)) for one in simulations]
        with suppress(StatsError):  # a folder that may not be written to: then every reader merges for itself
            EvalStatsDB.settle(self.stats_uri)
        try:
            with EvalStatsDB.from_uri(self.stats_uri) as database:
                asked = zip(simulations, weights, strict=True)
                return [played for played, those in asked if not _holds(database, policy, played, those)]
        except StatsError:
            return simulations  # no file yet; what is wrong with one that cannot be read is said when it is written


def _holds(database: EvalStatsDB, policy: PolicyVersion, simulation: SimulationConfig, weights: dict[str, str]) -> bool:
    """Whether the file holds every episode that `simulation` asks for.

    Played by the same weights: a run that was trained again has the same name and epochs. An edit in the world's
    sources makes all of them missing: scores from before and after must not be compared, and of a scripted agent
    nothing else says that it plays another game now.
    """
    filter = {**own_episodes(simulation), **weights}
    return len(database.episode_values("reward", *policy, filter=filter)) == simulation.num_episodes


def yardsticks(suite: Suite, *, stats_uri: str, threads: int = 1) -> dict[str, dict[str, Summary]]:
    """Return what the scripted and the random agent score: simulation -> {"scripted": summary, "random": summary}.

    They play the suite's own seeds, once: what is in the statistics file is used again. A yardstick that cannot play in
    a world is left out.
    """
    policies = StoredEvaluation(suite=suite, stats_uri=stats_uri, threads=threads).evaluate_yardsticks()
    found: dict[str, dict[str, Summary]] = {}
    with EvalStatsDB.from_uri(stats_uri) as database:
        for simulation in suite.simulations:
            for policy in policies:
                score = policy_score(database, policy, simulation)
                if score is not None:
                    found.setdefault(simulation.name, {})[policy.key] = score.summary
    return found
