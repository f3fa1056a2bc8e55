"""Watches the machine: processor, memory and GPU, sampled at the ends of epochs some seconds apart."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil
import torch

from metta.rl.hooks.base_hook import TrainerHook

if TYPE_CHECKING:
    from metta.rl.trainer_state import TrainerState

MIB = 2**20

log = logging.getLogger(__name__)


class MonitorHook(TrainerHook):
    """Adds `monitor/<name>` to the first epoch that ends `seconds` or more after the sample before.

    A sample takes a tenth of a millisecond, so it needs no thread of its own. Shares of the processor are means since
    the sample before.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._sampled_at = clock()
        self._process = psutil.Process()
        self._has_load = True  # of the GPU, until asked in vain

    def on_new_training_run(self, state: TrainerState) -> None:
        self._sampled_at = self._clock()
        psutil.cpu_percent()  # the first call has nothing to compare with
        self._process.cpu_percent()

    def on_epoch_end(self, state: TrainerState) -> None:
        now = self._clock()
        if now - self._sampled_at < self._seconds:
            return
        self._sampled_at = now
        assert state.experience is not None and state.stats_tracker is not None
        for name, value in {**self._machine(), **self._gpu(state.experience.device)}.items():
            state.stats_tracker.add_epoch(f"monitor/{name}", value)

    def _machine(self) -> dict[str, float]:
        return {
            "cpu_percent": psutil.cpu_percent(),
            "process_cpu_percent": self._process.cpu_percent(),
            "process_memory_mib": self._process.memory_info().rss / MIB,
            "memory_available_mib": psutil.virtual_memory().available / MIB,
        }

    def _gpu(self, device: torch.device) -> dict[str, float]:
        if device.type != "cuda":
            return {}
        free, _ = torch.cuda.mem_get_info(device)
        found = {"gpu_memory_mib": torch.cuda.memory_allocated(device) / MIB, "gpu_memory_available_mib": free / MIB}
        if self._has_load:
            try:
                found["gpu_percent"] = float(torch.cuda.utilization(device))
            except (ModuleNotFoundError, RuntimeError) as error:
                self._has_load = False
                log.warning("no monitor/gpu_percent: %s (hint: pip install 'metta[gpu]')", error)
        return found
