"""Suites, and the summaries of what was scored in them."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import pytest

from metta.agent import make_policy
from metta.agent.artifact import save_policy
from metta.envs.spaces import token_space
from metta.errors import CheckpointError, SuiteError
from metta.eval import SUITES, EvalRewardSummary, Suite, named_suite, world_suite
from metta.eval.suites import shared_suite
from metta.grid import WorldConfig, compile_world
from metta.grid.config import RuleConfig
from metta.grid.worlds import arena, easy_arena
from metta.sim import SimulationConfig


def test_basic_and_combat_are_different_worlds() -> None:
    for name in ("arena", "arena_basic_easy_shaped"):
        basic, combat = named_suite(name).simulations
        assert basic.world != combat.world and basic.env() != combat.env()
        assert basic.world.actions.attack.consumed_resources == {"laser": 100}
        assert combat.world.actions.attack.consumed_resources == {"laser": 1}


def test_the_hash_of_a_suite_knows_the_source_of_a_rule_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    rule = tmp_path / "rule_of_a_suite.py"
    hashes = []
    for text in ("def rule(rules, state, buffers, e): pass\n", "def rule(rules, state, buffers, e): return\n"):
        rule.write_text(text)
        sys.modules.pop("rule_of_a_suite", None)  # as another process has it
        world = WorldConfig(num_agents=1, rules=[RuleConfig(function="rule_of_a_suite.rule")])
        hashes.append(world_suite(world, name="a/b").hash)
    assert hashes[0] != hashes[1]


def test_changing_one_simulation_changes_no_other() -> None:
    world = arena()
    suite = Suite(name="mine", simulations=[SimulationConfig(name=f"mine/{n}", world=world) for n in "ab"])
    suite.simulations[0].world.actions.attack.consumed_resources["laser"] = 7
    suite.simulations[0].world.agent.rewards.inventory["heart"] = 3.0
    assert suite.simulations[1].world == world == arena()
    named_suite("arena").simulations[0].world.num_agents = 3
    assert named_suite("arena").simulations[0].world.num_agents == 24


def test_the_navigation_suite_has_32_seeds_and_8_maps_by_name() -> None:
    suite = named_suite("navigation")
    episodes = {simulation.name: simulation.num_episodes for simulation in suite.simulations}
    assert episodes.pop("navigation/terrain") == 32
    assert len(episodes) == 8
    assert all(name.startswith(("navigation/maze", "navigation/rooms")) for name in episodes)


@pytest.mark.parametrize("name", SUITES)
def test_a_suites_simulations_have_one_category_and_the_score_is_hearts(name: str) -> None:
    suite = named_suite(name, episodes=3)
    assert len({simulation.name.split("/")[0] for simulation in suite.simulations}) == 1
    assert {(simulation.score(), simulation.num_episodes) for simulation in suite.simulations} == {("hearts", 3)}


def test_the_hash_tells_what_is_played() -> None:
    assert named_suite("arena").hash == named_suite("arena").hash
    hashes = {named_suite(name).hash for name in SUITES} | {named_suite("arena", episodes=3).hash}
    assert len(hashes) == len(SUITES) + 1
    changed = named_suite("arena")
    changed.simulations[1].world.max_steps = 999
    assert changed.hash != named_suite("arena").hash


CHANGES = {
    "name": "mine/other",
    "num_episodes": 5,
    "seed": 1,
    "max_seconds": 9.0,
    "score_metric": "reward",
    "episode_tags": {"purpose": "test"},
    "world.max_steps": 9,
    "world.agent.rewards.inventory": {"heart": 2.0},
    "world.map.instance.width": 30,
    "world.actions.attack.consumed_resources": {"laser": 2},
}


@pytest.mark.parametrize("path", CHANGES)
def test_the_hash_changes_with_everything_that_is_played(path: str) -> None:
    suite, changed = (world_suite(arena(), name="mine/world") for _ in range(2))
    *parents, field = path.split(".")
    owner = functools.reduce(getattr, parents, changed.simulations[0])
    assert getattr(owner, field) != CHANGES[path]
    setattr(owner, field, CHANGES[path])
    assert changed.hash != suite.hash


def test_the_hash_changes_with_who_else_plays_but_not_with_the_name_of_the_suite() -> None:
    def suite(name: str, **options: object) -> Suite:
        return Suite(name=name, simulations=[SimulationConfig(name="a/b", world=arena(), **options)])

    against = [{"policy_agents_pct": 0.5, "npc_policy_uri": uri} for uri in ("mock://noop", "mock://random")]
    others = [*against, {"policy_agents_pct": 0.5, "npc_policy_uri": ["mock://noop", "mock://random"]}]
    assert len({suite("mine").hash, *(suite("mine", **options).hash for options in others)}) == 4
    assert suite("mine").hash == suite("yours").hash
    for name in SUITES:
        renamed = named_suite(name)
        renamed.name = "another"
        assert renamed.hash == named_suite(name).hash


def test_an_unknown_suite_names_the_nearest() -> None:
    with pytest.raises(SuiteError, match=r"no suite 'arenas'.*did you mean arena"):
        named_suite("arenas")


def test_two_simulations_of_one_name_are_refused() -> None:
    twice = [SimulationConfig(name="arena/basic", world=arena()) for _ in range(2)]
    with pytest.raises(SuiteError, match="given twice: arena/basic"):
        Suite(name="mine", simulations=twice)


def test_names_whose_replays_would_overwrite_each_other_are_refused() -> None:
    """Both would be called arena-basic in a file's name."""
    alike = [SimulationConfig(name=name, world=arena()) for name in ("arena/basic", "arena-basic")]
    with pytest.raises(SuiteError, match=r"differ in more than .*: arena/basic, arena-basic"):
        Suite(name="mine", simulations=alike)


