"""Cross-play: who meets whom, on what, and what is read from the games; against plain loops over the tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metta.agent import make_policy, save_policy
from metta.envs import FixedTasks, Task, VecEnv
from metta.errors import ConfigError
from metta.eval import EvalStatsDB, PolicyEvaluator, Suite
from metta.eval.cross_play.partners import with_partners
from metta.eval.cross_play.play import CrossPlay, CrossPlayResults
from metta.eval.cross_play.scores import CrossScores
from metta.eval.statistics import mean_interval
from metta.eval.suites import shared_suite
from metta.grid import WorldConfig
from metta.grid.maps.config import AsciiMapConfig
from metta.grid.worlds import navigation_on
from metta.sim import Simulation, SimulationConfig, evaluation_seeds

MAP = """
###########
#@...._..@#
#._..@....#
#@...._..@#
#@...._..@#
###########
""".strip()
RANDOM, NOOP, SCRIPTED = "mock://random", "mock://noop", "mock://scripted"


def world(*, num_agents: int = 7, max_steps: int = 25) -> WorldConfig:
    """Agents among altars with one heart each."""
    config = navigation_on(AsciiMapConfig(text=MAP), max_steps=max_steps)
    config.num_agents = num_agents
    return config


def suite(*, episodes: int = 4, worlds: int = 1) -> Suite:
    simulations = [
        SimulationConfig(name=f"tiny/{number}", world=world(max_steps=25 - number), num_episodes=episodes)
        for number in range(worlds)
    ]
    return Suite(name="tiny", simulations=simulations)


def cross_play(folder: Path, games: Suite | None = None, **options: object) -> CrossPlay:
    return CrossPlay(suite=games or suite(), stats_uri=str(folder / "s.duckdb"), data_dir=str(folder), **options)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CrossPlayResults]:
    folder = tmp_path_factory.mktemp("played")
    games = cross_play(folder, suite(worlds=2), share=0.3)
    return folder, games.play([RANDOM, NOOP, SCRIPTED], held_out=[network(folder, "stranger")])


def network(folder: Path, name: str, *, seed: int = 1, config: WorldConfig | None = None) -> str:
    """Save a new policy as a run; returns its address."""
    env = VecEnv(FixedTasks([Task(config or world(), 1)]), num_worlds=1)
    path = folder / name / "checkpoints" / "agent_epoch_3.pt"
    path.parent.mkdir(parents=True)
    policy = make_policy("fast", env.space, seed=seed, action_names=env.action_names)
    save_policy(path, policy, run=name, epoch=3, agent_step=0)
    return name


def slowly(folder: Path, simulation: str, focal: str, partner: str) -> tuple[list[float], list[float]]:
    """The hearts of focal's and of partner's agents by seed, from the tables, a game and an agent after the other."""
    with EvalStatsDB.from_uri(folder / "s.duckdb") as database:
        simulations, episodes, players, metrics = (
            database.table(name) for name in ("simulations", "episodes", "agent_policies", "agent_metrics")
        )
    names = simulations.name.str.contains(f"^{simulation}/against-{partner}\\b")
    names = simulations.name == simulation if focal == partner else names
    (played,) = simulations[names & (simulations.policy_key == focal)].id
    found: tuple[list[float], list[float]] = ([], [])
    for seed in evaluation_seeds(4):
        (episode,) = episodes[(episodes.simulation_id == played) & (episodes.seed == seed)].id
        in_game = players[players.episode_id == episode]
        hearts = metrics[(metrics.episode_id == episode) & (metrics.metric == "hearts")].set_index("agent_id").value
        for who, scores in zip((focal, partner), found, strict=True):
            agents = in_game[in_game.policy_key == who].agent_id
            scores.append(sum(hearts.get(agent, 0.0) for agent in agents) / len(agents))
    return found


def test_the_matrix_is_what_the_tables_say_game_by_game(played: tuple[Path, CrossPlayResults]) -> None:
    folder, results = played
    names = ["random", "noop", "scripted", "stranger"]
    assert [policy.key for policy in (*results.policies, *results.held_out)] == names
    assert [scores.simulation for scores in results.scores] == ["tiny/0", "tiny/1"]
    for scores in results.scores:
        assert scores.focal.shape == scores.partner.shape == (4, 3, 4) and scores.metric == "hearts"
        for row, focal in enumerate(names[:3]):
            for column, partner in enumerate(names):
                expected = slowly(folder, scores.simulation, focal, partner)
                np.testing.assert_allclose(scores.focal[:, row, column], expected[0])
                np.testing.assert_allclose(scores.partner[:, row, column], expected[1])
                assert scores.focal_interval(row, column) == mean_interval([np.array(expected[0])])
                assert scores.partner_interval(row, column) == mean_interval([np.array(expected[1])])
    assert len(np.unique(results.scores[0].focal)) > 4  # something happens in this world


def test_who_did_better_counts_both_games_of_a_seed(played: tuple[Path, CrossPlayResults]) -> None:
    folder, results = played
    outcomes = results.scores[1].outcomes()
    names = ["random", "noop", "scripted"]
    assert outcomes.shape == (4, 3, 3)
    for row, a in enumerate(names):
        assert np.isnan(outcomes[:, row, row]).all()
        for column, b in enumerate(names):
            if a != b:
                one, other = slowly(folder, "tiny/1", a, b), slowly(folder, "tiny/1", b, a)
                games = [(one[0][seed], one[1][seed]) for seed in range(4)]
                swapped = [(other[1][seed], other[0][seed]) for seed in range(4)]
                won = [[(x > y) + 0.5 * (x == y) for x, y in half] for half in (games, swapped)]
                np.testing.assert_allclose(outcomes[:, row, column], np.mean(won, axis=0))
    assert len(np.unique(outcomes[~np.isnan(outcomes)])) >= 3


def scores_of(focal: np.ndarray, partner: np.ndarray) -> CrossScores:
    return CrossScores(simulation="a/b", metric="reward", focal=focal, partner=partner, focal_agents=1, agents=2)


def test_scores_that_differ_by_rounding_are_a_tie() -> None:
    focal = np.array([[[0.0, 0.1 * 3], [0.3, 0.0]]])
    partner = np.array([[[0.0, 0.3], [0.1 * 3, 0.0]]])
    assert focal[0, 0, 1] != partner[0, 0, 1] and scores_of(focal, partner).outcomes()[0, 0, 1] == 0.5


def test_the_same_rewards_in_another_order_are_a_tie_and_one_more_is_none() -> None:
    generator = np.random.default_rng(0)
    differ = 0
    for _ in range(50):
        rewards = generator.choice([0.01, 0.1, 1.0, -0.1], size=1000).astype(np.float32)
        x, y, more = (
            float(np.cumsum(order, dtype=np.float32)[-1])
            for order in (rewards, generator.permutation(rewards), np.append(rewards, np.float32(0.01)))
        )
        for other, outcome in ((y, 0.5), (more, 0.0)):
            focal, partner = np.array([[[0.0, x], [other, 0.0]]]), np.array([[[0.0, other], [x, 0.0]]])
            assert scores_of(focal, partner).outcomes()[0, 0, 1] == outcome
        differ += x != y
    assert differ > 25
    cancelled = np.array([[[0.0, 1e-8], [0.0, 0.0]]])
    assert scores_of(cancelled, np.zeros((1, 2, 2))).outcomes()[0, 0, 1] == 0.5


def test_with_only_one_of_the_two_games_that_one_counts() -> None:
    focal, partner = np.full((2, 1, 2, 2), np.nan)
    focal[0, 0, 1], partner[0, 0, 1] = 2.0, 1.0
    outcomes = scores_of(focal, partner).outcomes()
    assert outcomes[0, 0, 1] == 1.0 and outcomes[0, 1, 0] == 0.0


def places(folder: Path, focal: str, partner: str) -> pd.Series:
    """Seed and agent -> whether the focal policy played it."""
    with EvalStatsDB.from_uri(folder / "s.duckdb") as database:
        rows = database.query(
            """SELECT e.seed, p.agent_id, p.policy_key = s.policy_key AS is_focal FROM agent_policies p
               JOIN episodes e ON e.id = p.episode_id JOIN simulations s ON s.id = e.simulation_id
               WHERE s.policy_key = ? AND s.name LIKE ?""",
            [focal, f"%/against-{partner}%"],
        )
    return rows.set_index(["seed", "agent_id"]).is_focal.sort_index()


def test_at_one_half_both_games_of_a_seed_have_all_places_swapped(tmp_path: Path) -> None:
    games = suite(episodes=6)
    games.simulations[0].world = world(num_agents=6)
    games.simulations[0].world.map = AsciiMapConfig(text=MAP.replace("#@", "#.", 1))
    cross_play(tmp_path, games).play([RANDOM, NOOP])
    one, other = places(tmp_path, "random", "noop"), places(tmp_path, "noop", "random")
    assert len(one) == 6 * 6
    pd.testing.assert_series_equal(one, other)  # each in turn sits where the other has been focal
    assert set(one.groupby("agent_id").sum()) == {3}  # and from seed to seed too


@pytest.mark.parametrize(("share", "agents"), [(0.3, 2), (0.7, 5)])
def test_the_focal_policy_plays_its_share(tmp_path: Path, share: float, agents: int) -> None:
    results = cross_play(tmp_path, suite(episodes=1), share=share).play([RANDOM, NOOP])
    assert places(tmp_path, "random", "noop").sum() == places(tmp_path, "noop", "random").sum() == agents
    assert (results.scores[0].focal_agents, results.scores[0].agents) == (agents, 7)


@pytest.fixture
def plays(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the simulations that are really played."""
    found: list[str] = []
    run = Simulation.run

    def counted(self: Simulation, **options: object) -> object:
        found.append(self.config.name)
        return run(self, **options)

    monkeypatch.setattr(Simulation, "run", counted)
    return found


