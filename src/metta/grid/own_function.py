"""Functions of the user's own, found by their dotted path: map builders and rules."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from metta.errors import ConfigError, nearest, reason_of_import

INSTALLED = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]

# What was read when a module was imported; a spec is another object after a module was imported anew.
_sources: dict[str, tuple[ModuleSpec, bytes]] = {}
_digests: dict[str, tuple[ModuleSpec, str]] = {}


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
    except (Exception, SystemExit) as error:  # whatever the user's module does
        reason = reason_of_import(error)
        raise ConfigError(f"given {path!r}; {module_name} cannot be imported: {reason}", path="function") from error
    _digest_of(module_name)  # now: its files may be edited while this process goes on with what it imported
    function = getattr(module, name, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(
            f"given {path!r}; {module_name} has no function {name}{nearest(name, functions)}", path="function"
        )
    found: Callable[..., Any] = function
    return found


def source_digest(path: str) -> str:
    """Return 16 hex digits over the user's files that decide what a function does, as they were when it was imported.

    They are its module's, and those of all that it imports, again and again; without the standard library, what is
    installed, and this package. Raises ConfigError as `find_function` does.
    """
    find_function(path)
    return _digest_of(path.rpartition(".")[0])


def _digest_of(module_name: str) -> str:
    module = sys.modules[module_name]
    spec = getattr(module, "__spec__", None) or _spec_of_script(module_name, getattr(module, "__file__", None))
    if spec is None:  # made by the interpreter, or by hand
        return ""
    if module_name not in _digests or _digests[module_name][0] is not spec:
        digest = hashlib.sha256()
        for name, source in sorted(_sources_from(spec).items()):
            digest.update(name.encode() + b"\0" + source + b"\0")
        _digests[module_name] = spec, digest.hexdigest()[:16]
    return _digests[module_name][1]


@cache
def _spec_of_script(name: str, file: str | None) -> ModuleSpec | None:
    """Return what stands for the spec of `__main__`, which has none."""
    return importlib.util.spec_from_file_location(name, file) if file else None


def _sources_from(first: ModuleSpec) -> dict[str, bytes]:
    """Return the sources of a module and of the user's modules that it imports, by name."""
    found: dict[str, bytes] = {}
    open_specs = [first]
    while open_specs:
        spec = open_specs.pop()
        if spec.name not in found:
            found[spec.name] = _source(spec)
            open_specs += [other for name in _imports(spec, found[spec.name]) for other in _users_specs(name)]
    return found


def _source(spec: ModuleSpec) -> bytes:
    if spec.name not in _sources or _sources[spec.name][0] is not spec:
        file = Path(spec.origin) if spec.has_location and spec.origin else None
        _sources[spec.name] = spec, file.read_bytes() if file and file.is_file() else b""
    return _sources[spec.name][1]


def _imports(spec: ModuleSpec, source: bytes) -> Iterator[str]:
    """Yield the names of all that a source may import, modules and what may be one; functions' imports count too."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # it is compiled, or its import failed
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(base, spec.parent) if node.level else base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _users_specs(name: str) -> Iterator[ModuleSpec]:
    """Yield the module `name` and the packages it is in, as far as they are there, and the user's."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        spec = _spec(".".join(parts[:end]))
        if spec is None or not _is_users(spec):
            return
        yield spec


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (Exception, SystemExit):  # not there, or a package around it cannot be imported
        return None


def _is_users(spec: ModuleSpec) -> bool:
    if spec.name.partition(".")[0] == "metta":
        return False
    if not spec.has_location or spec.origin is None:
        return spec.submodule_search_locations is not None  # a folder without __init__.py
    file = Path(spec.origin)
    return not any(file.is_relative_to(folder) for folder in INSTALLED) and "site-packages" not in file.parts
