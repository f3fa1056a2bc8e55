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
from sqlalchemy import text
from sqlalchemy.exc import DataError, DBAPIError
from tests.eval.eval_service.parts import ScriptedPlayer, ServiceProcess, an_answer, small_suite
from tests.eval.eval_service.test_migrations import check_that_nothing_is_lost

from metta.errors import ServiceError
from metta.eval.eval_service.claims import NewRequest
from metta.eval.eval_service.config import EvalServiceConfig
from metta.eval.eval_service.dispatcher import Dispatcher
from metta.eval.eval_service.engine import OneService, open_database
from metta.eval.eval_service.models import Result
from metta.eval.eval_service.play import PlayAnswer, PlayOrder
from metta.eval.eval_service.schemas import Ask
from metta.eval.eval_service.store import RequestStore

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


def test_an_old_database_keeps_its_results_and_what_is_open_is_played_or_reported(
    postgres: Cluster, new_request: Callable[..., NewRequest], tmp_path: Path
) -> None:
    check_that_nothing_is_lost(postgres.address, tmp_path, new_request)


def test_two_services_on_one_database_play_everything_and_count_it_once(
    postgres: Cluster, new_request: Callable[..., NewRequest], tmp_path: Path
) -> None:
    """The place goes to and fro between them, whenever the session that holds it is ended; none of them is told."""
    engines = [open_database(postgres.address) for _ in range(3)]
    store = RequestStore(engines[2], stats_uri=str)
    begun: list[tuple[int, str, str]] = []

    def dispatcher_of(number: int) -> Dispatcher:
        def act(order: PlayOrder, stop: threading.Event, _: object) -> PlayAnswer:
            begun.append((number, order.policy.checksum, order.simulation.name))
            stop.wait(0.01)
            return an_answer(float(order.policy.version))

        return Dispatcher(
            RequestStore(engines[number], stats_uri=str),
            EvalServiceConfig(data_dir=str(tmp_path)),
            make_player=lambda _: ScriptedPlayer(act),
            num_players=3,
            one_service=OneService(engines[number], tmp_path),
        )

    dispatchers = [dispatcher_of(number) for number in range(2)]
    for dispatcher in dispatchers:
        dispatcher.start()
    ids = [store.ask(new_request(number))[0].id for number in range(60)]
    holder = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    try:
        deadline = time.monotonic() + 120
        while len(store.page(limit=100, state="done")) < 60 and time.monotonic() < deadline:
            with engines[2].connect() as connection:
                connection.execute(text(holder))
            for dispatcher in reversed(dispatchers):
                dispatcher.wake()
            time.sleep(0.05)
    finally:
        for dispatcher in dispatchers:
            dispatcher.stop()
    views = [store.get(name) for name in ids]
    for number, view in enumerate(views):
        assert view is not None and view.state == "done", view
        for one in view.simulations:
            assert one.deaths == 0 and one.result is not None and one.result.score is not None
            assert one.result.score.mean.value == number
    assert {number for number, *_ in begun} == {0, 1}, "one of them has done everything"
    for engine in engines:
        engine.dispose()


def test_whoever_has_lost_its_place_begins_nothing(
    postgres: Cluster, new_request: Callable[..., NewRequest], tmp_path: Path
) -> None:
    engines = [open_database(postgres.address) for _ in range(2)]
    store = RequestStore(engines[0], stats_uri=str)
    first, second = (OneService(engine, tmp_path / str(number)) for number, engine in enumerate(engines))
    assert first.hold() and not first.hold()
    with pytest.raises(ServiceError, match="another evaluation service"):
        second.hold()
    store.ask(new_request(1, "tiny/one"))
    with engines[1].connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
        )
    assert second.hold()
    with pytest.raises(DBAPIError):  # it has not noticed yet
        store.claim(connection=first.connection)
    with pytest.raises(ServiceError, match="another evaluation service"):
        first.hold()
    assert store.claim(connection=second.connection) is not None
    second.give_back()
    assert first.hold()
    first.give_back()
    for engine in engines:
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
