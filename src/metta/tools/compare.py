"""`metta compare A B`: which of two policies is better, on the same episodes, and how sure that is."""

from __future__ import annotations

if __name__ == "__main__":
    from metta.tools.command import become_command

    become_command("compare")

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from metta.errors import ConfigError, MettaError
from metta.eval import EvalStatsDB, StoredEvaluation, Suite
from metta.eval.analysis import format_table
from metta.eval.scores import OVERALL, Player, Versus, compare_all, join_players, read_player
from metta.eval.verdict import few_note, format_comparisons, verdict
from metta.tools.progress import Progress
from metta.tools.runs import folder_of_policy
from metta.tools.sim import EvaluateTool, interval_as_json


class CompareTool(EvaluateTool):
    """Compares policies with the first, paired by episode; plays what is missing. Commas join the runs of a recipe."""

    subject: ClassVar[str | None] = "policy_uri"

    def run_tool(self, *, as_json: bool = False) -> int:
        """Compare; 1 if a policy could not play: the others are compared all the same."""
        if len(self.policy_uri) < 2:
            raise ConfigError(f"say which policies: metta compare A B; {len(self.policy_uri)} given")
        _refuse_twice(self.policy_uri, "each policy is compared with the first")
        for group in self.policy_uri:
            _refuse_twice(group.split(","), f"a group has different runs: {group}")
        suite = self.chosen_suite()
        first, *others = self.policy_uri
        base, players, failures = self._play(first, suite), [], {}
        for uri in others:
            try:
                players.append(self._play(uri, suite))
            except MettaError as error:
                failures[uri] = str(error)
        found = compare_all(
            players, base, [simulation.name for simulation in suite.simulations], have_mean=suite.has_one_score
        )
        show = _as_json if as_json else _as_text
        print(show(suite, [base, *players], found, failures))
        for uri, message in failures.items():
            print(f"{uri}: {message}", file=sys.stderr)
        names = {simulation.name for simulation in suite.simulations}
        return int(bool(failures) or any(names - set(player.episodes) for player in (base, *players)))

    def _play(self, name: str, suite: Suite) -> Player:
        """Return who `name` stands for, with every episode. Raises the errors of loading and playing."""
        with Progress(sys.stderr) as progress:
            players = [self._play_one(uri, suite, progress) for uri in name.split(",")]
        _refuse_twice([player.name for player in players], f"a group has different runs: {name}")
        return players[0] if len(players) == 1 else join_players(name, players)

    def _play_one(self, uri: str, suite: Suite, progress: Progress) -> Player:
        print(f"{uri} on {suite.name} ({suite.hash}): what was not played yet is played now", file=sys.stderr)
        folder = folder_of_policy(uri, self.data_dir)
        evaluation = StoredEvaluation(
            suite=suite,
            stats_uri=self.stats_uri or str(folder / "stats" / "stats.duckdb"),
            replay_dir=(self.replay_dir or str(folder / "replays")) if self.replays else None,
            threads=self.system.num_threads(),
            device=str(self.system.torch_device()),
            data_dir=self.data_dir,
            on_progress=progress,
        )
        policy = evaluation.evaluate(uri)
        with EvalStatsDB.from_uri(evaluation.stats_uri) as database:
            return read_player(database, policy, suite.simulations)


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


def _as_text(suite: Suite, players: Sequence[Player], found: Sequence[Versus], failures: dict[str, str]) -> str:
    lines, is_small = [], any(versus.comparison.is_small() for versus in found)
    for player in players:
        for simulation, summary in _summaries(player, suite):
            star = "*" if summary.is_small() else ""
            mean, iqm = f"{summary.mean}{star}", f"{summary.iqm}{star}"
            counts = [str(summary.episodes), str(summary.seeds), str(summary.runs)]
            lines.append([player.name, simulation, mean, iqm, *counts])
    lines += [[uri, "could not play", "", "", "", "", ""] for uri in failures]
    header = ["policy", "simulation", f"{metric_of(suite)} per agent", "IQM", "episodes", "seeds", "runs"]
    tables = [format_table(lines, header=header), *([format_comparisons(found)] if found else [])]
    notes = [few_note()] if is_small else []
    notes += [note for player in players for note in player.missing(suite.simulations)]
    return "\n\n".join([*tables, "\n".join([*notes, *conclusions(suite, found)])])


def _summaries(player: Player, suite: Suite) -> list[tuple[str, Any]]:
    """Simulation -> its summary, and that of all together where there are several."""
    names = [simulation.name for simulation in suite.simulations if simulation.name in player.episodes]
    summaries = [(name, player.summary([name])) for name in names]
    is_whole = len(names) == len(suite.simulations) > 1 and suite.has_one_score
    return [*summaries, (OVERALL, player.summary(names))] if is_whole else summaries


def _as_json(suite: Suite, players: Sequence[Player], found: Sequence[Versus], failures: dict[str, str]) -> str:
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
            + [{"policy": uri, "error": message} for uri, message in failures.items()],
            "missing": [note for player in players for note in player.missing(suite.simulations)],
            "comparisons": [versus_as_json(versus) for versus in found],
            "verdicts": conclusions(suite, found),
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
