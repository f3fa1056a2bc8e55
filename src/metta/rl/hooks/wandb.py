"""Weights & Biases: metrics of every epoch, and, once they are saved, policies and replays."""

from __future__ import annotations

import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metta.agent.wandb_policies import WandbUri
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.wandb_session import FINISH_SECONDS, WandbSession
from metta.rl.wandb_uploads import keep_policy, log_policy

if TYPE_CHECKING:
    from metta.rl.trainer_state import TrainerState


class WandbHook(TrainerHook):
    """Opens the session and logs every epoch's metrics. Training goes on without W&B when that fails."""

    def __init__(self, session: WandbSession) -> None:
        self._session = session

    def on_new_training_run(self, state: TrainerState) -> None:
        self._session.open(agent_step=state.agent_step)

    def on_epoch_end(self, state: TrainerState) -> None:
        self._session.log(state.metrics)


class WandbUploadHook(TrainerHook):
    """Uploads what was saved, and ends the session. It stands behind the checkpoint hook and carries no state.

    A policy goes up when `state.latest_checkpoint_uri` names a new file, which is whole then: an epoch or more after
    its own where saving takes a while. A thread sends it. `state.latest_wandb_uri` follows when W&B has taken it;
    offline it stays None, since it is W&B that counts versions.
    """

    def __init__(self, session: WandbSession) -> None:
        self._session, self._config = session, session.config.wandb
        self._seen: str | None = None
        self._sender = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wandb")
        self._sending: list[Future[str | None]] = []

    def on_new_training_run(self, state: TrainerState) -> None:
        self._seen = state.latest_checkpoint_uri  # of a resumed run: uploaded by the start that saved it

    def on_checkpoint(self, state: TrainerState) -> None:
        self._upload_policy(state)
        self._upload_replays(state)
        self._note_uris(state)

    def on_training_end(self, state: TrainerState, error: BaseException | None) -> None:
        try:
            self._upload_policy(state)
            wait(self._sending, timeout=FINISH_SECONDS)
        finally:
            self._session.close(error)
            self._sender.shutdown()
        self._note_uris(state)
        if state.latest_wandb_uri is not None:
            print(f"the last policy at W&B: {state.latest_wandb_uri}", file=sys.stderr)

    def _upload_policy(self, state: TrainerState) -> None:
        uri, run = state.latest_checkpoint_uri, self._session.run
        if run is None or uri is None or uri == self._seen or not self._config.artifacts:
            return
        self._seen = uri
        with suppress(FileNotFoundError):  # newer ones have driven it out already
            kept = keep_policy(Path(uri), self._session.run_dir / "wandb" / "policies")
            self._sending.append(self._sender.submit(self._send, run, kept))

    def _send(self, run: Any, kept: Path) -> str | None:
        """Return the policy's URI when W&B has taken it; None offline, where its file waits to be sent."""
        artifact = log_policy(run, kept)
        if run.offline:
            return None
        artifact.wait()
        kept.unlink()
        entity = artifact.entity if self._config.entity or os.environ.get("WANDB_ENTITY") else None
        return str(WandbUri(entity, artifact.project, artifact.name.partition(":")[0], artifact.version))

    def _note_uris(self, state: TrainerState) -> None:
        """Note the newest policy that has arrived; raises what went wrong with one."""
        while self._sending and self._sending[0].done():
            state.latest_wandb_uri = self._sending.pop(0).result()

    def _upload_replays(self, state: TrainerState) -> None:
        if state.eval_replay_urls and self._config.replays:
            self._session.log_replays(state.eval_replay_urls, agent_step=state.agent_step, epoch=state.epoch)
