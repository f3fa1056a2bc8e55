"""`metta play`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rich.console import Console

from metta.agent import load_policy_from_uri
from metta.errors import ConfigError
from metta.grid import WorldConfig
from metta.tools import PlayTool
from metta.tools.play import Game


def drawn(game: Game) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(game.draw(width=120, height=40))
    return captured.get()


def test_your_keys_move_your_agent_and_the_policy_moves_it_when_you_let_go(world: WorldConfig) -> None:
    game = Game(world, load_policy_from_uri("mock://noop"), seed=1, agent=0)
    assert "agent 0 at row 1, column 1" in drawn(game)
    game.tick(game.keys()["d"])
    game.tick(game.keys()["right"])
    assert "agent 0 at row 1, column 3" in drawn(game)
    game.tick(None)
    assert "agent 0 at row 1, column 3" in drawn(game)
    assert "noop" in drawn(game)


def test_only_keys_of_actions_that_the_world_has_do_anything(world: WorldConfig) -> None:
    game = Game(world, load_policy_from_uri("mock://noop"), seed=1, agent=0)
    assert "g" in game.keys() and "x" not in game.keys()  # noqa: SIM118


def test_the_game_is_over_when_the_episode_is(world: WorldConfig) -> None:
    game = Game(world, load_policy_from_uri("mock://noop"), seed=1, agent=0)
    for _ in range(6):
        assert not game.is_over
        game.tick(None)
    assert game.is_over


def test_without_a_terminal_a_few_frames_are_printed(world: WorldConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert PlayTool(world=world, policy_uri="mock://random", steps=3).run_tool() == 0
    assert capsys.readouterr().out.count("step") == 4
    assert PlayTool(world=world, policy_uri="mock://random", steps=9).run_tool() == 0
    assert "the episode ended after 6 ticks" in capsys.readouterr().err


def test_an_agent_that_is_not_there_is_refused(world: WorldConfig) -> None:
    with pytest.raises(ConfigError, match="agent: given 3, allowed: 0 to 0"):
        PlayTool(world=world, agent=3).run_tool()


def test_at_a_terminal_you_play(at_terminal: Callable[..., str]) -> None:
    picture = at_terminal("play", "navigation", "policy_uri=mock://noop", typed=b"d\x1b[Brq", ready=b"step 0")
    assert "arrows move" in picture and "step 2" in picture
