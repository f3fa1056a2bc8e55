"""Several processes that train one policy."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from metta.cores import available_cores
from metta.errors import ConfigError
from metta.rl.batch import fit_batch
from metta.rl.config import TrainerConfig
from metta.rl.launch import choose_processes, most_processes
from metta.rl.ranks import Ranks
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager

from .small_world import small_config
from .watchers import FOLDER

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, sys
from metta.errors import MettaError
from metta.rl.run import train
from metta.rl.config import TrainConfig
try:
    sys.exit(train(TrainConfig.model_validate(json.load(open(sys.argv[1])))))
except MettaError as error:
    sys.exit(f"error: {error}")
"""


def start(folder: Path, *, processes: int = 2, **settings: object) -> subprocess.Popen[str]:
    """Start a run of the small world in `folder`; dotted settings have `__` for dots."""
    config = small_config(folder, total=512 * 4)
    config.system.processes = processes
    config.checkpoint.interval = 1
    for path, value in settings.items():
        holder: object = config
        *parents, name = path.split("__")
        for parent in parents:
            holder = getattr(holder, parent)
        setattr(holder, name, value)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "given.json").write_text(config.model_dump_json())
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder / "given.json")],
        cwd=ROOT,
        env={**os.environ, FOLDER: str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], *, code: int = 0) -> str:
    """Wait for the end; return what it said on stderr."""
    _, said = process.communicate(timeout=120)
    assert process.returncode == code, said
    return said


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path, epoch: int) -> dict[str, torch.Tensor]:
    return TinyCheckpointManager("run", folder).load_agent(epoch).state_dict()


def wait_for_epoch(folder: Path, epoch: int, process: subprocess.Popen[str]) -> None:
    manager, deadline = TinyCheckpointManager("run", folder), time.monotonic() + 60
    while not any(found >= epoch for found in manager.list_epochs()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)


def test_the_averaged_gradient_of_two_ranks_is_that_of_one_on_the_same_batch(tmp_path: Path) -> None:
    settings = {
        "trainer__total_timesteps": 512,
        "trainer__minibatch_size": 512,
        "trainer__max_grad_norm": 1e6,
        "hooks__user": ["tests.rl.watchers.KeepGradients"],
    }
    runs = [start(tmp_path / str(count), processes=count, **settings) for count in (1, 2)]
    for run in runs:
        finish(run)
    one, two = (torch.load(tmp_path / str(count) / "gradients.pt") for count in (1, 2))
    assert one.keys() == two.keys() and max(float(grad.abs().max()) for grad in one.values()) > 1e-3
    for name, grad in one.items():
        torch.testing.assert_close(two[name], grad, atol=1e-6, rtol=0)
    left, right = (metrics(tmp_path / str(count))[0] for count in (1, 2))
    same = [name for name in left if name.split("/")[0] in ("experience", "losses", "env_agent")]
    assert len(same) > 10
    assert {name: left[name] for name in same} == pytest.approx({name: right[name] for name in same}, abs=1e-5)


@pytest.mark.slow
def test_a_run_of_two_ranks_that_was_stopped_goes_on_exactly_and_says_when_their_number_changed(tmp_path: Path) -> None:
    whole = start(tmp_path / "whole", trainer__total_timesteps=512 * 6)
    halves = start(tmp_path / "halves", trainer__total_timesteps=512 * 6)
    wait_for_epoch(tmp_path / "halves", 2, halves)
    halves.send_signal(signal.SIGTERM)
    finish(halves, code=143)
    assert "resuming" in finish(start(tmp_path / "halves", trainer__total_timesteps=512 * 6, system__processes=0))
    finish(whole)
    left, right = weights(tmp_path / "whole", 6), weights(tmp_path / "halves", 6)
    assert all(torch.equal(value, right[name]) for name, value in left.items())
    exact = ("overview/reward", "losses/", "experience/", "env_agent/", "parameters/")
    for one, other in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "halves"), strict=True):
        assert all(one[name] == other[name] for name in one if name.startswith(exact))

    said = finish(start(tmp_path / "halves", processes=1, trainer__total_timesteps=512 * 8))
    assert "was trained by 2 processes and goes on with 1" in said and "system.processes=2" in said


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["first", "other"])
def test_a_rank_that_is_killed_ends_all_and_the_run_goes_on_from_its_checkpoint(tmp_path: Path, victim: str) -> None:
    run = start(tmp_path, trainer__total_timesteps=512 * 100_000)
    wait_for_epoch(tmp_path, 2, run)
    (other,) = psutil.Process(run.pid).children()
    (psutil.Process(run.pid) if victim == "first" else other).kill()
    said = finish(run, code=-signal.SIGKILL if victim == "first" else 1)
    if victim == "other":
        assert f"rank 1 (process {other.pid}) was ended by signal 9" in said
        assert "goes on from the last checkpoint" in said
    other.wait(timeout=20)
    latest = TinyCheckpointManager("run", tmp_path).latest_epoch()
    assert latest is not None
    again = finish(start(tmp_path, trainer__total_timesteps=512 * (latest + 1)))
    assert f"resuming run from epoch {latest}" in again


