"""Units are handed out, and what comes of them is written down, whatever happens to the players."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from tests.eval.eval_service.parts import ScriptedPlayer, an_answer, until

from metta.errors import ServiceError
from metta.eval.eval_service.claims import Claim, NewRequest
from metta.eval.eval_service.config import EvalServiceConfig
from metta.eval.eval_service.dispatcher import Dispatcher, keepable
from metta.eval.eval_service.engine import OneService, open_database
from metta.eval.eval_service.play import PlayAnswer, PlayOrder
from metta.eval.eval_service.players import CancelledError, OrderLostError, PlayersAwayError, WorkerDiedError
from metta.eval.eval_service.store import RequestStore

Act = Callable[[PlayOrder, Event, Callable[[float], None]], PlayAnswer]
MakeDispatcher = Callable[..., Dispatcher]


@pytest.fixture
def dispatch(store: RequestStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeDispatcher]:
    """Return a function that starts a dispatcher whose players do as they are told, and that tries again at once."""
    monkeypatch.setattr("metta.eval.eval_service.dispatcher.RETRY_SECONDS", 0.01)
    started: list[Dispatcher] = []

    def start(act: Act, *, num_players: int = 1, store: RequestStore = store, **settings: Any) -> Dispatcher:
        dispatcher = Dispatcher(
            store,
            EvalServiceConfig(data_dir=str(tmp_path), **{"retry_seconds": 0.0} | settings),
            make_player=lambda _: ScriptedPlayer(act),
            num_players=num_players,
            one_service=OneService(open_database(f"sqlite:///{tmp_path / 'place.sqlite'}"), tmp_path),
        )
        dispatcher.start()
        started.append(dispatcher)
        return dispatcher

    yield start
    for dispatcher in started:
        dispatcher.stop()


def ended(store: RequestStore, request_id: str) -> Callable[[], bool]:
    def check() -> bool:
        view = store.get(request_id)
        return view is not None and view.state not in ("queued", "running")

    return check


def test_every_unit_is_played_once_by_several_players(
    store: RequestStore, dispatch: MakeDispatcher, new_request: Callable[..., NewRequest]
) -> None:
    played: list[tuple[int, str]] = []

    def act(order: PlayOrder, *_: object) -> PlayAnswer:
        played.append((order.policy.version, order.simulation.name))
        return an_answer(order.policy.version)

    ids = [store.ask(new_request(number))[0].id for number in range(10)]
    dispatcher = dispatch(act, num_players=4)
    ids += [store.ask(new_request(number))[0].id for number in range(10, 20)]
    dispatcher.wake()
    for name in ids:
        until(ended(store, name), what=name)
    assert sorted(played) == sorted((number, name) for number in range(20) for name in ("tiny/one", "tiny/two"))
    for number, name in enumerate(ids):
        view = store.get(name)
        assert view is not None and view.state == "done"
        for simulation in view.simulations:
            assert simulation.result is not None and simulation.result.score is not None
            assert simulation.result.score.mean.value == number
            assert (simulation.result.agent_steps, simulation.result.replay_urls) == (12, ["replay.json.z"])


def test_a_request_wakes_a_player_at_once(
    store: RequestStore,
    dispatch: MakeDispatcher,
    new_request: Callable[..., NewRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("metta.eval.eval_service.dispatcher.IDLE_SECONDS", 3600.0)
    dispatcher = dispatch(lambda *_: an_answer())
    for number in range(3):
        request = store.ask(new_request(number))[0]
        dispatcher.wake()
        until(ended(store, request.id), what="the player sleeps")


@pytest.mark.parametrize(
    "failure",
    [
        WorkerDiedError("killed by SIGKILL"),
        PlayAnswer(breakdown="killed by SIGKILL"),
        OSError("killed by SIGKILL"),
        RuntimeError("killed by SIGKILL"),
    ],
    ids=str,
)
def test_what_dies_or_breaks_is_tried_again_three_times_and_then_reported(
    failure: Exception | PlayAnswer,
    store: RequestStore,
    dispatch: MakeDispatcher,
    new_request: Callable[..., NewRequest],
) -> None:
    tries = []

    def act(order: PlayOrder, *_: object) -> PlayAnswer:
        if order.simulation.name == "tiny/two":
            return an_answer()
        tries.append(order)
        if isinstance(failure, Exception):
            raise failure
        return failure

    request = store.ask(new_request())[0]
    dispatch(act)
    until(ended(store, request.id), what="it is tried for ever")
    view = store.get(request.id)
    assert view is not None and view.state == "failed" and len(tries) == 4
    bad, good = view.simulations
    assert bad.state == "failed" and "after 4 attempts" in str(bad.reason) and "killed by SIGKILL" in str(bad.reason)
    assert good.state == "done" and good.result is not None


def test_how_often_it_is_tried_and_with_how_many_threads_can_be_set(
    store: RequestStore, dispatch: MakeDispatcher, new_request: Callable[..., NewRequest]
) -> None:
    orders: list[PlayOrder] = []

    def act(order: PlayOrder, *_: object) -> PlayAnswer:
        orders.append(order)
        raise WorkerDiedError("killed")

    request = store.ask(new_request(0, "tiny/one"))[0]
    dispatch(act, max_retries=0, threads=7, replays=False)
    until(ended(store, request.id), what="it is tried for ever")
    assert [(order.threads, order.replay_dir) for order in orders] == [(7, None)]


def test_what_dies_twice_and_then_plays_is_done(
    store: RequestStore, dispatch: MakeDispatcher, new_request: Callable[..., NewRequest]
) -> None:
    tries = []

    def act(*_: object) -> PlayAnswer:
        tries.append(1)
        if len(tries) < 3:
            raise WorkerDiedError("killed")
        return an_answer()

    request = store.ask(new_request(0, "tiny/one"))[0]
    dispatch(act)
    until(ended(store, request.id), what="it is not done")
    view = store.get(request.id)
    assert view is not None and view.state == "done" and view.simulations[0].deaths == 2


def test_what_has_died_rests_before_it_is_played_again_and_others_play_meanwhile(
    store: RequestStore, dispatch: MakeDispatcher, new_request: Callable[..., NewRequest]
) -> None:
    times: dict[int, list[float]] = {0: [], 1: []}

    def act(order: PlayOrder, *_: object) -> PlayAnswer:
        times[order.policy.version].append(time.monotonic())
        if order.policy.version == 0:
            raise WorkerDiedError("killed")
        return an_answer()

    bad, good = (store.ask(new_request(number, "tiny/one"))[0] for number in (0, 1))
    dispatch(act, max_retries=1, retry_seconds=1.0)
    until(ended(store, bad.id), what="it is not given up")
    first, second = times[0]
    assert second - first >= 1.0 and times[1][0] < second
    view = store.get(good.id)
    assert view is not None and view.state == "done"


def test_what_was_given_up_and_is_asked_for_again_does_not_rest(
    store: RequestStore, dispatch: MakeDispatcher, new_request: Callable[..., NewRequest]
) -> None:
    tries = []

    def act(*_: object) -> PlayAnswer:
        tries.append(1)
        raise WorkerDiedError("killed")

    new = new_request(0, "tiny/one")
    dispatcher = dispatch(act, max_retries=0, retry_seconds=3600.0)
    for number in range(1, 3):
        store.ask(new)
        dispatcher.wake()
        until(ended(store, new.id), what="it rests for an hour")
        assert len(tries) == number


def test_players_that_go_away_cost_no_deaths_and_all_is_played_once_when_they_are_back(
    store: RequestStore, tmp_path: Path, new_request: Callable[..., NewRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metta.eval.eval_service.outage.FIRST_SECONDS", 0.02)
    is_away, is_back = threading.Event(), threading.Event()
    playing: list[str] = []
    played: list[tuple[int, str]] = []

    class Remote(ScriptedPlayer):
        def prepare(self, stop: Event) -> None:
            if is_away.is_set() and not is_back.is_set():
                raise PlayersAwayError("nobody answers")

    def act(order: PlayOrder, *_: object) -> PlayAnswer:
        if not is_back.is_set():
            playing.append(order.simulation.name)
            assert is_away.wait(60)
            raise PlayersAwayError("it was switched off")
        played.append((order.policy.version, order.simulation.name))
        return an_answer()

    dispatcher = Dispatcher(
        store,
        EvalServiceConfig(data_dir=str(tmp_path)),
        make_player=lambda _: Remote(act),
        num_players=2,
        one_service=OneService(open_database(f"sqlite:///{tmp_path / 'place.sqlite'}"), tmp_path),
    )
    ids = [store.ask(new_request(number))[0].id for number in range(3)]
    dispatcher.start()
    try:
        until(lambda: len(playing) == 2, what="nothing is played")
        assert dispatcher.outage() is None
        is_away.set()
        until(lambda: "nobody answers" in str(dispatcher.outage()), what="it is not tried again")
        until(lambda: not store.page(limit=9, state="running"), what="it is said to be played")
        assert all(view.progress == {"queued": 2} for view in store.page(limit=9))
        is_back.set()
        for name in ids:
            until(ended(store, name), what="it is not played when they are back")
    finally:
        dispatcher.stop()
    assert sorted(played) == [(number, name) for number in range(3) for name in ("tiny/one", "tiny/two")]
    assert all(one.state == "done" and one.deaths == 0 for view in store.page(limit=9) for one in view.simulations)
    assert len(playing) == 2 and dispatcher.outage() is None


def test_what_rests_is_played_at_once_when_the_rest_is_ended(
    store: RequestStore, dispatch: MakeDispatcher, new_request: Callable[..., NewRequest]
) -> None:
    tried: list[str] = []

    def act(order: PlayOrder, *_: object) -> PlayAnswer:
        tried.append(order.simulation.name)
        raise WorkerDiedError("killed")

    request = store.ask(new_request(0, "a/1", "a/2"))[0]
    dispatcher = dispatch(act, retry_seconds=3600.0)
    until(lambda: store.page(limit=1)[0].progress == {"queued": 2} and len(tried) == 2, what="both rest")
    assert 290 < dispatcher.seconds_of_rest(request.number, "a/1") <= 300
    dispatcher.end_rests(request.number + 1)
    assert dispatcher.seconds_of_rest(request.number, "a/1") > 0
    dispatcher.end_rests(request.number)
    until(lambda: sorted(tried) == ["a/1", "a/1", "a/2", "a/2"], what="they rest for an hour")


@pytest.mark.parametrize(("kind", "tries", "state"), [(OrderLostError, 7, "failed"), (PlayersAwayError, 20, "done")])
def test_a_connection_that_is_lost_again_and_again_is_a_units_fault_and_a_cluster_that_is_away_is_not(
    kind: type[Exception],
    tries: int,
    state: str,
    store: RequestStore,
    dispatch: MakeDispatcher,
    new_request: Callable[..., NewRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three losses in a row may be chance; each one after that counts as a death, of which there are four."""
    monkeypatch.setattr("metta.eval.eval_service.outage.FIRST_SECONDS", 0.0)
    tried: list[int] = []

    def act(order: PlayOrder, *_: object) -> PlayAnswer:
        if order.policy.version == 0:
            tried.append(1)
            if len(tried) < 20:
                raise kind("the connection is lost")
        return an_answer()

    bad, good = (store.ask(new_request(number, "tiny/one"))[0] for number in (0, 1))
    dispatch(act)
    for request in (bad, good):
        until(ended(store, request.id), what="it is tried for ever")
    views = [store.get(request.id) for request in (bad, good)]
    assert [view.state for view in views if view is not None] == [state, "done"]
    assert len(tried) == tries


