"""The built-in recipes: what they play and what they are paid for."""

from __future__ import annotations

import pytest

from metta.grid import compile_world
from metta.grid.worlds import arena, easy_arena, navigation
from metta.recipes import arena as arena_recipe
from metta.recipes import arena_basic_easy_shaped as easy_recipe
from metta.recipes import navigation as navigation_recipe
from metta.rl.batch import fit_batch
from metta.tools import TrainTool

TRAINERS = [arena_recipe.train, easy_recipe.train, navigation_recipe.train]


@pytest.mark.parametrize("train", TRAINERS, ids=lambda train: train.__module__)
def test_the_world_compiles_and_the_default_batch_fits_its_agents(train: object) -> None:
    tool = train()
    assert isinstance(tool, TrainTool)
    compile_world(tool.world)
    fit_batch(tool.trainer, agents_per_world=tool.world.num_agents)


def test_shaping_changes_what_the_arena_pays_and_nothing_else() -> None:
    shaped, plain = arena_recipe.train().world, arena_recipe.train(shaped=False).world
    assert plain == arena()
    assert shaped.agent.rewards.inventory == {"ore_red": 0.1, "battery_red": 0.3, "heart": 2.0}
    shaped.agent.rewards = plain.agent.rewards
    assert shaped == plain


def test_three_batteries_are_worth_carrying_to_the_altar() -> None:
    rewards = arena_recipe.train().world.agent.rewards
    assert rewards.inventory_max["battery_red"] >= 3 * rewards.inventory["battery_red"] - 1e-9


def test_the_easy_arena_and_navigation_are_the_standard_worlds() -> None:
    assert easy_recipe.train().world == easy_arena()
    assert easy_recipe.demo().training.world == easy_arena()
    assert navigation_recipe.train().world == navigation()


def test_parameters_reach_the_world() -> None:
    assert arena_recipe.train(num_agents=12).world.num_agents == 12
    assert easy_recipe.play(combat=False).world == easy_arena(combat=False)
    assert arena_recipe.replay(combat=False).world == arena(combat=False)


def test_every_recipe_is_evaluated_on_its_own_suite() -> None:
    assert arena_recipe.evaluate().suite == "arena"
    assert easy_recipe.evaluate().suite == "arena_basic_easy_shaped"
    assert navigation_recipe.evaluate().suite == "navigation"


def test_two_calls_share_nothing() -> None:
    first, second = arena_recipe.train(), arena_recipe.train()
    first.world.agent.rewards.inventory["heart"] = 9.0
    assert second.world.agent.rewards.inventory["heart"] == 2.0
