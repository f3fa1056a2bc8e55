"""`EvalServiceClient`: asks a service, over HTTP."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from metta.errors import ConfigError, ServiceError, UnreachableError
from metta.eval.eval_service.config import MAX_BODY_BYTES, TOKEN_VARIABLE, is_loopback
from metta.eval.eval_service.schemas import Ask, Asked, Checked, Health, RequestPage, RequestView
from metta.eval.eval_service.tokens import Proof, given_token, read_made_token

M = TypeVar("M", bound=BaseModel)

TIMEOUT_SECONDS = 60.0
MAX_CONNECTIONS = 5  # tried for one call: the service, or something before it, may end an idle one at any moment


class NewConnectionError(Exception):
    """The connection that was proved to lead to the service is no longer there."""


class EvalServiceClient:
    """A connection to the service at `url`. Use it in a `with` block, or close it.

    Over plain HTTP the token is only sent on a connection over which the service has proved that it knows it. With
    https:// the server's certificate says who it is.
    """

    def __init__(self, url: str, *, token: Callable[[], str]) -> None:
        """`token` is called for every connection: a service that was started again has made another one."""
        self.url, self._token = url.rstrip("/"), token
        self._proved = ""  # the token that the other side of the connection knows
        self._proofs: dict[str, Proof] = {}
        # A proxy of the environment is for the internet: it must not see what goes to this machine.
        is_local = is_loopback(urlsplit(url).hostname or "")
        self._http = httpx.Client(
            base_url=self.url,
            timeout=TIMEOUT_SECONDS,
            trust_env=not is_local,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=1),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def answers(self) -> bool:
        """Whether a service is there."""
        try:
            return self._http.get("/health").is_success
        except httpx.HTTPError:
            return False

    def ask(self, ask: Ask) -> Asked:
        """Ask for a policy's scores. Raises ServiceError, with the service's own words, if that cannot be done."""
        return self._call("POST", "/requests", Asked, ask)

    def check(self, ask: Ask) -> Checked:
        """Return what asking would find. Raises as `ask` does."""
        return self._call("POST", "/check", Checked, ask)

    def get(self, request_id: str) -> RequestView:
        """Return a request and its results. Raises ServiceError if there is none."""
        return self._call("GET", f"/requests/{_in_path(request_id)}", RequestView)

    def cancel(self, request_id: str) -> RequestView:
        """End what has not ended of a request, and return it. Raises ServiceError if there is none."""
        return self._call("POST", f"/requests/{_in_path(request_id)}/cancel", RequestView)

    def page(self, *, limit: int, before: int | None = None, state: str | None = None) -> RequestPage:
        """Return requests, newest first; `before`: `next` of the page before."""
        given = {"limit": limit, "before": before, "state": state}
        parameters = httpx.QueryParams({name: value for name, value in given.items() if value is not None})
        return self._call("GET", f"/requests?{parameters}", RequestPage)

    def _call(self, method: str, path: str, model: type[M], body: BaseModel | None = None) -> M:
        content = None if body is None else body.model_dump_json().encode()
        if content is not None and len(content) > MAX_BODY_BYTES:
            raise ServiceError(f"this is too large to be sent: {len(content):,} bytes; allowed: {MAX_BODY_BYTES:,}")
        answer = self._send(method, path, content)
        if answer.status_code >= 500:
            raise UnreachableError(f"the service at {self.url} is in trouble: {_detail(answer)}")
        if not answer.is_success:
            raise ServiceError(_detail(answer))
        return self._read(answer, model)

    def _read(self, answer: httpx.Response, model: type[M]) -> M:
        try:
            return model.model_validate_json(answer.content)
        except ValidationError as error:
            raise ServiceError(
                f"what answers at {self.url} is no evaluation service, or one of another version"
            ) from error

    def _send(self, method: str, path: str, content: bytes | None) -> httpx.Response:
        """Send with the token, on a connection whose other side knows it."""
        for _ in range(MAX_CONNECTIONS):
            try:
                if not self._proved:
                    self._prove()
                headers = {"Authorization": f"Bearer {self._proved}", "Content-Type": "application/json"}
                return self._http.request(
                    method, path, content=content, headers=headers, extensions={"trace": self._refuse_another}
                )
            except (NewConnectionError, httpx.RemoteProtocolError):
                self._proved = ""  # it was ended, perhaps after we sent: to ask or cancel twice is to do it once
            except httpx.HTTPError as error:
                self._proved = ""
                raise self._unreachable(error) from error
        raise UnreachableError(f"{self.url} ends every connection, so that it cannot be known who it is")

    def _refuse_another(self, event: str, _: dict[str, Any]) -> None:
        """Hear of every step of a call: a connection that was not proved must not carry the token."""
        if event == "connection.connect_tcp.started" and not self.url.startswith("https:"):
            raise NewConnectionError

    def _prove(self) -> None:
        """Find the token, and have the other side prove that it knows it. Raises ServiceError if it does not."""
        challenge = secrets.token_hex(16)
        answer = self._http.get("/health", params={"challenge": challenge})
        if answer.status_code >= 500:
            raise UnreachableError(f"the service at {self.url} is in trouble: {_detail(answer)}")
        token = self._token()
        proof = self._proofs[token] = self._proofs.get(token) or Proof(token)
        is_safe = self.url.startswith("https:")
        if not is_safe and not proof.is_right(self._read(answer, Health).proof or "", challenge):
            raise ServiceError(
                f"what answers at {self.url} does not know the token, which was not sent: it is another service or "
                "another program"
            )
        self._proved = token

    def _unreachable(self, error: httpx.HTTPError) -> UnreachableError:
        return UnreachableError(
            f"no evaluation service answers at {self.url} ({error}); `metta local eval-service` starts one"
        )


def find_token(url: str, token_file: str | None) -> str:
    """Return the token for the service at `url`. Raises ServiceError if none is to be found.

    In this order: `token_file`, the environment, what a service on this machine has made.
    """
    host, port = address_of(url)
    token = given_token(token_file)
    if token is None and is_loopback(host):
        token = read_made_token(port)
    if token is None:
        raise ServiceError(
            f"there is no token for {url}: give token_file= or {TOKEN_VARIABLE}, or start a service on this machine "
            "with `metta local eval-service`"
        )
    return token


def address_of(url: str) -> tuple[str, int]:
    """Return host and port. Raises ConfigError for what is no address."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise ConfigError(f"url={url!r} is no address: {error}; an address is http://<host>:<port>") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"url={url!r} is no address; an address is http://<host>:<port>")
    return host, port


def _in_path(request_id: str) -> str:
    return quote(request_id, safe="")


def _detail(answer: httpx.Response) -> str:
    try:
        body: Any = answer.json()
    except ValueError:
        body = None
    detail = body.get("detail") if isinstance(body, dict) else None
    return str(detail or f"the answer was {answer.status_code} {answer.reason_phrase}")
