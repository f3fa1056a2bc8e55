"""Ends a run in good order on Ctrl-C or SIGTERM: the epoch is finished and saved; a second signal ends at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.ranks import Ranks

if TYPE_CHECKING:
    from metta.rl.trainer_state import TrainerState


class StopHook(TrainerHook):
    """Turns the first SIGINT or SIGTERM into `state.stop_rollout`; `exit_code` is then 130 or 143.

    Signals can be caught in the main thread alone; elsewhere (a notebook's worker, say) this hook does nothing.
    """

    critical = True
    every_rank = True

    def __init__(self, ranks: Ranks | None = None) -> None:
        self._is_quiet = ranks is not None and not ranks.is_first
        self.exit_code = 0
        self._before: dict[int, Any] = {}

    def on_new_training_run(self, state: TrainerState) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.exit_code:
            if sys.stderr.isatty():
                sys.stderr.write("\x1b[?25h")  # the live display hides the cursor
                sys.stderr.flush()
            os._exit(128 + number)
        self.exit_code = 128 + number
        if self._is_quiet:
            return
        print("stopping: this epoch is finished and saved; once more to stop at once", file=sys.stderr, flush=True)

    def on_epoch_end(self, state: TrainerState) -> None:
        if self.exit_code:
            state.stop_rollout = True

    def on_training_end(self, state: TrainerState, error: BaseException | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
