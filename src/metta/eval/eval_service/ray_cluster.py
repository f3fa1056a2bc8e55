"""`RayCluster`: the service's side of the connection to a Ray cluster, lost and made again."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import subprocess
import sys
import threading
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any

from metta.errors import ServiceError
from metta.eval.eval_service.play import PlayOrder
from metta.eval.eval_service.players import (
    POLL_SECONDS,
    CancelledError,
    OrderLostError,
    Patience,
    PlayersAwayError,
    WorkerDiedError,
)

CONNECT_SECONDS = 120.0  # Ray starts slowly on a busy machine

Message = dict[str, Any]
Answers = SimpleQueue[Message]


class RayCluster:
    """Sends orders to a process that is connected to the cluster (see `ray_driver`). Threads may share it."""

    def __init__(self, address: str, *, threads: int, log: Path) -> None:
        """`threads`: CPUs of each simulation. `log`: where that process writes messages. Raises ServiceError."""
        if importlib.util.find_spec("ray") is None:
            raise ServiceError("ray_address= needs Ray: pip install 'metta[ray]'")
        self._address, self._threads, self._log = address, threads, log
        self._connecting, self._lock = threading.Lock(), threading.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, Answers] = {}
        self._process: subprocess.Popen[str] | None = None
        self.cpus = 0  # when it was connected last

    def connect(self, stop: Event) -> None:
        """Connect, if that is not done. Raises PlayersAwayError, CancelledError once `stop` is set."""
        with self._connecting:
            if self._process is not None and self._process.poll() is None:
                return
            with self._log.open("w") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "metta.eval.eval_service.ray_driver", self._address, str(self._threads)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
            first: Answers = SimpleQueue()
            threading.Thread(target=self._listen, args=(process, first), daemon=True).start()
            try:
                message = self._next(first, Patience(stop, CONNECT_SECONDS))
            except (CancelledError, WorkerDiedError) as error:
                process.kill()
                if isinstance(error, CancelledError):
                    raise
                raise self._away(f"it could not be joined in {CONNECT_SECONDS:g} s") from error
            self.cpus, self._process = message["cpus"], process

    def submit(self, order: PlayOrder) -> int:
        """Send an order; return its number. Raises PlayersAwayError."""
        number, line = next(self._numbers), order.model_dump(mode="json")
        with self._lock:
            self._waiting[number] = SimpleQueue()
        try:
            self._send({"number": number, "order": line})
        except PlayersAwayError:
            del self._waiting[number]
            raise
        return number

    def answer(self, number: int, patience: Patience) -> str:
        """Return what came of an order, as JSON. Raises as `Player.play` does."""
        try:
            message = self._next(self._waiting[number], patience)
        except (CancelledError, WorkerDiedError):
            with contextlib.suppress(PlayersAwayError):
                self._send({"cancel": number})
            raise
        finally:
            with self._lock:
                del self._waiting[number]
        if "died" in message:
            raise WorkerDiedError(message["died"])
        return str(message["answer"])

    def close(self) -> None:
        """End the connection, and all that is being played."""
        with self._connecting:
            if self._process is not None:
                self._process.kill()
                self._process.wait()

    def _send(self, message: Message) -> None:
        with self._lock:
            process = self._process
            if process is None or process.stdin is None:
                raise self._away("the connection is lost")
            try:
                process.stdin.write(json.dumps(message) + "\n")
                process.stdin.flush()
            except OSError as error:
                raise self._away("the connection is lost") from error

    def _next(self, answers: Answers, patience: Patience) -> Message:
        """Return the next message. Raises PlayersAwayError if the cluster is lost, OrderLostError if the process is."""
        while True:
            try:
                message = answers.get(timeout=POLL_SECONDS)
            except Empty:
                patience.check()
                continue
            if "lost" in message:
                raise self._away(message["lost"])
            if "ended" in message:
                raise OrderLostError(str(self._away(message["ended"])))
            return message

    def _listen(self, process: subprocess.Popen[str], first: Answers) -> None:
        """Hand out what the process writes; when it ends, everybody hears of it."""
        assert process.stdout is not None
        last = {"ended": "the process that was connected to it has ended"}
        with process.stdout as lines:
            for line in lines:
                message = json.loads(line)
                if "lost" in message or "ended" in message:
                    last = message
                elif "cpus" in message:
                    first.put(message)
                else:
                    with self._lock:
                        answers = self._waiting.get(message["number"])
                    if answers is not None:  # else nobody wants it any more
                        answers.put(message)
        process.wait()
        with self._lock:
            if self._process is process:
                self._process = None
            for answers in [first, *self._waiting.values()]:
                answers.put(last)

    def _away(self, reason: str) -> PlayersAwayError:
        return PlayersAwayError(f"the Ray cluster at {self._address} is away: {reason}")
