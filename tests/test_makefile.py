"""The two commands of a fresh clone, and what runs them unattended."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def planned(target: str) -> list[str]:
    """The commands that `make target` would run."""
    command = ["make", "--dry-run", "--no-print-directory", target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line.removeprefix("@") for line in done.stdout.splitlines()]


def position(lines: list[str], part: str) -> int:
    return next(number for number, line in enumerate(lines) if part in line)


def test_make_test_lints_checks_types_and_runs_the_default_tests() -> None:
    lines = planned("test")
    order = [position(lines, part) for part in ("ruff check", "ruff format --check", "/mypy", "-m pytest")]
    assert order == sorted(order)


def test_make_test_all_begins_with_make_test() -> None:
    assert planned("test-all")[: len(planned("test"))] == planned("test")
    assert "slow" in planned("test-all")[-1]


def test_the_unattended_run_calls_make_test_all() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    assert "make test-all" in script.read_text().splitlines()[-1]