def test_nothing_is_played_twice_and_a_newcomer_plays_its_own_games_alone(tmp_path: Path, plays: list[str]) -> None:
    first = cross_play(tmp_path, suite(episodes=2)).play([RANDOM, NOOP])
    assert len(plays) == 4
    again = cross_play(tmp_path, suite(episodes=2)).play([NOOP, RANDOM])
    assert len(plays) == 4
    np.testing.assert_array_equal(first.scores[0].focal, again.scores[0].focal[:, ::-1, ::-1])
    cross_play(tmp_path, suite(episodes=2)).play([RANDOM, NOOP, SCRIPTED])
    assert len(plays) == 4 + 5
    cross_play(tmp_path, suite(episodes=2), share=0.3).play([RANDOM, NOOP])
    assert len(plays) == 9 + 2  # with itself there is nothing to share
    cross_play(tmp_path, suite(episodes=2)).play([RANDOM, NOOP])
    assert len(plays) == 11  # and the other share is still there


def test_pairs_are_announced(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    games = cross_play(tmp_path, suite(episodes=1), on_pair=lambda *pair: told.append(pair))
    games.play([RANDOM], held_out=[NOOP, SCRIPTED])
    assert told == [("random with itself", 1, 3), ("random with noop", 2, 3), ("random with scripted", 3, 3)]


def test_a_partner_held_out_is_met_and_never_focal(played: tuple[Path, CrossPlayResults], plays: list[str]) -> None:
    folder, results = played
    with EvalStatsDB.from_uri(folder / "s.duckdb") as database:
        focal = set(database.table("simulations").policy_key)
        assert focal == {"random", "noop", "scripted"}
        assert "stranger:v3" in database.get_all_policy_uris()
    assert plays == []
    found = with_partners(results.scores, 2)
    itself = [scores.focal[:, 2, 2] for scores in results.scores]
    others = [(scores.focal[:, 2, 0] + scores.focal[:, 2, 1]) / 2 for scores in results.scores]
    strangers = [scores.focal[:, 2, 3] for scores in results.scores]
    assert found.itself == mean_interval(itself)
    np.testing.assert_allclose(found.each_other, mean_interval(others))
    assert found.held_out == mean_interval(strangers)
    np.testing.assert_allclose(found.gap_each_other, mean_interval([itself[k] - others[k] for k in (0, 1)]))
    assert found.gap_held_out == mean_interval([itself[k] - strangers[k] for k in (0, 1)])


def test_a_gap_is_taken_seed_by_seed_and_seeds_without_every_partner_are_left_out() -> None:
    focal = np.zeros((3, 1, 3))
    focal[:, 0, 0] = [10, 20, 30]
    focal[:, 0, 1] = [9, 19, np.nan]
    focal[:, 0, 2] = np.nan  # never played
    found = with_partners([scores_of(focal, focal)], 0)
    assert found.itself is not None and found.itself.value == 20
    assert found.gap_held_out == (1.0, 1.0, 1.0)
    assert found.held_out is not None and found.held_out.value == 14
    assert found.each_other is None and found.gap_each_other is None


def test_who_does_not_load_costs_its_own_row_alone(tmp_path: Path) -> None:
    damaged = network(tmp_path, "damaged")
    file = tmp_path / "damaged" / "checkpoints" / "agent_epoch_3.pt"
    file.write_bytes(file.read_bytes()[:-100])
    results = cross_play(tmp_path).play([RANDOM, "nix", NOOP, str(file)], held_out=["nobody", SCRIPTED])
    assert [policy.key for policy in results.policies] == ["random", "noop"]
    assert [policy.key for policy in results.held_out] == ["scripted"]
    assert set(results.failures) == {"nix", str(file), "nobody"} and damaged
    assert "no policy at 'nix'" in results.failures["nix"]
    assert not np.isnan(results.scores[0].focal).any()


def test_who_cannot_play_in_the_world_costs_its_own_row_alone(tmp_path: Path) -> None:
    fewer = world()
    fewer.actions.move.enabled = False
    fewer.actions.rotate.enabled = not fewer.actions.rotate.enabled
    other = network(tmp_path, "other", config=fewer)
    results = cross_play(tmp_path).play([RANDOM, other, NOOP], held_out=[])
    assert [policy.key for policy in results.policies] == ["random", "noop"]
    assert set(results.failures) == {other}
    results = cross_play(tmp_path).play([RANDOM, NOOP], held_out=[other])
    assert set(results.failures) == {"random with other:3", "noop with other:3"}
    assert np.isnan(results.scores[0].focal[:, :, 2]).all() and not np.isnan(results.scores[0].focal[:, :, :2]).any()


def test_without_anybody_who_loads_there_are_no_games(tmp_path: Path) -> None:
    results = cross_play(tmp_path).play(["nix", "nobody"])
    assert (results.policies, results.scores) == ([], []) and len(results.failures) == 2


def test_mistakes_are_told_before_anything_is_played(tmp_path: Path, plays: list[str]) -> None:
    games = cross_play(tmp_path)
    with pytest.raises(ConfigError, match="two policies at least"):
        games.play([RANDOM])
    with pytest.raises(ConfigError, match=r"called random.*give it once"):
        games.play([RANDOM, NOOP, RANDOM])
    with pytest.raises(ConfigError, match="called random"):
        games.play([RANDOM, NOOP], held_out=[RANDOM])
    network(tmp_path, "run"), network(tmp_path / "elsewhere", "run", seed=2)
    with pytest.raises(ConfigError, match=r"two policies are called run:3: .*elsewhere.*rename"):
        games.play(["run", str(tmp_path / "elsewhere" / "run")])
    with pytest.raises(ConfigError, match="share=1"):
        cross_play(tmp_path, share=1).play([RANDOM, NOOP])
    alone = navigation_on(AsciiMapConfig(text="@._"), max_steps=3)
    with pytest.raises(ConfigError, match="world of one agent"):
        cross_play(tmp_path, Suite(name="t", simulations=[SimulationConfig(name="t/a", world=alone)])).play(
            [RANDOM, NOOP]
        )
    taken = SimulationConfig(name="t/a", world=world(), policy_agents_pct=0.5, npc_policy_uri=NOOP)
    with pytest.raises(ConfigError, match="partners of its own"):
        cross_play(tmp_path, Suite(name="t", simulations=[taken])).play([RANDOM, NOOP])
    assert plays == []


def test_one_network_under_two_names_is_refused(tmp_path: Path, plays: list[str]) -> None:
    network(tmp_path, "mine"), network(tmp_path, "same"), network(tmp_path, "other", seed=2)
    for policies, held_out in ((["mine", "other"], ["same"]), (["mine", "same"], []), (["other"], ["mine", "same"])):
        with pytest.raises(ConfigError, match="mine:3 and same:3 are one network"):
            cross_play(tmp_path).play(policies, held_out=held_out)
    assert plays == []


def test_what_evaluate_played_against_a_partner_is_not_played_again(tmp_path: Path, plays: list[str]) -> None:
    """One name and one address for one game, whichever command asks for it."""
    network(tmp_path, "mine")
    games = cross_play(tmp_path, suite(episodes=1))
    shared = shared_suite(games.suite, ["mine"], data_dir=str(tmp_path))
    PolicyEvaluator(shared, stats_uri=games.stats_uri, data_dir=str(tmp_path)).evaluate(RANDOM)
    assert plays == ["tiny/0/against-mine:3"]
    games.play([RANDOM], held_out=["mine"])
    assert plays == ["tiny/0/against-mine:3", "tiny/0"]


def test_names_that_a_simulation_may_not_have_stay_different(tmp_path: Path) -> None:
    paths = []
    for seed, name in enumerate(("a b", "a-b")):
        network(tmp_path, "x" + name[1], seed=seed)
        source = tmp_path / ("x" + name[1]) / "checkpoints" / "agent_epoch_3.pt"
        paths.append(str(source.rename(tmp_path / f"{name}.pt")))
    results = cross_play(tmp_path, suite(episodes=1)).play([RANDOM], held_out=paths)
    assert [policy.key for policy in results.held_out] == ["a b", "a-b"]
    assert not np.isnan(results.scores[0].focal).any()
