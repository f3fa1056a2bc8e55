"""Functions of a user's own: how they are found, and which sources their digest knows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metta.errors import ConfigError
from metta.grid.own_function import find_function, source_digest


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    forget()
    yield
    forget()


def forget() -> None:
    """Let the user's modules be imported anew, as another process does."""
    for name in [name for name in sys.modules if name.split(".")[0].startswith("mine")]:
        del sys.modules[name]


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


@pytest.mark.parametrize(
    "line",
    [
        "from mine_pack.helper import CONSTANT",
        "from mine_pack import helper",
        "import mine_pack.helper",
        "import mine_pack.helper as other",
        "from mine_pack.helper import *",
        "from mine_between import CONSTANT",
        "def later(): from mine_pack.helper import CONSTANT",
    ],
)
def test_the_digest_knows_the_files_that_a_users_module_imports(line: str):
    write("mine_rule.py", f"import numpy\n{line}\ndef play(rules, state, buffers, e): pass\n")
    write("mine_between.py", "from mine_pack.helper import CONSTANT\n")
    write("mine_pack/__init__.py", "")
    write("mine_pack/helper.py", "CONSTANT = 1\n")
    before = source_digest("mine_rule.play")
    forget()
    assert source_digest("mine_rule.play") == before
    write("mine_pack/helper.py", "CONSTANT = 100\n")
    forget()
    assert source_digest("mine_rule.play") != before


def test_the_digest_knows_what_a_package_imports_from_its_own_folder():
    write("mine_pack/__init__.py", "from .rules import play\n")
    write("mine_pack/rules.py", "from . import helper\ndef play(rules, state, buffers, e): pass\n")
    write("mine_pack/helper.py", "from mine_pack import rules  # a circle\n")
    before = source_digest("mine_pack.play")
    write("mine_pack/helper.py", "from mine_pack import rules  # another circle\n")
    forget()
    assert source_digest("mine_pack.play") != before


def test_the_digest_does_not_know_what_is_not_imported():
    write("mine_pack/rules.py", "def play(rules, state, buffers, e): pass\n")
    write("mine_pack/other.py", "")
    before = source_digest("mine_pack.rules.play")
    forget()
    write("mine_pack/other.py", "print()\n")
    find_function("mine_pack.rules.play")
    __import__("mine_pack.other")
    assert source_digest("mine_pack.rules.play") == before


@pytest.mark.parametrize("build", ["functools.partial(draw, side=3)", "Draw()"])
def test_the_digest_knows_builders_that_are_no_plain_functions(build: str):
    text = "import functools\ndef draw(seed, side): return '@'\nclass Draw:\n    def __call__(self, seed): return '@'\n"
    write("mine_maps.py", f"{text}build = {build}\n")
    before = source_digest("mine_maps.build")
    write("mine_maps.py", f"{text.replace('@', '@ ')}build = {build}\n")
    forget()
    assert source_digest("mine_maps.build") != before


def test_an_edit_does_not_change_the_digest_of_what_is_already_imported():
    write("mine_rule.py", "import mine_helper\ndef play(rules, state, buffers, e): pass\n")
    write("mine_second.py", "import mine_helper\ndef play(rules, state, buffers, e): pass\n")
    write("mine_helper.py", "")
    second = source_digest("mine_second.play")
    forget()
    find_function("mine_rule.play")
    write("mine_rule.py", "import mine_helper\ndef play(rules, state, buffers, e): return\n")
    write("mine_helper.py", "print()\n")
    edited = source_digest("mine_rule.play")
    assert source_digest("mine_second.play") == second  # its helper is the one that was imported before the edit
    forget()
    assert source_digest("mine_rule.play") != edited


@pytest.mark.parametrize("line", ["sys.exit(3)", "sys.exit()"])
def test_a_module_that_ends_the_process_is_refused_with_its_file_and_line(line: str, tmp_path: Path):
    write("mine_exit.py", f"import sys\n{line}\n")
    with pytest.raises(ConfigError) as error:
        find_function("mine_exit.play")
    place = f" ({tmp_path / 'mine_exit.py'}, line 2)"
    assert str(error.value) == f"function: given 'mine_exit.play'; mine_exit cannot be imported: SystemExit{place}"
