"""`Gatekeeper`: looks at the token and at a body's size before anything is read or understood."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metta.eval.eval_service.config import MAX_BODY_BYTES
from metta.eval.eval_service.tokens import is_token

OPEN_PATHS = ("/health", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json")


class TooLargeError(Exception):
    """The body is larger than any request needs."""


class Gatekeeper:
    """ASGI middleware: 401 without a byte of the body being read, 413 as soon as it is too large."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on, with its whole body, or answer it."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:  # where nothing reads a body
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        problem = self._token_problem(headers)
        if problem is not None:
            await _refuse(send, 401, f"{problem}: Authorization: Bearer <token>", {"WWW-Authenticate": "Bearer"})
            return
        try:
            body = await _whole_body(headers, receive)
        except TooLargeError:
            await _refuse(send, 413, f"the body is too large; allowed: {MAX_BODY_BYTES:,} bytes")
            return
        if body is not None:
            await self._app(scope, _again(body, receive), send)

    def _token_problem(self, headers: Mapping[bytes, str]) -> str | None:
        scheme, _, given = headers.get(b"authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return "a token is needed"
        return None if is_token(given.strip(), self._token) else "this is not the service's token"


async def _whole_body(headers: Mapping[bytes, str], receive: Receive) -> bytes | None:
    """Return the body, however it is sent; None if the caller has gone. Raises TooLargeError."""
    length = headers.get(b"content-length", "")
    if length.isdecimal() and int(length) > MAX_BODY_BYTES:  # whatever it says, what comes is counted
        raise TooLargeError
    body, is_more = bytearray(), True
    while is_more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        is_more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            raise TooLargeError
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read already, and then whatever else comes."""
    is_given = False

    async def give() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


async def _refuse(send: Send, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
    """Answer, and end the connection: what is left of the body would be taken for the next call."""
    content = json.dumps({"detail": detail}).encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(content)), "Connection": "close"}
    pairs = [(name.lower().encode(), value.encode()) for name, value in {**fields, **(headers or {})}.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": content})
