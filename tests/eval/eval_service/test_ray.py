"""A real Ray cluster of one node on this machine plays for the service. Several machines are not tried here."""

from __future__ import annotations

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

import psutil
import pytest
from tests.eval.eval_service.parts import SECONDS, ServiceProcess, save_small_policy, small_suite, until

from metta.eval import PolicyEvaluator
from metta.eval.eval_service.schemas import Ask

pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason="the extra metta[ray] is not installed")


@pytest.fixture
def ray_address() -> Iterator[str]:
    """Start a head node on loopback, and end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="ray")  # short: the names of its sockets have a limit
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2"]
    settings = [f"--port={port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false", f"--temp-dir={folder}"]
    environment = {**os.environ, "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    head = subprocess.Popen(
        [*command, *settings], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until(partial(answers, port), what="Ray does not start")
    yield f"127.0.0.1:{port}"
    processes = [head, *psutil.Process(head.pid).children(recursive=True)]
    head.terminate()
    head.wait(timeout=60)
    for process in processes[1:]:
        if process.is_running():
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def players() -> list[psutil.Process]:
    """Return Ray's processes that are playing."""
    return [p for p in psutil.process_iter(["cmdline"]) if "ray::play_there" in " ".join(p.info["cmdline"] or [])]


def test_a_ray_cluster_plays_and_a_worker_of_its_that_dies_is_reported(
    ray_address: str, service_process: Callable[..., ServiceProcess]
) -> None:
    service = service_process(f"ray_address={ray_address}", "timeout_seconds=300")
    assert f"Ray at {ray_address}" in service.log()
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
        for _ in range(3):
            until(players, what=f"it is not played\n{service.log()}", seconds=SECONDS)
            known = players()
            for process in known:
                os.kill(process.pid, signal.SIGKILL)
            psutil.wait_procs(known, timeout=20)
        view = service.wait_for(long)
        assert view.simulations[0].reason is not None
        assert view.simulations[0].reason.startswith("given up after 3 attempts, the last one: WorkerCrashedError")

        again = client.ask(Ask(policy_uri="mock://random", suite=endless)).request
        until(players, what="it is not played", seconds=SECONDS)
        client._http.post(f"/requests/{again.id}/cancel")
        until(lambda: not players(), what="a cancelled game is played on", seconds=60)
