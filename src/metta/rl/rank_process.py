"""A rank that rank 0 started on the same machine: reads what to train from its standard input, and ends with it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

DOUBT_SECONDS = 3.0


def main() -> int:
    """Train as one rank of several; return the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # rank 0 hears Ctrl-C and tells the others
    from metta.errors import MettaError  # loaded while rank 0 loads the same
    from metta.rl.config import TrainConfig
    from metta.rl.launch import local_ranks
    from metta.rl.run import train_rank

    line = sys.stdin.buffer.readline()
    if not line:  # not needed
        return 0
    order = json.loads(line)
    threading.Thread(target=_end_with_first, daemon=True).start()
    sys.path[:] = order["path"]
    try:
        config = TrainConfig.model_validate(order["config"])
        ranks = local_ranks(config, rank=order["rank"], size=order["size"], meeting=Path(order["meeting"]))
        train_rank(config, ranks)
        ranks.close()
    except MettaError as error:
        # Rank 0 mostly makes the same mistake and says so itself; its end closes our input, which ends this process.
        time.sleep(DOUBT_SECONDS)
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _end_with_first() -> None:
    """End this process when rank 0 lets go of the pipe, or dies."""
    while sys.stdin.buffer.read(1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
