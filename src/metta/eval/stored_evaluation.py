"""Evaluations that are played once: what a statistics file holds already is used again."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from metta.agent import resolve_policy_uri
from metta.agent.checkpoints import DATA_DIR
from metta.errors import PolicyMismatchError, StatsError
from metta.eval.analysis import PolicyVersion
from metta.eval.eval_stats_db import EvalStatsDB
from metta.eval.policy_evaluator import PolicyEvaluator
from metta.eval.scores import Versus, compare_policies, episodes_of, policy_score
from metta.eval.statistics import Summary
from metta.eval.suites import Suite
from metta.sim import SimulationConfig

logger = logging.getLogger(__name__)

YARDSTICKS = ("mock://scripted", "mock://random")


@dataclass(frozen=True, kw_only=True)
class StoredEvaluation:
    """A suite and the statistics file where its episodes are kept; plays what is missing there."""

    suite: Suite
    stats_uri: str
    replay_dir: str | None = None  # of policies; yardsticks are not recorded
    threads: int = 1
    device: str = "cpu"
    data_dir: str = DATA_DIR

    def evaluate(self, uri: str) -> PolicyVersion:
        """Play those simulations of which the file lacks an episode of the policy at `uri`; return the policy.

        Raises CheckpointError if it cannot be loaded, PolicyMismatchError if it cannot play in a world.
        """
        resolved = resolve_policy_uri(uri, data_dir=self.data_dir)
        policy = PolicyVersion(resolved.policy_key, resolved.policy_version)
        missing = [simulation for simulation in self.suite.simulations if not self._holds(policy, simulation)]
        if missing:
            PolicyEvaluator(
                missing,
                device=self.device,
                replay_dir=None if uri in YARDSTICKS else self.replay_dir,
                stats_uri=self.stats_uri,
                threads=self.threads,
                data_dir=self.data_dir,
            ).evaluate(resolved.uri)
        return policy

    def evaluate_yardsticks(self) -> list[PolicyVersion]:
        """Play the scripted and the random agent where they are missing; return those that can play."""
        found = []
        for uri in YARDSTICKS:
            try:
                found.append(self.evaluate(uri))
            except PolicyMismatchError as error:
                logger.warning("%s is left out: %s", uri, error)
        return found

    def compare(self, uri: str, other_uri: str) -> list[Versus]:
        """Compare two policies in every simulation, paired by episode; plays what is missing. Raises as `evaluate`."""
        policy, other = self.evaluate(uri), self.evaluate(other_uri)
        with EvalStatsDB.from_uri(self.stats_uri) as database:
            found = [
                (simulation.name, compare_policies(database, policy, other, [simulation]))
                for simulation in self.suite.simulations
            ]
        return [
            Versus(policy=policy, other=other, simulation=name, comparison=comparison)
            for name, comparison in found
            if comparison is not None
        ]

    def _holds(self, policy: PolicyVersion, simulation: SimulationConfig) -> bool:
        """Whether the file holds every episode that `simulation` asks for."""
        try:
            with EvalStatsDB.from_uri(self.stats_uri) as database:
                episodes = database.episode_values("reward", *policy, filter=episodes_of(simulation))
        except StatsError:
            return False  # no file yet; what is wrong with one that cannot be read is said when it is written
        return len(episodes) == simulation.num_episodes


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
