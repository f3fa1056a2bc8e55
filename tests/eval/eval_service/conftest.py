"""A store, requests for it, and the real service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.eval.eval_service.parts import ServiceProcess, small_suite

from metta.eval.eval_service.claims import NewRequest
from metta.eval.eval_service.engine import open_database
from metta.eval.eval_service.identity import program_version, request_id
from metta.eval.eval_service.policies import AdmittedPolicy
from metta.eval.eval_service.store import RequestStore


@pytest.fixture
def new_request() -> Callable[..., NewRequest]:
    """Return a function that makes the n-th request."""

    def make(number: int = 0, *names: str, key: str = "run") -> NewRequest:
        suite = small_suite(*names)
        checksum = f"{number:064x}"
        policy = AdmittedPolicy(uri=f"file:///{number}.pt", key=key, version=number, checksum=checksum)
        identity = request_id(policy, suite.hash, opponents={}, program="p")
        return NewRequest(
            id=identity, policy=policy, opponents={}, suite=suite, suite_hash=suite.hash, program=program_version()
        )

    return make


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RequestStore]:
    engine = open_database(f"sqlite:///{tmp_path / 'requests.sqlite'}")
    yield RequestStore(engine, stats_uri=lambda name: f"stats/{name}.duckdb")
    engine.dispose()


@pytest.fixture
def service_process(tmp_path: Path) -> Iterator[Callable[..., ServiceProcess]]:
    """Return a function that starts the service with settings of its own; it is ended with the test."""
    started: list[ServiceProcess] = []

    def start(*settings: str) -> ServiceProcess:
        folder = tmp_path / f"service-{len(started)}"
        folder.mkdir()
        service = ServiceProcess(folder, *settings)
        started.append(service)
        service.start()
        return service

    yield start
    for service in started:
        service.stop()
