"""A real Ray cluster of one node on this machine plays for the service. Several machines are not tried here."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from tests.eval.eval_service.parts import SECONDS, ServiceProcess, save_small_policy, shared_with, small_suite, until

from metta.eval import EvalStatsDB, PolicyEvaluator, Suite
from metta.eval.eval_service.schemas import Ask

pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason="the extra metta[ray] is not installed")


class Cluster:
    """A head node on loopback, always at the same address."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"127.0.0.1:{self._port}"
        self._processes: list[psutil.Process] = []
        self._folder = ""

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._folder = tempfile.mkdtemp(prefix="ray")  # short: the names of its sockets have a limit
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2"]
        settings = [f"--port={self._port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false"]
        environment = {**os.environ, "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_USAGE_STATS_ENABLED": "0"}
        head = psutil.Popen(
            [*command, *settings, f"--temp-dir={self._folder}"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(partial(answers, self._port), what="Ray does not start")
        self._processes = [head]

    def stop(self) -> None:
        """End it, all at once: as a machine that is switched off."""
        if not self._processes:
            return
        head = self._processes.pop()
        everything = [*head.children(recursive=True), head]
        for process in everything:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(everything, timeout=60)
        shutil.rmtree(self._folder, ignore_errors=True)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    cluster.start()
    yield cluster
    cluster.stop()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def players() -> list[psutil.Process]:
    """Return Ray's processes that are playing."""
    return [p for p in psutil.process_iter(["cmdline"]) if "ray::play_there" in " ".join(p.info["cmdline"] or [])]


def test_a_ray_cluster_plays_and_a_worker_of_its_that_dies_is_reported(
    cluster: Cluster, service_process: Callable[..., ServiceProcess]
) -> None:
    service = service_process(f"ray_address={cluster.address}", "timeout_seconds=300", "retry_seconds=0.1")
    assert f"Ray at {cluster.address}" in service.log()
    suite = small_suite(episodes=3)
    with service.client() as client:
        policy = save_small_policy(service.folder / "train_dir", suite)
        for uri in ("mock://random", str(policy)):  # the second travels with the order
            view = service.wait_for(client.ask(Ask(policy_uri=uri, suite=suite)).request.id)
            scores = PolicyEvaluator(suite).evaluate(uri).simulations
            assert view.state == "done" and not service.workers()
            for one in view.simulations:
                assert one.result is not None and one.result.score is not None
                assert one.result.score.mean.value == scores[one.name].mean.value
                assert one.result.score.episodes == 3 and Path(one.result.replay_urls[0]).is_file()

        endless = small_suite("long/one", episodes=1, max_steps=2**30)
        long = client.ask(Ask(policy_uri="mock://random", suite=endless)).request.id
        for _ in range(4):
            until(players, what=f"it is not played\n{service.log()}", seconds=SECONDS)
            known = players()
            for process in known:
                os.kill(process.pid, signal.SIGKILL)
            psutil.wait_procs(known, timeout=20)
        view = service.wait_for(long)
        assert view.simulations[0].reason is not None
        assert view.simulations[0].reason.startswith("given up after 4 attempts, the last one: WorkerCrashedError")

        again = client.ask(Ask(policy_uri="mock://random", suite=endless)).request
        until(players, what="it is not played", seconds=SECONDS)
        client.cancel(again.id)
        until(lambda: not players(), what="a cancelled game is played on", seconds=60)


def test_a_cluster_that_goes_away_and_comes_back_costs_nothing_but_time(
    cluster: Cluster, service_process: Callable[..., ServiceProcess]
) -> None:
    """While games are played: none of them has died, the service and whoever waits say so, and all is played once."""
    service = service_process(f"ray_address={cluster.address}")
    asks = [
        Ask(policy_uri="mock://random", suite=small_suite(f"long/{n}a", f"long/{n}b", episodes=1, max_steps=40_000))
        for n in range(3)
    ]
    with service.client() as client:
        ids = [client.ask(ask).request.id for ask in asks]
        until(players, what=f"it is not played\n{service.log()}")
        cluster.stop()
        until(lambda: "is away" in health(service)["players"], what=f"nobody noticed\n{service.log()}", seconds=60)
        views = [client.get(name) for name in ids]
        assert all(one.deaths == 0 and one.state != "failed" for view in views for one in view.simulations)
        assert any("Ray cluster" in str(view.waits_for) for view in views)
        until(lambda: service.log().count("trying again") >= 3, what="it is tried once")
        assert "trying again in 1 s" in service.log() and "trying again in 2 s" in service.log()
        cluster.start()
        for name, ask in zip(ids, asks, strict=True):
            view = service.wait_for(name)
            assert view.state == "done" and view.waits_for is None
            assert [one.deaths for one in view.simulations] == [0, 0]
            assert isinstance(ask.suite, Suite)
            with EvalStatsDB.from_uri(view.stats_uri) as database:
                assert database.sample_count("random", 0) == len(ask.suite.simulations)
        assert health(service)["players"] == "ok"


def test_opponents_travel_with_the_order_as_the_policy_does(
    cluster: Cluster, service_process: Callable[..., ServiceProcess]
) -> None:
    """The node has neither the run of the policy nor that of the opponent any more."""
    service = service_process(f"ray_address={cluster.address}", "workers=1")
    suite = shared_with("good")
    policy = save_small_policy(service.folder / "train_dir", suite)
    runs = str(service.folder / "train_dir")
    expected = PolicyEvaluator(suite, data_dir=runs).evaluate("good").simulations
    with service.client() as client:
        slow = small_suite("long/one", episodes=1, max_steps=20_000)
        client.ask(Ask(policy_uri="mock://random", suite=slow))
        asked = client.ask(Ask(policy_uri="good", suite=suite)).request.id
        policy.unlink()
        (one,) = service.wait_for(asked).simulations
    assert one.state == "done", one.reason
    assert one.result is not None and one.result.score is not None
    assert one.result.score.mean.value == expected[one.name].mean.value


def health(service: ServiceProcess) -> dict[str, Any]:
    """Return what anybody may ask."""
    answer: dict[str, Any] = httpx.get(f"{service.url}/health", trust_env=False, timeout=30).json()
    return answer
