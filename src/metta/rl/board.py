"""`Board`: what the ranks of one machine tell each other through memory that they share.

gloo sends every byte through the loopback's sockets: for the gradients of `fast` (1.3 MB) and a handful of numbers an
epoch that was a seventh of the time of two ranks (LOG.md). Here each rank writes to a place of its own and reads the
places of the others; sockets carry single bytes, by which the ranks wait for each other and notice one that has gone.
"""

from __future__ import annotations

import mmap
import pickle
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PLACE_BYTES = 4 << 20  # of one rank; what is longer goes in several rounds
HEADER_BYTES = 64
MEET_SECONDS = 60.0


class Board:
    """A place for each rank, twice: while some still read one round the others may write the next.

    Args:
        folder: where the memory's file and the sockets are; on a file system in memory if there is one.
        rank: this process's number among `size`.

    Raises:
        ConnectionError: from every method, when another rank has gone.
    """

    def __init__(self, folder: Path, *, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._round = 0
        self._memory = self._map(folder / "board")
        self._places = np.frombuffer(self._memory, np.uint8).reshape(2, size, PLACE_BYTES + HEADER_BYTES)
        self._others = self._meet(folder)

    def gather(self, value: Any) -> list[Any]:
        """Return the plain value that each rank gave, in the order of ranks."""
        data = pickle.dumps(value)
        received = [bytearray() for _ in range(self.size)]
        lengths = [len(data)]
        start = 0
        while start < max(lengths):
            places = self._exchange(np.frombuffer(data, np.uint8)[start:], length=len(data))
            lengths = [int(place[:8].view(np.int64)[0]) for place in places]
            for place, length, whole in zip(places, lengths, received, strict=True):
                whole += place[HEADER_BYTES : HEADER_BYTES + max(0, length - start)].tobytes()
            start += PLACE_BYTES
        return [pickle.loads(whole) for whole in received]

    def sum_(self, tensor: Tensor) -> None:
        """Add up a contiguous CPU tensor over all ranks, in place, in the order of ranks: the same bits on each."""
        flat = tensor.view(-1)
        step = PLACE_BYTES // flat.element_size()
        for start in range(0, len(flat), step):
            part = flat[start : start + step]
            own = part.numpy().view(np.uint8)
            places = [place[HEADER_BYTES : HEADER_BYTES + len(own)] for place in self._exchange(own, length=len(own))]
            first, *others = [torch.from_numpy(place.view(part.numpy().dtype)) for place in places]
            torch.add(first, others[0], out=part)
            for other in others[1:]:
                part.add_(other)

    def close(self) -> None:
        """Let go of the sockets; the memory goes with the process."""
        for other in self._others:
            other.close()

    def _exchange(self, data: NDArray[np.uint8], *, length: int) -> NDArray[np.uint8]:
        """Write as much of `data` as fits to our place, wait for all, and return everyone's places of this round."""
        places: NDArray[np.uint8] = self._places[self._round % 2]
        self._round += 1
        size = min(len(data), PLACE_BYTES)
        places[self.rank, :8].view(np.int64)[0] = length
        places[self.rank, HEADER_BYTES : HEADER_BYTES + size] = data[:size]
        for other in self._others:
            other.send(b".")
        for other in self._others:
            if not other.recv(1):
                raise ConnectionError("another rank has gone")
        return places

    def _map(self, path: Path) -> mmap.mmap:
        """Map the memory's file; rank 0 makes it, at its full size before it appears under its name."""
        length = 2 * self.size * (PLACE_BYTES + HEADER_BYTES)
        if self.rank == 0:
            fresh = path.with_suffix(".new")
            with fresh.open("wb") as file:
                file.truncate(length)
            fresh.rename(path)
        _wait_for(path)
        with path.open("r+b") as file:
            return mmap.mmap(file.fileno(), length)

    def _meet(self, folder: Path) -> list[socket.socket]:
        """Connect to every rank below, and take in every rank above."""
        with socket.socket(socket.AF_UNIX) as listener:
            here = folder / f"{self.rank}.socket"
            listener.bind(str(here.with_suffix(".new")))
            listener.listen(self.size)
            listener.settimeout(MEET_SECONDS)
            here.with_suffix(".new").rename(here)  # it can be found only when it can be called
            others = []
            for below in range(self.rank):
                place = folder / f"{below}.socket"
                _wait_for(place)
                other = socket.socket(socket.AF_UNIX)
                other.connect(str(place))
                others.append(other)
            others += [listener.accept()[0] for _ in range(self.rank + 1, self.size)]
        for other in others:
            other.settimeout(None)
        return others


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + MEET_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise ConnectionError(f"no other rank came to {path.parent} within {MEET_SECONDS:.0f} s")
        time.sleep(0.001)
