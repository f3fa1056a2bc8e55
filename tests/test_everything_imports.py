"""Every module can be imported; every recipe, tool and script leads somewhere."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import metta
import metta.tools
from metta.cli.lookup import list_recipes, load_function
from metta.cli.verbs import ALIASES, VERBS
from metta.tools import Tool

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(found.name for found in pkgutil.walk_packages(metta.__path__, "metta."))
RECIPES = [(recipe.name, function) for recipe in list_recipes() for function in recipe.functions]
SCRIPTS = sorted(path for path in (ROOT / "tools").glob("*.py") if path.name != "door.py")


@pytest.mark.parametrize("name", MODULES)
def test_the_module_can_be_imported(name: str) -> None:
    module = importlib.import_module(name)
    is_empty = not Path(str(module.__file__)).read_text(encoding="utf-8").strip()
    assert module.__doc__ or is_empty, f"{name} says nothing about itself"


@pytest.mark.parametrize(("recipe", "function"), RECIPES, ids=str)
def test_the_recipe_returns_a_tool_whose_configuration_survives_json(recipe: str, function: str) -> None:
    tool = load_function(recipe, function)()
    assert isinstance(tool, Tool)
    assert type(tool).model_validate(json.loads(tool.model_dump_json())) == tool
    assert type(tool).run_tool is not Tool.run_tool


def test_a_room_lists_and_gives_its_names_and_its_modules_and_loads_nothing_before() -> None:
    """In a fresh process: whatever was imported once is an attribute of its package anyhow."""
    code = """
import sys, metta.eval, metta.sim, metta.tools
listed = {room: dir(room) for room in (metta.eval, metta.sim, metta.tools)}
assert all({*room.__all__, "__all__", "__doc__"} <= {*names} for room, names in listed.items()), listed
assert "statistics" in listed[metta.eval] and "cross_play" in listed[metta.eval] and "torch" not in sys.modules
assert metta.sim.simulation_stats_db.SimulationStatsDB is metta.sim.SimulationStatsDB
assert metta.eval.cross_play.__name__ == "metta.eval.cross_play"
for wrong in ("simulatoin", "__wrapped__"):
    try:
        getattr(metta.sim, wrong)
    except AttributeError as error:
        assert str(error) == f"module 'metta.sim' has no attribute '{wrong}'"
    else:
        raise AssertionError(wrong)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", metta.tools.__all__)
def test_the_tool_is_documented_and_where_the_room_says(name: str) -> None:
    tool = getattr(metta.tools, name)
    assert issubclass(tool, Tool)
    assert inspect.getdoc(tool)
    assert tool.subject is None or tool.subject in tool.model_fields
    assert all(setting.partition("=")[0] in tool.model_fields for setting in tool.flags.values())


def test_every_tool_has_a_verb_a_recipe_and_a_module_that_is_a_command() -> None:
    verbs = {name for name, verb in VERBS.items() if verb.home == "launch" and name != "run"}
    offered = {function for _, function in RECIPES}
    assert {name.replace("-", "_") for name in verbs} == offered
    commands = {
        re.search(r'become_command\("([\w-]+)"\)', path.read_text())[1]
        for path in (ROOT / "src/metta/tools").glob("*.py")
        if "become_command(" in path.read_text() and path.name != "command.py"
    }
    assert commands == verbs | {name for name, verb in VERBS.items() if verb.home == "service"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_the_script_can_be_executed_and_names_a_verb(path: Path) -> None:
    assert os.access(path, os.X_OK)
    text = path.read_text()
    assert text.startswith("#!/usr/bin/env python3\n")
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    assert [ast.unparse(call.func) for call in calls] == ["enter"]
    verb = ast.literal_eval(calls[0].args[0])
    assert verb in VERBS or verb in ALIASES
    assert path.stem == verb


def test_a_script_runs_from_any_folder_and_any_python(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "run.py"), "--list"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert "arena.train" in done.stdout


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_the_benchmark_parses_and_says_what_it_measures(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_a_tools_module_is_a_command_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "metta.tools.train", "--help"], capture_output=True, text=True, check=True
    )
    assert "trainer.total_timesteps" in done.stdout
