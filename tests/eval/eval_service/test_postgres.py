"""The same promises on a real PostgreSQL, in a cluster of its own that ends with the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import DataError
from tests.eval.eval_service.parts import ServiceProcess, small_suite

from metta.errors import ServiceError
from metta.eval.eval_service.engine import OneService, open_database
from metta.eval.eval_service.models import Result
from metta.eval.eval_service.schemas import Ask
from metta.eval.eval_service.store import NewRequest, RequestStore

pytestmark = pytest.mark.slow


def programs() -> Path | None:
    """Return the folder with PostgreSQL's own programs: the newest that Debian has put there, else that of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else None if on_path is None else Path(on_path).resolve().parent


class Cluster:
    """A PostgreSQL that listens on a socket in a folder, and nowhere else. It refuses to run as root."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder, self._programs = folder, programs
        self._user = "postgres" if os.geteuid() == 0 else None
        self.address = f"postgresql+psycopg://metta@/postgres?host={folder}"

    def call(self, name: str, *words: str) -> None:
        """Run one of PostgreSQL's programs."""
        subprocess.run(
            [str(self._programs / name), *words],
            user=self._user,
            cwd=self._folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def make(self) -> None:
        """Make an empty one."""
        if self._user is not None:
            os.chown(self._folder, pwd.getpwnam(self._user).pw_uid, -1)
        self.call("initdb", "-D", "data", "-U", "metta", "--auth=trust", "--no-sync", "--encoding=UTF8")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = f"-c listen_addresses= -c unix_socket_directories={self._folder}"
        self.call("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", settings, "start")

    def stop(self) -> None:
        """End it at once, as a machine that is switched off."""
        self.call("pg_ctl", "-D", "data", "-w", "-m", "immediate", "stop")


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed: no initdb in /usr/lib/postgresql/*/bin (apt-get install postgresql)")
    # Not below pytest's folder: another user must be able to enter, and the name of a socket is at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="metta-pg-"))
    cluster = Cluster(folder, found)
    try:
        cluster.make()
        cluster.start()
        yield cluster
        cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_many_threads_ask_and_play_and_nothing_is_lost_or_counted_twice(
    postgres: Cluster, new_request: Callable[..., NewRequest], tmp_path: Path
) -> None:
    engine = open_database(postgres.address)
    store = RequestStore(engine, stats_uri=str)
    news: list[bool] = []
    played: list[tuple[str, str]] = []
    lock = threading.Lock()

    def ask() -> None:
        for number in range(20):
            news.append(store.ask(new_request(number))[1])

    def play() -> None:
        deadline = time.monotonic() + 60
        while len(played) < 40 and time.monotonic() < deadline:
            with lock:  # as the dispatcher does
                claim = store.claim()
            if claim is not None:
                result = Result(score=None, missing_episodes=0, replay_urls=[], seconds=1.0, agent_steps=1)
                assert store.finish(claim, result)
                played.append((claim.request_id, claim.simulation))

    threads = [threading.Thread(target=target) for target in [ask] * 4 + [play] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(news) == {True: 20, False: 60}
    assert len(played) == len(set(played)) == 40
    views = store.page(limit=100)
    assert Counter(view.state for view in views) == {"done": 20}
    assert len(store.page(limit=100, state="done")) == 20 and not store.page(limit=100, state="queued")

    first = OneService(engine, tmp_path)
    first.take()
    (tmp_path / "other").mkdir()
    with pytest.raises(ServiceError, match="another evaluation service uses the database"):
        OneService(open_database(postgres.address), tmp_path / "other").take()
    first.give_back()
    second = OneService(engine, tmp_path)
    second.take()
    second.give_back()
    engine.dispose()


def test_numbers_and_names_are_kept_whole_and_what_cannot_be_kept_is_no_outage(
    postgres: Cluster, new_request: Callable[..., NewRequest]
) -> None:
    engine = open_database(postgres.address)
    store, name = RequestStore(engine, stats_uri=str), "long/" + "x" * 5000
    new = new_request(2**40, name)
    store.ask(new)
    claim = store.claim()
    assert claim is not None and claim.simulation == name
    store.finish(claim, Result(score=None, missing_episodes=0, replay_urls=[], seconds=1.0, agent_steps=2**40))
    view = store.get(new.id)
    assert view is not None and view.policy_version == 2**40
    assert view.simulations[0].result is not None and view.simulations[0].result.agent_steps == 2**40
    unkept = new_request(1)
    unkept.suite.name = "a\0b"
    with pytest.raises(DataError):
        store.ask(unkept)
    assert store.get(unkept.id) is None
    engine.dispose()


def test_a_service_outlives_its_postgres_and_a_postgres_its_service(
    postgres: Cluster, service_process: Callable[..., ServiceProcess]
) -> None:
    service = service_process(f"database={postgres.address}", "workers=2")
    suites = [small_suite(f"long/{n}a", f"long/{n}b", episodes=1, max_steps=20_000) for n in range(3)]
    with service.client() as client:
        ids = [client.ask(Ask(policy_uri="mock://random", suite=suite)).request.id for suite in suites]
        postgres.stop()
        assert client._http.get("/health").status_code == 503
        time.sleep(3)  # results come in meanwhile, and wait
        postgres.start()
        assert client._http.get("/health").status_code == 200
        assert service.wait_for(ids[0]).state == "done"  # it plays on without being started again
    service.kill()
    service.start()
    for name in ids:
        view = service.wait_for(name)
        assert view.state == "done" and all(one.result is not None for one in view.simulations)
        assert all(one.deaths == 0 for one in view.simulations)
    assert not (service.folder / "train_dir" / "eval_service" / "requests.sqlite").exists()
