"""`metta replay`: draws a recorded episode in the terminal, or as a GIF; plays the episode first if there is none."""

from __future__ import annotations

if __name__ == "__main__":
    from metta.tools.command import become_command

    become_command("replay")

import re
import sys
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from rich.console import Console
from rich.live import Live

from metta.agent import load_policy_from_uri
from metta.config import Folder
from metta.errors import ReplayError, RunError, within
from metta.grid import WorldConfig, compile_world
from metta.grid.worlds import arena
from metta.replay import ReplayFrames, read_replay
from metta.replay.picture import save_gif
from metta.replay.terminal import draw_terminal
from metta.sim import Simulation, SimulationConfig
from metta.tools.keyboard import Keyboard, has_terminal
from metta.tools.runs import find_run, folder_of_policy
from metta.tools.tool import SystemConfig, Tool

KEYS = "space pause · left right step · up down speed · tab next agent · 0 begin · q quit"
PRINTED_FRAMES = 4  # where nobody sits at a terminal
GIF_FRAMES = 200  # about as many as a GIF gets by default

_VERSION = re.compile(r"\.v(\d+)\.")


class ReplayTool(Tool):
    """Shows a replay: a file, a run's newest, or an episode that `policy_uri` plays now in the recipe's world."""

    subject: ClassVar[str | None] = "replay"
    flags: ClassVar[dict[str, str]] = {"--gif": "gif=replay.gif"}

    replay: str | None = Field(None, description="a replay file or address, or a run")
    run: str | None = Field(None, description="a run: its newest replay")
    policy_uri: str | None = Field(None, description="plays an episode now; none, and nothing else: mock://scripted")
    world: WorldConfig = Field(default_factory=arena)
    seed: int = Field(0, ge=0, description="which list of evaluation seeds; its first is played")
    gif: str | None = Field(None, description="write an animated GIF there instead of drawing in the terminal")
    first: int = Field(0, ge=0, description="first step shown")
    last: int | None = Field(None, ge=0, description="last step shown; none: the end")
    every: int | None = Field(None, ge=1, description=f"steps between a GIF's frames; none: about {GIF_FRAMES} frames")
    frames_per_second: float = Field(12.0, gt=0, le=50)
    follow: int | None = Field(None, ge=0, description="the agent whose line is shown in full")
    data_dir: Folder = Field("./train_dir", description="where runs are looked up")
    system: SystemConfig = Field(default_factory=SystemConfig)

    def run_tool(self, *, as_json: bool = False) -> int:
        """Find or play the episode, then show it."""
        source = self.find()
        frames = ReplayFrames(read_replay(source))
        last = min(len(frames) - 1, self.last if self.last is not None else len(frames) - 1)
        if self.first > last:
            raise ReplayError(f"first={self.first} is behind the last step that can be shown, {last}")
        print(f"{source}: {len(frames)} steps, {frames.width} x {frames.height}", file=sys.stderr)
        if self.gif is not None:
            every = self.every or max(1, (last - self.first) // GIF_FRAMES)
            speed = self.frames_per_second
            target = str(Path(self.gif).expanduser())
            print(save_gif(frames, target, first=self.first, last=last, every=every, frames_per_second=speed))
        elif has_terminal():
            Player(frames, self.first, last, frames_per_second=self.frames_per_second, follow=self.follow).watch()
        else:
            print_frames(frames, self.first, last, follow=self.follow)
        return 0

    def find(self) -> str:
        """Return where the replay is. Raises RunError, CheckpointError or ReplayError when nothing can be shown."""
        if self.replay is not None and "://" in self.replay:
            return self.replay
        if self.replay is not None and Path(self.replay).expanduser().is_file():
            return str(Path(self.replay).expanduser())
        run = self.replay or self.run
        if run is not None:
            run_dir = find_run(run, self.data_dir)
            found = newest_replay(run_dir)
            if found is None and self.policy_uri is None:
                raise RunError(f"{run_dir} has no replays; `metta analyze run={run}` makes one")
            if found is not None:
                return str(found)
        return self._play(self.policy_uri or "mock://scripted")

    def _play(self, uri: str) -> str:
        with within("world"):
            compile_world(self.world)  # its mistakes are told first
        folder = folder_of_policy(uri, self.data_dir) / "replays"
        print(f"{uri} plays an episode", file=sys.stderr)
        actor = load_policy_from_uri(uri, data_dir=self.data_dir, device=self.system.torch_device())
        config = SimulationConfig(name="replay/episode", world=self.world, num_episodes=1, seed=self.seed)
        simulation = Simulation(
            config, actor, policy_key=actor.key, policy_version=actor.version, replay_dir=str(folder)
        )
        return simulation.run().replay_urls[0]


def newest_replay(run_dir: Path) -> Path | None:
    """Return the replay of the highest epoch, as file names say, the first by name; None if there is none."""

    def order(path: Path) -> tuple[int, str]:
        match = _VERSION.search(path.name)
        return -int(match[1]) if match else 0, path.name

    return min((run_dir / "replays").glob("*.json.z"), key=order, default=None)


def print_frames(frames: ReplayFrames, first: int, last: int, *, follow: int | None = None) -> None:
    """Print a few steps between `first` and `last`, both of them too."""
    console = Console(width=140 if not sys.stdout.isatty() else None)
    steps = sorted({first + (last - first) * number // (PRINTED_FRAMES - 1) for number in range(PRINTED_FRAMES)})
    for step in steps:
        console.print(draw_terminal(frames[step], max_width=console.width, max_height=1000, follow=follow))
        console.print()


class Player:
    """Plays the steps of a replay in the terminal, under the keys of `KEYS`."""

    def __init__(
        self,
        frames: ReplayFrames,
        first: int,
        last: int,
        *,
        frames_per_second: float = 12.0,
        follow: int | None = None,
        console: Console | None = None,
    ) -> None:
        self.step, self.is_paused, self.follow = first, False, follow
        self.frames_per_second = frames_per_second
        self._frames, self._first, self._last = frames, first, last
        self._console = console or Console()

    def watch(self) -> None:
        """Play until the user quits; at the last step the picture stands still."""
        with Keyboard() as keyboard, Live(console=self._console, screen=True, auto_refresh=False) as live:
            is_watching = True
            while is_watching:
                size = self._console.size
                live.update(
                    draw_terminal(
                        self._frames[self.step],
                        max_width=size.width,
                        max_height=size.height,
                        follow=self.follow,
                        title=KEYS,
                    ),
                    refresh=True,
                )
                stands = self.is_paused or self.step == self._last
                key = keyboard.key(timeout_seconds=None if stands else 1 / self.frames_per_second)
                is_watching = self.press(key)

    def press(self, key: str | None) -> bool:
        """Do what a key asks for, or, without one, go to the next step; False when the user quits."""
        moves = {"right": 1, "left": -1}
        if key is None:
            self._go(self.step + 1)
        elif key in moves:
            self.is_paused = True
            self._go(self.step + moves[key])
        elif key == "space":
            self.is_paused = not self.is_paused
        elif key in ("up", "down"):
            self.frames_per_second = min(max(self.frames_per_second * (2 if key == "up" else 0.5), 0.5), 100)
        elif key == "tab":
            agents = [agent.agent_id for agent in self._frames[self.step].agents]
            later = [agent for agent in agents if self.follow is None or agent > self.follow]
            self.follow = min(later) if later else None
        elif key in ("0", "home"):
            self._go(self._first)
        return key not in ("q", "escape")

    def _go(self, step: int) -> None:
        self.step = min(max(step, self._first), self._last)
