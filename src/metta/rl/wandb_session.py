"""One start of a run at Weights & Biases: opened, logged to, closed; online, or into a folder that is sent later."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metta.agent.artifact import write_whole
from metta.agent.wandb_library import keep_quiet, load_wandb, require_login
from metta.errors import WandbError
from metta.rl.wandb_files import last_logged, sync_command
from metta.rl.wandb_uploads import upload_replay_html

if TYPE_CHECKING:
    from metta.rl.config import TrainConfig

STEP = "metric/agent_step"  # the axis of every chart
INIT_SECONDS = 30.0  # to reach W&B before training goes on without it
FINISH_SECONDS = 300.0  # to send what is left when training is over


class WandbSession:
    """What the W&B hooks share. `run` is the library's run; None before `open`, and where W&B is off or failed.

    All starts of a run have one id, kept in its folder. The variables that the library knows (`WANDB_PROJECT`,
    `WANDB_MODE`, `WANDB_DIR`, ...) stand in for settings that are none. Raises WandbError when the library is missing.
    """

    def __init__(self, config: TrainConfig, *, run_dir: Path) -> None:
        self.wandb = load_wandb("wandb.enabled=true")
        self.config, self.run_dir = config, run_dir
        self.run: Any = None
        self._logger = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wandb")
        self._rows: deque[Future[None]] = deque()
        self._last_step = -1.0  # rows up to this agent step are at W&B, or in an earlier start's folder, already

    @property
    def is_offline(self) -> bool:
        """Whether this start goes into a folder."""
        return self.run is not None and bool(self.run.offline)

    def open(self, *, agent_step: int) -> None:
        """Begin at `agent_step`. Rows of `metrics.jsonl` up to there that W&B lacks are sent first.

        It lacks the last ones before a kill, and all while W&B was off. Raises WandbError when there is no login, or
        W&B does not answer.
        """
        settings = self.config.wandb
        keep_quiet(self.wandb)
        if settings.mode == "online":
            self.wandb.setup(settings=self.wandb.Settings(mode="online"))  # what was typed wins over WANDB_MODE
        mode = settings.mode or self.wandb.setup().settings.mode
        if mode == "disabled":
            print("W&B is off: WANDB_MODE=disabled", file=sys.stderr)
            return
        if mode not in ("offline", "dryrun"):
            require_login(self.wandb, "wandb.enabled=true", hint="`wandb login`, or wandb.mode=offline")
        try:
            self.run = self._init()
        except (self.wandb.Error, TimeoutError) as error:
            raise WandbError(f"W&B cannot be used: {error} (hint: wandb.mode=offline needs no network)") from error
        self.run.define_metric("*", step_metric=STEP)
        self._last_step = self._last_step_before()
        self._log(agent_step, lambda run: self._log_missing(run, agent_step))
        print(f"W&B: {self.run.url or f'offline, in {self._folder}'}", file=sys.stderr)

    def log(self, row: dict[str, float]) -> None:
        """Log a row of metrics. Raises what went wrong with an earlier one."""
        copy = dict(row)  # hooks behind this one may add to it
        self._log(row[STEP], lambda run: run.log(copy))

    def log_replays(self, replay_urls: dict[str, list[str]], *, agent_step: int, epoch: int) -> None:
        """Log a page of each simulation's first replay. Raises what went wrong with an earlier row."""
        self._log(
            agent_step, lambda run: upload_replay_html(replay_urls, wandb_run=run, agent_step=agent_step, epoch=epoch)
        )

    def _log(self, agent_step: float, write: Callable[[Any], None]) -> None:
        """Let the one thread that logs do so, unless an earlier start has: epochs played again come out the same.

        The library waits for a process of its own at each row: about a millisecond, a hundredth of an epoch.
        """
        if self.run is None or agent_step <= self._last_step:
            return
        self._rows.append(self._logger.submit(write, self.run))
        self._raise_failure()

    def _log_missing(self, run: Any, agent_step: int) -> None:
        path = self.run_dir / "metrics.jsonl"
        if not path.is_file():
            return
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if row[STEP] > agent_step:
                    break
                if row[STEP] > self._last_step:
                    run.log(row)

    def _raise_failure(self) -> None:
        while self._rows and self._rows[0].done():
            self._rows.popleft().result()

    def close(self, error: BaseException | None) -> None:
        """End; waits until everything is sent. Raises WandbError when that takes too long."""
        if self.run is None:
            return
        run, folder = self.run, self._folder
        is_offline, self.run = self.is_offline, None
        self._logger.shutdown()
        try:
            run.finish(exit_code=0 if error is None else 1)
        except TimeoutError as late:
            raise WandbError(
                f"W&B did not take everything in time: the metrics are in {folder}, and `wandb sync --include-online "
                f"{folder}` sends them; the policies are in {self.run_dir / 'checkpoints'}"
            ) from late
        if is_offline:
            print(f"to send this run to W&B: {sync_command(folder.parent, run.id)}", file=sys.stderr)
        self._raise_failure()

    @property
    def _folder(self) -> Path:
        """Where the library keeps this start."""
        return Path(self.run.settings.sync_dir)

    def _init(self) -> Any:
        settings, place = self.config.wandb, Path(os.environ.get("WANDB_DIR") or self.run_dir)
        place.mkdir(parents=True, exist_ok=True)
        return self.wandb.init(
            mode=settings.mode,
            project=settings.project or os.environ.get("WANDB_PROJECT") or "metta",
            entity=settings.entity,
            group=settings.group,
            job_type=settings.job_type,
            tags=settings.tags or None,
            notes=settings.notes,
            name=settings.name or os.environ.get("WANDB_NAME") or self.config.run,
            id=os.environ.get("WANDB_RUN_ID") or run_id(self.run_dir),
            resume="allow",
            dir=str(place),
            config=self.config.model_dump(mode="json"),
            settings=self._library_settings(),
            # somebody else's run in this Python stays what it is
            reinit="create_new" if self.wandb.run is not None else None,
        )

    def _library_settings(self) -> Any:
        ours = {
            "console": "off",  # capturing what is printed would break the live display
            "init_timeout": INIT_SECONDS,
            "finish_timeout": FINISH_SECONDS,
            "finish_timeout_raises": True,
        }
        return self.wandb.Settings(
            **{name: value for name, value in ours.items() if f"WANDB_{name.upper()}" not in os.environ}
        )

    def _last_step_before(self) -> float:
        if self.is_offline:
            last = last_logged(self._folder.parent, self.run.id, STEP)
        else:
            last = self.run.summary.get(STEP) if self.run.resumed else None
        return -1.0 if last is None else float(last)


def run_id(run_dir: Path) -> str:
    """Return the id of a run at W&B, made at its first start: drawn, so that nobody else's run can have it."""
    path = run_dir / "wandb" / "run-id"
    if not path.is_file():
        drawn = secrets.token_hex(8)
        write_whole(path, lambda file: file.write(drawn.encode()))
    return path.read_text(encoding="utf-8").strip()
