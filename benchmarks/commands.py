"""How long a person waits: `metta --help`, and a train command of 100 steps with a warm compile cache.

python benchmarks/commands.py [--runs 5]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import report, spread

METTA = Path(sys.executable).with_name("metta")


def seconds(command: list[str], *, runs: int, folder: str) -> dict[str, float]:
    """Run `command` once to warm caches and then `runs` times; return the spread of its wall-clock seconds."""
    times = []
    for number in range(runs + 1):
        start = time.perf_counter()
        filled = [word.replace("{n}", str(number)) for word in command]
        subprocess.run(filled, check=True, capture_output=True, cwd=folder)
        times.append(time.perf_counter() - start)
    return spread(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        help_page = seconds([str(METTA), "--help"], runs=arguments.runs, folder=folder)
        command = [str(METTA), "train", "run=t{n}", "trainer.total_timesteps=100", "wandb=off"]
        short_run = seconds(command, runs=arguments.runs, folder=folder)
    report(
        "commands",
        {"help_seconds": help_page, "train_100_steps_seconds": short_run},
        f"metta --help {help_page['median']:.2f} s; metta train of 100 steps {short_run['median']:.1f} s",
    )


if __name__ == "__main__":
    main()
