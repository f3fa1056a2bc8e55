"""The W&B library, as all of us open it: imported only when it is needed, quiet, and never asking for a login."""

from __future__ import annotations

import os
from typing import Any

from metta.errors import WandbError


def load_wandb(needed_by: str) -> Any:
    """Return the `wandb` module. `needed_by` begins the message of the WandbError when it is not installed."""
    try:
        import wandb
    except ImportError as error:
        raise WandbError(f"{needed_by} needs the wandb library: pip install 'metta[wandb]'") from error
    return wandb


def keep_quiet(wandb: Any) -> None:
    """Let the library print nothing, unless `WANDB_SILENT` is set: it would tear the live display."""
    if "WANDB_SILENT" not in os.environ:
        wandb.setup(settings=wandb.Settings(silent=True))


def require_login(wandb: Any, needed_by: str, *, hint: str) -> None:
    """Raise WandbError unless this machine has a login at W&B; the library itself would ask for one and wait."""
    try:
        has_login = wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        raise WandbError(f"{needed_by} needs a login at W&B, and this machine's is refused: {error}") from error
    if not has_login:
        raise WandbError(f"{needed_by} needs a login at W&B, and there is none here; hint: {hint}")
