"""`LocalWorker`: one process of this machine, started when it is needed and again when it has died."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

from metta.eval.eval_service.play import PlayAnswer, PlayOrder
from metta.eval.eval_service.players import POLL_SECONDS, Patience, WorkerDiedError

# Libraries read these when they are first imported.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class LocalWorker:
    """Plays in a process of its own, so that nothing it does can harm the service. `log`: where it writes messages."""

    def __init__(self, *, log: Path, threads: int, timeout_seconds: float) -> None:
        self._log, self._threads, self._timeout_seconds = log, threads, timeout_seconds
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self, stop: Event) -> None:
        """See `Player`: this machine is always there."""

    def play(self, order: PlayOrder, stop: Event, on_progress: Callable[[float], None]) -> PlayAnswer:
        """See `Player`."""
        process = self._running()
        try:
            self._send(process, order.model_dump_json().encode() + b"\n")
            for line in self._lines(process, Patience(stop, self._timeout_seconds)):
                if line.startswith(b"{"):
                    break
                on_progress(float(line))
        except BaseException:
            self.close()
            raise
        return PlayAnswer.model_validate_json(line)

    def close(self) -> None:
        """End the process, also in the middle of a game."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "metta.eval.eval_service.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(self._threads))},
                )
        assert self._process is not None
        return self._process

    def _send(self, process: subprocess.Popen[bytes], order: bytes) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(order)
            process.stdin.flush()
        except BrokenPipeError as error:
            raise WorkerDiedError(self._how_it_died(process)) from error

    def _lines(self, process: subprocess.Popen[bytes], patience: Patience) -> Iterator[bytes]:
        """Give the lines that the process writes, as they come."""
        assert process.stdout is not None
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                patience.check()
                if not selector.select(POLL_SECONDS):
                    continue
                piece = os.read(process.stdout.fileno(), 65_536)
                if not piece:
                    raise WorkerDiedError(self._how_it_died(process))
                *lines, rest = (rest + piece).split(b"\n")
                yield from lines

    def _how_it_died(self, process: subprocess.Popen[bytes]) -> str:
        code = process.wait()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if code == -signal.SIGKILL:
            how += ", by a user or for want of memory"
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{how}; its last message: {lines[-1]}" if lines else how
