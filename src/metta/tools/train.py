"""`metta train`: one training run, resumed if the same `run=` exists."""

from __future__ import annotations

if __name__ == "__main__":
    from metta.tools.command import become_command

    become_command("train")

from pydantic import field_validator

from metta.agent.checkpoints import check_run_name
from metta.errors import RunError
from metta.rl import TrainConfig, train
from metta.tools.tool import Tool


class TrainTool(TrainConfig, Tool):
    """Trains a policy and keeps it in `<data_dir>/<run>/`."""

    @field_validator("run")
    @classmethod
    def _check_run(cls, run: str | None) -> str | None:
        try:
            return run if run is None else check_run_name(run)
        except RunError as error:
            raise ValueError(str(error)) from error

    def run_tool(self, *, as_json: bool = False) -> int:
        """Train to the end; 130 or 143 when Ctrl-C or SIGTERM ended it early, with everything saved."""
        return train(self)
