"""The service plays suites by name and suites that are data, and imports nothing for either."""

from __future__ import annotations

import pytest
from pydantic import BaseModel
from tests.eval.eval_service.parts import MAP, small_suite

from metta.errors import SuiteError
from metta.eval import Suite, named_suite
from metta.eval.eval_service.suites import admitted_suite, models_in
from metta.grid.config import RuleConfig
from metta.grid.maps.config import (
    AsciiMapConfig,
    ComposedMapConfig,
    FunctionMapConfig,
    InstancesMapConfig,
    MapConfig,
    MirrorMapConfig,
)
from metta.grid.worlds import navigation_on
from metta.sim import SimulationConfig

CODE = FunctionMapConfig(function="os.system", parameters={"command": "true"})


def suite_on(map_config: MapConfig) -> Suite:
    world = navigation_on(AsciiMapConfig(text=MAP))
    world.map = map_config
    return Suite(name="own", simulations=[SimulationConfig(name="own/one", world=world)])


@pytest.mark.parametrize(
    "map_config",
    [
        CODE,
        InstancesMapConfig(instance=CODE),
        MirrorMapConfig(part=CODE),
        ComposedMapConfig(parts=[AsciiMapConfig(text=MAP), CODE]),
    ],
    ids=lambda config: config.type,
)
def test_a_map_that_code_draws_is_refused_however_deep_it_stands(map_config: MapConfig) -> None:
    with pytest.raises(SuiteError, match="imports no code"):
        admitted_suite(suite_on(map_config), episodes=None)
    drawn = suite_on(AsciiMapConfig(text=MAP))
    assert admitted_suite(drawn, episodes=None).hash == suite_on(AsciiMapConfig(text=MAP)).hash


def test_a_rule_of_somebodys_own_is_refused() -> None:
    suite = suite_on(AsciiMapConfig(text=MAP))
    suite.simulations[0].world.rules = [RuleConfig(function="os.system")]
    with pytest.raises(SuiteError, match=r"a rule of its world is the function 'os\.system', and the service"):
        admitted_suite(suite, episodes=None)


def test_a_dotted_path_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.import_module", lambda *_: pytest.fail("it was imported"))
    with pytest.raises(SuiteError, match="is sent as data"):
        admitted_suite("os.path.join", episodes=None)


def test_an_unknown_suite_names_the_nearest() -> None:
    with pytest.raises(SuiteError, match="did you mean arena"):
        admitted_suite("areena", episodes=None)


def test_episodes_replace_each_simulations_own_number_and_make_another_suite() -> None:
    few, own = admitted_suite("arena", episodes=3), admitted_suite("arena", episodes=None)
    assert [simulation.num_episodes for simulation in few.simulations] == [3, 3]
    assert few.hash != own.hash == named_suite("arena").hash
    sent = admitted_suite(small_suite(), episodes=5)
    assert [simulation.num_episodes for simulation in sent.simulations] == [5, 5]


def test_a_suite_must_hold_something_and_not_too_much() -> None:
    with pytest.raises(SuiteError, match="no simulations"):
        admitted_suite(Suite(name="empty", simulations=[]), episodes=None)
    with pytest.raises(SuiteError, match="at most"):
        admitted_suite(small_suite(episodes=10**9), episodes=None)


def test_every_model_is_found_wherever_it_stands() -> None:
    class Leaf(BaseModel):
        n: int

    class Tree(BaseModel):
        one: Leaf
        some: list[Leaf | tuple[Leaf, ...]]
        named: dict[str, list[Leaf]]

    tree = Tree(one=Leaf(n=0), some=[Leaf(n=1), (Leaf(n=2),)], named={"a": [Leaf(n=3)]})
    assert sorted(model.n for model in models_in(tree) if isinstance(model, Leaf)) == [0, 1, 2, 3]
