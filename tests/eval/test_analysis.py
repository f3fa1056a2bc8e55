"""From a statistics file and a run's folder to tables and a page."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.sim.rows import hearts, simulation

from metta.agent import make_policy, save_policy
from metta.envs import FixedTasks, Task, VecEnv
from metta.errors import RunError, StatsError
from metta.eval import AnalysisConfig, EvalStatsDB, Suite, analyze_run, world_suite, yardsticks
from metta.eval.analysis import (
    PolicyVersion,
    format_table,
    matching_metrics,
    metric_rows,
    policy_versions,
    wasted_actions,
)
from metta.eval.learning_curve import read_training
from metta.grid import WorldConfig
from metta.grid.worlds import easy_arena
from metta.sim import SimulationConfig, SimulationRows, SimulationStatsDB

RUN = PolicyVersion("run", 1)


@pytest.fixture
def opened(tmp_path: Path):
    def make(*simulations: SimulationRows) -> EvalStatsDB:
        with SimulationStatsDB() as database:
            for rows in simulations:
                database.add(rows)
            database.export(tmp_path / "stats.duckdb")
        return EvalStatsDB.from_uri(tmp_path / "stats.duckdb")

    return make


def counted(**totals: float) -> SimulationRows:
    """One episode of one agent with these stats; two underscores stand for a dot."""
    names = ("reward", *(name.replace("__", ".") for name in totals))
    rows = simulation([[[0.0, *totals.values()]]])
    return SimulationRows(**{**rows.__dict__, "metric_names": names})


def test_the_table_has_a_line_for_every_metric_that_matches() -> None:
    names = ["action.move.failed", "hearts", "heart.get", "reward"]
    assert matching_metrics(names, ["heart*", "re*", "hearts"]) == ["heart.get", "hearts", "reward"]
    with pytest.raises(StatsError, match=r"no metric is called 'heartz'.*did you mean hearts"):
        matching_metrics(names, ["heartz"])


def test_a_line_tells_mean_interval_episodes_and_agents(opened) -> None:
    database = opened(simulation([[[1, 1, 0], [1, 3, 0]], [[1, 5, 0], [1, 7, 0]]]), hearts(9, name="other/x"))
    rows = metric_rows(database, metrics=["hearts"], policies=[RUN])
    assert [(row.simulation, row.mean.value, row.episodes, row.agents) for row in rows] == [
        ("arena/basic", 4.0, 2, 4),
        ("other/x", 9.0, 1, 1),
    ]
    assert (rows[0].mean.low, rows[0].mean.high) == (2.0, 6.0)


def test_a_metric_that_stayed_zero_is_known_and_shown_if_it_is_named(opened) -> None:
    database = opened(hearts(0, 0))
    assert [row.metric for row in metric_rows(database, policies=[RUN])] == []
    rows = metric_rows(database, metrics=["*", "hearts"], policies=[RUN])
    assert [(row.metric, row.mean.value) for row in rows] == [("hearts", 0.0)]


def test_policies_are_found_by_name_and_the_latest_is_meant_without_an_epoch(opened) -> None:
    database = opened(*(hearts(1, policy=("run", epoch)) for epoch in (2, 10)), hearts(1, policy=("random", 0)))
    assert policy_versions(database) == [("random", 0), ("run", 2), ("run", 10)]
    assert policy_versions(database, ["run", "run:2", "mock://random"]) == [("run", 10), ("run", 2), ("random", 0)]
    with pytest.raises(StatsError, match=r"no episodes of run:3.*did you mean run:"):
        policy_versions(database, ["run:3"])


def test_wasted_actions_are_those_that_failed_do_not_exist_or_hit_the_frozen(opened) -> None:
    database = opened(
        counted(
            action__move__success=50,
            action__move__failed=20,
            action__noop__success=15,
            action__attack__success=5,
            action__attack__failed=4,
            action__attack__red__wasted_on_frozen=2,
            action__attack__blue__wasted_on_frozen=1,
            action__attack__red__hit__blue=2,
            action__invalid=6,
            action__failure_penalty=30,
            status__frozen__ticks=100,
        )
    )
    wasted = wasted_actions(database, RUN)
    assert [(action.name, action.share, action.per_episode) for action in wasted] == [
        ("move failed", pytest.approx(0.20), 20),
        ("invalid", pytest.approx(0.06), 6),
        ("attack failed", pytest.approx(0.04), 4),
    ]
    assert wasted_actions(database, RUN, count=9)[3].name == "attack on a frozen agent"
    assert wasted_actions(database, PolicyVersion("other", 1)) == []


def test_nothing_wasted_is_an_empty_list(opened) -> None:
    assert wasted_actions(opened(counted(action__move__success=5)), RUN) == []


def test_a_table_is_aligned_numbers_to_the_right() -> None:
    text = format_table([["a", "1.5", "x"], ["long", "22.5", "yz"]], header=["name", "mean", "what"])
    assert text.splitlines() == ["name  mean  what", "----  ----  ----", "a      1.5  x", "long  22.5  yz"]


def test_wide_letters_take_two_columns_of_a_table() -> None:
    text = format_table([["雪だるま", "x"], ["läufer", "y"]], header=["name", "what"])
    assert text.splitlines() == ["name      what", "--------  ----", "雪だるま  x", "läufer    y"]


def test_the_training_curve_is_read_up_to_a_line_that_was_cut_off(tmp_path: Path) -> None:
    lines = [
        json.dumps({"metric/epoch": e, "metric/agent_step": e * 100, "metric/total_time": e * 60.0}) for e in (1, 2)
    ]
    lines[1] = lines[1][:-1] + ', "overview/hearts": 3.5}'
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"metric/epoch": 3')
    training = read_training(tmp_path, metric="overview/hearts")
    np.testing.assert_array_equal(training.values, [np.nan, 3.5])
    assert training.at_epoch(2) == (200.0, 2.0) and training.at_epoch(3) is None
    assert [tuple(point)[:2] for point in training.binned()] == [(200.0, 2.0)]
    assert read_training(tmp_path / "nothing", metric="overview/hearts").binned() == []


@pytest.mark.parametrize("line", ['{"metric/epoch": 2', "[]", "{}", '{"metric/epoch": 1, "metric/total_time": "x"}'])
def test_a_damaged_line_of_the_training_curve_is_named(tmp_path: Path, line: str) -> None:
    good = json.dumps({"metric/epoch": 1, "metric/agent_step": 100, "metric/total_time": 60.0})
    (tmp_path / "metrics.jsonl").write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 2 is no epoch of a run"):
        read_training(tmp_path, metric="overview/hearts")


def test_binning_keeps_every_epoch(tmp_path: Path) -> None:
    with (tmp_path / "metrics.jsonl").open("w") as file:
        for epoch in range(1, 1001):
            keys = {"metric/epoch": epoch, "metric/agent_step": epoch, "metric/total_time": epoch, "overview/reward": 2}
            file.write(json.dumps(keys) + "\n")
    points = read_training(tmp_path, metric="overview/reward").binned()
    assert len(points) == 60
    assert {point.interval for point in points} == {(2.0, 2.0, 2.0)}


def small_world() -> WorldConfig:
    config = easy_arena(num_agents=6)
    config.max_steps = 25
    return config


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, the second of which was never evaluated."""
    folder = tmp_path_factory.mktemp("data") / "my_run"
    world = small_world()
    env = VecEnv(FixedTasks([Task(world, 1)]), num_worlds=1)
    for epoch in (1, 2):
        policy = make_policy("fast", env.space, seed=epoch, action_names=env.action_names)
        path = folder / "checkpoints" / f"agent_epoch_{epoch}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_policy(path, policy, run="my_run", epoch=epoch, agent_step=100 * epoch)
    config = {"run": "my_run", "world": world.model_dump(mode="json"), "evaluation": {"suite": None, "episodes": 2}}
    (folder / "config.json").write_text(json.dumps(config))
    with (folder / "metrics.jsonl").open("w") as file:
        for epoch in (1, 2):
            keys = {"metric/epoch": epoch, "metric/agent_step": 100 * epoch, "metric/total_time": 6.0 * epoch}
            file.write(json.dumps(keys | {"overview/hearts": 0.1 * epoch}) + "\n")
    return folder


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the page, which takes longest."""
    monkeypatch.setattr("metta.eval.pages.run_page.render", lambda report: report.title)


def test_a_run_is_analysed_with_one_call(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run_dir.parent)
    report = analyze_run(run_dir, episodes=3)
    assert [(str(s.policy), s.simulation, s.summary.episodes) for s in report.scores] == [
        *[("my_run:2", "training/world", 3), ("scripted", "training/world", 3), ("random", "training/world", 3)]
    ]
    assert list(report.yardsticks) == ["scripted", "random"]
    assert len(report.wasted[PolicyVersion("my_run", 2)]) == 3
    assert [versus.comparison.pairs for versus in report.comparisons] == [3, 3]
    assert {row.metric for row in report.rows} >= {"reward", "ore_red.get", "action.move.failed"}
    page = report.path.read_text()
    assert report.path == run_dir / "report" / "index.html"
    assert page.count("<svg") == 2 and "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL).lower()
    assert "http" not in re.sub(r'https://arxiv.org\S*|xmlns\S*|"-//W3C.*?>', "", page)
    (replay,) = report.replay_urls["my_run:2"]["training/world"]
    assert f"../replays/{Path(replay).name}" in page and (run_dir / "replays" / Path(replay).name).is_file()
    assert f"metta replay my_run/replays/{Path(replay).name}" in page
    for text in (report.table(), report.score_table(), report.wasted_table()):
        assert len(text.splitlines()) >= 3


def test_the_games_that_differ_most_are_linked_from_the_page(run_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / run_dir.name
    shutil.copytree(run_dir, run)
    suite = world_suite(small_world(), name="tiny/world", episodes=3)
    suite.simulations[0].score_metric = "action.move.success"
    report = analyze_run(run, suite=suite)
    assert {pair.other for pair in report.pairs} <= {"scripted", "random"} and len(report.pairs) >= 3
    assert any(pair.other_replay is None for pair in report.pairs) and "watch=3" in report.path.read_text()
    report = analyze_run(run, suite=suite, watch=3)
    page = report.path.read_text()
    assert "watch=3" not in page
    for pair in report.pairs:
        assert pair.policy == "my_run:2"
        for url, score in ((pair.replay, pair.score), (pair.other_replay, pair.other_score)):
            assert url is not None and Path(url).is_file()
            assert f'<a href="../replays/{Path(url).name}">{score:.2f}</a>' in page
            assert f"metta replay {url}" in report.pair_table()


@pytest.mark.usefixtures("undrawn")
def test_what_has_been_evaluated_is_not_played_again(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = analyze_run(run_dir, episodes=3)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("played again")

    monkeypatch.setattr("metta.sim.simulation.Simulation.run", refuse)
    again = analyze_run(run_dir, episodes=3, config=AnalysisConfig(metrics=["hearts"]))
    assert [score.summary for score in again.scores] == [score.summary for score in first.scores]
    assert [row.metric for row in again.rows] == ["hearts"]


@pytest.mark.usefixtures("undrawn")
def test_other_policies_are_put_beside_the_run(run_dir: Path, tmp_path: Path) -> None:
    config = AnalysisConfig(policies=["my_run:1", "mock://noop"], output=str(tmp_path / "page"))
    report = analyze_run(run_dir, episodes=3, config=config)
    assert [str(score.policy) for score in report.scores] == ["my_run:2", "my_run:1", "noop", "scripted", "random"]
    assert (tmp_path / "page" / "index.html").is_file()


def test_yardsticks_play_the_suites_own_seeds(tmp_path: Path) -> None:
    suite = world_suite(small_world(), name="tiny/world", episodes=2)
    found = yardsticks(suite, stats_uri=str(tmp_path / "s.duckdb"))
    assert list(found["tiny/world"]) == ["scripted", "random"]
    assert found["tiny/world"]["random"].episodes == 2
    assert yardsticks(suite, stats_uri=str(tmp_path / "s.duckdb")) == found


def test_where_no_run_is_a_message_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run in"):
        analyze_run(tmp_path / "nothing")


def test_a_page_escapes_what_it_shows(run_dir: Path, tmp_path: Path) -> None:
    suite = world_suite(small_world(), name="tiny/world", episodes=1)
    suite.name = "<script>alert(1)</script>"
    report = analyze_run(run_dir, suite=suite, config=AnalysisConfig(output=str(tmp_path)))
    assert "<script>" not in report.path.read_text()


def test_a_policy_that_does_not_load_fails_alone(run_dir: Path, tmp_path: Path) -> None:
    config = AnalysisConfig(policies=["my_run:9", "my_run:1"], output=str(tmp_path))
    report = analyze_run(run_dir, episodes=3, config=config)
    assert [str(score.policy) for score in report.scores] == ["my_run:2", "my_run:1", "scripted", "random"]
    assert list(report.failures) == ["my_run:9"] and "no epoch 9" in report.failures["my_run:9"]
    assert "my_run:9" in report.score_table() and "could not play: run" in report.path.read_text()


@pytest.mark.usefixtures("undrawn")
def test_another_network_of_the_same_name_and_epoch_is_not_taken_for_the_run(run_dir: Path, tmp_path: Path) -> None:
    other = tmp_path / run_dir.name / "checkpoints" / "agent_epoch_2.pt"
    other.parent.mkdir(parents=True)
    env = VecEnv(FixedTasks([Task(small_world(), 1)]), num_worlds=1)
    save_policy(
        other,
        make_policy("fast", env.space, seed=9, action_names=env.action_names),
        run="my_run",
        epoch=2,
        agent_step=1,
    )
    first = analyze_run(run_dir, episodes=3).scores[0]
    config = AnalysisConfig(policies=[str(other), "my_run:2"], output=str(tmp_path))
    report = analyze_run(run_dir, episodes=3, config=config)
    assert [str(score.policy) for score in report.scores] == ["my_run:2", "scripted", "random"]
    assert "is called my_run:2, as" in report.failures[str(other)]
    np.testing.assert_array_equal(report.scores[0].episodes, first.episodes)


def test_links_open_after_the_runs_folder_was_moved_as_a_whole(run_dir: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / run_dir.name
    analyze_run(run_dir, episodes=3)
    shutil.copytree(run_dir, moved)
    links = re.findall(r'href="([^"#]+)"', (moved / "report" / "index.html").read_text())
    local = [link for link in links if "://" not in link]
    assert local and all(not link.startswith("/") and (moved / "report" / link).resolve().is_file() for link in local)
    report = analyze_run(moved, episodes=3)  # knows the old addresses alone
    assert str(moved / "replays") in report.replay_urls["my_run:2"]["training/world"][0]


@pytest.mark.usefixtures("undrawn")
def test_a_replay_that_is_gone_has_no_link(run_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / run_dir.name
    shutil.copytree(run_dir, run)
    report = analyze_run(run, episodes=1)
    shutil.rmtree(run / "replays")
    assert any(report.replay_urls["my_run:2"].values())
    monkey = analyze_run(run, episodes=1, config=AnalysisConfig(output=str(tmp_path / "page")))
    there = [url for urls in monkey.replay_urls["my_run:2"].values() for url in urls]
    assert all(Path(url).exists() for url in there)


@pytest.mark.usefixtures("undrawn")
def test_only_the_episodes_that_are_asked_for_are_in_the_tables(run_dir: Path) -> None:
    analyze_run(run_dir, episodes=3)
    report = analyze_run(run_dir, episodes=2, config=AnalysisConfig(metrics=["hearts"]))
    assert [row.episodes for row in report.rows] == [2] and report.rows[0].agents == 12
    assert report.scores[0].summary.episodes == report.scores[0].summary.seeds == 2


@pytest.mark.usefixtures("undrawn")
def test_what_is_wasted_is_counted_over_all_simulations(run_dir: Path, tmp_path: Path) -> None:
    longer = small_world()
    longer.max_steps = 40
    worlds = {"tiny/one": small_world(), "tiny/two": longer}
    simulations = [SimulationConfig(name=name, world=world, num_episodes=2) for name, world in worlds.items()]
    suite = Suite(name="tiny", simulations=simulations)
    report = analyze_run(run_dir, suite=suite, config=AnalysisConfig(output=str(tmp_path)))
    with EvalStatsDB.from_uri(run_dir / "stats" / "stats.duckdb") as database:
        both = wasted_actions(database, PolicyVersion("my_run", 2), filter={"sim_name": list(worlds)})
    assert report.wasted[PolicyVersion("my_run", 2)] == both


@pytest.mark.usefixtures("undrawn")
def test_the_curve_of_another_run_has_its_own_evaluations(run_dir: Path) -> None:
    other = run_dir.parent / "other_run"
    if not other.exists():
        shutil.copytree(run_dir / "checkpoints", other / "checkpoints")
        for name in ("config.json", "metrics.jsonl"):
            shutil.copy(run_dir / name, other / name)
    analyze_run(other, episodes=4)
    report = analyze_run(run_dir, episodes=3, config=AnalysisConfig(policies=["other_run:1"]))
    assert [curve.label for curve in report.curves] == ["my_run", "other_run"]
    assert [point.agent_steps for point in report.curves[1].evaluations] == [200.0]  # its epoch 2, in its own file


@pytest.mark.usefixtures("undrawn")
def test_a_suite_of_other_worlds_has_no_yardstick_at_the_curve_of_training(run_dir: Path, tmp_path: Path) -> None:
    world = small_world()
    world.max_steps = 20
    suite = world_suite(world, name="tiny/other", episodes=2)
    report = analyze_run(run_dir, suite=suite, config=AnalysisConfig(output=str(tmp_path)))
    assert report.yardsticks == {} and report.curve_simulation == "training/world"
    assert {score.simulation for score in report.scores} == {"tiny/other"}
