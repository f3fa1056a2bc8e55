"""Imports only point down the ladder that ARCHITECTURE.md draws, and faces stay small."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "metta"
WITHOUT_TORCH = ("grid", "envs", "replay", "cli")


def ladder() -> dict[str, int]:
    """Room -> rung, as ARCHITECTURE.md has it."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    block = text.split("```")[1]
    lines = re.findall(r"^\s*(\d+)\s+(.+)$", block, re.MULTILINE)
    return {room: int(rung) for rung, rooms in lines for room in rooms.split()}


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted name and path of every module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(name: str, path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything of metta that a module imports, anywhere in it."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (above, node.module or "") if part)
            found = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found = [c.value for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str)]
        else:
            continue
        yield from ((node.lineno, target) for target in found if target.split(".")[0] == "metta")


def room(name: str) -> str:
    """The second part of a dotted name; empty for metta itself."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_every_room_stands_on_the_ladder() -> None:
    there = {room(name) for name, _ in modules()} - {""}
    assert there <= set(ladder())


def test_every_import_points_down_the_ladder() -> None:
    rungs = ladder()
    wrong = []
    for name, path in modules():
        for line, target in imports(name, path):
            here, there = room(name), room(target)
            if here == there or there not in rungs:  # metta.__version__ belongs to everyone
                continue
            if not here or rungs[there] >= rungs[here]:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {here or 'metta'} imports {there}")
    assert not wrong, "\n".join(wrong)


def test_the_check_sees_lazy_type_only_relative_and_named_imports(tmp_path: Path) -> None:
    path = tmp_path / "example.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from metta.rl import Trainer\n"
        "def f():\n    import metta.eval.report\n    import_module('metta.sim')\n"
        "from ..cli import main\nfrom . import other\n"
    )
    found = {target for _, target in imports("metta.grid.example", path)}
    assert found == {"metta.rl.Trainer", "metta.eval.report", "metta.sim", "metta.cli.main", "metta.grid.other"}


def faces() -> list[Path]:
    return sorted(PACKAGE.glob("*/__init__.py"))


@pytest.mark.parametrize("path", faces(), ids=lambda path: path.parent.name)
def test_a_face_is_short_and_lists_what_it_offers_in_order(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 30
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    lists = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and node.value is not None
        and "__all__" in ast.unparse(node).partition("=")[0]
    ]
    assert len(lists) == 1, f"{path} needs one __all__"
    assert lists[0] == sorted(lists[0], key=_order)


def _order(name: str) -> tuple[int, str]:
    """Constants, classes, functions; each by name (ruff's order)."""
    return 0 if name.isupper() else 1 if name[0].isupper() else 2, name


def test_worlds_replays_and_the_door_load_no_torch() -> None:
    names = [name for name, _ in modules() if room(name) in WITHOUT_TORCH and not name.endswith("__main__")]
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
    code += "assert 'torch' not in sys.modules, 'torch was loaded'\n"
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
