"""What must survive: requests are kept once, results are counted once, states never disagree."""

from __future__ import annotations

import dataclasses
import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from metta.cli.main import main
from metta.errors import ConfigError, ServiceError
from metta.eval.eval_service.claims import Claim, NewRequest
from metta.eval.eval_service.engine import OneService, open_database
from metta.eval.eval_service.models import Result, State
from metta.eval.eval_service.policies import AdmittedPolicy
from metta.eval.eval_service.schemas import RequestView, overall_state
from metta.eval.eval_service.store import RequestStore

NewRequests = Callable[..., NewRequest]


def a_result(steps: int = 1) -> Result:
    return Result(score=None, missing_episodes=0, replay_urls=[], seconds=1.0, agent_steps=steps)


def claimed(store: RequestStore) -> Claim:
    claim = store.claim()
    assert claim is not None
    return claim


def states(view: RequestView | None) -> list[str]:
    assert view is not None
    return [simulation.state for simulation in view.simulations]


def test_asking_twice_gives_the_same_request(store: RequestStore, new_request: NewRequests) -> None:
    first, is_new = store.ask(new_request(1))
    second, is_new_again = store.ask(new_request(1))
    assert (is_new, is_new_again) == (True, False)
    assert first == second == store.get(first.id)
    assert states(first) == ["queued", "queued"] and first.state == "queued"
    other, is_new = store.ask(new_request(2))
    assert is_new and other.id != first.id and other.number == first.number + 1


