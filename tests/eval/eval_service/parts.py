"""A small suite, answers, a player that does as it is told, and the real service as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

import psutil
import pytest

from metta.agent import make_policy, save_policy
from metta.envs import FixedTasks, Task, VecEnv
from metta.errors import ServiceError
from metta.eval import Suite
from metta.eval.eval_service.client import EvalServiceClient
from metta.eval.eval_service.play import PlayAnswer, PlayOrder
from metta.eval.eval_service.schemas import IntervalView, RequestView, ScoreView
from metta.grid.maps.config import AsciiMapConfig
from metta.grid.worlds import navigation_on
from metta.sim import SimulationConfig

MAP = """
#########
#@....._#
#.......#
#########
""".strip()
SECONDS = 120.0  # longer than anything here takes on a busy machine


def small_suite(*names: str, episodes: int = 2, seed: int = 0, max_steps: int = 6) -> Suite:
    """Simulations of a few ticks; an altar at the end of the only agent's row."""
    world = navigation_on(AsciiMapConfig(text=MAP), max_steps=max_steps)
    simulations = [
        SimulationConfig(name=name, world=world, num_episodes=episodes, seed=seed)
        for name in names or ("tiny/one", "tiny/two")
    ]
    return Suite(name="tiny", simulations=simulations)


def shared_with(*opponents: str, episodes: int = 2) -> Suite:
    """A simulation of two agents of which `opponents` play one."""
    world = navigation_on(AsciiMapConfig(text=MAP.replace("@.", "@@")), max_steps=6)
    world.num_agents = 2
    changes = {"policy_agents_pct": 0.5, "npc_policy_uri": list(opponents)}
    simulation = SimulationConfig(name="shared/one", world=world, num_episodes=episodes, **changes)
    return Suite(name="shared", simulations=[simulation])


def save_small_policy(folder: Path, suite: Suite) -> Path:
    """Write the policy of a run called `good`, epoch 7."""
    env = VecEnv(FixedTasks([Task(suite.simulations[0].world, 1)]), num_worlds=1)
    path = folder / "good" / "checkpoints" / "agent_epoch_7.pt"
    save_policy(
        path, make_policy("fast", env.space, seed=1, action_names=env.action_names), run="good", epoch=7, agent_step=0
    )
    env.close()
    return path


def an_answer(value: float = 1.0) -> PlayAnswer:
    """What a worker says when all went well."""
    interval = IntervalView(value=value, low=value, high=value)
    score = ScoreView(metric="reward", mean=interval, interquartile_mean=interval, episodes=2, seeds=2)
    return PlayAnswer(score=score, replay_urls=["replay.json.z"], seconds=0.5, agent_steps=12)


@dataclass
class ScriptedPlayer:
    """A player that does what it is told, and remembers what it was asked."""

    act: Callable[[PlayOrder, Event, Callable[[float], None]], PlayAnswer]
    closed: bool = False

    def prepare(self, stop: Event) -> None:
        pass

    def play(self, order: PlayOrder, stop: Event, on_progress: Callable[[float], None]) -> PlayAnswer:
        return self.act(order, stop, on_progress)

    def close(self) -> None:
        self.closed = True


def until(
    condition: Callable[[], object], *, what: str | Callable[[], str], seconds: float = SECONDS, pause: float = 0.02
) -> None:
    """Wait for something that another thread or process does. `what` did not happen: told, or found out, then.

    Only seconds in which we are running ourselves count: a machine that stands still for minutes makes nobody late.
    """
    waited, last = 0.0, time.monotonic()
    while not condition():
        if waited >= seconds:
            pytest.fail(f"waited {seconds:g} s in vain: {what if isinstance(what, str) else what()}")
        time.sleep(pause)
        now = time.monotonic()
        waited, last = waited + min(now - last, 1.0), now


class ServiceProcess:
    """`metta local eval-service` in a folder of its own, on a free port of the loopback."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.folder, self._settings = folder, settings
        # With the fault handler whoever is aborted says what its threads were doing: see `report`.
        self.environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "PYTHONFAULTHANDLER": "1"}
        self.environment.pop("METTA_EVAL_TOKEN", None)
        self.url, self._port = "", "0"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, again on the port that it had."""
        command = [sys.executable, "-m", "metta.cli", "local", "eval-service", f"port={self._port}", *self._settings]
        with (self.folder / "service.log").open("a") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert "http://127.0.0.1:" in line, self.log()
        self.url = line.split()[2].rstrip(",")
        self._port = self.url.rpartition(":")[2]

    @property
    def token_file(self) -> Path:
        """Where the token is, while it runs."""
        return self.folder / "state" / "metta" / f"eval-service-{self._port}.token"

    @property
    def service_folder(self) -> Path:
        """Where it keeps its things."""
        return self.folder / "train_dir" / "eval_service"

    def log(self) -> str:
        """Return what it has said."""
        return (self.folder / "service.log").read_text()

    def report(self, *ids: str) -> str:
        """Return all that can be known of why something does not happen. It ends the service and its workers."""
        assert self._process is not None
        told = [line for name in ids for line in self._told_of(name)]
        if self._process.poll() is None:
            self.suspend()  # so that it neither ends its workers nor starts others
            workers = self.workers()
            for worker in workers:
                worker.send_signal(signal.SIGABRT)
            psutil.wait_procs(workers, timeout=5)
        told += [f"{path.name}\n{path.read_text()}" for path in sorted(self.service_folder.glob("worker-*.log"))]
        for number in (signal.SIGABRT, signal.SIGCONT):
            self._process.send_signal(number)
        self._process.wait(timeout=60)
        return "\n".join([*told, f"service.log, exit code {self._process.returncode}", self.log()])

    def _told_of(self, request_id: str) -> list[str]:
        try:
            with self.client() as client:
                simulations = client.get(request_id).simulations
        except (OSError, ServiceError) as error:
            return [f"{request_id}: {error}"]
        return [f"{request_id}: {one.model_dump_json(exclude={'result'})}" for one in simulations]

    def suspend(self) -> None:
        """Let it do nothing more, while its workers go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        process = psutil.Process(self._process.pid)
        until(lambda: process.status() == psutil.STATUS_STOPPED, what="it goes on", pause=0.001)

    def kill(self) -> None:
        """What the kernel does for want of memory: no time for anything."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def stop(self) -> int:
        """End it in order; return the exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
            self._process.communicate(timeout=60)
        return self._process.returncode

    def workers(self) -> list[psutil.Process]:
        """Return the processes that play, also those of a service that was killed."""
        folder, module = str(self.folder.resolve()), "metta.eval.eval_service.worker"
        found = psutil.process_iter(["cwd", "cmdline"])
        return [one for one in found if one.info["cwd"] == folder and module in (one.info["cmdline"] or [])]

    def client(self) -> EvalServiceClient:
        """Return a client with the token that the service has made."""
        return EvalServiceClient(self.url, token=lambda: self.token_file.read_text().strip())

    def request(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the real command beside the service."""
        script = Path(__file__).parents[3] / "tools" / "request_eval.py"
        command = [sys.executable, str(script), *words, f"url={self.url}"]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )

    def wait_for(self, request_id: str) -> RequestView:
        """Return a request when it has ended."""
        what = partial(self.report, request_id)
        with self.client() as client:
            until(lambda: client.get(request_id).state not in ("queued", "running"), what=what, pause=0.1)
            return client.get(request_id)
