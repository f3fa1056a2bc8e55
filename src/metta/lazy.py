"""Faces of rooms that load nothing heavy: a module is imported when it, or one of its names, is asked for."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any


def load_when_asked(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of `package` (PEP 562). `homes`: module in it -> its names, with spaces.

    A type checker must see the same names imported as usual, under `TYPE_CHECKING`.
    """
    home_of = {name: module for module, names in homes.items() for name in names.split()}

    def load(name: str) -> Any:
        if name in home_of:
            return getattr(importlib.import_module(f"{package}.{home_of[name]}"), name)
        if find_spec(f"{package}.{name}") is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return importlib.import_module(f"{package}.{name}")

    def names() -> list[str]:
        room = sys.modules[package]
        return sorted({*vars(room), *home_of, *(module.name for module in pkgutil.iter_modules(room.__path__))})

    return load, names
