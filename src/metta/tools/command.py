"""`python -m metta.tools.<verb>`: hands over to the `metta` command, before anything heavy is imported."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def become_command(verb: str) -> NoReturn:
    """Replace this process by `metta <verb>` with the same arguments: the command sets up threads, then imports."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "metta.cli", verb, *sys.argv[1:]])
