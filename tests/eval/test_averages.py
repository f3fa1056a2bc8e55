"""Averages over random databases equal those of a slow plain version, which follows the definition word by word."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tests.sim.rows import METRICS, simulation

from metta.eval import EvalStatsDB
from metta.sim import SimulationRows, SimulationStatsDB

POLICIES = [("run", 1), ("run", 2), ("run2", 1), ("ru", 1)]
NAMES = ["arena/basic", "arena/combat", "arena2/basic", "nav/maze", "plain"]


class Pair(NamedTuple):
    """An agent in an episode: everything that can be known about it."""

    policy: tuple[str, int]
    sim_name: str
    seed: int
    agent_id: int
    difficulty: str
    values: dict[str, float]


class Game(NamedTuple):
    rows: list[SimulationRows]
    pairs: list[Pair]


def random_game(number: int) -> Game:
    """Simulations of several policies, some with others among their agents; many metrics are 0."""
    draw = random.Random(number)
    rows, pairs = [], []
    for name in NAMES[: 2 + number % 4]:
        for policy in draw.sample(POLICIES, 2):
            npc = draw.choice([None, *POLICIES])
            agents, seeds = draw.choice([1, 2, 3]), draw.sample(range(50), draw.choice([1, 2, 5]))
            values = np.array([[[_value(draw) for _ in METRICS] for _ in range(agents)] for _ in seeds])
            difficulty = draw.choice(["easy", "hard"])
            told = {"difficulty": difficulty, "score_metric": draw.choice(METRICS)}
            rows.append(simulation(values, name=name, policy=policy, seeds=seeds, npc=npc, attributes=told))
            pairs += [
                Pair(
                    *(policy, name, seed, agent, difficulty),
                    dict(zip(METRICS, values[episode, agent], strict=True)),
                )
                for episode, seed in enumerate(seeds)
                for agent in range(agents)
                if not (npc and agent % 2)  # the opponent's: nobody asked how good that was
            ]
    return Game(rows, pairs)


def _value(draw: random.Random) -> float:
    return draw.choice([0.0, 0.0, 0.0, 1.0, -2.5, draw.uniform(-10, 10)])


@pytest.fixture(params=range(5))
def game(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[EvalStatsDB, Game]]:
    made = random_game(request.param)
    SimulationStatsDB.write(tmp_path / "stats.duckdb", made.rows)
    with EvalStatsDB.from_uri(tmp_path / "stats.duckdb") as database:
        yield database, made


def plain(values: list[float]) -> tuple[float | None, float | None, float | None]:
    """Mean, population's standard deviation and sum of the values; None without any."""
    if not values:
        return None, None, None
    total = math.fsum(values)
    mean = total / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values)), total


FILTERS: list[tuple[Any, Any]] = [
    (None, lambda pair: True),
    ({"sim_name": "arena/basic"}, lambda pair: pair.sim_name == "arena/basic"),
    ({"sim_name": ["arena/basic", "plain"]}, lambda pair: pair.sim_name in ("arena/basic", "plain")),
    ({"difficulty": "hard"}, lambda pair: pair.difficulty == "hard"),
    ({"difficulty": ["hard"], "agent_id": 0}, lambda pair: pair.difficulty == "hard" and pair.agent_id == 0),
    ("seed < 25 OR agent_id = 1", lambda pair: pair.seed < 25 or pair.agent_id == 1),
    ({"sim_name": "nowhere"}, lambda pair: False),
]


def test_mean_deviation_and_sum_are_those_of_the_plain_version(game: tuple[EvalStatsDB, Game]) -> None:
    database, made = game
    metrics = itertools.cycle((*METRICS, "unknown"))
    for policy, (filter, chooses) in itertools.product([*POLICIES, ("never", 1)], FILTERS):
        metric = next(metrics)
        pairs = [pair for pair in made.pairs if pair.policy == policy and chooses(pair)]
        expected = plain([pair.values.get(metric, 0.0) for pair in pairs])
        found = (
            database.get_average_metric_by_filter(metric, *policy, filter),
            database.get_std_metric_by_filter(metric, *policy, filter),
            database.get_sum_metric_by_filter(metric, *policy, filter),
        )
        assert database.sample_count(*policy, filter) == len(pairs)
        if pairs:
            assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
        else:
            assert found == expected == (None, None, None)


def test_scores_of_simulations_and_categories_are_those_of_the_plain_version(game: tuple[EvalStatsDB, Game]) -> None:
    database, made = game
    for policy in POLICIES:
        names = sorted({pair.sim_name for pair in made.pairs if pair.policy == policy})

        def mean(name: str, metric: str, policy: tuple[str, int] = policy) -> float:
            of_both = [pair for pair in made.pairs if pair.policy == policy and pair.sim_name == name]
            return float(np.mean([pair.values[metric] for pair in of_both]))

        for metric in METRICS:
            expected = {name: mean(name, metric) for name in names}
            assert database.simulation_scores(*policy, metric) == pytest.approx(expected, rel=1e-12, abs=1e-12)
        scores = database.get_scores(*policy)
        own = {name: mean(name, metric) for name, metric in database.score_metrics(*policy).items()}
        assert scores.simulation_scores == pytest.approx(own, rel=1e-12, abs=1e-12)
        categories = {name.split("/")[0] for name in names}
        assert scores.category_scores == pytest.approx(
            {c: np.mean([own[name] for name in names if name.split("/")[0] == c]) for c in categories}
        )
        if names:
            assert scores.avg_simulation_score == pytest.approx(np.mean(list(own.values())))
