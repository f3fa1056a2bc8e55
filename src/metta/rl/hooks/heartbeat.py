"""A file that says that a run is alive, for `metta status` and for whoever watches from another machine."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from metta.rl.hooks.base_hook import TrainerHook

if TYPE_CHECKING:
    from metta.rl.trainer_state import TrainerState


class HeartbeatHook(TrainerHook):
    """Rewrites `path`, whole, when training moves on and `seconds` have passed since the last time.

    It beats with the loop and not in a thread, so a loop that hangs falls silent. `status` is `running`, and at the end
    `finished`, `stopped` (before all steps were played: Ctrl-C, an early stop) or `failed`.
    """

    def __init__(
        self, path: Path, *, total_timesteps: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._total, self._seconds, self._clock = path, total_timesteps, seconds, clock
        self._host = socket.gethostname()
        self._beaten_at = clock()

    def on_new_training_run(self, state: TrainerState) -> None:
        self._write(state, status="running")

    def on_rollout_start(self, state: TrainerState) -> None:
        self._beat(state)

    def on_rollout_end(self, state: TrainerState) -> None:
        self._beat(state)

    def on_mb_end(self, state: TrainerState) -> None:
        self._beat(state)

    def on_epoch_end(self, state: TrainerState) -> None:
        self._beat(state)

    def on_training_end(self, state: TrainerState, error: BaseException | None) -> None:
        if error is not None:
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            self._write(state, status="failed", error=text)
        else:
            self._write(state, status="finished" if state.agent_step >= self._total else "stopped")

    def _beat(self, state: TrainerState) -> None:
        if self._clock() - self._beaten_at >= self._seconds:
            self._write(state, status="running")

    def _write(self, state: TrainerState, **fields: str) -> None:
        self._beaten_at = self._clock()
        contents = {
            "time": time.time(),  # seconds since 1970
            "epoch": state.epoch,
            "agent_step": state.agent_step,
            "pid": os.getpid(),
            "host": self._host,
            **fields,
        }
        # whole at every moment, but not flushed to the disk: after a power cut nobody needs it
        beside = self._path.with_name(f".{self._path.name}.tmp")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(contents) + "\n")
        beside.replace(self._path)
