"""The requests that a service has, and ending some of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from metta.errors import ServiceError, UnreachableError
from metta.eval.analysis import format_table
from metta.eval.eval_service.schemas import RequestView
from metta.tools.request_tables import REQUESTS, request_row

if TYPE_CHECKING:
    from metta.eval.eval_service.client import EvalServiceClient

PAGE = 500  # requests; the service gives no more at a time


def list_requests(client: EvalServiceClient, *, limit: int, state: str | None, as_json: bool) -> int:
    """Print the newest requests, of one state if it is given; return the exit code."""
    found: list[RequestView] = []
    before: int | None = None
    while True:
        page = client.page(limit=min(PAGE, limit - len(found)), before=before, state=state)
        found, before = found + page.requests, page.next
        if before is None or len(found) >= limit:
            break
    if as_json:
        print(json.dumps([view.model_dump(mode="json") for view in found], indent=2))
        return 0
    print(format_table([[*request_row(view), _asked_at(view)] for view in found], header=(*REQUESTS, "asked (UTC)")))
    if before is not None:
        print(f"there are older ones: limit={2 * limit} shows more", file=sys.stderr)
    return 0


def cancel_requests(client: EvalServiceClient, ids: Sequence[str], *, is_dry: bool, as_json: bool) -> int:
    """End requests, or with `is_dry` only show them; return 1 if one of them is not there."""
    found: dict[str, RequestView | ServiceError] = {}
    for request_id in dict.fromkeys(ids):
        try:
            found[request_id] = client.get(request_id) if is_dry else client.cancel(request_id)
        except UnreachableError:
            raise
        except ServiceError as error:
            found[request_id] = error
    if as_json:
        print(json.dumps([_as_json(name, view) for name, view in found.items()], indent=2))
    else:
        views = [view for view in found.values() if isinstance(view, RequestView)]
        if views:
            print(format_table([request_row(view) for view in views], header=REQUESTS))
        if is_dry:
            print("nothing was cancelled: --dry-run", file=sys.stderr)
    mistakes = [str(view) for view in found.values() if isinstance(view, ServiceError)]
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    return int(bool(mistakes))


def _asked_at(view: RequestView) -> str:
    return f"{view.created_at:%Y-%m-%d %H:%M:%S}"


def _as_json(request_id: str, view: RequestView | ServiceError) -> dict[str, object]:
    if isinstance(view, ServiceError):
        return {"id": request_id, "error": str(view)}
    return {"id": request_id, "request": view.model_dump(mode="json")}
