"""`EvalServiceClient`: asks a service, over HTTP."""

from __future__ import annotations

from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from metta.errors import ConfigError, ServiceError, UnreachableError
from metta.eval.eval_service.config import TOKEN_VARIABLE, is_loopback
from metta.eval.eval_service.schemas import Ask, Asked, Checked, RequestView
from metta.eval.eval_service.tokens import given_token, read_made_token

M = TypeVar("M", bound=BaseModel)

TIMEOUT_SECONDS = 60.0


class EvalServiceClient:
    """A connection to the service at `url`. Use it in a `with` block, or close it."""

    def __init__(self, url: str, *, token: str) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"}
        # A proxy of the environment is for the internet: it must not see what goes to this machine.
        is_local = is_loopback(urlsplit(url).hostname or "")
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=not is_local, follow_redirects=False
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
        return self._call("GET", f"/requests/{request_id}", RequestView)

    def _call(self, method: str, path: str, model: type[M], body: BaseModel | None = None) -> M:
        content = None if body is None else body.model_dump_json()
        try:
            answer = self._http.request(method, path, content=content, headers={"Content-Type": "application/json"})
        except httpx.HTTPError as error:
            raise UnreachableError(
                f"no evaluation service answers at {self.url} ({error}); `metta local eval-service` starts one"
            ) from error
        if answer.status_code >= 500:
            raise UnreachableError(f"the service at {self.url} is in trouble: {_detail(answer)}")
        if not answer.is_success:
            raise ServiceError(_detail(answer))
        try:
            return model.model_validate_json(answer.content)
        except ValidationError as error:
            raise ServiceError(
                f"what answers at {self.url} is no evaluation service, or one of another version"
            ) from error


def find_token(url: str, token_file: str | None) -> str:
    """Return the token for the service at `url`. Raises ServiceError if none is to be found.

    In this order: `token_file`, the environment, what a service on this machine has made.
    """
    try:
        host, port = urlsplit(url).hostname or "", urlsplit(url).port or 80
    except ValueError as error:
        raise ConfigError(f"url={url!r} is no address: {error}; an address is http://<host>:<port>") from error
    token = given_token(token_file)
    if token is None and is_loopback(host):
        token = read_made_token(port)
    if token is None:
        raise ServiceError(
            f"there is no token for {url}: give token_file= or {TOKEN_VARIABLE}, or start a service on this machine "
            "with `metta local eval-service`"
        )
    return token


def _detail(answer: httpx.Response) -> str:
    try:
        body: Any = answer.json()
    except ValueError:
        body = None
    detail = body.get("detail") if isinstance(body, dict) else None
    return str(detail or f"the answer was {answer.status_code} {answer.reason_phrase}")
