"""Functions of the user's own, found by their dotted path: map builders and rules."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metta.errors import ConfigError, nearest


def find_function(path: str) -> Callable[..., Any]:
    """Return the function `package.module.name`; the working directory is searched too.

    Raises ConfigError when there is no such module or function, or importing the module fails.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise ConfigError(f"given {path!r}; allowed: a dotted path, package.module.name", path="function")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a command that is installed does not look where it is called
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module does
        reason = f"{type(error).__name__}: {error}" if not isinstance(error, ImportError) else str(error)
        raise ConfigError(f"given {path!r}; {module_name} cannot be imported: {reason}", path="function") from error
    function = getattr(module, name, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(
            f"given {path!r}; {module_name} has no function {name}{nearest(name, functions)}", path="function"
        )
    found: Callable[..., Any] = function
    return found


def source_of(path: str) -> bytes:
    """Return the source of the file that a function stands in; nothing where there is no such file."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(getattr(find_function(path), "py_func", find_function(path))))
    except TypeError:
        return b""
    return Path(file).read_bytes() if file and Path(file).is_file() else b""
