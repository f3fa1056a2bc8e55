"""The compile cache: it notices an edited rule, and needs no writable installation."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import metta
from metta.grid import cache

PROGRAM = """
import sys, time
begun = time.perf_counter()
from metta.grid import compile_world, WorldConfig
from metta.grid.compile import allocate_rules
from metta.grid.cpu import reset_world, step_worlds
from metta.grid.ruleset import allocate_buffers
from metta.grid.world import AGENT_ORIENTATION, allocate_state
compiled = compile_world(WorldConfig(num_agents=1, actions={"rotate": {"enabled": True}}))
rules, state = allocate_rules(compiled.sizes, 1), allocate_state(compiled.sizes, 1)
buffers = allocate_buffers(compiled.sizes, 1)
reset_world(compiled, rules, state, buffers, 0, compiled.build_map(0), seed=0)
buffers.actions[...] = compiled.action_names.index("rotate_east")
step_worlds(rules, state, buffers)
print(int(state.agents[0, 0, AGENT_ORIENTATION]), time.perf_counter() - begun)
"""


def run_copy(copy: Path, cache_home: Path) -> tuple[int, float]:
    environment = {**os.environ, "PYTHONPATH": str(copy), "XDG_CACHE_HOME": str(cache_home)}
    environment.pop("NUMBA_CACHE_DIR", None)
    command = [sys.executable, "-P", "-c", PROGRAM]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=copy)
    orientation, seconds = result.stdout.split()
    return int(orientation), float(seconds)


@pytest.mark.slow
def test_an_edited_rule_is_noticed_and_a_warm_start_is_quick(tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(Path(metta.__file__).parent, copy / "metta", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (copy / "metta").rglob("*"):
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    cold = run_copy(copy, tmp_path / "cache")
    warm = run_copy(copy, tmp_path / "cache")
    assert cold[0] == warm[0] == 3
    assert warm[1] < cold[1] / 2
    rule = copy / "metta" / "grid" / "rules" / "move.py"
    rule.chmod(0o644)
    text = rule.read_text()
    before = rule.stat()
    edited = text.replace("AGENT_ORIENTATION] = direction", "AGENT_ORIENTATION] = 3 - direction")
    assert edited != text
    rule.write_text(edited)
    os.utime(rule, ns=(before.st_atime_ns, before.st_mtime_ns))  # even if the clock says that nothing changed
    assert run_copy(copy, tmp_path / "cache")[0] == 0
    for path in (copy / "metta").rglob("*"):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


def test_the_directory_lies_outside_of_the_package_and_carries_the_hash():
    directory = cache.cache_directory()
    assert directory.name == cache.source_hash()
    assert not directory.is_relative_to(Path(metta.__file__).parent)


def test_another_folder_of_kernels_has_a_directory_of_its_own_that_changes_with_its_sources(tmp_path):
    (tmp_path / "kernel.py").write_text("x = 1")
    first = cache.source_hash(tmp_path)
    cache.source_hash.cache_clear()
    (tmp_path / "kernel.py").write_text("x = 2")
    second = cache.source_hash(tmp_path)
    assert len({first, second, cache.source_hash()}) == 3
    with cache.compile_cache(tmp_path):
        assert Path(numba.config.CACHE_DIR).name == second


def test_numbas_own_setting_is_left_alone():
    before = numba.config.CACHE_DIR
    with cache.compile_cache():
        assert str(cache.cache_directory()) == numba.config.CACHE_DIR
    assert before == numba.config.CACHE_DIR


def test_without_a_writable_home_the_temporary_directory_serves(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    monkeypatch.setenv("HOME", str(blocked))
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    cache.cache_directory.cache_clear()
    try:
        assert cache.cache_directory().is_relative_to(tmp_path)
    finally:
        cache.cache_directory.cache_clear()


def test_directories_that_nobody_used_for_long_are_removed(tmp_path, monkeypatch):
    old, young = tmp_path / "metta" / "compiled" / "old", tmp_path / "metta" / "compiled" / "young"
    old.mkdir(parents=True)
    young.mkdir()
    os.utime(old, (0, 0))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    cache.cache_directory.cache_clear()
    try:
        assert cache.cache_directory().parent == old.parent
    finally:
        cache.cache_directory.cache_clear()
    assert not old.exists() and young.exists()