def test_a_category_is_the_name_before_the_first_slash() -> None:
    scores = {"nav/maze": 1.0, "nav/rooms": 3.0, "navigation/x": 5.0, "arena/a/b": 7.0, "plain": 9.0}
    summary = EvalRewardSummary.from_simulation_scores(scores)
    assert summary.category_scores == {"nav": 2.0, "navigation": 5.0, "arena": 7.0, "plain": 9.0}
    assert summary.avg_simulation_score == 5.0
    assert summary.avg_category_score == 5.75
    assert summary.to_wandb_metrics_format() == {
        "nav/score": 2.0,
        "navigation/score": 5.0,
        "arena/score": 7.0,
        "plain/score": 9.0,
        "nav/maze": 1.0,
        "nav/rooms": 3.0,
        "navigation/x": 5.0,
        "arena/a/b": 7.0,
        "plain/plain": 9.0,
    }


def test_without_scores_the_averages_are_zero() -> None:
    assert EvalRewardSummary().avg_category_score == EvalRewardSummary().avg_simulation_score == 0.0


def test_simulations_may_be_named_by_category_and_name() -> None:
    summary = EvalRewardSummary(category_scores={"nav": 1.0}, simulation_scores={("nav", "maze"): 1.0})
    assert summary.simulation_scores == {"nav/maze": 1.0}


def test_a_world_is_a_suite_of_one() -> None:
    suite = world_suite(arena(), name="training/world", episodes=5)
    assert [s.name for s in suite.simulations] == ["training/world"] and suite.name == "training"


def test_a_users_own_suite_is_named_by_its_function(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_suites.py").write_text(
        "from metta.eval import world_suite\nfrom metta.grid.worlds import arena\nnumber = int\n"
        "def tiny():\n    return world_suite(arena(), name='mine/world', episodes=9)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert named_suite("my_suites.tiny", episodes=2).simulations[0].num_episodes == 2
    with pytest.raises(SuiteError, match="cannot be imported"):
        named_suite("my_suites.tine")
    with pytest.raises(SuiteError, match="returned a int"):
        named_suite("my_suites.number")


def test_a_run_that_plays_the_others_is_fixed_to_its_epoch_wherever_it_lies(tmp_path: Path) -> None:
    found = []
    for folder in (tmp_path / "here", tmp_path / "there"):
        for epoch in (3, 20):
            path = folder / "mine" / "checkpoints" / f"agent_epoch_{epoch}.pt"
            compiled = compile_world(easy_arena())
            policy = make_policy("fast", token_space(compiled), seed=epoch, action_names=compiled.action_names)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_policy(path, policy, run="mine", epoch=epoch, agent_step=1)
        suite = world_suite(easy_arena(), name="a/b")
        found += [
            shared_suite(suite, [uri], data_dir=str(folder)).simulations[0]
            for uri in ("mine:3", "mine:20", "mine", str(folder / "mine"))
        ]
    assert [one.npc_policy_uri for one in found] == ["mine:3", "mine:20", "mine:20", "mine:20"] * 2
    assert [one.name for one in found[:2]] == ["a/b/against-mine:3", "a/b/against-mine:20"]
    assert [one.env() for one in found[:4]] == [one.env() for one in found[4:]]
    with pytest.raises(CheckpointError, match="no policy at 'nobody'"):
        shared_suite(suite, ["nobody"], data_dir=str(tmp_path))


def test_no_simulation_is_called_all() -> None:
    with pytest.raises(SuiteError, match="cannot be called 'all'"):
        Suite(name="mine", simulations=[SimulationConfig(name="all", world=arena())])


def test_games_that_are_the_same_keep_the_hash_under_which_they_were_stored() -> None:
    """A new option of a world must leave these alone while it is not used: it would hide every score from before."""
    suites = {name: named_suite(name) for name in ("arena", "arena_basic_easy_shaped", "navigation")}
    assert {name: suite.hash for name, suite in suites.items()} == {
        "arena": "dd706c8228e7",
        "arena_basic_easy_shaped": "a6599cdda5e6",
        "navigation": "711593ca3efc",
    }
    assert [simulation.env() for simulation in suites["arena"].simulations] == ["7c4f6ed8e45c", "73984c1ed28e"]
    with_rule = suites["arena"].simulations[0]
    with_rule.world.rules = [RuleConfig(function="tests.grid.own.pay")]
    assert with_rule.env() != "7c4f6ed8e45c"
