"""swap: places change hands."""

from __future__ import annotations

import pytest

from metta.grid.world import AGENT_FROZEN, OBJECT_POSITION


def test_an_agent_changes_places_with_a_block_and_keeps_its_facing(scene):
    world = scene("s\n@").do("swap")
    assert world.drawn() == "@\ns"
    assert world.facing() == "N"
    assert world.stat("action.swap.block") == 1
    assert world.object_field("block", OBJECT_POSITION) == world.state.agents[0, 0, 0] + world.state.cells.shape[2]


@pytest.mark.parametrize("thing", ["#", "m", "x", "."])
def test_other_things_stay_where_they_are(scene, thing):
    world = scene(f"{thing}\n@").do("swap")
    assert world.drawn() == f"{thing}\n@"
    assert not world.succeeded()


def test_an_agent_that_is_not_frozen_stays_where_it_is(scene):
    world = scene("@\n@").do("noop", "swap")
    assert not world.succeeded(1)
    assert world.place(0) == (0, 0)


def test_a_frozen_agent_can_be_swapped(scene):
    world = scene("@\n@").do("noop", "attack_0").do("noop", "swap")
    assert world.succeeded(1)
    assert (world.place(0), world.place(1)) == ((1, 0), (0, 0))
    assert world.stat("action.swap.agent", 1) == 1
    assert world.field(AGENT_FROZEN, 0) > 0


def test_a_swapped_block_is_seen_in_its_new_place(scene):
    world = scene("s\n@").do("swap")
    assert (1, 0, "swappable", 1) in world.tokens()
    assert (-1, 0, "swappable", 1) not in world.tokens()


def test_one_can_walk_where_the_block_was(scene):
    world = scene(".\ns\n@").do("swap").do("move_north")
    assert world.drawn() == "@\n.\ns"


def test_a_wall_of_another_kind_may_be_swappable(scene):
    world = scene("#\n@", objects={"wall": {"type": "wall", "type_id": 1, "swappable": True}}).do("swap")
    assert world.drawn() == "@\n#"


def test_being_moved_by_another_is_no_motion_of_ones_own(scene):
    """A carried-out action counts as motionless only where the one before it ended."""
    world = scene("@\n@", agent={"freeze_duration": 3}).do("noop", "attack_0").do("noop", "swap")
    assert world.place(0) == (1, 0)
    world.do("noop", times=2)
    assert world.stat("status.max_steps_without_motion", 0) == 0
    world.do("noop")
    assert world.stat("status.max_steps_without_motion", 0) == 1
