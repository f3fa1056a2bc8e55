"""A real worker process: it plays, it dies, it is started again, and it never outlives the service."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.eval.eval_service.parts import SECONDS, save_small_policy, shared_with, small_suite, until

from metta.eval import EvalStatsDB, PolicyEvaluator, named_suite
from metta.eval.eval_service.identity import program_version
from metta.eval.eval_service.local_worker import LocalWorker
from metta.eval.eval_service.play import PROGRESS_SECONDS, PlayOrder, play, seldom
from metta.eval.eval_service.players import CancelledError, WorkerDiedError
from metta.eval.eval_service.policies import AdmittedPolicy

NEVER = threading.Event()
NOOP = {"uri": "mock://noop", "key": "noop", "version": 0, "checksum": "mock:noop"}


def a_policy(checksum: str = "mock:random", *, key: str = "random", version: int = 3) -> AdmittedPolicy:
    return AdmittedPolicy(uri="mock://random", key=key, version=version, checksum=checksum)


def an_order(folder: Path, *, checksum: str = "mock:random", max_steps: int = 6) -> PlayOrder:
    return PlayOrder(
        program=program_version(),
        simulation=small_suite("tiny/one", max_steps=max_steps).simulations[0],
        policy=a_policy(checksum),
        opponents={},
        policies_dir=str(folder),
        replay_dir=str(folder / "replays"),
        stats_uri=str(folder / "stats.duckdb"),
        threads=1,
    )


def copy_of(folder: Path, content: bytes) -> str:
    """Put a copy where the service would have it; return its checksum."""
    checksum = hashlib.sha256(content).hexdigest()
    (folder / f"{checksum}.pt").write_bytes(content)
    return checksum


def endless(folder: Path) -> PlayOrder:
    return an_order(folder, max_steps=2**30)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[LocalWorker]:
    worker = LocalWorker(log=tmp_path / "worker.log", threads=1, timeout_seconds=SECONDS)
    yield worker
    worker.close()


def pid_of(worker: LocalWorker) -> int:
    assert worker._process is not None
    return worker._process.pid


@pytest.mark.slow
def test_a_worker_gives_the_score_of_an_evaluation_and_leaves_its_episodes(worker: LocalWorker, tmp_path: Path) -> None:
    order = an_order(tmp_path)
    answer = worker.play(order, NEVER, lambda _: None)
    score = PolicyEvaluator([order.simulation]).evaluate("mock://random").simulations["tiny/one"]
    assert answer.score is not None and answer.refusal is None
    assert (answer.score.metric, answer.score.episodes, answer.score.seeds) == (score.metric, 2, score.seeds)
    assert answer.score.mean.value == score.mean.value
    assert answer.score.interquartile_mean.value == score.iqm.value
    assert len(answer.replay_urls) == 1 and Path(answer.replay_urls[0]).is_file()
    with EvalStatsDB.from_uri(order.stats_uri) as database:
        assert database.sample_count("random", 3) == 2
        assert database.simulation_scores("random", 3) == {"tiny/one": score.mean.value}
    pid = pid_of(worker)
    worker.play(order, NEVER, lambda _: None)
    assert pid_of(worker) == pid, "a process for each order"
    with EvalStatsDB.from_uri(order.stats_uri) as database:
        assert database.sample_count("random", 3) == 2, "played twice, counted more than once"


@pytest.mark.slow
def test_a_worker_that_is_killed_or_cancelled_is_replaced(worker: LocalWorker, tmp_path: Path) -> None:
    heard: list[float] = []

    def kill(share: float) -> None:
        if not heard:
            os.kill(pid_of(worker), signal.SIGKILL)
        heard.append(share)

    with pytest.raises(WorkerDiedError, match="killed by SIGKILL, by a user or for want of memory"):
        worker.play(endless(tmp_path), NEVER, kill)
    assert len(heard) == 1 and 0 <= heard[0] < 1

    stop = threading.Event()
    with pytest.raises(CancelledError):
        worker.play(endless(tmp_path), stop, lambda _: stop.set())
    assert worker.play(an_order(tmp_path), NEVER, lambda _: None).score is not None

    assert worker._process is not None
    os.kill(pid_of(worker), signal.SIGKILL)  # between two orders: nobody needs to hear of it
    worker._process.wait()
    assert worker.play(an_order(tmp_path), NEVER, lambda _: None).score is not None


def test_a_worker_that_takes_too_long_is_ended_and_counts_as_dead(tmp_path: Path) -> None:
    worker = LocalWorker(log=tmp_path / "worker.log", threads=1, timeout_seconds=0.5)
    with pytest.raises(WorkerDiedError, match=r"not done after 0.5 s \(timeout_seconds\)"):
        worker.play(endless(tmp_path), NEVER, lambda _: None)
    assert worker._process is None


@pytest.mark.slow
def test_a_worker_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "metta.eval.eval_service.worker"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(endless(tmp_path).model_dump_json().encode() + b"\n")
    process.stdin.flush()
    assert process.stdout.readline(), "it does not play"
    process.stdin.close()  # what the end of the service looks like
    until(lambda: process.poll() is not None, what="it plays on", seconds=20)
    process.stdout.close()


def test_what_can_never_be_played_is_a_refusal_and_a_bug_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = copy_of(tmp_path, b"no policy")
    (tmp_path / f"{'0' * 64}.pt").write_bytes(b"another one")
    fitting = an_order(tmp_path, checksum=copy_of(tmp_path, save_small_policy(tmp_path, small_suite()).read_bytes()))
    assert play(fitting).score is not None
    another_world = {"simulation": named_suite("arena", episodes=1).simulations[0]}
    for order, told in (
        (fitting.model_copy(update=another_world), "put_items"),  # an action that this policy does not know
        (an_order(tmp_path, checksum="1" * 64), "cannot read"),
        (an_order(tmp_path, checksum="0" * 64), "no longer what it was"),
        (an_order(tmp_path, checksum=noise), "is not a policy or checkpoint of this program"),
        (an_order(tmp_path).model_copy(update={"opponents": {"x": a_policy("0" * 64)}}), "no longer what it was"),
        (an_order(tmp_path).model_copy(update={"program": "0.0+0"}), "start service and cluster again"),
    ):
        answer = play(order)
        assert answer.refusal is not None and told in answer.refusal and answer.breakdown is None
    monkeypatch.setattr(PolicyEvaluator, "evaluate", lambda *_: 1 / 0)
    answer = play(an_order(tmp_path))
    assert answer.refusal is None and answer.breakdown == "ZeroDivisionError: division by zero"


def test_opponents_play_from_the_copies_under_their_own_names(tmp_path: Path) -> None:
    """Whatever is at their addresses by now, and wherever the worker is."""
    runs, copies = tmp_path / "runs", tmp_path / "copies"
    copies.mkdir()
    suite = shared_with("good", "mock://noop")
    path = save_small_policy(runs, suite)
    expected = PolicyEvaluator(suite, data_dir=str(runs), stats_uri=str(tmp_path / "a.duckdb")).evaluate(
        "mock://random"
    )
    good = a_policy(copy_of(copies, path.read_bytes()), key="good", version=7)
    path.write_bytes(b"something else")
    order = an_order(tmp_path).model_copy(
        update={
            "simulation": suite.simulations[0],
            "policies_dir": str(copies),
            "opponents": {"good": good, "mock://noop": AdmittedPolicy.model_validate(NOOP)},
            "stats_uri": str(tmp_path / "b.duckdb"),
        }
    )
    answer = play(order)
    assert answer.score is not None, answer
    assert answer.score.mean.value == expected.simulations["shared/one"].mean.value
    question = "SELECT agent_id, policy_key, policy_version, player FROM agent_policies WHERE player > 0 ORDER BY ALL"
    told = []
    for name in ("a", "b"):
        with EvalStatsDB.from_uri(str(tmp_path / f"{name}.duckdb")) as database:
            told.append(database.query(question).values.tolist())
    assert told[0] == told[1] and ("good", 7) in {(key, version) for _, key, version, _ in told[1]}


def test_progress_is_passed_on_when_a_game_begins_and_then_now_and_then() -> None:
    now, heard = [0.0], []
    report = seldom(heard.append, clock=lambda: now[0])
    for tick in range(100):
        now[0] = tick * PROGRESS_SECONDS / 10
        report("tiny/one", tick / 100)
    assert heard == [tick / 100 for tick in range(0, 100, 10)]
