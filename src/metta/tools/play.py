"""`metta play`: a world in the terminal; you are one agent, policies are the others."""

from __future__ import annotations

if __name__ == "__main__":
    from metta.tools.command import become_command

    become_command("play")

import sys

import numpy as np
from pydantic import Field
from rich.console import Console, RenderableType
from rich.live import Live

from metta.agent import Actor, load_policy_from_uri
from metta.config import Folder
from metta.envs import FixedTasks, Task, VecEnv
from metta.errors import ConfigError, within
from metta.grid import WorldConfig, compile_world
from metta.grid.worlds import arena
from metta.replay import frame_of_world
from metta.replay.terminal import draw_terminal
from metta.sim import evaluation_seeds
from metta.tools.keyboard import Keyboard, has_terminal
from metta.tools.replay import PRINTED_FRAMES
from metta.tools.tool import SystemConfig, Tool

KEYS = {
    "up": "move_north",
    "down": "move_south",
    "left": "move_west",
    "right": "move_east",
    "w": "move_north",
    "s": "move_south",
    "a": "move_west",
    "d": "move_east",
    "space": "noop",
    "g": "get_items",
    "p": "put_items",
    "x": "attack_0",
    "z": "swap",
    "b": "place_box",
    "c": "change_color_0",
}


class PlayTool(Tool):
    """Plays one episode: your keys for one agent, a policy for all others."""

    world: WorldConfig = Field(default_factory=arena)
    policy_uri: str = Field("mock://scripted", description="who plays the others, and yours when you let go of it")
    agent: int = Field(0, ge=0, description="the agent that is yours")
    seed: int = Field(0, ge=0, description="which list of evaluation seeds; its first is played")
    steps: int = Field(100, ge=1, description="ticks that are played where nobody sits at a terminal")
    frames_per_second: float = Field(12.0, gt=0, le=50, description="ticks a second while the policy plays yours too")
    data_dir: Folder = Field("./train_dir", description="where runs are looked up")
    system: SystemConfig = Field(default_factory=SystemConfig)

    def run_tool(self, *, as_json: bool = False) -> int:
        """Play; without a terminal the policy plays everyone, a few frames are printed, and that is all."""
        with within("world"):
            compile_world(self.world)  # its mistakes are told first
        if self.agent >= self.world.num_agents:
            raise ConfigError(f"agent: given {self.agent}, allowed: 0 to {self.world.num_agents - 1}")
        actor = load_policy_from_uri(self.policy_uri, data_dir=self.data_dir, device=self.system.torch_device())
        game = Game(self.world, actor, seed=evaluation_seeds(1, base=self.seed)[0], agent=self.agent)
        if has_terminal():
            play(game, frames_per_second=self.frames_per_second)
        else:
            _print_game(game, self.steps)
        return 0


class Game:
    """One episode that is being played."""

    def __init__(self, world: WorldConfig, actor: Actor, *, seed: int, agent: int) -> None:
        self.agent = agent
        self.num_agents = world.num_agents
        self._env = VecEnv(FixedTasks([Task(world, seed)]), num_worlds=1)
        self._actor = actor
        self._env.reset()
        actor.reset(self._env)

    @property
    def is_over(self) -> bool:
        """Whether the episode has ended."""
        return not self._env.active[0]

    def keys(self) -> dict[str, str]:
        """Return the keys that mean an action of this world."""
        return {key: action for key, action in KEYS.items() if action in self._env.action_names}

    def tick(self, action: str | None) -> None:
        """Play one tick; `action` is what your agent does, None lets the policy decide."""
        actions = self._actor.act(self._env).astype(np.int32)
        if action is not None:
            actions[self.agent] = self._env.action_names.index(action)
        self._env.step(actions)

    def draw(self, *, width: int, height: int, title: str = "") -> RenderableType:
        """Return the picture of the world as it stands."""
        env = self._env
        frame = frame_of_world(env.compiled, env.state, 0, action_success=env.action_success)
        return draw_terminal(frame, max_width=width, max_height=height, follow=self.agent, title=title)


def play(game: Game, *, frames_per_second: float) -> None:
    """Let the user play until the episode ends or they quit: a tick for each key; `r` lets the policy go on alone."""
    console, keys, is_free = Console(), game.keys(), False
    with Keyboard() as keyboard, Live(console=console, screen=True, auto_refresh=False) as live:
        while not game.is_over:
            title = f"{_help(keys)} · tab next agent · r {'yours again' if is_free else 'let it run'} · q quit"
            live.update(game.draw(width=console.width, height=console.height, title=title), refresh=True)
            key = keyboard.key(timeout_seconds=1 / frames_per_second if is_free else None)
            if key in ("q", "escape"):
                return
            if key == "r":
                is_free = not is_free
            elif key == "tab":
                game.agent = (game.agent + 1) % game.num_agents
            elif key in keys:
                game.tick(keys[key])
            elif key is None:
                game.tick(None)


def _help(keys: dict[str, str]) -> str:
    """Return what the letters mean: `arrows move · g get_items · ...`."""
    letters = {key: action for key, action in keys.items() if not action.startswith("move_")}
    return " · ".join(["arrows move", *(f"{key} {action}" for key, action in letters.items())])


def _print_game(game: Game, steps: int) -> None:
    console = Console(width=140)
    shown = {steps * number // (PRINTED_FRAMES - 1) for number in range(PRINTED_FRAMES)}
    for step in range(steps + 1):
        if step in shown:
            console.print(game.draw(width=console.width, height=1000))
            console.print()
        if step < steps:
            game.tick(None)
        if game.is_over:
            print(f"the episode ended after {step + 1} ticks", file=sys.stderr)
            return