def test_ranks_that_drift_apart_are_noticed_before_they_are_saved(tmp_path: Path) -> None:
    said = finish(start(tmp_path, hooks__user=["tests.rl.watchers.DriftApart"]), code=1)
    assert "weights of ranks [1] differ" in said and "every_rank" in said
    assert TinyCheckpointManager("run", tmp_path).list_epochs() == []


@pytest.mark.slow
@pytest.mark.parametrize("machines", [1, 2])
def test_torchrun_starts_the_same_run_on_one_machine_and_on_two(tmp_path: Path, machines: int) -> None:
    finish(start(tmp_path / "own"))
    given = json.loads((tmp_path / "own" / "given.json").read_text())
    given["data_dir"], given["system"]["processes"] = str(tmp_path / "torchrun"), 0
    (tmp_path / "given.json").write_text(json.dumps(given))
    (tmp_path / "program.py").write_text(PROGRAM)
    place = ["--nnodes", str(machines), "--nproc-per-node", str(2 // machines), "--master-addr", "127.0.0.1"]
    port = ["--master-port", str(free_port())]
    parts = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", *place, *port, "--node-rank", str(node)),
                *(str(tmp_path / "program.py"), str(tmp_path / "given.json")),
            ],
            cwd=ROOT,
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for node in range(machines)
    ]
    for part in parts:
        finish(part)
    left, right = weights(tmp_path / "own", 4), weights(tmp_path / "torchrun", 4)
    assert all(torch.equal(value, right[name]) for name, value in left.items())


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


CUTS = [
    # worlds, minibatch, places -> processes, where a rank needs 96 agents and a world has 24
    (32, 8192, 2, 2),
    (32, 8192, 1, 1),
    (32, 8192, 3, 2),  # 32 worlds cannot be shared by three
    (32, 8192, 64, 8),  # more than eight would have fewer than 96 agents each
    (33, 8448, 2, 1),
    (4, 3072, 16, 1),
]


@pytest.mark.parametrize(("worlds", "minibatch", "places", "expected"), CUTS)
def test_as_many_processes_as_worlds_and_minibatches_can_be_cut_for(
    worlds: int, minibatch: int, places: int, expected: int
) -> None:
    config = TrainerConfig(
        batch_size=worlds * 24 * 32, minibatch_size=min(minibatch, worlds * 24 * 32), num_worlds=worlds
    )
    if config.batch_size % config.minibatch_size == 0:
        assert most_processes(config, places=places, agents_per_world=24) == expected


def test_a_run_goes_on_with_the_processes_it_was_saved_with_unless_told_otherwise(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    assert choose_processes(config, saved=3) == 3
    assert choose_processes(config, saved=None) == 1  # too few agents to share
    config.system.processes = 2
    assert choose_processes(config, saved=3) == 2


def test_a_batch_that_processes_cannot_share_names_the_numbers_and_the_nearest(tmp_path: Path) -> None:
    config = small_config(tmp_path).trainer
    with pytest.raises(ConfigError, match=r"3 processes cannot share trainer.num_worlds=8.*nearest that work: 6 and 9"):
        fit_batch(config, agents_per_world=4, processes=3)


def test_one_process_shares_nothing() -> None:
    ranks = Ranks()
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([1.0, 2.0])
    ranks.average_gradients([parameter])
    assert parameter.grad.tolist() == [1.0, 2.0]
    assert ranks.gather("x") == ["x"] and ranks.any(True) and not ranks.any(False)


def test_a_container_limit_lowers_the_number_of_cores(tmp_path: Path) -> None:
    limit = tmp_path / "cpu.max"
    everything = available_cores(tmp_path / "missing")
    for text, expected in (
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("max 100000", everything),
        ("nonsense", everything),
    ):
        limit.write_text(text)
        assert available_cores(limit) == expected
