"""`Ranks`: the processes that train one policy together, and the few things that they do together.

With one process every call returns at once, so the trainer has one path. What all ranks must agree on (gradients,
statistics, stops) goes through here and nowhere else. `launch` starts the processes.
"""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from metta.errors import RankError
from metta.rl.board import Board

# Others wait here while rank 0 evaluates or saves, however long it takes: a rank that dies is noticed by its closed
# connection or by whoever started it, never by a clock.
PATIENCE = timedelta(days=30)


class Ranks:
    """One process's place among `size`; this class alone is the only process of a run.

    Rank 0 writes, prints and evaluates; every rank has its own worlds. All ranks must make the same calls in the same
    order. Calls raise RankError when another rank has gone.
    """

    rank = 0
    local_rank = 0  # among those on this machine
    size = 1
    is_local = True  # all ranks are on this machine

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0: the one that writes and prints."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Return the plain value that each rank gave, in the order of ranks, on every rank."""
        return [value]

    def sum_(self, tensor: Tensor) -> None:
        """Add up a contiguous tensor over all ranks, in place; the same bits on every rank."""

    def close(self) -> None:
        """Part in good order."""

    def from_first(self, value: Any) -> Any:
        """Return what rank 0 gave."""
        return self.gather(value if self.is_first else None)[0] if self.size > 1 else value

    def any(self, flag: bool) -> bool:
        """Whether any rank says yes."""
        return any(self.gather(flag)) if self.size > 1 else flag

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every parameter's gradient by its mean over the ranks; one without a gradient here stays without.

        A mean over each rank's minibatch, all of one size, averages to the mean over the whole minibatch.
        """
        if self.size == 1:
            return
        known = list(parameters)
        parts = [p.new_zeros(p.numel()) if p.grad is None else p.grad.reshape(-1) for p in known]
        flat = torch.cat(parts)
        self.sum_(flat)
        flat /= self.size
        for parameter, part in zip(known, torch.split(flat, [part.numel() for part in parts]), strict=True):
            if parameter.grad is not None:
                parameter.grad = part.view_as(parameter)

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Let every tensor have the values it has on rank 0."""
        if self.size == 1:
            return
        with torch.no_grad():
            for tensor in tensors:
                shared = tensor.detach().clone() if self.is_first else torch.zeros_like(tensor)
                self.sum_(shared)
                tensor.copy_(shared)


class DistributedRanks(Ranks):
    """Ranks over torch.distributed: gradients by gloo on CPU and nccl on GPUs, everything else by gloo.

    Where all are on one machine what they say goes through shared memory instead (`Board`), but for gradients on GPUs.

    Args:
        rank: this process's number, 0..size-1; `local_rank` among those on this machine.
        is_local: whether all are on one machine.
        size: how many there are.
        device: where gradients are.
        meeting: a file by which the processes find each other; None reads MASTER_ADDR and MASTER_PORT.
        explain: returns a sentence about a rank that has ended, or an empty text when none is known to have.
    """

    def __init__(
        self,
        *,
        rank: int,
        local_rank: int,
        size: int,
        is_local: bool,
        device: torch.device,
        meeting: Path | None = None,
        explain: Callable[[], str] = str,
    ) -> None:
        self.rank, self.local_rank, self.size, self.is_local = rank, local_rank, size, is_local
        self._explain = explain
        self._board: Board | None = None
        self._is_cuda = device.type == "cuda"
        backend = "nccl" if device.type == "cuda" else "gloo"
        with self._or_say("find the others"):
            if device.type == "cuda":
                torch.cuda.set_device(device)
            where = None if meeting is None else f"file://{meeting}"
            dist.init_process_group(backend, init_method=where, rank=rank, world_size=size, timeout=PATIENCE)
            self._control = dist.group.WORLD if backend == "gloo" else dist.new_group(backend="gloo", timeout=PATIENCE)
            if is_local:
                self._board = self._share_board()

    def _share_board(self) -> Board:
        """Meet in a folder that rank 0 makes, and remove it at once: what is mapped and connected stays so."""
        folder = tempfile.mkdtemp(prefix="metta-board-", dir=memory_folder()) if self.is_first else ""
        board = Board(Path(self.from_first(folder)), rank=self.rank, size=self.size)
        board.gather(None)
        if self.is_first:
            shutil.rmtree(folder)
        return board

    def gather(self, value: Any) -> list[Any]:
        if self._board is not None:
            with self._or_say("gather"):
                return self._board.gather(value)
        data = torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)
        length = torch.tensor([len(data)])
        with self._or_say("gather"):
            lengths = [torch.zeros_like(length) for _ in range(self.size)]
            dist.all_gather(lengths, length, group=self._control)
            room = max(int(known) for known in lengths)
            padded = torch.zeros(room, dtype=torch.uint8)
            padded[: len(data)] = data
            rows = [torch.zeros_like(padded) for _ in range(self.size)]
            dist.all_gather(rows, padded, group=self._control)
        return [pickle.loads(row[: int(known)].numpy().tobytes()) for row, known in zip(rows, lengths, strict=True)]

    def sum_(self, tensor: Tensor) -> None:
        with self._or_say("add up gradients"):
            if self._board is not None and not self._is_cuda:
                self._board.sum_(tensor)
            else:
                dist.all_reduce(tensor)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()
        if dist.is_initialized():
            dist.destroy_process_group()

    @contextmanager
    def _or_say(self, what: str) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, OSError) as error:  # gloo, nccl and sockets: a connection was closed
            reason = self._explain() or str(error).splitlines()[0]
            raise RankError(
                f"rank {self.rank} of {self.size} could not {what}: {reason}. Training stops; the same command goes on "
                "from the last checkpoint"
            ) from error


def memory_folder() -> str | None:
    """Return a folder whose files are kept in memory, None where the system has none that all may use."""
    folder = Path("/dev/shm")
    return str(folder) if folder.is_dir() and os.access(folder, os.W_OK) else None
