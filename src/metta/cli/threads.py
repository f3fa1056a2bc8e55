"""Numbers of threads, which libraries read from the environment when they are first imported: set before that."""

from __future__ import annotations

import os
import sys

from metta.cores import available_cores

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def set_threads(asked: str | None) -> None:
    """Set the threads of numba, OpenMP and BLAS: `asked` as it was typed, 0 or None all cores.

    A number that was asked for wins over the environment; what cannot be read is left to the configuration to refuse.
    Where numba has been imported already (in a notebook, in a test) it is too late, and nothing is changed.
    """
    if "numba" in sys.modules:
        return
    is_asked = asked is not None and asked.isdigit() and int(asked) > 0
    threads = str(asked) if is_asked else str(available_cores())
    for name in VARIABLES:
        if is_asked or name not in os.environ:
            os.environ[name] = threads
    # OpenMP's threads sleep while they wait. By default they spin, and where another process wants the same cores
    # training once fell to 5 k agent steps a second on two threads (LOG.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