def test_a_refusal_is_not_tried_again(
    store: RequestStore, dispatch: MakeDispatcher, new_request: Callable[..., NewRequest]
) -> None:
    tries = []

    def act(*_: object) -> PlayAnswer:
        tries.append(1)
        return PlayAnswer(refusal="this policy does not fit")

    request = store.ask(new_request(0, "tiny/one"))[0]
    dispatch(act)
    until(ended(store, request.id), what="it is not refused")
    view = store.get(request.id)
    assert view is not None and len(tries) == 1
    assert (view.simulations[0].state, view.simulations[0].reason) == ("failed", "this policy does not fit")


def test_cancelling_ends_what_is_being_played_and_the_player_goes_on(
    store: RequestStore, dispatch: MakeDispatcher, new_request: Callable[..., NewRequest]
) -> None:
    playing, shares = threading.Event(), []

    def act(order: PlayOrder, stop: Event, on_progress: Callable[[float], None]) -> PlayAnswer:
        if order.policy.version == 1:
            return an_answer()
        on_progress(0.25)
        shares.append(dispatcher.share_played(long.id, "tiny/one"))
        playing.set()
        assert stop.wait(60), "nobody said stop"
        raise CancelledError

    dispatcher = dispatch(act)
    long, short = (store.ask(new_request(number, "tiny/one"))[0] for number in (0, 1))
    dispatcher.wake()
    assert playing.wait(60)
    store.cancel(long.id)
    dispatcher.end(long.id)
    until(ended(store, short.id), what="the player hangs")
    view = store.get(long.id)
    assert view is not None and view.state == "cancelled"
    assert shares == [0.25] and dispatcher.share_played(long.id, "tiny/one") is None


