"""The client sends its token to nobody who does not know it, over whatever connections."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from metta.errors import ServiceError, UnreachableError
from metta.eval.eval_service.client import EvalServiceClient
from metta.eval.eval_service.tokens import Proof

TOKEN, ANOTHER = "a-token-of-mine-1234", "another-token-of-mine"
PAGE = {"requests": [], "next": None}


class Listener(ThreadingHTTPServer):
    """Whatever listens at the address: it proves that it knows `token`, if any, and remembers what it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.token: str | None = TOKEN
        self.keeps_connections = True
        self.is_reflecting = False
        self.seen: list[str] = []  # tokens
        self.challenges: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """Answers `/health` with a proof, and all else with an empty page."""

    protocol_version = "HTTP/1.1"
    server: Listener

    def do_GET(self) -> None:
        body = PAGE
        if "Authorization" in self.headers:
            self.server.seen.append(self.headers["Authorization"].removeprefix("Bearer "))
        elif self.path.startswith("/health"):
            challenge = parse_qs(urlsplit(self.path).query)["challenge"][0]
            self.server.challenges.append(challenge)
            token = self.server.token
            proof = challenge if self.server.is_reflecting else token and Proof(token).of(challenge)
            body = {"program": "p", "proof": proof}
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = not self.server.keeps_connections

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[Listener]:
    server = Listener()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_whoever_proves_that_it_knows_the_token_gets_it(listener: Listener) -> None:
    with EvalServiceClient(listener.url, token=lambda: TOKEN) as client:
        for _ in range(3):
            assert client.page(limit=1).requests == []
    assert listener.seen == [TOKEN] * 3
    assert len(listener.challenges) == 1, "once for a connection"


@pytest.mark.parametrize("knows", [None, ANOTHER, "reflects"])
def test_whoever_does_not_is_not_told_the_token(listener: Listener, knows: str | None) -> None:
    listener.token, listener.is_reflecting = knows, knows == "reflects"
    with (
        EvalServiceClient(listener.url, token=lambda: TOKEN) as client,
        pytest.raises(ServiceError, match="does not know the token, which was not sent"),
    ):
        client.page(limit=1)
    assert listener.challenges and not listener.seen


def test_a_stranger_who_takes_the_place_of_the_service_between_two_calls_is_not_told_the_token(
    listener: Listener,
) -> None:
    with EvalServiceClient(listener.url, token=lambda: TOKEN) as client:
        client.page(limit=1)
        client._prove()
        listener.keeps_connections = False
        client.page(limit=1)  # on the connection that was proved, which ends with it
        listener.token = None
        for _ in range(3):
            with pytest.raises(ServiceError, match="was not sent"):
                client.page(limit=1)
    assert listener.seen == [TOKEN] * 2
    assert len(set(listener.challenges)) == len(listener.challenges) >= 5, "an old proof is no proof"


def test_a_service_that_was_started_again_has_another_token_which_is_looked_up(listener: Listener) -> None:
    tokens = [TOKEN]
    with EvalServiceClient(listener.url, token=lambda: tokens[0]) as client:
        client.page(limit=1)
        client._http.close()
        client._http = EvalServiceClient(listener.url, token=str)._http  # all connections are new
        tokens[0] = listener.token = ANOTHER
        client.page(limit=1)
    assert listener.seen == [TOKEN, ANOTHER]


def test_an_address_that_keeps_no_connection_is_told(listener: Listener) -> None:
    listener.keeps_connections = False
    with (
        EvalServiceClient(listener.url, token=lambda: TOKEN) as client,
        pytest.raises(UnreachableError, match="ends every connection, so"),
    ):
        client.page(limit=1)
    assert not listener.seen


def test_an_id_is_one_part_of_an_address_whatever_it_holds(listener: Listener) -> None:
    with EvalServiceClient(listener.url, token=lambda: TOKEN) as client:
        for name in ("../health", "a/b", "ü?x=1#y", "%2e"):
            with pytest.raises(ServiceError, match="is no evaluation service"):
                client.get(name)