def test_many_threads_that_ask_for_the_same_make_one_request(store: RequestStore, new_request: NewRequests) -> None:
    news = []
    threads = [
        threading.Thread(target=lambda: news.extend(store.ask(new_request(n))[1] for n in range(5))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(news) == {True: 5, False: 35}
    assert len(store.page(limit=100)) == 5


def test_units_are_claimed_once_and_in_the_order_of_asking(store: RequestStore, new_request: NewRequests) -> None:
    ids = [store.ask(new_request(n))[0].id for n in (1, 2)]
    claims = [claimed(store) for _ in range(4)]
    assert [(claim.request_id, claim.simulation) for claim in claims] == list(
        itertools.product(ids, ["tiny/one", "tiny/two"])
    )
    assert store.claim() is None


def test_a_result_is_taken_once_and_only_from_the_attempt_that_is_under_way(
    store: RequestStore, new_request: NewRequests
) -> None:
    request = store.ask(new_request(1, "tiny/one"))[0]
    old = claimed(store)
    assert store.requeue() == 1
    new = claimed(store)
    assert not store.finish(old, a_result(1))
    assert store.finish(new, a_result(2))
    assert not store.finish(new, a_result(3))
    view = store.get(request.id)
    assert view is not None and view.state == "done" and view.simulations[0].result is not None
    assert view.simulations[0].result.agent_steps == 2


def test_a_restart_queues_what_was_being_played_and_nothing_else(store: RequestStore, new_request: NewRequests) -> None:
    request = store.ask(new_request(1, "a/1", "a/2", "a/3", "a/4"))[0]
    store.finish(claimed(store), a_result())
    store.fail(claimed(store), "it does not fit")
    kept, lost = claimed(store), claimed(store)
    assert store.requeue(but={(kept.request_id, kept.simulation)}) == 1
    assert states(store.get(request.id)) == ["done", "failed", "running", "queued"]
    assert claimed(store).simulation == lost.simulation


def test_the_death_after_the_last_retry_is_reported(store: RequestStore, new_request: NewRequests) -> None:
    request = store.ask(new_request(1, "tiny/one"))[0]
    found = [store.died(claimed(store), f"killed {n}", max_retries=2) for n in range(3)]
    assert found == ["queued", "queued", "failed"]
    view = store.get(request.id)
    assert view is not None and view.state == "failed" and view.simulations[0].deaths == 3
    assert view.simulations[0].reason == "given up after 3 attempts, the last one: killed 2"
    assert store.claim() is None


def test_what_failed_or_was_cancelled_is_played_again_when_it_is_asked_for_again(
    store: RequestStore, new_request: NewRequests
) -> None:
    new = new_request(1, "a/1", "a/2", "a/3")
    request = store.ask(new)[0]
    store.finish(claimed(store), a_result())
    store.fail(claimed(store), "it does not fit")
    cancelled = store.cancel(request.id)
    assert states(cancelled) == ["done", "failed", "cancelled"]
    again, is_new = store.ask(new)
    assert states(again) == ["done", "queued", "queued"] and not is_new
    assert again.simulations[1].reason is None


def a_result_without(missing: int, *, steps: int = 1) -> Result:
    return Result(score=None, missing_episodes=missing, replay_urls=[], seconds=1.0, agent_steps=steps)


def test_a_simulation_with_missing_episodes_is_played_again_when_it_is_asked_for_again(
    store: RequestStore, new_request: NewRequests
) -> None:
    new = new_request(1, "a/1", "a/2")
    store.ask(new)
    store.finish(claimed(store), a_result_without(3))
    store.finish(claimed(store), a_result())
    again, is_new = store.ask(new)
    assert states(again) == ["queued", "done"] and not is_new
    assert again.simulations[0].result is not None, "what is known of it stays until it is known better"
    assert states(store.ask(new)[0]) == ["queued", "done"]
    store.finish(claimed(store), a_result_without(0, steps=7))
    whole = store.ask(new)[0]
    assert states(whole) == ["done", "done"]
    assert whole.simulations[0].result is not None and whole.simulations[0].result.agent_steps == 7
    assert whole.simulations[0].result.missing_episodes == 0


def test_the_result_with_more_episodes_is_the_one_that_is_kept(store: RequestStore, new_request: NewRequests) -> None:
    new = new_request(1, "tiny/one")
    for missing, steps, expected in ((3, 1, 1), (4, 2, 1), (3, 3, 3), (1, 4, 4)):
        store.ask(new)
        assert store.finish(claimed(store), a_result_without(missing, steps=steps))
        view = store.get(new.id)
        assert view is not None and view.state == "done" and view.simulations[0].result is not None
        assert view.simulations[0].result.agent_steps == expected
    store.ask(new)
    assert states(store.cancel(new.id)) == ["cancelled"]
    view = store.get(new.id)
    assert view is not None and view.simulations[0].result is not None, "to play it again in vain loses nothing"


def test_units_that_rest_are_passed_over_and_others_are_not(store: RequestStore, new_request: NewRequests) -> None:
    store.ask(new_request(1, "a/1", "a/2"))
    store.ask(new_request(2, "a/1"))
    first = claimed(store)
    store.release(first)
    second = store.claim(but=[first.unit])
    assert second is not None and (second.request, second.simulation) == (first.request, "a/2")
    third = store.claim(but=[first.unit, (10**6, "a/1")])
    assert third is not None and (third.request, third.simulation) == (first.request + 1, "a/1")
    assert store.claim(but=[first.unit]) is None
    assert claimed(store).unit == first.unit


def test_copies_are_needed_of_all_who_play_in_what_has_not_ended(store: RequestStore, new_request: NewRequests) -> None:
    other = AdmittedPolicy(uri="file:///o.pt", key="o", version=0, checksum="o" * 64)
    open_, ended = (dataclasses.replace(new_request(n, "tiny/one"), opponents={"o": other}) for n in (1, 2))
    store.ask(ended)
    store.finish(claimed(store), a_result())
    assert store.needed_copies() == set()
    store.ask(open_)
    assert store.needed_copies() == {open_.policy.checksum, other.checksum}
    claim = claimed(store)
    assert store.needed_copies() == {open_.policy.checksum, other.checksum}
    assert AdmittedPolicy.model_validate(claim.opponents["o"]) == other
    store.cancel(open_.id)
    assert store.needed_copies() == set()


def test_a_cancelled_unit_takes_neither_a_result_nor_a_death(store: RequestStore, new_request: NewRequests) -> None:
    request = store.ask(new_request(1, "tiny/one"))[0]
    claim = claimed(store)
    assert states(store.cancel(request.id)) == ["cancelled"]
    assert not store.finish(claim, a_result())
    assert not store.fail(claim, "too late")
    assert store.died(claim, "too late", max_retries=2) is None
    assert states(store.get(request.id)) == ["cancelled"]
    assert store.cancel("0" * 16) is None


def test_a_unit_that_is_released_is_queued_again_and_only_by_the_attempt_that_has_it(
    store: RequestStore, new_request: NewRequests
) -> None:
    request = store.ask(new_request(1, "tiny/one"))[0]
    old = claimed(store)
    assert store.release(old) and states(store.get(request.id)) == ["queued"]
    new = claimed(store)
    assert not store.release(old) and states(store.get(request.id)) == ["running"]
    store.cancel(request.id)
    assert not store.release(new) and states(store.get(request.id)) == ["cancelled"]


def test_pages_hold_every_request_once_newest_first(store: RequestStore, new_request: NewRequests) -> None:
    for number in range(7):
        store.ask(new_request(number, key=f"run{number % 2}"))
    pages, before = [], None
    while page := store.page(limit=3, before=before):
        pages.append([view.policy_version for view in page])
        before = page[-1].number
    assert pages == [[6, 5, 4], [3, 2, 1], [0]]
    assert [view.policy_version for view in store.page(limit=9, policy_key="run1")] == [5, 3, 1]


def test_filters_find_a_state_wherever_the_views_show_it(store: RequestStore, new_request: NewRequests) -> None:
    draw = random.Random(3)
    for number in range(40):
        store.ask(new_request(number, *(f"a/{n}" for n in range(draw.randint(1, 3)))))
    for _ in range(55):
        claim = claimed(store)
        act = draw.choice(["finish", "fail", "cancel", "leave", "died"])
        if act == "finish":
            store.finish(claim, a_result())
        elif act == "fail":
            store.fail(claim, "no")
        elif act == "cancel":
            store.cancel(claim.request_id)
        elif act == "died":
            store.died(claim, "killed", max_retries=2)
    views = store.page(limit=100)
    expected = {view.id: slow_state(states(view)) for view in views}
    assert {view.id: view.state for view in views} == expected
    assert set(expected.values()) == set(State)
    for state in State:
        shown = {view.id for view in store.page(limit=100, state=state)}
        assert shown == {name for name, value in expected.items() if value == state}


def slow_state(units: list[str]) -> str:
    """The definition, in words: nothing begun, something open, the worst of what has ended."""
    if all(unit == "queued" for unit in units):
        return "queued"
    if any(unit in ("queued", "running") for unit in units):
        return "running"
    if "failed" in units:
        return "failed"
    return "cancelled" if "cancelled" in units else "done"


def test_the_state_of_a_request_follows_from_its_units_in_every_combination() -> None:
    for units in itertools.product(State, repeat=3):
        assert overall_state([str(unit) for unit in units]) == slow_state([str(unit) for unit in units])


def test_cleaning_leaves_a_services_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    folder = tmp_path / "runs" / "eval_service"
    folder.mkdir(parents=True)
    engine = open_database(f"sqlite:///{folder / 'requests.sqlite'}")
    service = OneService(engine, folder)
    service.take()
    half_written = folder / ".policy.pt.77.tmp"
    half_written.touch()
    for is_there in (True, False):
        assert main(["clean", f"data_dir={tmp_path / 'runs'}"]) == 0
        assert half_written.exists() is is_there
        service.give_back()
    engine.dispose()


def test_a_second_service_is_refused_the_folder_and_the_database(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    first = OneService(engine, tmp_path)
    first.take()
    (tmp_path / "other").mkdir()
    for folder in (tmp_path, tmp_path / "other"):
        with pytest.raises(ServiceError, match="another evaluation service"):
            OneService(engine, folder).take()
    first.give_back()
    second = OneService(engine, tmp_path)
    second.take()
    second.give_back()
    engine.dispose()


@pytest.mark.parametrize("address", ["nonsense", "mysql://x/y", "sqlite://", "nodriver://x"])
def test_an_address_of_no_database_is_a_mistake_in_the_configuration(address: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        open_database(address)


def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'x.sqlite'}"
    engine = open_database(address)
    with engine.execution_options(writes=True).begin() as connection:
        connection.execute(text("UPDATE eval_service_schema SET version = 99"))
    engine.dispose()
    with pytest.raises(ServiceError, match="version 99"):
        open_database(address)
