"""`metta compare A B`: which of two policies is better, on the same episodes, and how sure that is."""

from __future__ import annotations

if __name__ == "__main__":
    from metta.tools.command import become_command

    become_command("compare")

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr

from metta.errors import ConfigError, MettaError
from metta.eval import EvalStatsDB, StoredEvaluation, Suite
from metta.eval.analysis import PolicyVersion, format_table
from metta.eval.game_pairs import SHOWN, GamePair, format_pairs, suite_pairs
from metta.eval.recording import record_games, unrecorded
from metta.eval.scores import OVERALL, Player, Versus, compare_all, join_players, read_player
from metta.eval.verdict import few_note, format_comparisons, verdict
from metta.tools.progress import Progress
from metta.tools.runs import folder_of_policy
from metta.tools.sim import EvaluateTool, interval_as_json


class CompareTool(EvaluateTool):
    """Compares policies with the first, paired by episode; plays what is missing. Commas join the runs of a recipe."""

    subject: ClassVar[str | None] = "policy_uri"

    watch: int = Field(0, ge=0, description="record so many games each way that differ most from the first policy's")

    _evaluations: dict[str, StoredEvaluation] = PrivateAttr(default_factory=dict)  # by address, of what was played

    def run_tool(self, *, as_json: bool = False) -> int:
        """Compare; 1 if a policy could not play: the others are compared all the same."""
        if len(self.policy_uri) < 2:
            raise ConfigError(f"say which policies: metta compare A B; {len(self.policy_uri)} given")
        _refuse_twice(self.policy_uri, "each policy is compared with the first")
        for group in self.policy_uri:
            _refuse_twice(group.split(","), f"a group has different runs: {group}")
        if self.watch and not self.replays:
            raise ConfigError(f"watch={self.watch} records games, and replays=false forbids it")
        suite, failures = self.chosen_suite(), dict[str, str]()
        players = {self.policy_uri[0]: self._play(self.policy_uri[0], suite)}
        for uri in self.policy_uri[1:]:
            try:
                players[uri] = self._play(uri, suite)
            except MettaError as error:
                failures[uri] = str(error)
        if self.watch:
            players = self._recorded(players, suite)
        compared = self._compared(players, suite, failures)
        print((_as_json if as_json else _as_text)(compared))
        for uri, message in failures.items():
            print(f"{uri}: {message}", file=sys.stderr)
        names = {simulation.name for simulation in suite.simulations}
        is_incomplete = any(names - set(player.episodes) for player in players.values())
        return int(bool(failures) or is_incomplete or bool(compared.lost()))

    def _compared(self, players: Mapping[str, Player], suite: Suite, failures: Mapping[str, str]) -> _Compared:
        base, *others = _told_apart(players).values()
        names = [simulation.name for simulation in suite.simulations]
        return _Compared(
            suite=suite,
            players=[base, *others],
            found=compare_all(others, base, names, have_mean=suite.has_one_score),
            pairs=[pair for other in others for pair in suite_pairs(other, base, suite, count=self.watch or SHOWN)],
            failures=failures,
        )

    def _play(self, name: str, suite: Suite) -> Player:
        """Return who `name` stands for, with every episode. Raises the errors of loading and playing."""
        with Progress(sys.stderr) as progress:
            players = [self._play_one(uri, suite, progress) for uri in name.split(",")]
        _refuse_twice([player.name for player in players], f"a group has different runs: {name}")
        return players[0] if len(players) == 1 else join_players(name, players)

    def _play_one(self, uri: str, suite: Suite, progress: Progress) -> Player:
        print(f"{uri} on {suite.name} ({suite.hash}): what was not played yet is played now", file=sys.stderr)
        evaluation = self._evaluations[uri] = self._evaluation(uri, suite, progress)
        policy = evaluation.evaluate(uri)
        return _read(evaluation, policy)

    def _evaluation(self, uri: str, suite: Suite, progress: Progress) -> StoredEvaluation:
        folder = folder_of_policy(uri, self.data_dir)
        return StoredEvaluation(
            suite=suite,
            stats_uri=self.stats_uri or str(folder / "stats" / "stats.duckdb"),
            replay_dir=(self.replay_dir or str(folder / "replays")) if self.replays else None,
            threads=self.system.num_threads(),
            device=str(self.system.torch_device()),
            data_dir=self.data_dir,
            on_progress=progress,
        )

    def _recorded(self, players: Mapping[str, Player], suite: Suite) -> dict[str, Player]:
        """Return the players, after those games were recorded in which they differ most from the first."""
        pairs, found = self._compared(players, suite, {}).pairs, dict(players)
        with Progress(sys.stderr) as progress:
            for uri, player in _told_apart(players).items():
                games = unrecorded(pairs, player.name)
                if games:
                    evaluation = replace(self._evaluations[uri], on_progress=progress)
                    record_games(evaluation, player.runs[0], games)
                    found[uri] = _read(evaluation, player.runs[0])
        return found


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """All that is shown; the first of `players` is whom the others are compared with."""

    suite: Suite
    players: Sequence[Player]
    found: Sequence[Versus]
    pairs: Sequence[GamePair]
    failures: Mapping[str, str]

    def verdicts(self) -> list[str]:
        """Return `conclusions`, and a sentence for each policy that cannot be compared."""
        why = "have finished no episode of the same simulation and seed: there is nothing to compare."
        lost = [f"{name} and {self.players[0].name} {why}" for name in self.lost()]
        return [*conclusions(self.suite, self.found), *lost]

    def lost(self) -> list[str]:
        """Return the policies that cannot be compared with the first."""
        found = {versus.policy for versus in self.found}
        return [player.name for player in self.players[1:] if player.name not in found]


