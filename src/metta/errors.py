"""The user's mistakes: every error that a person can cause and mend has a class here.

The command line prints the message alone and exits with `exit_code`; programmers' mistakes stay assertions.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class MettaError(Exception):
    """A mistake the user can mend. The message says what is wrong, what was given, what is allowed, and a hint."""

    exit_code = 1


class ConfigError(MettaError):
    """A configuration that cannot be built: an unknown key, a bad value, numbers that do not fit.

    `path` is the dotted path of the mistake, seen from what was looked at; `within` completes it on the way up.
    """

    exit_code = 2

    def __init__(self, message: str = "", *, path: str = "") -> None:
        super().__init__(message)
        self.path = path

    def __str__(self) -> str:
        message = super().__str__()
        return f"{self.path}: {message}" if self.path else message


@contextmanager
def within(path: str) -> Iterator[None]:
    """Say where what is looked at inside belongs: a ConfigError's path `width` becomes `world.map.width`."""
    try:
        yield
    except ConfigError as error:
        error.path = f"{path}.{error.path}" if error.path else path
        raise


class MapError(ConfigError):
    """A map that cannot be built or does not fit its world."""


class CheckpointError(MettaError):
    """A checkpoint or policy file that cannot be read, is damaged, or is refused."""


class PolicyMismatchError(MettaError):
    """A policy that cannot play in a world: other actions, another observation space."""


class RunError(MettaError):
    """A run name that is refused, a run that does not exist, or one that another process holds."""


class ReplayError(MettaError):
    """A replay file that cannot be read, is damaged, or is of another format."""


class StatsError(MettaError):
    """A statistics database that cannot be read or is newer than this program, or something that it does not hold."""


class QuestionError(StatsError):
    """A question to a statistics database that is refused, or is no SQL that it understands."""

    exit_code = 2


class SuiteError(ConfigError):
    """An evaluation suite or simulation that does not exist or is named twice."""


class RankError(MettaError):
    """Another process of the same training has ended, or cannot be reached."""


class ServiceError(MettaError):
    """The evaluation service cannot be reached or started, or it refuses what it was asked."""


class UnreachableError(ServiceError):
    """Nobody answers at the service's address, or not now."""


class WandbError(MettaError):
    """Weights & Biases cannot be used: the library or a login is missing, or the service does not answer."""


class TrainingError(MettaError):
    """Training cannot go on: a loss became NaN, the disk is full."""


def nearest(name: str, allowed: Iterable[str], *, count: int = 3) -> str:
    """Return ` (did you mean a, b?)` for the names closest to `name`, or an empty text when none is close."""
    close = difflib.get_close_matches(name, list(allowed), n=count, cutoff=0.5)
    return f" (did you mean {', '.join(close)}?)" if close else ""


def reason_of_import(error: BaseException) -> str:
    """Return in one line why a user's module could not be imported; where it is, if it ended the process."""
    if isinstance(error, SystemExit):
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"SystemExit ({last.filename}, line {last.lineno})"
    return str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
