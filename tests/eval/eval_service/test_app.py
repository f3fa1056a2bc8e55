"""What can be asked over HTTP, and how mistakes are answered."""

from __future__ import annotations

import json
import re
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy.exc import DataError, OperationalError
from tests.eval.eval_service.parts import ScriptedPlayer, an_answer, shared_with, small_suite, until

from metta.eval.eval_service.app import create_app
from metta.eval.eval_service.config import MAX_BODY_BYTES, EvalServiceConfig
from metta.eval.eval_service.copies import PolicyCopies
from metta.eval.eval_service.dispatcher import Dispatcher
from metta.eval.eval_service.engine import OneService, open_database
from metta.eval.eval_service.play import PlayAnswer, PlayOrder
from metta.eval.eval_service.players import CancelledError, WorkerDiedError
from metta.eval.eval_service.policies import PolicyGate
from metta.eval.eval_service.service import EvalService
from metta.eval.eval_service.store import RequestStore
from metta.eval.eval_service.tokens import Proof
from metta.eval.suites import SUITES, named_suite
from metta.grid.maps.config import FunctionMapConfig

TOKEN = "a-token-of-mine-1234"
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
ARENA = {"policy_uri": "mock://random", "suite": "arena"}


def act(order: PlayOrder, stop: Event, on_progress: Callable[[float], None]) -> PlayAnswer:
    """Random plays at once, noop until it is stopped, scripted dies."""
    if order.policy.key == "scripted":
        raise WorkerDiedError("killed")
    if order.policy.key == "noop":
        on_progress(0.5)
        assert stop.wait(60)
        raise CancelledError
    return an_answer()


