"""Freed memory stays with the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import metta

MODULE = Path(metta.__file__).parent / "rl" / "memory.py"  # alone, as all of `metta.rl` takes seconds to load

SCRIPT = """
import resource, sys
import numpy as np
import runpy
if "keep" in sys.argv and not runpy.run_path(sys.argv[1])["keep_freed_memory"]():
    print("skip")
    raise SystemExit
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    for size in (3_000_000, 700_000, 9_000_000):
        np.ones(size, np.uint8)
use()
before = faults()
for _ in range(20):
    use()
print(faults() - before)
"""


def test_blocks_that_are_freed_and_taken_again_cost_no_page_faults() -> None:
    counts = []
    for arguments in ([], ["keep"]):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(MODULE), *arguments], capture_output=True, text=True, check=True
        )
        if done.stdout.strip() == "skip":
            pytest.skip("this C library keeps its own counsel: only glibc has mallopt's numbers")
        counts.append(int(done.stdout))
    default, kept = counts
    assert kept < 100 < default
