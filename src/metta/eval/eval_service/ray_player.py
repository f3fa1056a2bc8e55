"""`RayPlayer`: has orders played by a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from metta.eval.eval_service.play import PlayAnswer, PlayOrder
from metta.eval.eval_service.players import Patience
from metta.eval.eval_service.ray_cluster import RayCluster


class RayPlayer:
    """Plays one order at a time somewhere in the cluster, which many players share."""

    def __init__(self, cluster: RayCluster, *, timeout_seconds: float) -> None:
        self._cluster, self._timeout_seconds = cluster, timeout_seconds

    def prepare(self, stop: Event) -> None:
        """See `Player`: connect, also again."""
        self._cluster.connect(stop)

    def play(self, order: PlayOrder, stop: Event, on_progress: Callable[[float], None]) -> PlayAnswer:
        """See `Player`; a node does not say how far it is."""
        number = self._cluster.submit(order)
        return PlayAnswer.model_validate_json(self._cluster.answer(number, Patience(stop, self._timeout_seconds)))

    def close(self) -> None:
        """End the connection: the service stops."""
        self._cluster.close()
