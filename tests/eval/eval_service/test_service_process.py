"""The real service as a process, driven by the real command, and killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from tests.eval.eval_service.parts import SECONDS, ServiceProcess, save_small_policy, shared_with, small_suite, until

from metta.agent.artifact import POLICY_FORMAT, write_state
from metta.errors import ServiceError
from metta.eval import EvalStatsDB, PolicyEvaluator, Suite
from metta.eval.eval_service.client import EvalServiceClient
from metta.eval.eval_service.schemas import Ask, RequestView
from metta.eval.suites import named_suite
from metta.sim.seeds import evaluation_seeds

StartService = Callable[..., ServiceProcess]

TINY_SUITE = """
from metta.eval import Suite
from metta.grid.maps.config import AsciiMapConfig
from metta.grid.worlds import navigation_on
from metta.sim import SimulationConfig

def tiny():
    world = navigation_on(AsciiMapConfig(text="#####\\n#@._#\\n#####"), max_steps=6)
    return Suite(name="tiny", simulations=[SimulationConfig(name=f"tiny/{n}", world=world) for n in ("one", "two")])
"""


def a_long_suite(*names: str) -> Suite:
    """One episode a simulation, about a second each: long enough to be killed in the middle."""
    return small_suite(*(names or ("long/one", "long/two", "long/three")), episodes=1, max_steps=30_000)


def is_playing(client: EvalServiceClient, ids: Sequence[str]) -> bool:
    """Whether a simulation has said how far it is. Fails if none of them ever will: waiting would be in vain."""
    simulations = [one for name in ids for one in client.get(name).simulations]
    assert any(one.state in ("queued", "running") for one in simulations), f"all has ended: {simulations}"
    return any(one.played is not None for one in simulations)


def expect_playing(service: ServiceProcess, *ids: str) -> None:
    """Wait until a simulation is being played, over one connection: to prove one takes as long as part of a game."""

    def what() -> str:
        return f"nothing is played\n{service.report(*ids)}"

    with service.client() as client:  # workers may have to compile, and that on a busy machine
        until(partial(is_playing, client, ids), what=what, seconds=3 * SECONDS, pause=0.05)


def has_died(service: ServiceProcess, request_id: str, times: int) -> bool:
    with service.client() as client:
        return client.get(request_id).simulations[0].deaths == times


def requests_of(service: ServiceProcess) -> list[str]:
    """Return the ids of all requests, newest first."""
    with service.client() as client:
        return [one.id for one in client.page(limit=50).requests]


def expect_every_episode_once(view: RequestView, suite: Suite) -> None:
    """Compare with the definition: the decided seeds, each once, in the result and in the statistics file."""
    assert view.state == "done", view
    with EvalStatsDB.from_uri(view.stats_uri) as database:
        for simulation, shown in zip(suite.simulations, view.simulations, strict=True):
            assert shown.result is not None and shown.result.score is not None
            assert shown.result.score.episodes == simulation.num_episodes
            seeds = database.query(
                "SELECT e.seed FROM episodes e JOIN simulations s ON s.id = e.simulation_id "
                f"WHERE s.name = '{simulation.name}' ORDER BY e.seed"
            )
            expected = evaluation_seeds(simulation.num_episodes, base=simulation.seed)
            assert seeds["seed"].tolist() == sorted(expected)


@pytest.mark.slow
def test_the_command_asks_waits_and_shows_the_scores_of_those_that_can_play(service_process: StartService) -> None:
    """A policy that plays, one that is no policy, one that is elsewhere, one that is not there: a row each."""
    service = service_process("workers=1")
    (service.folder / "mine.py").write_text(TINY_SUITE)
    runs = service.folder / "train_dir"
    save_small_policy(runs, small_suite())
    bad = runs / "bad.pt"
    write_state(bad, {"architecture": "fast"}, format=POLICY_FORMAT)
    policies = ("good", str(bad), "/etc/passwd", "nobody", "good:7")
    words = [word for policy in policies for word in ("--policy", policy)]
    done = service.request(*words, "--eval", "mine.tiny", "episodes=3", "--wait")
    assert done.returncode == 1
    rows = [line.split()[:3] for line in done.stdout.splitlines()[2:]]
    of_good = [["good:v7", "tiny/one", "hearts"], ["good:v7", "tiny/two", "hearts"]]
    assert rows == [
        *of_good,
        ["bad:v0", "tiny/one", "failed"],
        ["bad:v0", "tiny/two", "failed"],
        ["/etc/passwd", "mine.tiny", "refused"],
        ["nobody", "mine.tiny", "refused"],
        *of_good,
    ]
    assert "not below its roots" in done.stderr and "no policy at 'nobody'" in done.stderr
    assert f"{bad} in tiny/one: " in done.stderr and "Traceback" not in done.stderr + service.log()
    with service.client() as client:
        views = [client.get(name) for name in requests_of(service)]
    assert [(view.policy_key, view.state) for view in views] == [("bad", "failed"), ("good", "done")]
    assert all(one.deaths == 0 for view in views for one in view.simulations)
    with EvalStatsDB.from_uri(views[1].stats_uri) as database:
        assert database.sample_count("good", 7) == 6
    assert service.stop() == -signal.SIGTERM


@pytest.mark.slow
def test_a_made_token_ends_with_the_service_and_nobody_who_takes_its_port_is_told_it(
    service_process: StartService,
) -> None:
    service = service_process()
    token = service.token_file.read_text()
    assert service.stop() == -signal.SIGTERM and not service.token_file.exists()
    service.start()
    assert service.token_file.read_text() != token, "an old token opens nothing"
    service.kill()
    assert service.token_file.exists(), "a process that is killed removes nothing"
    heard: list[bytes] = []

    def listen(listening: socket.socket) -> None:
        listening.settimeout(SECONDS)
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(5)
            heard.append(connection.recv(65_536))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            with contextlib.suppress(TimeoutError, ConnectionError):
                heard.append(connection.recv(65_536))

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", int(service.url.rpartition(":")[2])))
        listening.listen()
        stranger = threading.Thread(target=listen, args=(listening,))
        stranger.start()
        done = service.request("--policy", "mock://random", "--eval", "arena")
        stranger.join()
    assert done.returncode == 1 and "is no evaluation service" in done.stderr
    assert heard and service.token_file.read_text().strip().encode() not in b"".join(heard)


@pytest.mark.slow
def test_the_commands_that_list_and_cancel(service_process: StartService) -> None:
    service = service_process("workers=1")
    endless = small_suite("long/one", "long/two", episodes=1, max_steps=2**30)
    with service.client() as client:
        long = client.ask(Ask(policy_uri="mock://random", suite=endless)).request.id
        expect_playing(service, long)
        short = client.ask(Ask(policy_uri="mock://noop", suite=small_suite())).request.id
    listed = service.request("--requests")
    assert [line.split()[0] for line in listed.stdout.splitlines()[2:]] == [short, long]
    kept = service.request("--cancel", long, "--dry-run")
    assert "nothing was cancelled" in kept.stderr and "running" in kept.stdout
    cancelled = service.request("--cancel", long, "--json")
    assert cancelled.returncode == 0
    assert json.loads(cancelled.stdout)[0]["request"]["progress"] == {"cancelled": 2}
    assert service.wait_for(short).state == "done", "the player is free"
    listed = service.request("--requests", "state=cancelled", "--json")
    assert [one["id"] for one in json.loads(listed.stdout)] == [long]
    assert service.request("--cancel", "0" * 16).returncode == 1


@pytest.mark.slow
def test_what_is_cancelled_stays_so_whenever_the_service_is_killed(service_process: StartService) -> None:
    service = service_process("workers=2")
    for pause in (0.0, 0.02, 0.2):
        endless = small_suite("long/one", "long/two", "long/three", episodes=1, max_steps=2**30, seed=int(1000 * pause))
        with service.client() as client:
            asked = client.ask(Ask(policy_uri="mock://random", suite=endless)).request.id
            expect_playing(service, asked)
            cancelling = threading.Thread(target=cancel_and_hear, args=(service, asked))
            cancelling.start()
            time.sleep(pause)
            service.kill()
            cancelling.join()
        until(lambda: not service.workers(), what="workers outlive the service", seconds=20)
        service.start()
        with service.client() as client:
            view = client.get(asked)
            assert {one.state for one in view.simulations} in ({"cancelled"}, {"queued", "running"}, {"queued"})
            assert client.cancel(asked).state == "cancelled"
            short = client.ask(Ask(policy_uri="mock://noop", suite=small_suite(seed=int(1000 * pause)))).request.id
        expect_every_episode_once(service.wait_for(short), small_suite(seed=int(1000 * pause)))
        with service.client() as client:
            assert client.get(asked).state == "cancelled"


def cancel_and_hear(service: ServiceProcess, request_id: str) -> None:
    with service.client() as client, contextlib.suppress(ServiceError):
        assert client.cancel(request_id).state == "cancelled"


@pytest.mark.slow
def test_copies_that_nobody_needs_are_removed_while_the_service_runs_and_when_it_starts(
    service_process: StartService,
) -> None:
    service = service_process("workers=1", "copy_gigabytes=0")
    folder = service.folder / "train_dir" / "eval_service" / "policies"
    policy = save_small_policy(service.folder / "train_dir", small_suite())
    with service.client() as client:
        endless = small_suite("long/one", episodes=1, max_steps=2**30)
        long = client.ask(Ask(policy_uri="good", suite=endless)).request.id
        needed = {path.name for path in folder.glob("*.pt")}
        assert len(needed) == 1
        other = service.folder / "train_dir" / "other.pt"
        other.write_bytes(policy.read_bytes() + b"0")
        failed = client.ask(Ask(policy_uri=str(other), suite=small_suite())).request.id
        assert {path.name for path in folder.glob("*.pt")} > needed, "it is needed until it has played"
        client.cancel(failed)
        other.write_bytes(policy.read_bytes() + b"1")
        third = client.ask(Ask(policy_uri=str(other), suite=small_suite())).request.id
        assert len({path.name for path in folder.glob("*.pt")} - needed) == 1, "the second is gone, the third is there"
        client.cancel(third)
        client.cancel(long)
    service.stop()
    service.start()
    assert not list(folder.glob("*.pt"))


@pytest.mark.slow
def test_what_was_asked_for_is_played_whatever_the_run_removes(service_process: StartService) -> None:
    service = service_process("workers=1")
    good = save_small_policy(service.folder / "train_dir", shared_with("mock://noop"))
    with service.client() as client:
        long = client.ask(Ask(policy_uri="mock://random", suite=a_long_suite("long/one"))).request.id
        asked = client.ask(Ask(policy_uri="good", suite=shared_with("good:7"))).request.id
        good.unlink()
        assert service.wait_for(long).state == service.wait_for(asked).state == "done"


def handed_in(service: ServiceProcess) -> int:
    """Return how often episodes were handed in of which nobody has asked yet."""
    return len(list((service.service_folder / "stats").glob("*.inbox/*.rows")))


def before_it_is_written_down(service: ServiceProcess, ids: list[str]) -> None:
    """Wait until a worker has handed in episodes that the service does not know of; the first of all restarts."""
    expect_playing(service, *ids)
    service.suspend()
    with contextlib.closing(sqlite3.connect(service.service_folder / "requests.sqlite")) as database:
        ((known,),) = database.execute("SELECT count(*) FROM eval_units WHERE state = 'done'").fetchall()
    until(lambda: handed_in(service) > known, what=lambda: f"nothing is handed in\n{service.report()}")


def at_once(service: ServiceProcess, ids: list[str]) -> None:
    """Wait for nothing: the workers are still starting."""


def in_the_middle(service: ServiceProcess, ids: list[str]) -> None:
    """Wait until something has been played for a moment."""
    expect_playing(service, *ids)
    time.sleep(0.3)


def while_it_is_written(service: ServiceProcess, ids: list[str]) -> None:
    """Wait until the next file of a replay or of episodes is there, half written maybe."""

    def files() -> set[Path]:
        return {path for name in ("stats", "replays") for path in (service.service_folder / name).rglob("*")}

    before = files()
    until(lambda: files() != before, what=lambda: f"nothing is written\n{service.report(*ids)}", pause=0.001)


@pytest.mark.slow
def test_a_service_that_is_killed_in_the_middle_loses_nothing_and_counts_nothing_twice(
    service_process: StartService,
) -> None:
    service = service_process("workers=2")
    suites = [a_long_suite(f"long/{number}a", f"long/{number}b", f"long/{number}c") for number in range(4)]
    ids: list[str] = []
    moments = (before_it_is_written_down, at_once, in_the_middle, while_it_is_written)
    for suite, moment in zip(suites, moments, strict=True):
        with service.client() as client:  # in every round, so that there is something to play however fast that goes
            ids.append(client.ask(Ask(policy_uri="mock://random", suite=suite)).request.id)
        moment(service, ids)
        service.kill()
        until(lambda: not service.workers(), what="workers outlive the service", seconds=20)
        service.start()
    views = [service.wait_for(name) for name in ids]
    assert handed_in(service) > sum(len(view.simulations) for view in views), "no episode was handed in twice"
    for view, suite in zip(views, suites, strict=True):
        expect_every_episode_once(view, suite)
    assert "queued again" in service.log()
    with service.client() as client:
        assert all(one.deaths == 0 for name in ids for one in client.get(name).simulations), "a restart is no death"


@pytest.mark.slow
def test_a_worker_that_is_killed_four_times_is_reported_and_others_play_on(service_process: StartService) -> None:
    service = service_process("workers=1")
    endless = small_suite("long/one", episodes=1, max_steps=2**30)
    with service.client() as client:
        long = client.ask(Ask(policy_uri="mock://random", suite=endless)).request.id
        short = client.ask(Ask(policy_uri="mock://random", suite=small_suite())).request.id
        for death in range(4):
            expect_playing(service, long)
            assert client.get(long).simulations[0].deaths == death
            (worker,) = service.workers()
            os.kill(worker.pid, signal.SIGKILL)
            until(partial(has_died, service, long, death + 1), what="nobody noticed")
        reported = client.get(long).simulations[0]
        assert reported.state == "failed"
        assert reported.reason == (
            "given up after 4 attempts, the last one: killed by SIGKILL, by a user or for want of memory"
        )
        expect_every_episode_once(service.wait_for(short), small_suite())
    waited = service.request("--policy", "mock://random", "--eval", "arena", "episodes=1", "--wait")
    assert waited.returncode == 0 and "arena/combat" in waited.stdout


@pytest.mark.slow
def test_the_command_waits_through_a_restart(service_process: StartService) -> None:
    service = service_process("workers=2")
    (service.folder / "mine.py").write_text(TINY_SUITE.replace("max_steps=6", "max_steps=20_000"))
    words = ("--policy", "mock://random", "--eval", "mine.tiny", "episodes=1", "--wait")
    done = []
    thread = threading.Thread(target=lambda: done.append(service.request(*words)))
    thread.start()
    with service.client() as client:
        until(lambda: len(requests_of(service)) == 1, what="nobody asked")
        until(lambda: client.get(requests_of(service)[0]).progress.get("running"), what="nobody plays")
    service.kill()
    time.sleep(1.5)  # the command notices
    service.start()
    thread.join()
    assert done[0].returncode == 0, done[0].stderr
    assert "does not answer; waiting" in done[0].stderr and "tiny/two" in done[0].stdout


@pytest.mark.slow
def test_of_a_thousand_requests_none_is_lost_none_is_played_twice_and_answers_come_soon(
    service_process: StartService,
) -> None:
    service = service_process("workers=1", "replays=off")
    suites = [small_suite("tiny/one", episodes=1, seed=number) for number in range(500)]
    asks = [Ask(policy_uri=f"mock://{who}", suite=suite) for suite in suites for who in ("random", "noop")]
    seconds, ids = [], []
    with service.client() as client:
        for ask in asks:  # while the first ones are being played
            start = time.perf_counter()
            ids.append(client.ask(ask).request.id)
            seconds.append(time.perf_counter() - start)
        median, worst = statistics.median(seconds), max(seconds)
        print(f"\n1,000 requests: median answer {1000 * median:.1f} ms, worst {1000 * worst:.0f} ms")
        again = [client.ask(ask) for ask in asks[:100]]
        assert [asked.request.id for asked in again] == ids[:100] and not any(asked.is_new for asked in again)
    assert len(set(ids)) == 1000
    start = time.perf_counter()
    with service.client() as client:
        until(lambda: client.get(ids[-1]).state == "done", what=service.log(), seconds=900)
        views = [client.get(name) for name in ids]
    print(f"all played {time.perf_counter() - start:.0f} s after the last answer")
    assert Counter(view.state for view in views) == {"done": 1000}
    units = [simulation for view in views for simulation in view.simulations]
    assert len(units) == 1000 and all(one.deaths == 0 and one.result is not None for one in units)
    for view, ask in list(zip(views, asks, strict=True))[::100]:
        assert isinstance(ask.suite, Suite)
        expect_every_episode_once(view, ask.suite)
    assert median < 0.020


@pytest.mark.slow
def test_the_service_gives_the_scores_of_an_evaluation_without_it(service_process: StartService) -> None:
    service = service_process()
    done = service.request("--policy", "mock://scripted", "--eval", "arena", "episodes=2", "--wait", "--json")
    assert done.returncode == 0, done.stderr
    (asked,) = json.loads(done.stdout)
    view = RequestView.model_validate(asked["request"])
    scores = PolicyEvaluator(named_suite("arena", episodes=2)).evaluate("mock://scripted").simulations
    for one in view.simulations:
        assert one.result is not None and one.result.score is not None
        assert one.result.score.mean.model_dump() == scores[one.name].mean._asdict()
        assert len(one.result.replay_urls) == 1 and Path(one.result.replay_urls[0]).is_file()


@pytest.mark.slow
def test_mistakes_at_the_start_are_one_line(tmp_path: Path, service_process: StartService) -> None:
    service = service_process()
    port = service.url.rpartition(":")[2]
    for words, told, code in (
        ([f"port={port}"], "port= names another", 1),
        (["host=0.0.0.0", "port=0"], "give a token of your own", 2),
        (["database=mysql://x/y", "port=0"], "cannot be used", 2),
        (["database=postgresql+psycopg://127.0.0.1:1/x", "port=0"], "cannot be used", 1),
        (["ray_address=127.0.0.1:1", "port=0"], "the Ray cluster at 127.0.0.1:1 is away", 1),
        (["token_file=/nothing", "port=0"], "cannot be read", 2),
        (["prt=0"], "did you mean port", 2),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "metta.cli", "local", "eval-service", f"data_dir={tmp_path}", *words],
            env=service.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr.count("metta:")) == (code, 1), done.stderr
        assert told in done.stderr and "Traceback" not in done.stderr
