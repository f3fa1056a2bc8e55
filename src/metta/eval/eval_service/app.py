"""The HTTP side: what can be asked, and how mistakes are answered.

`/docs` shows it to people, `/openapi.json` to programs. All but `/health` needs `Authorization: Bearer <token>`.
Mistakes are answered with `{"detail": "..."}`, a sentence for people: 401 no token or a wrong one, 404 no such request
or address, 413 the body is too large, 422 what was asked cannot be done, 503 the database cannot be reached.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from sqlalchemy.exc import DataError, SQLAlchemyError

import metta
from metta.errors import MettaError
from metta.eval.eval_service.engine import plain
from metta.eval.eval_service.gatekeeper import Gatekeeper
from metta.eval.eval_service.schemas import Ask, Asked, Checked, Health, Problem, RequestPage, RequestView, SuiteView
from metta.eval.eval_service.service import EvalService

PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "no token, or a wrong one"},
    413: {"model": Problem, "description": "the body is too large"},
    422: {"model": Problem, "description": "what was asked cannot be done"},
    503: {"model": Problem, "description": "the database cannot be reached"},
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "no such request"}}

_bearer = HTTPBearer(auto_error=False, description="the service's token")  # for the document; `Gatekeeper` looks at it


def the_service(request: Request) -> EvalService:
    """Return the service behind the application."""
    service = request.app.state.service
    assert isinstance(service, EvalService)
    return service


Service = Annotated[EvalService, Depends(the_service)]
RequestId = Annotated[str, Path(max_length=64, description="as asking gave it")]
Challenge = Annotated[str | None, Query(min_length=16, max_length=128)]
State = Annotated[Literal["queued", "running", "done", "failed", "cancelled"] | None, Query()]


open_to_all = APIRouter(tags=["service"])
secured = APIRouter(dependencies=[Depends(_bearer)], responses=PROBLEMS)


def create_app(service: EvalService) -> FastAPI:
    """Return the application; the dispatcher plays while it runs."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.dispatcher.start()
        yield
        service.dispatcher.stop()

    app = FastAPI(title="metta evaluation service", version=metta.__version__, description=__doc__, lifespan=lifespan)
    app.state.service = service
    app.add_middleware(Gatekeeper, token=service.token)
    app.include_router(open_to_all)
    app.include_router(secured)
    app.add_exception_handler(MettaError, _cannot_be_done)
    app.add_exception_handler(RequestValidationError, _is_malformed)
    app.add_exception_handler(400, _is_no_json)
    app.add_exception_handler(SQLAlchemyError, _database_is_away)
    app.add_exception_handler(DataError, _cannot_be_kept)
    return app


@open_to_all.get("/health", responses={503: PROBLEMS[503]})
def health(service: Service, challenge: Challenge = None) -> Health:
    """Whether the service and its database answer, and whether anything can be played.

    With a `challenge`, something random, the answer proves that the service knows the token, which need not be sent.
    """
    return service.health(challenge)


@secured.get("/suites", tags=["service"])
def suites(service: Service) -> list[SuiteView]:
    """List the suites that can be asked for by name."""
    return service.suites()


@secured.post(
    "/requests", tags=["requests"], status_code=201, responses={200: {"model": Asked, "description": "asked before"}}
)
def ask(service: Service, body: Ask, response: Response) -> Asked:
    """Ask for a policy's scores in a suite: 201 for a new request, 200 for one that was asked before.

    What failed or was cancelled of an older one is queued again, and a simulation of which episodes are missing, as a
    whole; what is done is not played again.
    """
    asked = service.ask(body)
    response.status_code = 201 if asked.is_new else 200
    return asked


@secured.post("/check", tags=["requests"])
def check(service: Service, body: Ask) -> Checked:
    """Say what asking would find, and ask nothing."""
    return service.check(body)


@secured.get("/requests", tags=["requests"])
def list_requests(
    service: Service,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[int | None, Query(ge=0, lt=2**63, description="`next` of the page before")] = None,
    state: State = None,
    policy_key: str | None = None,
) -> RequestPage:
    """List requests, newest first, a page at a time."""
    return service.page(limit=limit, before=before, state=state, policy_key=policy_key)


@secured.get("/requests/{request_id}", tags=["requests"], responses=NOT_FOUND)
def get_request(service: Service, request_id: RequestId) -> RequestView:
    """Return a request, how far it is, and the results there are."""
    return _found(service.get(request_id), request_id)


@secured.post("/requests/{request_id}/cancel", tags=["requests"], responses=NOT_FOUND)
def cancel_request(service: Service, request_id: RequestId) -> RequestView:
    """End what is queued or being played; what is done stays. To ask again queues it again."""
    return _found(service.cancel(request_id), request_id)


def _found(view: RequestView | None, request_id: str) -> RequestView:
    if view is None:
        raise HTTPException(
            404, f"there is no request {request_id!r}; GET /requests, or metta request-eval --requests, lists them"
        )
    return view


async def _cannot_be_done(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 422)


async def _is_malformed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"][1:]) or "the body"
        given = "" if isinstance(problem["input"], dict | list) else f"given {problem['input']!r}: "
        lines.append(f"{where}: {given}{problem['msg']}")
    return JSONResponse({"detail": "; ".join(lines[:5])}, 422)


async def _is_no_json(_: Request, error: Exception) -> JSONResponse:
    """FastAPI's own 400 is for what breaks the reader of JSON itself: too deep, too long a number, no UTF-8."""
    return JSONResponse({"detail": f"the body cannot be read as JSON: {error.__cause__ or error}"}, 422)


async def _cannot_be_kept(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"the database cannot keep this: {plain(error)}"}, 422)


async def _database_is_away(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"the database cannot be reached: {plain(error)}"}, 503)
