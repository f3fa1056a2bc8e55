"""Where recipes are found: the working directory first, then what is installed, then the built-in ones.

Listing reads the sources without running them, so that `metta list` is quick.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from metta.errors import ConfigError, MettaError, nearest, reason_of_import

BUILT_IN = "metta.recipes"
USERS_FOLDER = "experiments.recipes"


class Recipe(NamedTuple):
    """A recipe's module, and what it offers."""

    name: str  # as it is typed
    module: str
    path: Path
    functions: dict[str, str]  # function -> first line of its docstring


def find_recipe(name: str) -> str | None:
    """Return the module that `name` stands for, None if there is none.

    As it stands (a file below the working directory, or an installed module), below the user's `experiments/recipes`,
    or a built-in recipe; `experiments.recipes.arena` and `arena` both find the built-in arena.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    for module in (name, f"{USERS_FOLDER}.{name}"):
        if _file_below(Path.cwd(), module) is not None:
            return module
    if "." in name and _is_installed(name):
        return name
    built_in = f"{BUILT_IN}.{name.removeprefix(USERS_FOLDER + '.')}"
    return built_in if _file_below(_package_root(), built_in) is not None else None


def load_function(name: str, function: str) -> Callable[..., Any]:
    """Return the recipe's function. Raises ConfigError, with the nearest names, if there is no such recipe or function.

    Also raised when the recipe's own file cannot be loaded.
    """
    module = load_recipe(name)
    found = getattr(module, function, None)
    if function.startswith("_") or not inspect.isfunction(found):
        names = public_functions(Path(str(module.__file__)))
        raise ConfigError(f"recipe {name!r} has no {function!r}{nearest(function, names)}; it has {', '.join(names)}")
    return found


def load_recipe(name: str) -> ModuleType:
    """Import the recipe's module. Raises ConfigError if there is none, or if it cannot be loaded."""
    module = find_recipe(name)
    if module is None:
        names = [recipe.name for recipe in list_recipes()]
        raise ConfigError(
            f"there is no recipe {name!r}{nearest(name.rpartition('.')[2], names)}; there are {', '.join(names)}"
        )
    path = _file_below(Path.cwd(), module)
    if path is not None and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(module)
    except MettaError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's file does
        raise ConfigError(f"recipe {module!r} cannot be loaded: {reason_of_import(error)}") from error


def list_recipes() -> list[Recipe]:
    """Return the user's own recipes of the working directory, then the built-in ones that they do not hide."""
    found: dict[str, Recipe] = {}
    places = [(Path.cwd() / Path(*USERS_FOLDER.split(".")), USERS_FOLDER), (_recipes_folder(), BUILT_IN)]
    for folder, package in places:
        for path in sorted(folder.glob("*.py")):
            if not path.stem.startswith("_") and path.stem not in found:
                found[path.stem] = Recipe(path.stem, f"{package}.{path.stem}", path, public_functions(path))
    return list(found.values())


def public_functions(path: Path) -> dict[str, str]:
    """Return the functions of a recipe's file that return a tool, with the first lines of their docstrings."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError:
        return {}
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and _returns_tool(node):
            found[node.name] = (ast.get_docstring(node) or "").partition("\n")[0]
    return found


def _returns_tool(node: ast.FunctionDef) -> bool:
    """Whether the annotation says so; a function without one counts too."""
    return node.returns is None or ast.unparse(node.returns).strip("'\"").endswith("Tool")


def _file_below(root: Path, module: str) -> Path | None:
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _is_installed(module: str) -> bool:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.has_location


def _recipes_folder() -> Path:
    return _package_root() / "metta" / "recipes"


def _package_root() -> Path:
    return Path(__file__).resolve().parents[2]
