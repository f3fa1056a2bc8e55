"""Settings laid over a configuration."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from metta.cli.arguments import Setting, sort_arguments
from metta.cli.overrides import override
from metta.config import Config
from metta.errors import ConfigError


class Switch(Config):
    enabled: bool = True
    tags: list[str] = Field(default_factory=list)
    sizes: list[int] = Field(default_factory=list)


class Circle(Config):
    type: Literal["circle"] = "circle"
    radius: float = Field(1.0, gt=0)


class Square(Config):
    type: Literal["square"] = "square"
    side: int = Field(2, ge=1, le=9)
    inside: Circle | None = None


Shape = Annotated[Circle | Square, Field(discriminator="type")]


class Batch(Config):
    batch_size: int = 100
    minibatch_size: int = 10
    learning_rate: float = 0.1

    @model_validator(mode="after")
    def _check(self) -> Batch:
        if self.batch_size % self.minibatch_size:
            raise ValueError(f"batch_size={self.batch_size} is no multiple of minibatch_size={self.minibatch_size}")
        return self


class Root(Config):
    run: str | None = None
    text: str = ""
    device: Literal["cpu", "cuda"] = "cpu"
    count: int = 0
    batch: Batch = Field(default_factory=Batch)
    switch: Switch = Field(default_factory=Switch)
    shape: Shape = Field(default_factory=Circle)
    shapes: list[Shape] = Field(default_factory=list)
    named: dict[str, Shape] = Field(default_factory=dict)
    weights: dict[str, float] = Field(default_factory=dict)
    teams: dict[int, int] = Field(default_factory=dict)
    side: int | tuple[int, int] = 3
    optional: Square | None = None


def apply(*words: str, to: Root | None = None) -> Root:
    return override(to or Root(), sort_arguments(words).settings)[0]


def message(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        apply(*words)
    return str(caught.value)


def test_the_fields_type_decides_how_a_value_is_read() -> None:
    root = apply("count=1_000", "text=007", "run=none", "batch.learning_rate=1e-3", "device=cuda", "switch.enabled=off")
    assert (root.count, root.text, root.run, root.batch.learning_rate, root.device) == (1000, "007", None, 1e-3, "cuda")
    assert root.switch.enabled is False
    assert apply("count=1e6").count == 1_000_000
    assert apply("text=none", "run=true").model_dump(include={"text", "run"}) == {"text": "none", "run": "true"}


def test_a_text_keeps_everything_behind_the_first_equals_sign() -> None:
    assert apply("text= a=b [c] ").text == " a=b [c] "


def test_overrides_do_not_change_what_they_are_laid_over() -> None:
    root = Root(weights={"a": 1.0})
    assert apply("weights.a=2", "batch.learning_rate=3", to=root).weights == {"a": 2.0}
    assert root == Root(weights={"a": 1.0})


@pytest.mark.parametrize("order", [1, -1])
def test_settings_that_are_only_valid_together_may_come_in_any_order(order: int) -> None:
    words = ["batch.batch_size=96", "batch.minibatch_size=32"]
    assert apply(*words[::order]).batch.batch_size == 96


def test_a_rule_between_fields_names_both_values() -> None:
    assert message("batch.batch_size=96") == "batch: batch_size=96 is no multiple of minibatch_size=10"


@pytest.mark.parametrize("order", [1, -1])
def test_a_variant_is_chosen_before_its_fields_whatever_the_order(order: int) -> None:
    words = ["shape.type=square", "shape.side=5"]
    assert apply(*words[::order]).shape == Square(side=5)


def test_another_variant_begins_from_its_own_defaults() -> None:
    assert apply("shape.type=circle", to=Root(shape=Square(side=4))).shape == Circle()
    assert apply("shape.type=square", to=Root(shape=Square(side=4))).shape == Square(side=4)


def test_an_unknown_variant_is_refused_with_those_there_are() -> None:
    assert message("shape.type=squire") == (
        "shape.type: given 'squire', allowed: circle or square (did you mean square, circle?)"
    )


def test_a_field_of_another_variant_is_unknown() -> None:
    assert message("shape.side=3") == "unknown key 'shape.side': shape has no 'side' (with shape.type=square it would)"


def test_entries_of_dictionaries_are_read_as_the_entries_type() -> None:
    root = apply("weights.heart=1", "teams.2=7", "named.one.type=square", "named.one.side=3")
    assert root.weights == {"heart": 1.0} and isinstance(root.weights["heart"], float)
    assert root.teams == {2: 7}
    assert root.named == {"one": Square(side=3)}


def test_a_dictionary_key_may_hold_dots() -> None:
    assert apply("weights.action.move.success=0.5").weights == {"action.move.success": 0.5}
    root = Root(named={"a.b": Circle()})
    assert apply("named.a.b.radius=2", "named.c.d.type=circle", to=root).named == {
        "a.b": Circle(radius=2),
        "c.d": Circle(),
    }


def test_a_new_entry_that_could_be_several_things_asks_which() -> None:
    assert message("named.one.side=3") == "named.one is not set: give named.one.type=circle|square too"


def test_lists_take_several_texts_json_or_one_text() -> None:
    assert apply("switch.tags=a", "switch.tags=b").switch.tags == ["a", "b"]
    assert apply("switch.tags=a,b").switch.tags == ["a,b"]
    assert apply('switch.tags=["a", "b"]').switch.tags == ["a", "b"]
    assert apply("switch.tags=[a, b]").switch.tags == ["a", "b"]
    assert apply("switch.sizes=1,2").switch.sizes == [1, 2]
    assert apply("side=4").side == 4
    assert apply("side=4,5").side == (4, 5)


def test_list_items_are_named_by_number_and_one_more_adds_an_item() -> None:
    root = Root(shapes=[Circle(), Square()])
    changed = apply("shapes.1.side=7", "shapes.2.type=circle", to=root)
    assert changed.shapes == [Circle(), Square(side=7), Circle()]
    assert "a list of 0" in message("shapes.3.side=7")


def test_an_optional_part_is_made_when_one_of_its_fields_is_set() -> None:
    assert apply("optional.side=3").optional == Square(side=3)
    assert apply("optional.inside.radius=3").optional == Square(inside=Circle(radius=3))
    assert apply("optional=none", to=Root(optional=Square())).optional is None


def test_a_part_with_a_switch_can_be_turned_on_and_off_by_its_name() -> None:
    assert apply("switch=off").switch.enabled is False
    assert apply("switch=off", "switch.tags=a").switch == Switch(enabled=False, tags=["a"])


def test_a_whole_part_can_be_given_as_json() -> None:
    assert apply('shape={"type": "square", "side": 4}', "shape.side=5").shape == Square(side=5)
    assert apply('weights={"a": 1}', "weights.b=2").weights == {"a": 1.0, "b": 2.0}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["bach.size=3"], "unknown key 'bach.size': the configuration has no 'bach' (did you mean batch?)"),
        (["batch.bach_size=3"], "unknown key 'batch.bach_size': batch has no 'bach_size' (did you mean batch_size"),
        (["learning_rate=3"], "the configuration has no 'learning_rate' (did you mean batch.learning_rate?)"),
        (["count.x=3"], "unknown key 'count.x': count is a whole number, it has no fields"),
        (["count=3.5"], "count: given '3.5', allowed: a whole number"),
        (["switch.enabled=perhaps"], "switch.enabled: given 'perhaps', allowed: on or off"),
        (["device=gpu"], "device: given 'gpu', allowed: cpu or cuda"),
        (["shape.type=square", "shape.side=12"], "shape.side: given '12', allowed: "),
        (["teams.red=3"], "teams.red: a key there is a whole number"),
        (["count=1", "count=2"], "count: given twice, '1' and '2', and it is no list"),
        (["batch=3"], "batch: given '3', allowed: a JSON object or settings of its own fields"),
    ],
)
def test_a_mistake_is_one_line_that_says_where_what_was_given_and_what_is_allowed(
    words: list[str], expected: str
) -> None:
    told = message(*words)
    assert expected in told
    assert "\n" not in told


def test_bounds_are_told_in_words() -> None:
    assert "at least 1 and at most 9" in message("shape.type=square", "shape.side=12")


def test_all_mistakes_are_told_at_once() -> None:
    assert len(message("count=x", "nothing=3", "device=gpu").splitlines()) == 3


def test_names_of_parameters_count_among_the_nearest() -> None:
    with pytest.raises(ConfigError, match="num_agents"):
        override(Root(), [Setting("num_agent", "3")], also=["num_agents"])


def test_the_other_names_stand_for_their_paths() -> None:
    assert Setting("py_agent", "lstm").path == ("policy", "architecture")
    assert Setting("trainer.num_workers", "2").path == ("system", "threads")
    assert sort_arguments(["trainer.num_workers=2"]).text_of("system.threads") == "2"


def test_a_key_that_is_called_like_its_type_keeps_its_name_in_messages() -> None:
    from metta.grid.config import WorldConfig
    from metta.grid.maps.config import InstancesMapConfig, ScatterMapConfig

    config = InstancesMapConfig(instance=ScatterMapConfig())
    for whole, path in ((config, "instances"), (WorldConfig(map=config), "map.instances")):
        with pytest.raises(ConfigError) as error:
            override(whole, [Setting(path, "0")])
        assert str(error.value).startswith(f"{path}: given '0', allowed: ")


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "1e999"])
def test_a_number_that_is_not_finite_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        override(Batch(), [Setting("learning_rate", text)])
    assert str(error.value) == f"learning_rate: given {text!r}, allowed: a number"


def test_words_are_sorted_into_settings_flags_and_the_rest() -> None:
    found = sort_arguments(["arena", "a.b=c", "--dry-run", "--gif", "--x=1", "train_dir/a=b/x.pt", "--", "-v"])
    assert found.words == ("arena", "train_dir/a=b/x.pt", "-v")
    assert [str(setting) for setting in found.settings] == ["a.b=c", "x=1"]
    assert found.flags == {"dry_run"}
    assert found.tool_flags == ("--gif",)
