"""How averages are made, and what a question in SQL may do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.sim.rows import hearts, simulation

from metta.errors import StatsError
from metta.eval import EvalStatsDB
from metta.sim import SimulationRows, SimulationStatsDB


@pytest.fixture
def opened(tmp_path: Path):
    def make(*simulations: SimulationRows) -> EvalStatsDB:
        with SimulationStatsDB() as database:
            for rows in simulations:
                database.add(rows)
            database.export(tmp_path / "stats.duckdb")
        return EvalStatsDB.from_uri(tmp_path / "stats.duckdb")

    return make


def test_a_missing_metric_counts_zero(opened) -> None:
    database = opened(hearts(3, 3, 0, 0, 0))
    assert database.get_average_metric_by_filter("hearts", "run", 1) == pytest.approx(1.2)


def test_episodes_that_never_finished_do_not_count(opened) -> None:
    database = opened(hearts(2, 2, seeds=[1, 2]))  # of a hundred asked for
    assert database.get_average_metric_by_filter("hearts", "run", 1) == 2.0
    assert database.sample_count("run", 1) == 2


def test_pairs_that_recorded_nothing_do_not_count(opened) -> None:
    database = opened(hearts(2, 2))
    database._writing().execute("INSERT INTO agent_policies SELECT id, 99, 'run', 1, 0 FROM episodes")
    assert database.sample_count("run", 1) == 2
    assert database.get_average_metric_by_filter("hearts", "run", 1) == 2.0


def test_without_samples_there_is_no_answer(opened) -> None:
    database = opened(hearts(1))
    for ask in (
        database.get_average_metric_by_filter,
        database.get_std_metric_by_filter,
        database.get_sum_metric_by_filter,
    ):
        assert ask("hearts", "run", 2) is None
        assert ask("hearts", "other", 1) is None
        assert ask("hearts", "run", 1, {"sim_name": "other"}) is None
    assert database.sample_count("run", 2) == 0
    assert database.simulation_scores("run", 2, "hearts") == {}


def test_an_unknown_metric_over_samples_is_zero(opened) -> None:
    database = opened(hearts(1, 2))
    assert database.get_average_metric_by_filter("typo", "run", 1) == 0.0
    assert database.get_std_metric_by_filter("typo", "run", 1) == 0.0
    assert database.get_sum_metric_by_filter("typo", "run", 1) == 0.0


def test_a_sum_is_a_sum_and_a_deviation_that_of_the_population(opened) -> None:
    database = opened(hearts(3, 3, 0, 0, 0))
    assert database.get_sum_metric_by_filter("hearts", "run", 1) == 6.0
    assert database.get_std_metric_by_filter("hearts", "run", 1) == pytest.approx(np.std([3, 3, 0, 0, 0]))


def test_one_sample_deviates_by_nothing(opened) -> None:
    assert opened(hearts(3)).get_std_metric_by_filter("hearts", "run", 1) == 0.0


def test_every_agent_counts(opened) -> None:
    database = opened(simulation([[[0, 1, 0], [0, 2, 0]], [[0, 3, 0], [0, 0, 0]]]))
    assert database.get_average_metric_by_filter("hearts", "run", 1) == 1.5
    assert database.sample_count("run", 1) == 4


def test_agents_of_others_do_not_count(opened) -> None:
    database = opened(simulation([[[0, 1, 0], [0, 9, 0]]], npc=("npc", 0)))
    assert database.get_average_metric_by_filter("hearts", "run", 1) == 1.0
    assert database.get_average_metric_by_filter("hearts", "npc", 0) is None  # it was asked to play nothing
    assert database.get_average_metric_by_filter("hearts", "npc", 0, {"player": 1}) == 9.0


def test_a_policy_that_is_its_own_opponent_is_judged_by_its_own_part_alone(opened) -> None:
    shared = simulation([[[0, 1, 0], [0, 9, 0], [0, 3, 0], [0, 5, 0]]] * 2, npc=("run", 1))
    database = opened(shared)
    assert database.get_average_metric_by_filter("hearts", "run", 1) == 2.0
    assert database.get_sum_metric_by_filter("hearts", "run", 1, "agent_id < 2") == 2.0
    assert database.get_average_metric_by_filter("hearts", "run", 1, {"player": 1}) == 7.0
    assert database.get_average_metric_by_filter("hearts", "run", 1, {"player": range(2)}) == 4.5
    assert database.sample_count("run", 1) == 4
    assert database.simulation_scores("run", 1, "hearts") == {"arena/basic": 2.0}
    assert database.episode_values("hearts", "run", 1)[["value", "agents"]].to_numpy().tolist() == [[2.0, 2]] * 2
    assert database.episode_metrics(["hearts"], "run", 1)["hearts"].tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("player = 1 OR player = 2", 7.0),
        ("s.PLAYER > 0 AND sim_name LIKE 'arena%' -- not the policy's own part", 7.0),
        ("player IN (0, 1)", 4.5),
        ("sim_name <> 'player'", 2.0),
        ("EXISTS (SELECT 1 FROM agent_policies a WHERE a.episode_id = s.episode_id) -- player", 2.0),
    ],
)
def test_a_filter_in_sql_that_names_the_player_says_which_count(opened, text: str, expected: float) -> None:
    database = opened(simulation([[[1, 2, 0], [1, 7, 0]]], policy=("run", 1), npc=("run", 1)))
    assert database.get_average_metric_by_filter("hearts", "run", 1, text) == expected


def test_several_values_of_a_filter_may_be_anything_that_lists_them(opened) -> None:
    database = opened(hearts(1, 2, 4, seeds=[1, 2, 3], attributes={"tag": "7"}))
    for seeds in ([1, 2], (1, 2), {1, 2}, range(1, 3), np.array([1, 2]), np.array([[1], [2]]), pd.Series([1, 2])):
        assert database.get_average_metric_by_filter("hearts", "run", 1, {"seed": seeds}) == 1.5
    for seed in (2, np.int64(2), np.array(2), iter([2])):
        assert database.get_average_metric_by_filter("hearts", "run", 1, {"seed": seed}) == 2.0
    assert database.sample_count("run", 1, {"tag": np.arange(7, 9)}) == 3
    for wrong in (None, [None], [[1], [2]], {"a": None}, "no number"):
        with pytest.raises(StatsError, match=r"seed|no number"):
            database.sample_count("run", 1, {"seed": wrong})


def test_one_name_in_two_worlds_has_no_score_until_one_is_chosen(opened, tmp_path: Path) -> None:
    with opened(hearts(1, 1, env="w0"), hearts(2, name="nav/maze")) as ours:
        with SimulationStatsDB() as theirs:
            theirs.add(hearts(5, env="w1"))
            ours.merge_in(theirs)
        for ask in (ours.episode_values, ours.summary):
            with pytest.raises(
                StatsError, match="arena/basic was played in 2 worlds: filter by sim_env, one of w0, w1"
            ):
                ask("hearts", "run", 1)
        for ask in (ours.simulation_scores, ours.get_scores, ours.score_metrics):
            with pytest.raises(StatsError, match="2 worlds"):
                ask("run", 1)
        assert len(ours.episode_values("hearts", "run", 1, {"sim_env": "w0"})) == 3
        assert ours.simulation_scores("run2", 1) == {}
        one = {"sim_name": "arena/basic", "sim_env": "w1"}
        assert ours.get_average_metric_by_filter("hearts", "run", 1, one) == 5.0


def test_averages_equal_those_of_a_plain_loop(opened) -> None:
    generator = np.random.default_rng(0)
    values = generator.integers(0, 3, size=(6, 4, 3)).astype(float)
    other = generator.integers(0, 3, size=(2, 3, 3)).astype(float)
    database = opened(simulation(values), simulation(other, name="nav/maze"))
    pairs = [agent[1] for episode in [*values, *other] for agent in episode]
    assert database.get_average_metric_by_filter("hearts", "run", 1) == pytest.approx(np.mean(pairs))
    assert database.get_std_metric_by_filter("hearts", "run", 1) == pytest.approx(np.std(pairs))
    assert database.get_sum_metric_by_filter("hearts", "run", 1) == pytest.approx(np.sum(pairs))
    assert database.simulation_scores("run", 1, "hearts") == pytest.approx(
        {"arena/basic": values[:, :, 1].mean(), "nav/maze": other[:, :, 1].mean()}
    )


def test_a_filter_chooses_by_column_by_attribute_or_by_condition(opened) -> None:
    database = opened(
        hearts(1, 2, seeds=[1, 2], attributes={"difficulty": "easy"}),
        hearts(6, name="arena/combat", attributes={"difficulty": "hard"}),
    )

    def average(filter: object) -> float | None:
        return database.get_average_metric_by_filter("hearts", "run", 1, filter)

    assert average({"sim_name": "arena/basic"}) == 1.5
    assert average({"sim_name": ["arena/basic", "arena/combat"]}) == 3.0
    assert average({"sim_name": "arena/basic", "seed": 2}) == 2.0
    assert average({"difficulty": "hard"}) == 6.0
    assert average("sim_name = 'arena/combat' OR seed = 1") == 3.5
    assert average({"sim_name": []}) is None


def test_an_unknown_filter_names_the_nearest(opened) -> None:
    with pytest.raises(StatsError, match=r"no filter is called 'sim_nam'.*did you mean sim_name"):
        opened(hearts(1)).get_average_metric_by_filter("hearts", "run", 1, {"sim_nam": "x"})


def test_quotes_in_names_are_only_quotes(opened) -> None:
    name = "it's'); DROP TABLE episodes; --"
    database = opened(hearts(1, policy=(name, 1)))
    assert database.get_average_metric_by_filter("hearts", f"{name}:v1") == 1.0
    assert database.get_average_metric_by_filter("hearts", "run", 1, {"sim_name": name}) is None


@pytest.mark.parametrize(
    ("path", "epoch", "expected"),
    [
        ("train_dir/run/checkpoints/agent_epoch_12.pt", None, ("run", 12)),
        ("train_dir/run/checkpoints/agent_epoch_12.pt", 12, ("run", 12)),
        ("file:///data/run/checkpoints/agent_epoch_12.pt", None, ("run", 12)),
        ("s3://bucket/train_dir/run/checkpoints", 3, ("run", 3)),
        ("./train_dir/run/", 3, ("run", 3)),
        (Path("train_dir") / "run", 3, ("run", 3)),
        ("run", 3, ("run", 3)),
        ("run:3", None, ("run", 3)),
        ("run:v3", None, ("run", 3)),
        ("train_dir/run:3", None, ("run", 3)),
        ("mock://random", None, ("random", 0)),
        ("some/where/mine.pt", None, ("mine", 0)),
    ],
)
def test_the_policy_is_read_from_the_checkpoints_path(
    path: str | Path, epoch: int | None, expected: tuple[str, int]
) -> None:
    assert EvalStatsDB.key_and_version(path, epoch) == expected


def test_paths_that_do_not_say_which_epoch_are_refused() -> None:
    with pytest.raises(StatsError, match="of epoch 12, not of epoch 13"):
        EvalStatsDB.key_and_version("train_dir/run/checkpoints/agent_epoch_12.pt", 13)
    with pytest.raises(StatsError, match="does not say which epoch"):
        EvalStatsDB.key_and_version("train_dir/run")
    with pytest.raises(StatsError, match="names no run"):
        EvalStatsDB.key_and_version("./", 1)


def test_scores_use_each_simulations_own_metric(opened) -> None:
    database = opened(
        simulation([[[5, 1, 0]], [[5, 3, 0]]], attributes={"score_metric": "hearts"}),
        simulation([[[7, 1, 0]]], name="nav/maze"),
        simulation([[[1, 1, 0]]], name="nav/rooms"),
    )
    scores = database.get_scores("run", 1)
    assert scores.simulation_scores == {"arena/basic": 2.0, "nav/maze": 7.0, "nav/rooms": 1.0}
    assert scores.category_scores == {"arena": 2.0, "nav": 4.0}


def test_episode_values_are_means_over_agents_in_the_order_of_seeds(opened) -> None:
    database = opened(simulation([[[0, 1, 0], [0, 2, 0]], [[0, 0, 0], [0, 0, 4]]], seeds=[8, 3]))
    values = database.episode_values("hearts", "run", 1)
    assert values[["seed", "value", "agents"]].to_numpy().tolist() == [[3, 0.0, 2], [8, 1.5, 2]]
    many = database.episode_metrics(["hearts", "ore_red.get", "typo"], "run", 1)
    assert many[["hearts", "ore_red.get", "typo", "agents"]].to_numpy().tolist() == [[0, 2, 0, 2], [1.5, 0, 0, 2]]


def test_a_summary_is_stratified_by_simulation(opened) -> None:
    database = opened(hearts(*[1] * 8), hearts(*[5] * 8, name="arena/combat"))
    summary = database.summary("hearts", "run", 1)
    assert summary is not None and summary.mean == (3.0, 3.0, 3.0) and summary.episodes == 16
    assert database.summary("hearts", "run", 2) is None


def test_a_question_is_answered_with_a_data_frame(opened) -> None:
    answer = opened(hearts(1, 2)).query(
        "SELECT sim_name, avg(value) AS mean FROM policy_simulation_agent_metrics WHERE metric = ? GROUP BY ALL",
        ["hearts"],
    )
    pd.testing.assert_frame_equal(answer, pd.DataFrame({"sim_name": ["arena/basic"], "mean": [1.5]}), check_dtype=False)


@pytest.mark.slow
def test_an_average_over_ten_million_rows_takes_under_a_second(tmp_path: Path) -> None:
    """Generous here, because other tests run beside it; `benchmarks/` measures."""
    import time

    generator = np.random.default_rng(0)
    names = ("reward", *(f"metric.{number}" for number in range(99)))
    path = tmp_path / "wide.duckdb"
    with SimulationStatsDB() as database:
        for number in range(4):
            values = generator.integers(1, 50, size=(250, 24, 100)).astype(float)
            rows = simulation(values, name=f"arena/{number}")
            database.add(SimulationRows(**{**rows.__dict__, "metric_names": names}))
        database.export(path)
    start = time.perf_counter()
    with EvalStatsDB.from_uri(path) as opened:
        assert opened.get_average_metric_by_filter("metric.42", "run", 1) == pytest.approx(25, abs=0.5)
    assert time.perf_counter() - start < 2.0
