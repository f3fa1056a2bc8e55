"""Following requests until they have ended: a bar at a terminal, a line for each change elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from metta.errors import UnreachableError
from metta.eval.eval_service.schemas import RequestView

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 120.0  # how long a service may be away, being started again


class Client(Protocol):
    """What can be asked for a request."""

    def get(self, request_id: str) -> RequestView:
        """Return a request."""


class Status(NamedTuple):
    """How far all requests are together."""

    ended: int  # simulations
    total: int
    played: float  # simulations, with the shares of those that are being played
    note: str


def follow(client: Client, ids: Sequence[str]) -> dict[str, RequestView]:
    """Return every request once it has ended. A service that is away for a while is waited for.

    Raises UnreachableError if it stays away, ServiceError if it no longer knows a request.
    """
    views: dict[str, RequestView] = {}
    last_heard = time.monotonic()
    with _display() as show:
        while True:
            try:
                for request_id in ids:
                    if request_id not in views or _is_open(views[request_id]):
                        views[request_id] = client.get(request_id)
                last_heard = time.monotonic()
                show(_status(views.values()))
            except UnreachableError:
                if time.monotonic() - last_heard > PATIENCE_SECONDS:
                    raise
                show(_status(views.values())._replace(note="the service does not answer; waiting"))
            if len(views) == len(ids) and not any(map(_is_open, views.values())):
                return views
            time.sleep(POLL_SECONDS)


def _is_open(view: RequestView) -> bool:
    return view.state in ("queued", "running")


def _status(views: Collection[RequestView]) -> Status:
    simulations = [simulation for view in views for simulation in view.simulations]
    running = [simulation for simulation in simulations if simulation.state == "running"]
    ended = sum(simulation.state not in ("queued", "running") for simulation in simulations)
    waits_for = next((view.waits_for for view in views if view.waits_for is not None and _is_open(view)), None)
    if waits_for is not None:
        return Status(ended, len(simulations), ended, f"waiting: {waits_for}")
    names = list(dict.fromkeys(simulation.name for simulation in running))
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    note = f"playing {', '.join(names[:2])}{more}" if names else ""
    return Status(ended, len(simulations), ended + sum(one.played or 0.0 for one in running), note)


@contextmanager
def _display() -> Iterator[Callable[[Status], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines().show
        return
    columns = (TextColumn("{task.fields[count]}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=None, count="")

        def show(status: Status) -> None:
            count = f"{status.ended}/{status.total} simulations"
            progress.update(task, completed=status.played, total=status.total, description=status.note, count=count)

        yield show


class _Lines:
    """A line whenever something has changed."""

    def __init__(self) -> None:
        self._last = ""

    def show(self, status: Status) -> None:
        line = f"{status.ended}/{status.total} simulations{f', {status.note}' if status.note else ''}"
        if line != self._last:
            print(line, file=sys.stderr)
        self._last = line