def test_what_is_cancelled_and_asked_for_again_at_once_is_played(
    store: RequestStore, dispatch: MakeDispatcher, new_request: Callable[..., NewRequest]
) -> None:
    """The word to stop may reach the attempt after the one that it was meant for."""
    events: list[Event] = []

    def act(_: PlayOrder, stop: Event, __: object) -> PlayAnswer:
        events.append(stop)
        if len(events) < 3:
            assert stop.wait(60)
            raise CancelledError
        return an_answer()

    dispatcher = dispatch(act, num_players=2)
    new = new_request(0, "tiny/one")
    request = store.ask(new)[0]
    dispatcher.wake()
    until(lambda: len(events) == 1, what="the first attempt")
    store.cancel(request.id)
    store.ask(new)
    dispatcher.wake()
    until(lambda: len(events) == 2, what="the second attempt, beside the first")
    dispatcher.end(request.id)  # of the cancellation above
    dispatcher.wake()
    until(ended(store, request.id), what="it is lost")
    assert events[0].is_set(), "what was cancelled is played on"
    view = store.get(request.id)
    assert view is not None and view.state == "done" and view.simulations[0].deaths == 0


@pytest.mark.parametrize("reason", ["a\0b", "x" * 10_000, "\udcff"])
def test_a_reason_can_be_kept_whatever_a_dying_process_wrote(reason: str) -> None:
    kept = keepable(reason)
    assert "\0" not in kept and len(kept) <= 2000 and kept.encode()


