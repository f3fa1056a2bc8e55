"""`RayPlayer`: hands orders to a Ray cluster. Policies travel with the order."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Event

from metta.errors import ServiceError
from metta.eval.eval_service.play import PlayAnswer, PlayOrder, play
from metta.eval.eval_service.players import POLL_SECONDS, Patience, WorkerDiedError

CONNECT_SECONDS = 10.0


def connect(address: str) -> int:
    """Join the cluster at `address`; return how many CPUs it has. Raises ServiceError if that cannot be done."""
    try:
        import ray
    except ImportError as error:
        raise ServiceError("ray_address= needs Ray: pip install 'metta[ray]'") from error
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdigit():  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        ray.init(address=address, log_to_driver=False, namespace="metta-eval-service")
        resources: dict[str, float] = ray.cluster_resources()
        return int(resources.get("CPU", 0))
    except Exception as error:  # Ray raises many kinds, and the system OSError
        raise ServiceError(f"no Ray cluster at {address!r}: {str(error).strip().splitlines()[0]}") from error


class RayPlayer:
    """Plays one order at a time somewhere in the cluster."""

    def __init__(self, *, threads: int, timeout_seconds: float) -> None:
        import ray

        self._timeout_seconds = timeout_seconds
        # A node's death is told as well as a worker's: the dispatcher counts, so Ray itself tries nothing again.
        self._play = ray.remote(num_cpus=threads, max_retries=0)(play_there)

    def play(self, order: PlayOrder, stop: Event, on_progress: Callable[[float], None]) -> PlayAnswer:
        """See `Player`; a node does not say how far it is."""
        import ray

        policy = None if "://" in order.policy else Path(order.policy).read_bytes()
        reference = self._play.remote(order.model_dump_json(), policy)
        patience = Patience(stop, self._timeout_seconds)
        try:
            while not ray.wait([reference], timeout=POLL_SECONDS)[0]:
                patience.check()
            answer = ray.get(reference)
        except ray.exceptions.RayError as error:
            raise WorkerDiedError(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}") from error
        except BaseException:
            ray.cancel(reference, force=True)
            raise
        return PlayAnswer.model_validate_json(answer)

    def close(self) -> None:
        """Nothing is kept between two orders."""


def play_there(order_json: str, policy: bytes | None) -> str:
    """Play on a node, which need not see the service's copies of policies; return the answer."""
    order = PlayOrder.model_validate_json(order_json)
    if policy is None:
        return play(order).model_dump_json()
    with tempfile.TemporaryDirectory(prefix="metta_eval_") as folder:
        order.policy = f"{folder}/policy.pt"
        Path(order.policy).write_bytes(policy)
        return play(order).model_dump_json()
