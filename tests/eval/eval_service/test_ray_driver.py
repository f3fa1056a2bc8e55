"""What one order does to the process that is connected to a cluster is that order's fault, not the cluster's."""

from __future__ import annotations

import dataclasses
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest
from tests.eval.eval_service.parts import until

from metta.eval.eval_service.claims import NewRequest
from metta.eval.eval_service.config import EvalServiceConfig
from metta.eval.eval_service.dispatcher import Dispatcher
from metta.eval.eval_service.engine import OneService, open_database
from metta.eval.eval_service.ray_cluster import RayCluster
from metta.eval.eval_service.ray_player import RayPlayer
from metta.eval.eval_service.schemas import RequestView
from metta.eval.eval_service.store import RequestStore

Play = Callable[[int, NewRequest], RequestView]


@pytest.fixture
def play(store: RequestStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Return a function that has a request played through a real driver, by a stand-in for Ray that always answers."""
    (tmp_path / "ray").mkdir()
    shutil.copy(Path(__file__).with_name("stand_in_ray.py"), tmp_path / "ray" / "__init__.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("metta.eval.eval_service.outage.FIRST_SECONDS", 0.02)
    started: list[Dispatcher] = []
    with socket.create_server(("127.0.0.1", 0)) as head:
        threading.Thread(target=_answer, args=(head,), daemon=True).start()

        def play(max_retries: int, new: NewRequest) -> RequestView:
            cluster = RayCluster(f"127.0.0.1:{head.getsockname()[1]}", threads=1, log=tmp_path / "ray.log")
            cluster.connect(Event())
            dispatcher = Dispatcher(
                store,
                EvalServiceConfig(data_dir=str(tmp_path), max_retries=max_retries, retry_seconds=0.0),
                make_player=lambda _: RayPlayer(cluster, timeout_seconds=60),
                num_players=1,
                one_service=OneService(open_database(f"sqlite:///{tmp_path / 'place.sqlite'}"), tmp_path),
            )
            started.append(dispatcher)
            store.ask(new)
            dispatcher.start()
            until(lambda: store.page(limit=1)[0].state not in ("queued", "running"), what="it is tried for ever")
            return store.page(limit=1)[0]

        yield play
        for dispatcher in started:
            dispatcher.stop()


def _answer(head: socket.socket) -> None:
    """Be there, as a cluster's head node."""
    try:
        while True:
            head.accept()[0].close()
    except OSError:
        pass


def mock(new: NewRequest) -> NewRequest:
    """Let a policy play that has no file."""
    policy = new.policy.model_copy(update={"uri": "mock://noop", "checksum": "mock:noop"})
    return dataclasses.replace(new, policy=policy)


@pytest.mark.slow
def test_an_order_that_cannot_be_handed_out_or_read_back_is_given_up_and_others_are_played(
    play: Play, new_request: Callable[..., NewRequest]
) -> None:
    view = play(1, mock(new_request(0, "full/one", "unreadable/one", "good/one")))
    full, unreadable, good = view.simulations
    assert (full.state, full.deaths, unreadable.state, unreadable.deaths) == ("failed", 2, "failed", 2)
    assert "ObjectStoreFullError: the object store is full" in str(full.reason)
    assert "UnreadableError: the answer cannot be read" in str(unreadable.reason)
    assert good.state == "done" and good.deaths == 0


@pytest.mark.slow
def test_an_order_that_ends_the_connection_every_time_is_given_up_and_others_are_played(
    play: Play, new_request: Callable[..., NewRequest]
) -> None:
    view = play(1, mock(new_request(0, "crash/one", "good/one")))
    crash, good = view.simulations
    assert (crash.state, crash.deaths) == ("failed", 2)
    assert "the process that was connected to it has ended" in str(crash.reason)
    assert good.state == "done" and good.deaths == 0
