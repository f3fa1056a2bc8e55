"""What all verbs are: a configuration that can be run."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from metta.config import Config
from metta.cores import available_cores

if TYPE_CHECKING:
    import torch


class SystemConfig(Config):
    """Where and with what a tool computes."""

    device: str = Field("auto", description="auto, cpu, cuda or cuda:<n>; auto takes a GPU if there is one")
    threads: int = Field(0, ge=0, description="CPU threads; 0: one a core")

    def num_threads(self) -> int:
        """Return the number of threads, 1 or more."""
        return self.threads or available_cores()

    def torch_device(self) -> torch.device:
        """Return the device. Raises ConfigError when it is not there."""
        from metta.rl.device import choose_device  # loads torch, which `metta sql` does not need

        return choose_device(self.device)


class Tool(Config):
    """A verb: recipes return one, configured; the command line settles its fields and runs it."""

    subject: ClassVar[str | None] = None  # the field that a word without `=` fills: `metta analyze my_run`
    flags: ClassVar[dict[str, str]] = {}  # `--flag` -> the `key=value` it stands for
    value_flags: ClassVar[dict[str, str]] = {}  # `--flag`, followed by a value -> its field; verbs without a recipe
    prints_json: ClassVar[bool] = False  # whether `run_tool(as_json=True)` is understood

    @abstractmethod
    def run_tool(self, *, as_json: bool = False) -> int:
        """Do it; return the exit code: 0 when all is well.

        Results go to stdout (`as_json`: as one JSON object), messages to stderr. Raises MettaError for a mistake that
        the user can mend.
        """