@pytest.fixture
def http(tmp_path: Path, store: RequestStore) -> Iterator[httpx.Client]:
    config = EvalServiceConfig(
        data_dir=str(tmp_path / "runs"), service_dir=str(tmp_path / "service"), retry_seconds=200.0
    )
    place = OneService(open_database(f"sqlite:///{tmp_path / 'place.sqlite'}"), tmp_path)
    dispatcher = Dispatcher(store, config, make_player=lambda _: ScriptedPlayer(act), num_players=1, one_service=place)
    gate = PolicyGate(config.root_list(), data_dir=config.data_dir)
    copies = PolicyCopies(config.policies_folder, max_days=30, max_bytes=1e9)
    service = EvalService(config=config, token=TOKEN, store=store, gate=gate, copies=copies, dispatcher=dispatcher)
    server = uvicorn.Server(uvicorn.Config(create_app(service), log_level="critical"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            yield client
        server.should_exit = True
        thread.join()


def ask(http: httpx.Client, **body: Any) -> Any:
    answer = http.post("/requests", json={**ARENA, **body}, headers=RIGHT)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()["request"]


def wait_for(http: httpx.Client, request_id: str, *, state: str) -> Any:
    def get() -> Any:
        return http.get(f"/requests/{request_id}", headers=RIGHT).json()

    until(lambda: get()["state"] == state, what=state)
    return get()


def test_every_address_but_health_and_the_documentation_needs_the_token(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    assert http.get("/docs").status_code == 200
    assert http.get("/health").json()["status"] == "ok"
    tried = 0
    for path, methods in document["paths"].items():
        for method in methods:
            if path == "/health":
                continue
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
                answer = http.request(method, path.replace("{request_id}", "0" * 16), headers=headers, json=ARENA)
                assert answer.status_code == 401, (method, path, headers)
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                tried += 1
    assert tried == 18  # six addresses


def test_the_document_describes_every_answer(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"] and operation["description"], (method, path)
            if path == "/health":
                continue
            assert operation["security"] and {"401", "413", "422", "503"} <= set(operation["responses"]), (method, path)
            assert ("404" in operation["responses"]) is ("{request_id}" in path)
    for name in ("RequestView", "SimulationView", "ResultView", "ScoreView", "Ask"):
        assert document["components"]["schemas"][name]["description"]


def test_asking_twice_answers_201_and_then_200_with_the_same_request(http: httpx.Client) -> None:
    first, second = (http.post("/requests", json=ARENA, headers=RIGHT) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert (first.json()["is_new"], second.json()["is_new"]) == (True, False)
    assert first.json()["request"]["id"] == second.json()["request"]["id"]
    view = wait_for(http, first.json()["request"]["id"], state="done")
    assert view["suite_hash"] == named_suite("arena").hash
    assert [one["name"] for one in view["simulations"]] == ["arena/basic", "arena/combat"]
    score = view["simulations"][0]["result"]["score"]
    assert score["mean"] == {"value": 1.0, "low": 1.0, "high": 1.0} and score["episodes"] == 2
    assert view["progress"] == {"done": 2}


def test_the_number_of_episodes_makes_another_request(http: httpx.Client) -> None:
    ids = {ask(http, episodes=episodes)["id"] for episodes in (None, 3, 4, 3)}
    assert len(ids) == 3


def test_a_suite_may_be_sent_as_data_and_is_the_same_under_any_name(http: httpx.Client) -> None:
    sent = json.loads(named_suite("arena").model_dump_json())
    assert ask(http, suite={**sent, "name": "mine"})["id"] == ask(http)["id"]
    own = ask(http, suite=json.loads(small_suite().model_dump_json()))
    assert own["suite"] == "tiny" and len(own["simulations"]) == 2


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"suite": "areena"}, "there is no suite 'areena'"),
        ({"suite": "areena"}, "did you mean arena"),
        ({"suite": "os.path.join"}, "is sent as data"),
        ({"suite": {"name": "x", "simulations": []}}, "no simulations"),
        ({"suite": {"name": "x", "simulations": [{"name": "x/y"}]}}, "suite"),
        ({"policy_uri": "mock://randm"}, "did you mean random"),
        ({"policy_uri": "/etc/passwd"}, "not below its roots"),
        ({"policy_uri": "nothing"}, "no policy at 'nothing'"),
        ({"policy_uri": ""}, "policy_uri: given ''"),
        ({"episodes": 0}, "episodes: given 0"),
        ({"episodes": "many"}, "episodes: given 'many'"),
        ({"polcy": "x"}, "polcy"),
    ],
)
def test_what_cannot_be_done_is_422_with_a_sentence(http: httpx.Client, body: dict[str, Any], told: str) -> None:
    for path in ("/requests", "/check"):
        answer = http.post(path, json={**ARENA, **body}, headers=RIGHT)
        assert answer.status_code == 422, answer.text
        assert isinstance(answer.json()["detail"], str) and told in answer.json()["detail"]
    assert http.get("/requests", headers=RIGHT).json()["requests"] == []


def test_a_world_that_code_draws_and_an_opponent_outside_of_the_roots_are_refused(http: httpx.Client) -> None:
    drawn = small_suite()
    drawn.simulations[0].world.map = FunctionMapConfig(function="os.system")
    shared = json.loads(named_suite("arena").model_dump_json())
    shared["simulations"][0] |= {"npc_policy_uri": "/etc/passwd", "policy_agents_pct": 0.5}
    for suite, told in ((json.loads(drawn.model_dump_json()), "imports no code"), (shared, "not below its roots")):
        answer = http.post("/requests", json={**ARENA, "suite": suite}, headers=RIGHT)
        assert answer.status_code == 422 and told in answer.json()["detail"]


def test_opponents_are_copied_and_their_content_makes_another_request(http: httpx.Client, tmp_path: Path) -> None:
    suite = json.loads(shared_with("other:1", "mock://noop").model_dump_json())
    opponent = tmp_path / "runs" / "other" / "checkpoints" / "agent_epoch_1.pt"
    opponent.parent.mkdir(parents=True)
    ids, contents = [], (b"one", b"two", b"one")
    for content in contents:
        opponent.write_bytes(content)
        ids.append(ask(http, suite=suite)["id"])
    assert ids[0] == ids[2] != ids[1]
    copies = {path.read_bytes() for path in (tmp_path / "service" / "policies").glob("*.pt")}
    assert copies == {b"one", b"two"}
    opponent.unlink()
    answer = http.post("/requests", json={**ARENA, "suite": suite}, headers=RIGHT)
    assert answer.status_code == 422 and "no epoch 1" in answer.json()["detail"]
    opponent.symlink_to("/etc/passwd")
    answer = http.post("/requests", json={**ARENA, "suite": suite}, headers=RIGHT)
    assert answer.status_code == 422 and "not below its roots" in answer.json()["detail"]


def raw_call(http: httpx.Client, head: list[str], *pieces: bytes) -> tuple[bytes, int]:
    """Send a call piece by piece; return the answer, and how many pieces could be sent before it came."""
    address = http.base_url.host, http.base_url.port
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall("\r\n".join([*head, "Host: x", "", ""]).encode())
        sent = 0
        try:
            for piece in pieces:
                if select.select([connection], [], [], 0.0)[0]:
                    break
                connection.sendall(piece)
                sent += 1
            answer = b""
            while received := connection.recv(65_536):
                answer += received
        except OSError:
            return b"", sent
        return answer, sent


AUTHORIZED = f"Authorization: Bearer {TOKEN}"


def test_without_the_token_not_a_byte_of_the_body_is_waited_for(http: httpx.Client) -> None:
    for length in ("Content-Length: 1000000000000", "Transfer-Encoding: chunked"):
        answer, _ = raw_call(http, ["POST /requests HTTP/1.1", length])
        assert answer.startswith(b"HTTP/1.1 401 ") and b"a token is needed" in answer
        assert b"www-authenticate: bearer" in answer.lower() and b"connection: close" in answer.lower()
        for path, status in (("/health", b"405"), ("/docs", b"405"), ("/nothing", b"401")):
            answer, _ = raw_call(http, [f"POST {path} HTTP/1.1", length, "Connection: close"])
            assert answer.startswith(b"HTTP/1.1 " + status)


def test_a_body_that_is_too_large_is_413_as_soon_as_that_is_known(http: httpx.Client) -> None:
    announced, _ = raw_call(http, ["POST /requests HTTP/1.1", AUTHORIZED, f"Content-Length: {MAX_BODY_BYTES + 1}"])
    assert announced.startswith(b"HTTP/1.1 413 ") and b"too large" in announced
    chunk = b"%x\r\n%s\r\n" % (100_000, b" " * 100_000)  # for ever: the length is said nowhere
    answer, sent = raw_call(http, ["POST /check HTTP/1.1", AUTHORIZED, "Transfer-Encoding: chunked"], *[chunk] * 1000)
    assert (answer.startswith(b"HTTP/1.1 413 ") or not answer) and sent < 1000
    exact = json.dumps(ARENA).encode().ljust(MAX_BODY_BYTES)
    headers = {**RIGHT, "Content-Type": "application/json"}
    assert http.post("/check", content=exact, headers=headers).status_code == 200
    assert http.post("/check", content=iter([exact[:10], exact[10:]]), headers=headers).status_code == 200
    assert http.get("/health").status_code == 200


def test_a_body_that_is_nested_without_end_is_no_trouble(http: httpx.Client) -> None:
    content = b'{"policy_uri": "mock://random", "suite": ' + b"[" * 1_000_000
    answer = http.post("/requests", content=content, headers={**RIGHT, "Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500 and isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize(
    "name", ["läufe/ü", "🏃", "a\u0301", "a" * 4000, "\u202e", "a\nb", "~x", "~nobody/x", "%2e%2e/x"]
)
def test_any_text_may_name_a_policy_and_is_answered_with_a_sentence(http: httpx.Client, name: str) -> None:
    for uri in (name, f"file:///{name}", f"mock://{name}", f"{name}:7"):
        answer = http.post("/check", json={**ARENA, "policy_uri": uri}, headers=RIGHT)
        assert answer.status_code == 422 and isinstance(answer.json()["detail"], str)


def test_half_a_character_is_422(http: httpx.Client) -> None:
    content = json.dumps({**ARENA, "policy_uri": "x"}).replace('"x"', '"\\ud800"').encode()
    answer = http.post("/check", content=content, headers={**RIGHT, "Content-Type": "application/json"})
    assert answer.status_code == 422 and isinstance(answer.json()["detail"], str)


def test_health_proves_that_the_token_is_known_and_does_not_tell_it(http: httpx.Client) -> None:
    assert http.get("/health").json()["proof"] is None
    challenge = "c" * 32
    proof = http.get("/health", params={"challenge": challenge}).json()["proof"]
    assert Proof(TOKEN).is_right(proof, challenge)
    for bad in ("", "short", "c" * 1000):
        assert http.get("/health", params={"challenge": bad}).status_code == 422


def test_a_body_that_is_no_json_is_422(http: httpx.Client) -> None:
    answer = http.post("/requests", content=b"{", headers={**RIGHT, "Content-Type": "application/json"})
    assert answer.status_code == 422 and isinstance(answer.json()["detail"], str)


def test_a_request_or_an_address_that_is_not_there_is_404(http: httpx.Client) -> None:
    for method, path in (("GET", "/requests/0"), ("POST", "/requests/0/cancel"), ("GET", "/request")):
        assert http.request(method, path, headers=RIGHT).status_code == 404
    assert "there is no request '0'" in http.get("/requests/0", headers=RIGHT).json()["detail"]


def test_checking_tells_what_asking_would_find_and_asks_nothing(http: httpx.Client) -> None:
    checked = http.post("/check", json=ARENA, headers=RIGHT).json()
    assert checked["known"] is None and checked["simulations"] == ["arena/basic", "arena/combat"]
    assert http.get("/requests", headers=RIGHT).json()["requests"] == []
    assert ask(http)["id"] == checked["id"]
    assert http.post("/check", json=ARENA, headers=RIGHT).json()["known"]["id"] == checked["id"]


def test_pages_follow_one_another_and_end(http: httpx.Client) -> None:
    asked = [ask(http, episodes=episodes)["id"] for episodes in range(1, 6)]
    found, before = [], None
    while True:
        parameters = {"limit": 2} | ({} if before is None else {"before": before})
        page = http.get("/requests", params=parameters, headers=RIGHT).json()
        found.append([one["id"] for one in page["requests"]])
        before = page["next"]
        if before is None:
            break
    assert found == [asked[4:2:-1], asked[2:0:-1], asked[:1]]
    for name in asked:
        wait_for(http, name, state="done")
    for parameters, count in (({"state": "done"}, 5), ({"state": "failed"}, 0), ({"policy_key": "noop"}, 0)):
        assert len(http.get("/requests", params=parameters, headers=RIGHT).json()["requests"]) == count
    for parameters in ({"limit": 0}, {"limit": 10**6}, {"state": "dne"}, {"before": "x"}):
        assert http.get("/requests", params=parameters, headers=RIGHT).status_code == 422


def test_what_is_being_played_says_how_far_it_is_and_can_be_cancelled(http: httpx.Client) -> None:
    name = ask(http, policy_uri="mock://noop")["id"]
    until(
        lambda: http.get(f"/requests/{name}", headers=RIGHT).json()["simulations"][0]["played"] == 0.5, what="progress"
    )
    cancelled = http.post(f"/requests/{name}/cancel", headers=RIGHT).json()
    assert cancelled["state"] == "cancelled" and cancelled["progress"] == {"cancelled": 2}
    assert ask(http)["id"] != name  # and the player is free again
    wait_for(http, ask(http)["id"], state="done")


def test_the_suites_are_listed_with_their_hashes(http: httpx.Client) -> None:
    listed = {suite["name"]: suite["hash"] for suite in http.get("/suites", headers=RIGHT).json()}
    assert listed == {name: named_suite(name).hash for name in SUITES}


def test_what_the_database_cannot_keep_is_422(
    http: httpx.Client, store: RequestStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise DataError("INSERT", {}, Exception("text fields cannot contain NUL"))

    monkeypatch.setattr(store, "ask", refuse)
    answer = http.post("/requests", json=ARENA, headers=RIGHT)
    assert answer.status_code == 422 and "cannot contain NUL" in answer.json()["detail"]


def test_a_database_that_is_away_is_503(
    http: httpx.Client, store: RequestStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("connection refused"))

    for method in ("ping", "get", "ask"):
        monkeypatch.setattr(store, method, away)
    answers = [
        http.get("/health"),
        http.get("/requests/0", headers=RIGHT),
        http.post("/requests", json=ARENA, headers=RIGHT),
    ]
    for answer in answers:
        assert answer.status_code == 503 and "connection refused" in answer.json()["detail"]


def test_a_rest_is_shown_and_ends_when_it_is_cancelled_or_asked_for_again(http: httpx.Client) -> None:
    body = {"policy_uri": "mock://scripted", "suite": small_suite("tiny/one").model_dump(mode="json")}
    found = ask(http, **body)

    def deaths() -> Any:
        return http.get(f"/requests/{found['id']}", headers=RIGHT).json()["simulations"][0]["deaths"]

    for number in (1, 2):
        until(lambda number=number: deaths() == number, what=f"it dies {number} times, and rests for minutes")
        view = http.get(f"/requests/{found['id']}", headers=RIGHT).json()
        assert re.fullmatch(r"killed; it is played again in (19\d|200|29\d|300) s", view["simulations"][0]["reason"])
        assert view["waits_for"].startswith("tiny/one: killed; it is played again in ")
        ask(http, **body)
    until(lambda: deaths() == 3, what="it is played when it is asked for again")
    cancelled = http.post(f"/requests/{found['id']}/cancel", headers=RIGHT).json()
    assert cancelled["waits_for"] is None and cancelled["simulations"][0]["reason"] == "killed"
    ask(http, **body)
    until(lambda: deaths() == 1, what="it is played when it is asked for again")


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"policy_uri": "\xff"}', b"1" * 5000, b"{", b""])
@pytest.mark.parametrize("path", ["/requests", "/check"])
def test_a_body_that_is_no_json_is_malformed_like_any_other(http: httpx.Client, path: str, body: bytes) -> None:
    answer = http.post(path, content=body, headers={**RIGHT, "Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert 0 < len(answer.json()["detail"]) < 200
