"""What goes up to W&B beside metrics: policies as artifacts, replays as pages."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Any

from metta.agent.artifact import read_policy_file
from metta.replay import read_replay
from metta.replay.page import replay_page

ARTIFACT_TYPE = "model"


def keep_policy(path: Path, folder: Path) -> Path:
    """Give a policy's file a second name in `folder`, and return it: the run may remove the first before it is sent.

    A link costs no room; where the file system has none, it is a copy. Raises FileNotFoundError when it is gone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{path.stem}-{secrets.token_hex(4)}{path.suffix}"
    try:
        os.link(path, kept)
    except OSError:
        shutil.copyfile(path, kept)
    return kept.resolve()


def log_policy(wandb_run: Any, path: Path) -> Any:
    """Log the policy file at `path`, which stays there, as a new version of its run's artifact; return the artifact.

    Raises CheckpointError when the file is not whole.
    """
    import wandb

    contents = read_policy_file(path)
    epoch = contents["epoch"]
    facts = {name: contents[name] for name in ("run", "epoch", "agent_step", "architecture")}
    artifact = wandb.Artifact(artifact_name(contents["run"]), type=ARTIFACT_TYPE, metadata=facts | contents["metrics"])
    artifact.add_file(str(path), name=f"agent_epoch_{epoch}.pt", policy="immutable", skip_cache=True)
    return wandb_run.log_artifact(artifact, aliases=["latest", f"epoch-{epoch}"])


def artifact_name(run: str) -> str:
    """Return the name of a run's artifact: letters, digits, `_`, `-` and `.` stay, others become `_`; 128 at most."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", run)[:128]


def upload_replay_html(replay_urls: dict[str, list[str]], *, wandb_run: Any, agent_step: int, epoch: int) -> None:
    """Log a page of each simulation's first replay as `replays/<simulation>`, in one row.

    `replay_urls`: simulation -> where its replays stand. Raises ReplayError when one cannot be read.
    """
    import wandb

    pages = {
        f"replays/{name}": wandb.Html(
            replay_page(read_replay(urls[0]), source=urls[0], title=f"{name}, epoch {epoch}"),
            inject=False,
            data_is_not_path=True,
        )
        for name, urls in replay_urls.items()
        if urls
    }
    if pages:
        wandb_run.log({"metric/epoch": epoch, "metric/agent_step": agent_step, **pages})
