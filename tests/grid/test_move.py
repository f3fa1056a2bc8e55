"""move and rotate."""

from __future__ import annotations

import pytest


def test_an_agent_walks_into_empty_cells(scene):
    world = scene("...\n.@.\n...").do("move_east")
    assert world.drawn() == "...\n..@\n..."
    assert world.do("move_south").drawn() == "...\n...\n..@"
    assert world.do("move_west").drawn() == "...\n...\n.@."
    assert world.do("move_north").drawn() == "...\n.@.\n..."


def test_an_agent_begins_facing_north(scene):
    assert scene("@").facing() == "N"


@pytest.mark.parametrize("blocker", ["#", "s", "m", "x", "1"])
def test_whatever_stands_there_blocks_a_move_but_the_agent_turns(scene, blocker):
    world = scene(f"@{blocker}").do("move_east")
    assert world.place() == (0, 0)
    assert world.facing() == "E"
    assert not world.succeeded()
    assert world.stats()["action.move.failed"] == 1


def test_the_edge_of_the_map_is_a_wall(scene):
    world = scene("@")
    for direction in ("north", "south", "west", "east"):
        assert not world.do(f"move_{direction}").succeeded()
    assert world.place() == (0, 0)


def test_without_diagonals_there_are_four_directions(scene):
    names = scene("@").compiled.action_names
    assert [name for name in names if name.startswith("move")] == ["move_north", "move_south", "move_west", "move_east"]


@pytest.mark.parametrize(
    ("direction", "place"),
    [("northwest", (0, 0)), ("northeast", (0, 2)), ("southwest", (2, 0)), ("southeast", (2, 2))],
)
def test_with_diagonals_there_are_eight(scene, direction, place):
    world = scene("...\n.@.\n...", allow_diagonals=True).do(f"move_{direction}")
    assert world.place() == place


def test_diagonal_moves_pass_between_two_walls(scene):
    world = scene("@#\n#.", allow_diagonals=True).do("move_southeast")
    assert world.drawn() == ".#\n#@"


def test_rotating_turns_without_moving_and_is_counted(scene):
    world = scene("@.").do("rotate_east")
    assert world.facing() == "E"
    assert world.place() == (0, 0)
    assert world.stat("movement.rotation.to_E") == 1
    assert world.stat("movement.sequential_rotations") == 0


def test_only_rotations_right_after_a_rotation_are_sequential(scene):
    world = scene("@.").do("rotate_east").do("rotate_east").do("noop").do("rotate_west")
    assert world.stat("movement.sequential_rotations") == 1
    assert world.stat("movement.rotation.to_E") == 2
    assert world.stat("movement.rotation.to_W") == 1


def test_out_of_range_actions_do_not_interrupt_a_row_of_rotations(scene):
    world = scene("@.").do("rotate_east").do(-1).do("rotate_west")
    assert world.stat("movement.sequential_rotations") == 1


def test_rotating_to_diagonals_is_counted_by_name(scene):
    world = scene("@", allow_diagonals=True).do("rotate_southwest")
    assert world.facing() == "SW"
    assert world.stat("movement.rotation.to_SW") == 1


def test_motionless_actions_are_counted_in_rows(scene):
    world = scene("@..").do("noop", times=3).do("move_east").do("move_north", times=2)
    assert world.stat("status.max_steps_without_motion") == 3
    world.do("move_north", times=2)
    assert world.stat("status.max_steps_without_motion") == 4


def test_invalid_actions_neither_count_as_motionless_nor_interrupt(scene):
    world = scene("@..").do("noop", times=2).do(99, times=5).do("noop")
    assert world.stat("status.max_steps_without_motion") == 3


def test_two_agents_cannot_take_one_cell(scene):
    for seed in range(5):
        world = scene("@.@", seed=seed).do("move_east", "move_west")
        assert sorted([world.succeeded(0), world.succeeded(1)]) == [False, True]
        assert world.drawn().count("0") == world.drawn().count("1") == 1


def test_the_order_of_agents_differs_from_tick_to_tick_and_from_seed_to_seed(scene):
    winners = []
    for seed in range(20):
        winners.append(scene("@.@", seed=seed).do("move_east", "move_west").succeeded(0))
    assert 4 <= sum(winners) <= 16


def test_a_failed_action_between_two_rotations_separates_them(scene):
    world = scene("@#").do("rotate_east").do("move_east").do("rotate_west")
    assert world.stat("action.move.failed") == 1
    assert world.stat("movement.sequential_rotations") == 0


def test_a_rotation_that_fails_is_a_carried_out_one(scene):
    """It lacks what it needs: it does not turn, and the next one follows a rotate all the same."""
    actions = {"rotate": {"consumed_resources": {"ore_red": 1}}}
    world = scene("m\n@", actions=actions).do("rotate_east")
    assert world.stat("action.rotate.failed") == 1
    world.state.inventory[0, 0, 0] = 1
    assert world.do("rotate_east").stat("movement.sequential_rotations") == 1
