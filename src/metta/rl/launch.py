"""Starting the processes of a run: several on this machine, or this one's part in a start by torchrun.

On one machine rank 0 is the process that the user started; the others are its children (`rank_process`). They end when
it ends, however it ends: each watches a pipe from it. torchrun starts every rank itself and says so in the environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch

from metta.cores import available_cores
from metta.errors import ConfigError
from metta.rl.config import TrainConfig, TrainerConfig
from metta.rl.device import rank_device
from metta.rl.ranks import DistributedRanks, Ranks
from metta.spare import let_go, take_rank_process

LEAST_AGENTS = 96  # a rank with fewer agents spends its time on what every step costs, however small
PARTING_SECONDS = 20.0
EXPLAIN_SECONDS = 3.0


def is_torchrun() -> bool:
    """Whether torchrun (or what sets the same variables) started this process."""
    return {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


@contextmanager
def join_torchrun(config: TrainConfig) -> Iterator[Ranks]:
    """Be the rank that the environment says. Raises ConfigError when the configuration asks for another number."""
    rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if config.system.processes not in (0, size):
        raise ConfigError(
            f"system.processes={config.system.processes}, but torchrun started {size}; leave it out, "
            "torchrun's --nproc-per-node and --nnodes decide"
        )
    ranks = DistributedRanks(
        rank=rank,
        local_rank=local,
        size=size,
        is_local=int(os.environ.get("LOCAL_WORLD_SIZE", "0")) == size,
        device=rank_device(config.system.device, local),
    )
    try:
        yield ranks
    finally:
        ranks.close()


@contextmanager
def start_ranks(config: TrainConfig, processes: int) -> Iterator[Ranks]:
    """Start all ranks but this one, rank 0, on this machine; they train `config` and end with this block.

    Raises RankError when one of them does not come up.
    """
    if processes == 1:
        let_go()
        yield Ranks()
        return
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # what ranks of one machine say stays on it
    with tempfile.TemporaryDirectory(prefix="metta-ranks-") as folder:
        meeting = Path(folder) / "meeting"
        children = [_start(config, rank=rank, size=processes, meeting=meeting) for rank in range(1, processes)]
        let_go()
        try:
            ranks = local_ranks(config, rank=0, size=processes, meeting=meeting, children=children)
            yield ranks
            ranks.close()
        finally:
            _end(children)


def local_ranks(
    config: TrainConfig, *, rank: int, size: int, meeting: Path, children: list[subprocess.Popen[bytes]] | None = None
) -> Ranks:
    """Be rank `rank` of `size` on one machine, who find each other by the file `meeting`."""
    return DistributedRanks(
        rank=rank,
        local_rank=rank,
        size=size,
        is_local=True,
        device=rank_device(config.system.device, rank),
        meeting=meeting,
        explain=lambda: _explain(children or []),
    )


def choose_processes(config: TrainConfig, *, saved: int | None) -> int:
    """Return how many processes train a run here: as asked, as many as it was saved with, or as many as pay off."""
    if config.system.processes:
        return config.system.processes
    if saved:
        return saved
    is_cuda = config.system.device.startswith("cuda") or (config.system.device == "auto" and torch.cuda.is_available())
    if is_cuda and ":" in config.system.device:
        return 1
    places = torch.cuda.device_count() if is_cuda else available_cores() // max(1, config.system.threads)
    return most_processes(config.trainer, places=places, agents_per_world=config.world.num_agents)


def most_processes(config: TrainerConfig, *, places: int, agents_per_world: int) -> int:
    """Return the largest number up to `places` into which worlds and minibatches can be cut, each part large enough."""
    if config.total_timesteps < config.batch_size:
        return 1
    worlds = config.num_worlds or config.batch_size // (agents_per_world * config.bptt_horizon)
    segments = config.minibatch_size // config.bptt_horizon
    fitting = [
        count
        for count in range(1, places + 1)
        if worlds % count == 0 and segments % count == 0 and worlds // count * agents_per_world >= LEAST_AGENTS
    ]
    return max(fitting, default=1)


def _start(config: TrainConfig, *, rank: int, size: int, meeting: Path) -> subprocess.Popen[bytes]:
    child = take_rank_process()
    order = {
        "rank": rank,
        "size": size,
        "meeting": str(meeting),
        "path": sys.path,
        "config": config.model_dump(mode="json"),
    }
    assert child.stdin is not None and child.stderr is not None
    child.stdin.write(json.dumps(order).encode() + b"\n")
    child.stdin.flush()  # and stays open: its end tells the child that this process has gone
    threading.Thread(target=_pass_on, args=(child.stderr, rank), daemon=True).start()
    return child


def _pass_on(lines: IO[bytes], rank: int) -> None:
    for line in lines:
        print(f"rank {rank}: {line.decode(errors='replace').rstrip()}", file=sys.stderr, flush=True)


def _explain(children: list[subprocess.Popen[bytes]]) -> str:
    """Return how a child ended, waiting a little for one that is about to."""
    deadline = time.monotonic() + EXPLAIN_SECONDS
    while children and time.monotonic() < deadline:
        for rank, child in enumerate(children, start=1):
            code = child.poll()
            if code is not None:
                how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
                return f"rank {rank} (process {child.pid}) {how}"
        time.sleep(0.02)
    return ""


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    """Let go of the children, wait for them, and end those that do not."""
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
    deadline = time.monotonic() + PARTING_SECONDS
    for child in children:
        try:
            child.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
