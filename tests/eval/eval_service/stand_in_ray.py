"""What the driver uses of Ray, played by this process. What it does with an order stands in the simulation's name."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import Any


class exceptions:  # noqa: N801
    """Ray's kinds of errors."""

    class RayError(Exception): ...

    class RayTaskError(RayError): ...

    class LocalRayletDiedError(RayError): ...

    class ObjectStoreFullError(RayError): ...


class UnreadableError(Exception):
    """None of Ray's own."""


def init(**_: Any) -> None: ...


def cluster_resources() -> dict[str, float]:
    return {"CPU": 2.0}


def remote(**_: Any) -> Any:
    return lambda _: SimpleNamespace(remote=_hand_out)


def _hand_out(order: str, _: Any) -> str:
    name = str(json.loads(order)["simulation"]["name"])
    if name.startswith("full/"):
        raise exceptions.ObjectStoreFullError("the object store is full")
    if name.startswith("crash/"):
        os._exit(9)
    return name


def wait(references: list[str], **_: Any) -> tuple[list[str], list[str]]:
    return references[:1], references[1:]


def get(reference: str) -> str:
    if reference.startswith("unreadable/"):
        raise UnreadableError("the answer cannot be read")
    return json.dumps({"agent_steps": 12, "seconds": 0.5})


def cancel(*_: Any, **__: Any) -> None: ...
