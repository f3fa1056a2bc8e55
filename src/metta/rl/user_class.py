"""A class of the user's own, named by a dotted path in a configuration or on the command line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TypeVar

from metta.errors import ConfigError

T = TypeVar("T")


def load_user_class(path: str, base: type[T], *, where: str) -> type[T]:
    """Return the class at `path`, `package.module.Class`, in the working directory or wherever Python finds modules.

    Raises ConfigError, beginning with the setting `where`, when there is none or it does not derive from `base`.
    """
    module, _, name = path.rpartition(".")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a command that is installed does not look where it is called
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{where}: {path!r} cannot be loaded ({error}); allowed: package.module.Class, "
            f"in {Path.cwd()} or wherever Python finds modules"
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(f"{where}: {path!r} is not a class derived from {base.__module__}.{base.__qualname__}")
    return found
