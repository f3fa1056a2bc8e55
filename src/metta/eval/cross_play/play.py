"""`CrossPlay`: every policy of a set shares worlds with every other, and with partners that nobody trained with.

In the games of the ordered pair (i, j), i is the **focal** policy, which plays `share` of the agents, and j is its
**partner**, which plays the rest; on the diagonal i plays all. Every pair plays the same seeds. Who plays which place
moves on from seed to seed, and with a share of one half the games of (i, j) and of (j, i) are the same maps with all
places swapped.

Focal and background scores are as in Leibo et al., "Scalable Evaluation of Multi-Agent Reinforcement Learning with
Melting Pot", ICML 2021, https://arxiv.org/abs/2107.06857; self-play against cross-play as in Hu et al., "'Other-Play'
for Zero-Shot Coordination", ICML 2020, https://arxiv.org/abs/2003.02979.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from metta.agent import PolicyActor, load_policy_from_uri, resolve_policy_uri
from metta.agent.checkpoints import DATA_DIR, ResolvedPolicy
from metta.errors import CheckpointError, ConfigError, PolicyMismatchError, RunError, WandbError
from metta.eval.analysis import PolicyVersion
from metta.eval.cross_play.scores import CrossScores, read_scores
from metta.eval.eval_stats_db import EvalStatsDB
from metta.eval.stored_evaluation import StoredEvaluation
from metta.eval.suites import Suite, shared_simulation
from metta.sim import SimulationConfig

# What a policy can get wrong; it costs that policy its row, and nobody else.
_UNPLAYABLE = (CheckpointError, PolicyMismatchError, RunError, WandbError)


@dataclass(frozen=True, kw_only=True)
class CrossPlayResults:
    """Who met whom, and what came of it."""

    suite: Suite
    share: float  # of the agents, that the focal policy played
    policies: list[PolicyVersion]  # N
    addresses: list[str]  # N as they were given
    held_out: list[PolicyVersion]  # H
    failures: dict[str, str]  # address, or "a with b" -> why there are no games
    scores: list[CrossScores]  # a simulation each


@dataclass(frozen=True, kw_only=True)
class _Entrant:
    given: str  # the address
    found: ResolvedPolicy
    policy: PolicyVersion
    weights: str | None  # a hash of a network's


@dataclass(frozen=True, kw_only=True)
class CrossPlay:
    """A suite in which policies meet. What `stats_uri` holds already is not played again."""

    suite: Suite
    stats_uri: str
    share: float = 0.5  # of the agents, that the focal policy plays; above 0, below 1
    threads: int = 1
    device: str = "cpu"
    data_dir: str = DATA_DIR
    on_pair: Callable[[str, int, int], None] = lambda name, number, total: None  # told who is next, the how many-th

    def play(self, policies: Sequence[str], *, held_out: Sequence[str] = ()) -> CrossPlayResults:
        """Play what is missing and return everything that was played.

        `policies`, `held_out`: addresses. The policies meet each other; each of them is also the focal policy with
        every partner held out, who in turn is never focal.

        A policy that does not load or cannot play in a world is left out and named in `failures`. Raises ConfigError if
        there is nobody to meet, two addresses name one policy, or a simulation has partners of its own or one agent.
        """
        if not policies or len(policies) + len(held_out) < 2:
            raise ConfigError("cross-play needs two policies at least, or one and a partner that is held out")
        self._check()
        failures: dict[str, str] = {}
        focal = list(self._entrants(policies, failures))
        partners = list(self._entrants(held_out, failures))
        _check_names([*focal, *partners])
        total = len(focal) * (len(focal) + len(partners))
        for number, entrant in enumerate(list(focal), start=1):
            self.on_pair(f"{entrant.policy} with itself", number, total)
            if not self._plays(entrant, entrant, failures):
                focal.remove(entrant)
        pairs = [(entrant, partner) for entrant in focal for partner in [*focal, *partners] if entrant is not partner]
        for number, (entrant, partner) in enumerate(pairs, start=total - len(pairs) + 1):
            self.on_pair(f"{entrant.policy} with {partner.policy}", number, total)
            self._plays(entrant, partner, failures)
        return CrossPlayResults(
            suite=self.suite,
            share=self.share,
            policies=[entrant.policy for entrant in focal],
            addresses=[entrant.given for entrant in focal],
            held_out=[entrant.policy for entrant in partners],
            failures=failures,
            scores=self._read(focal, partners) if focal else [],
        )

    def _check(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"share={self.share}: allowed is a number between 0 and 1, the focal policy's part")
        for simulation in self.suite.simulations:
            if simulation.npc_policy_uri is not None:
                raise ConfigError(f"{simulation.name} has partners of its own; cross-play brings them")
            if simulation.world.num_agents < 2:
                raise ConfigError(f"{simulation.name} is a world of one agent: nobody can be met there")

    def _entrants(self, uris: Sequence[str], failures: dict[str, str]) -> Iterator[_Entrant]:
        """Give those that load: whose fault it is shows only before two of them meet."""
        for uri in uris:
            try:
                found = resolve_policy_uri(uri, data_dir=self.data_dir)
                actor = load_policy_from_uri(found, data_dir=self.data_dir)
            except _UNPLAYABLE as error:
                failures[uri] = str(error)
            else:
                weights = actor.weights if isinstance(actor, PolicyActor) else None
                policy = PolicyVersion(actor.key, actor.version)
                yield _Entrant(given=uri, found=found, policy=policy, weights=weights)

    def _plays(self, focal: _Entrant, partner: _Entrant, failures: dict[str, str]) -> bool:
        """Play what is missing of a pair's games; whether there are any."""
        suite = Suite(name=self.suite.name, simulations=self._simulations(focal, partner))
        stored = StoredEvaluation(
            suite=suite, stats_uri=self.stats_uri, threads=self.threads, device=self.device, data_dir=self.data_dir
        )
        try:
            stored.evaluate(focal.found.uri)
        except _UNPLAYABLE as error:
            name = focal.given if partner is focal else f"{focal.policy} with {partner.policy}"
            failures[name] = str(error)
            return False
        return True

    def _simulations(self, focal: _Entrant, partner: _Entrant) -> list[SimulationConfig]:
        if focal is partner:
            return self.suite.simulations
        return [self._shared(simulation, partner) for simulation in self.suite.simulations]

    def _shared(self, simulation: SimulationConfig, partner: _Entrant) -> SimulationConfig:
        """Return `simulation` with the partner in it, as `metta evaluate npc_policy_uri=...` plays it too."""
        return shared_simulation(simulation, [partner.found], policy_agents_pct=self.share, data_dir=self.data_dir)

    def _read(self, focal: Sequence[_Entrant], partners: Sequence[_Entrant]) -> list[CrossScores]:
        everybody = [*focal, *partners]
        with EvalStatsDB.from_uri(self.stats_uri) as database:
            return [
                read_scores(
                    database,
                    simulation,
                    [entrant.policy for entrant in focal],
                    [(entrant.policy, self._shared(simulation, entrant)) for entrant in everybody],
                )
                for simulation in self.suite.simulations
            ]


def _check_names(entrants: Sequence[_Entrant]) -> None:
    """Refuse two of one name and version, who would be one in a statistics file, and one network under two names.

    A network that meets a copy of itself meets nobody new: as a partner held out it would hide every habit.
    """
    seen: dict[PolicyVersion, str] = {}
    names: dict[str, PolicyVersion] = {}
    for entrant in entrants:
        policy, uri = entrant.policy, entrant.found.uri
        if policy in seen:
            both = {seen[policy], uri}
            hint = "; give it once" if len(both) == 1 else "; rename one of the runs"
            raise ConfigError(f"two policies are called {policy}: {' and '.join(sorted(both))}{hint}")
        seen[policy] = uri
        if entrant.weights is not None and names.setdefault(entrant.weights, policy) != policy:
            other = names[entrant.weights]
            raise ConfigError(f"{other} and {policy} are one network, their weights are equal; give one of them")
