"""The games in which two policies differ most, on the same seed and map: what to watch after a comparison."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from metta.eval.analysis import format_table
from metta.eval.rounding import gap
from metta.eval.scores import Player
from metta.eval.suites import Suite

SHOWN = 3  # pairs each way, if nobody asks for more
MOST_OTHERS = 10  # of a report: those compared with its policy whose pairs are looked for


@dataclass(frozen=True, kw_only=True)
class GamePair:
    """Two policies' games on one seed of a simulation."""

    policy: str
    other: str
    simulation: str
    seed: int
    score: float  # of `policy`
    other_score: float
    replay: str | None = None  # where the game of `policy` can be watched
    other_replay: str | None = None

    @property
    def difference(self) -> float:
        """The score of `policy` minus that of the other; 0 where that is rounding."""
        return float(gap(self.score, self.other_score))


def suite_pairs(player: Player, other: Player, suite: Suite, *, count: int) -> list[GamePair]:
    """Return `largest_differences` over all simulations of a suite; where those have different scores, in each."""
    names = [simulation.name for simulation in suite.simulations]
    groups = [names] if suite.has_one_score else [[name] for name in names]
    return [pair for group in groups for pair in largest_differences(player, other, group, count=count)]


def largest_differences(
    player: Player, other: Player, simulations: Sequence[str], *, count: int = SHOWN
) -> list[GamePair]:
    """Return the `count` pairs in which `player` scores most above `other`, and the `count` most below; largest first.

    Pairs of equal scores are left out, also those that differ by rounding alone. Groups of runs have none: a game of
    which run?
    """
    if max(len(player.runs), len(other.runs)) > 1:
        return []
    pairs = []
    for name in simulations:
        if name in player.episodes and name in other.episodes:
            pairs += _pairs(player, other, name)
    above = sorted((pair for pair in pairs if pair.difference > 0), key=lambda pair: -pair.difference)
    below = sorted((pair for pair in pairs if pair.difference < 0), key=lambda pair: pair.difference)
    return [*above[:count], *below[:count]]


def format_pairs(pairs: Sequence[GamePair]) -> str:
    """Return pairs of games as text, and below them a command for each replay, or how to get those that are missing."""
    lines, commands, digits = [], [], decimals(pairs)
    for pair in pairs:
        places = digits[pair.simulation]
        numbers = [number(pair.score, places), number(pair.other_score, places)]
        numbers += [number(pair.difference, places, sign="+")]
        lines.append([pair.policy, pair.other, pair.simulation, str(pair.seed), *numbers])
        commands += [f"metta replay {shlex.quote(url)}" for url in (pair.replay, pair.other_replay) if url is not None]
    header = ["policy", "against", "simulation", "seed", "score", "score of the other", "difference"]
    hint = ["watch=3 records those games that were not, so that they can be watched"] if lacks_replays(pairs) else []
    return "\n".join([format_table(lines, header=header), *dict.fromkeys(commands), *hint])


def lacks_replays(pairs: Sequence[GamePair]) -> bool:
    """Whether some of these games cannot be watched yet."""
    return any(pair.replay is None or pair.other_replay is None for pair in pairs)


def decimals(pairs: Sequence[GamePair]) -> dict[str, int]:
    """Return how many decimals the scores of each simulation need: two digits of its smallest difference, 2 to 8."""
    smallest: dict[str, float] = {}
    for pair in pairs:
        smallest[pair.simulation] = min(abs(pair.difference), smallest.get(pair.simulation, 1.0))
    return {name: int(np.clip(1 - np.floor(np.log10(value)), 2, 8)) if value else 2 for name, value in smallest.items()}


def number(score: float, places: int, *, sign: str = "") -> str:
    """Return a score of one game with so many decimals; `sign` "+" shows a plus too."""
    return f"{score:{sign}z,.{places}f}"


def _pairs(player: Player, other: Player, simulation: str) -> list[GamePair]:
    both = pd.concat([player.episodes[simulation], other.episodes[simulation]], axis=1, join="inner")
    replays, others = (who.replays.get(simulation, {}) for who in (player, other))
    return [
        GamePair(
            policy=player.name,
            other=other.name,
            simulation=simulation,
            seed=seed,
            score=score,
            other_score=other_score,
            replay=replays.get(seed),
            other_replay=others.get(seed),
        )
        for seed, (score, other_score) in zip(both.index.tolist(), both.to_numpy(np.float64).tolist(), strict=True)
    ]
