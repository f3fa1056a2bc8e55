"""A process that holds the connection to a Ray cluster: Ray ends whatever process has lost its cluster, unasked.

On its standard input come lines `{"number": 7, "order": {...}}` and `{"cancel": 7}`. It writes `{"cpus": 8}` when it is
connected, `{"number": 7, "answer": "..."}` or `{"number": 7, "died": "..."}` for each order, and before it ends
`{"lost": "..."}` for want of a cluster, `{"ended": "..."}` for another reason. It ends when its input does.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn, TextIO

from metta.eval.eval_service.play import PlayOrder
from metta.eval.eval_service.ray_node import play_there

CONNECT_SECONDS = 10.0
WATCH_SECONDS = 1.0  # between two looks whether the cluster is there
GRACE_SECONDS = 3.0  # after a worker's death: has the whole cluster gone?


class Driver:
    """Hands orders on to the cluster, and answers back."""

    def __init__(self, address: str, threads: int, answers: TextIO) -> None:
        self._address, self._threads, self._answers = address, threads, answers
        self._lock = threading.Lock()
        self._orders: queue.Queue[dict[str, Any]] = queue.Queue()
        self._playing: dict[Any, int] = {}  # Ray's reference -> the order's number
        self._host, self._port = "", 0  # who says whether the cluster is there

    def connect(self) -> None:
        """Join the cluster, or end."""
        try:
            import ray

            self._look_at(self._address.removeprefix("ray://"))
            if self._port:  # Ray itself would try for minutes
                self._probe()
            ray.init(address=self._address, log_to_driver=False, namespace="metta-eval-service")
            if not self._port:
                self._look_at(ray.get_runtime_context().gcs_address)
            # A node's death is told as well as a worker's: the dispatcher counts, so Ray itself tries nothing again.
            self._play = ray.remote(num_cpus=self._threads, max_retries=0)(play_there)
            cpus = int(ray.cluster_resources().get("CPU", 0))
        except Exception as error:  # Ray raises many kinds, and the system OSError
            self._end(first_line(error))
        self._say({"cpus": cpus})

    def run(self) -> NoReturn:
        """Play until the input or the cluster ends."""
        threading.Thread(target=self._watch, daemon=True).start()
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            try:
                self._take_orders()
                self._give_answers()
            except Exception as error:  # none of an order's own: those are its answer
                self._end_if_away()
                self._end(first_line(error), what="ended")

    def _take_orders(self) -> None:
        while not self._orders.empty() or not self._playing:
            message = self._orders.get()
            number: int = message["cancel"] if "cancel" in message else message["number"]
            try:
                if "cancel" in message:
                    self._cancel(number)
                else:
                    self._hand_out(number, PlayOrder.model_validate(message["order"]))
            except Exception as error:  # if the cluster is there, this order's alone: others may be played
                self._end_if_away()
                self._say({"number": number, "died": f"{type(error).__name__}: {first_line(error)}"})

    def _cancel(self, number: int) -> None:
        import ray

        for reference in [one for one, known in self._playing.items() if known == number]:
            del self._playing[reference]
            ray.cancel(reference, force=True)

    def _hand_out(self, number: int, order: PlayOrder) -> None:
        try:
            files = files_of(order)
        except OSError as error:
            self._say({"number": number, "died": f"a policy's copy cannot be read: {error}"})
            return
        self._playing[self._play.remote(order.model_dump_json(), files)] = number

    def _give_answers(self) -> None:
        import ray

        for reference in ray.wait(list(self._playing), timeout=0.1)[0]:
            number = self._playing.pop(reference)
            try:
                self._say({"number": number, "answer": ray.get(reference)})
            except ray.exceptions.LocalRayletDiedError as error:
                self._end(first_line(error))
            except Exception as error:  # Ray raises many kinds, and whatever reading an answer does
                if not isinstance(error, ray.exceptions.RayTaskError):
                    self._see_whether_it_is_gone()
                self._say({"number": number, "died": f"{type(error).__name__}: {first_line(error)}"})

    def _watch(self) -> None:
        while True:
            time.sleep(WATCH_SECONDS)
            try:
                self._probe()
            except OSError:
                time.sleep(WATCH_SECONDS)
                self._end_if_away()

    def _see_whether_it_is_gone(self) -> None:
        """A cluster that ends kills its workers first."""
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            self._end_if_away()
            time.sleep(0.1)

    def _end_if_away(self) -> None:
        try:
            self._probe()
        except OSError as error:
            self._end(f"it does not answer: {error.strerror or error}")

    def _look_at(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        if host and port.isdecimal():
            self._host, self._port = host.strip("[]"), int(port)

    def _probe(self) -> None:
        socket.create_connection((self._host, self._port), timeout=CONNECT_SECONDS).close()

    def _read(self) -> None:
        for line in sys.stdin:
            self._orders.put(json.loads(line))
        os._exit(0)

    def _say(self, message: dict[str, Any]) -> None:
        with self._lock:
            self._answers.write(json.dumps(message) + "\n")
            self._answers.flush()

    def _end(self, reason: str, *, what: str = "lost") -> NoReturn:
        """Say why, and go: whatever state Ray is in."""
        self._say({what: reason})
        os._exit(1)


def files_of(order: PlayOrder) -> dict[str, bytes]:
    """Return the files of all who play, by the names of their copies: a node need not see those."""
    names = {player.file_name for player in order.players()}
    return {name: (Path(order.policies_dir) / name).read_bytes() for name in names if name is not None}


def first_line(error: BaseException) -> str:
    """Return what can be said in a line."""
    text = getattr(error, "strerror", None) or str(error)
    return next(iter(text.strip().splitlines()), "") or type(error).__name__


def main() -> None:
    """Hold the connection to the cluster in the first argument; simulations take as many CPUs as the second says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which ends us
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what Ray prints is no answer
    driver = Driver(sys.argv[1], int(sys.argv[2]), answers)
    driver.connect()
    driver.run()


if __name__ == "__main__":
    main()
