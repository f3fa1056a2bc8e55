"""change_color and change_glyph."""

from __future__ import annotations

from metta.grid.world import AGENT_COLOR, AGENT_GLYPH


def test_colours_turn_by_one_and_by_63_and_wrap(scene):
    world = scene("@")
    for action, color in (("0", 1), ("1", 0), ("1", 255), ("0", 0), ("2", 63), ("3", 0), ("3", 193)):
        assert world.do(f"change_color_{action}").field(AGENT_COLOR) == color
        assert world.shown("agent:color") == [color]


def test_a_glyph_is_shown_unless_it_is_0(scene):
    world = scene("@").do("change_glyph_3")
    assert world.field(AGENT_GLYPH) == 3
    assert world.shown("agent:glyph") == [3]
    assert world.do("change_glyph_0").shown("agent:glyph") == []


def test_there_is_one_action_for_each_glyph(scene):
    names = scene("@", actions={"change_glyph": {"number_of_glyphs": 2}}).compiled.action_names
    assert [name for name in names if "glyph" in name] == ["change_glyph_0", "change_glyph_1"]