def _read(evaluation: StoredEvaluation, policy: PolicyVersion) -> Player:
    with EvalStatsDB.from_uri(evaluation.stats_uri) as database:
        return read_player(database, policy, evaluation.suite.simulations, replay_dir=evaluation.replay_dir)


def _told_apart(players: Mapping[str, Player]) -> dict[str, Player]:
    """Return the players by address; those whose runs have the same name and epoch are called by their addresses."""
    counts = Counter(player.name for player in players.values())
    return {uri: player if counts[player.name] == 1 else replace(player, name=uri) for uri, player in players.items()}


def _refuse_twice(names: Sequence[str], why: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"given twice: {', '.join(twice)}; {why}")


def metric_of(suite: Suite) -> str:
    """Return the score's name; `score` where simulations have different ones."""
    metrics = {simulation.score() for simulation in suite.simulations}
    return metrics.pop() if len(metrics) == 1 else "score"


def conclusions(suite: Suite, found: Sequence[Versus]) -> list[str]:
    """Return a sentence for each policy: over all simulations; where that cannot be said, one for each of them."""
    metrics = {simulation.name: simulation.score() for simulation in suite.simulations}
    whole = {versus.policy for versus in found if versus.simulation == OVERALL}
    counts = Counter(versus.simulation == OVERALL for versus in found)  # p-values are corrected within either kind
    return [
        verdict(
            versus,
            metric=metrics.get(versus.simulation, metric_of(suite)),
            comparisons=counts[versus.simulation == OVERALL],
        )
        for versus in found
        if versus.simulation == OVERALL or versus.policy not in whole
    ]


def _as_text(compared: _Compared) -> str:
    suite, found, lines = compared.suite, compared.found, []
    for player in compared.players:
        for simulation, summary in _summaries(player, suite):
            star = "*" if summary.is_small() else ""
            mean, iqm = f"{summary.mean}{star}", f"{summary.iqm}{star}"
            counts = [str(summary.episodes), str(summary.seeds), str(summary.runs)]
            lines.append([player.name, simulation, mean, iqm, *counts])
    lines += [[uri, "could not play", "", "", "", "", ""] for uri in compared.failures]
    header = ["policy", "simulation", f"{metric_of(suite)} per agent", "IQM", "episodes", "seeds", "runs"]
    tables = [format_table(lines, header=header), *([format_comparisons(found)] if found else [])]
    tables += [format_pairs(compared.pairs)] if compared.pairs else []
    notes = [few_note()] if any(versus.comparison.is_small() for versus in found) else []
    notes += [note for player in compared.players for note in player.missing(suite.simulations)]
    return "\n\n".join([*tables, "\n".join([*notes, *compared.verdicts()])])


def _summaries(player: Player, suite: Suite) -> list[tuple[str, Any]]:
    """Simulation -> its summary, and that of all together where there are several."""
    names = [simulation.name for simulation in suite.simulations if simulation.name in player.episodes]
    summaries = [(name, player.summary([name])) for name in names]
    is_whole = len(names) == len(suite.simulations) > 1 and suite.has_one_score
    return [*summaries, (OVERALL, player.summary(names))] if is_whole else summaries


def _as_json(compared: _Compared) -> str:
    suite, players = compared.suite, compared.players
    return json.dumps(
        {
            "suite": suite.name,
            "suite_hash": suite.hash,
            "metric": metric_of(suite),
            "policies": [
                {
                    "policy": player.name,
                    "runs": [str(run) for run in player.runs],
                    "simulations": {
                        simulation: {
                            "mean": interval_as_json(summary.mean),
                            "interquartile_mean": interval_as_json(summary.iqm),
                            "episodes": summary.episodes,
                            "seeds": summary.seeds,
                        }
                        for simulation, summary in _summaries(player, suite)
                    },
                }
                for player in players
            ]
            + [{"policy": uri, "error": message} for uri, message in compared.failures.items()],
            "missing": [note for player in players for note in player.missing(suite.simulations)],
            "comparisons": [versus_as_json(versus) for versus in compared.found],
            "largest_differences": [pair_as_json(pair) for pair in compared.pairs],
            "verdicts": compared.verdicts(),
        },
        indent=2,
    )


def versus_as_json(versus: Versus) -> dict[str, Any]:
    """Return a comparison as plain data; `p_holm` is the p-value corrected for all that are shown together."""
    found = versus.comparison
    return {
        "policy": versus.policy,
        "against": versus.other,
        "simulation": versus.simulation,
        "pairs": found.pairs,
        "difference": interval_as_json(found.difference),
        "probability_of_improvement": interval_as_json(found.probability_of_improvement),
        "share_of_wins": found.share_of_wins,
        "p": found.p_value,
        "p_holm": versus.p_adjusted,
        "needed": found.needed,
    }


def pair_as_json(pair: GamePair) -> dict[str, Any]:
    """Return two games on one seed as plain data; `replay`: where one can be watched, none if it was not recorded."""
    return {**asdict(pair), "difference": pair.difference}