def test_a_database_that_goes_away_loses_nothing_and_plays_nothing_twice(
    tmp_path: Path, dispatch: MakeDispatcher, new_request: Callable[..., NewRequest]
) -> None:
    """A commit may have happened although nobody heard of it: then nothing is counted twice, nothing is left over."""
    gone = OperationalError("SELECT", {}, Exception("server closed the connection"))

    class Unreliable(RequestStore):
        calls = 0

        def _fail_now_and_then(self) -> None:
            type(self).calls += 1
            if type(self).calls % 3 == 0:
                raise gone

        def claim(self, **settings: Any) -> Claim | None:
            claim = super().claim(**settings)
            self._fail_now_and_then()
            return claim

        def finish(self, claim: Claim, result: object) -> bool:
            is_taken = super().finish(claim, result)
            self._fail_now_and_then()
            return is_taken

    store = Unreliable(open_database(f"sqlite:///{tmp_path / 'x.sqlite'}"), stats_uri=str)
    played: list[tuple[str, str]] = []

    def act(order: PlayOrder, *_: object) -> PlayAnswer:
        played.append((order.policy.key, order.simulation.name))
        return an_answer()

    ids = [store.ask(new_request(number))[0].id for number in range(6)]
    dispatch(act, store=store)
    for name in ids:
        until(ended(store, name), what=name)
    assert len(played) == 12


@pytest.mark.parametrize("method", ["claim", "finish", "died"])
def test_a_player_goes_on_after_an_error_that_nobody_foresaw_and_what_it_played_is_played_again(
    method: str,
    store: RequestStore,
    dispatch: MakeDispatcher,
    new_request: Callable[..., NewRequest],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    right, calls = getattr(RequestStore, method), []

    def wrong(*arguments: Any, **settings: Any) -> Any:
        calls.append(method)
        if len(calls) == 1:
            raise ArithmeticError("nobody foresaw it")
        return right(*arguments, **settings)

    monkeypatch.setattr(RequestStore, method, wrong)
    tries: list[str] = []

    def act(order: PlayOrder, *_: object) -> PlayAnswer:
        tries.append(order.simulation.name)
        if method == "died" and len(tries) == 1:
            raise WorkerDiedError("killed")
        return an_answer()

    request = store.ask(new_request())[0]
    dispatch(act)
    until(ended(store, request.id), what="the player is gone")
    view = store.get(request.id)
    assert view is not None and view.state == "done"
    assert "nobody foresaw it" in caplog.text


def test_a_place_that_another_service_has_is_told_once_and_waited_for(
    store: RequestStore,
    dispatch: MakeDispatcher,
    new_request: Callable[..., NewRequest],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries: list[int] = []

    def hold(_: OneService) -> bool:
        tries.append(1)
        if len(tries) < 20:
            raise ServiceError("another evaluation service uses the database")
        return False

    monkeypatch.setattr(OneService, "hold", hold)
    request = store.ask(new_request(0, "tiny/one"))[0]
    dispatcher = dispatch(lambda *_: an_answer())
    until(ended(store, request.id), what="it is not played")
    assert caplog.text.count("another evaluation service") == 1 and len(tries) >= 20
    until(lambda: dispatcher.outage() is None, what="it is said to be in trouble")


def test_stopping_leaves_what_is_being_played_to_the_next_start(
    store: RequestStore, dispatch: MakeDispatcher, new_request: Callable[..., NewRequest]
) -> None:
    playing = threading.Event()

    def wait(_: PlayOrder, stop: Event, __: object) -> PlayAnswer:
        playing.set()
        stop.wait(60)
        raise CancelledError

    request = store.ask(new_request(0, "tiny/one"))[0]
    dispatch(wait).wake()
    assert playing.wait(60)
    # what a kill leaves behind is the same: a unit that is said to be running
    dispatch_again: list[str] = []

    def act(order: PlayOrder, *_: object) -> PlayAnswer:
        dispatch_again.append(order.simulation.name)
        return an_answer()

    dispatch(act)
    until(ended(store, request.id), what="it is lost")
    view = store.get(request.id)
    assert view is not None and view.state == "done" and dispatch_again == ["tiny/one"]
