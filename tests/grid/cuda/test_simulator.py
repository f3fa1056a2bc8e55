"""The kernels under Numba's simulator, in a process of its own, against compiled rules on the CPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "device_games.py"
PAGE = Path(__file__).parents[3] / "docs" / "gpu.md"


def run_simulated(*arguments: str) -> str:
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, *arguments], check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def simulate(num_batches: int, ticks: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run_simulated(str(SCRIPT), str(num_batches), str(ticks)))
    return found


def assert_equal_to_the_cpu(device_games: Any, num_batches: int, ticks: int) -> None:
    simulated = simulate(num_batches, ticks)
    batches = device_games.simulated_batches(num_batches)
    for i, (batch, found) in enumerate(zip(batches, simulated, strict=True)):
        assert found == device_games.play(batch, "cpu", ticks=ticks), f"batch {i}"
    assert sum(found["episodes"] for found in simulated) > num_batches
    assert all(found["stats"] for found in simulated)


def test_simulated_kernels_equal_the_cpu_in_random_worlds_tick_for_tick(device_games: Any) -> None:
    assert_equal_to_the_cpu(device_games, 8, 5)


@pytest.mark.slow
def test_simulated_kernels_equal_the_cpu_in_many_random_worlds(device_games: Any) -> None:
    assert_equal_to_the_cpu(device_games, 40, 20)


def test_the_example_of_the_page_runs() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for large, small in (("4096", "1"), ("512", "1"), ("1000", "2")):
        assert large in example
        example = example.replace(large, small)
    assert run_simulated("-c", example + "print(int(env.token_counts.sum()))").strip() not in ("", "0")


def test_the_commands_of_the_page_name_files_that_exist() -> None:
    commands = re.findall(r"`((?:pytest|python) [^`]*)`", PAGE.read_text(encoding="utf-8"))
    paths = [word for command in commands for word in command.split() if "/" in word]
    assert len(paths) == 5 and all((PAGE.parents[1] / path).exists() for path in paths)
