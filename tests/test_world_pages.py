"""The pages about worlds and rules of one's own: every block and every command runs as it is written."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import metta
from metta.cli.main import main

ROOT = Path(__file__).parents[1]
SMALL = ["system.processes=1", "hooks.display=off"]
OWN_MODULES = ("experiments", "my_maps")


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[str]:
    return [line for block in blocks(page, "sh") for line in block.splitlines()]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    _forget()
    yield
    _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in OWN_MODULES]:
        del sys.modules[name]


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def call(command: str, *settings: str) -> int:
    """Run a command of a page, with fewer steps."""
    words = shlex.split(command.replace("20_000", "200"))
    assert words[0] == "metta"
    return main([*words[1:], *settings])


def metrics(run: str) -> dict[str, float]:
    last: dict[str, float] = json.loads(Path(f"train_dir/{run}/metrics.jsonl").read_text().splitlines()[-1])
    return last


def pytest_in(folder: Path, command: str, *, path: str) -> None:
    """Run a line such as `A=1 python -m pytest ...` in a folder."""
    words = shlex.split(command)
    settings = dict(word.split("=", 1) for word in words if re.fullmatch(r"[A-Z_]+=.*", word))
    words = [sys.executable, *words[words.index("python") + 1 :], "-p", "no:cacheprovider"]
    variables = {**os.environ, "PYTHONPATH": path, **settings}
    result = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_world_of_the_page_is_shown_played_trained_in_and_evaluated(capsys: pytest.CaptureFixture[str]) -> None:
    page = "write-your-own-world.md"
    (recipe,) = blocks(page, "python")
    mistake, shown, played, trained, evaluated, replayed = commands(page)
    write("experiments/recipes/kiln.py", recipe)
    assert call(mistake, *SMALL) == 2
    message = next(block for block in blocks(page, "") if block.startswith("metta: "))
    assert capsys.readouterr().err.splitlines()[-1] == message.strip()
    assert call(shown) == 0
    out = capsys.readouterr().out
    assert out.count("seed ") == 2 and "p pit: 4\n" in out and "k kiln: 2\n" in out and "@ agent.0: 4\n" in out
    assert call("metta map kiln num_agents=2 seeds=0") == 0
    assert "@ agent.0: 2\n" in capsys.readouterr().out
    assert call(played) == 0
    assert call(trained, *SMALL, "evaluation.episodes=1") == 0
    assert metrics("bricks")["metric/agent_step"] >= 200
    capsys.readouterr()
    assert call(evaluated) == 0
    assert "kiln/rooms" in capsys.readouterr().out
    assert call(replayed) == 0
    config = json.loads(Path("train_dir/bricks/config.json").read_text())
    assert config["world"]["num_agents"] == 2 and list(config["world"]["objects"]) == ["pit", "kiln"]


RULE_PAGE = "write-your-own-rule.md"


def write_campfire() -> None:
    rules, recipe, test = blocks(RULE_PAGE, "python")[:3]
    write("experiments/rules.py", rules)
    write("experiments/recipes/campfire.py", recipe)
    write("test_rules.py", test)


def test_the_rule_of_the_page_passes_its_test() -> None:
    write_campfire()
    sys.path.insert(0, str(Path.cwd()))
    names: dict[str, Any] = {}
    exec(Path("test_rules.py").read_text(), names)
    names["test_agents_by_the_fire_warm_up_and_others_cool"]()


@pytest.mark.slow
def test_the_rule_of_the_page_passes_its_test_compiled_and_as_plain_python() -> None:
    write_campfire()
    tests = [line for line in commands(RULE_PAGE) if "pytest" in line]
    assert len(tests) == 2
    for line in tests:
        pytest_in(Path.cwd(), line, path=str(Path(metta.__file__).parents[1]))


def test_the_rule_of_the_page_is_trained_with_and_seen_in_a_replay(capsys: pytest.CaptureFixture[str]) -> None:
    write_campfire()
    trained, replayed = [line for line in commands(RULE_PAGE) if line.startswith("metta")]
    assert call(trained, *SMALL, "evaluation.episodes=1") == 0
    rule = json.loads(Path("train_dir/warm/config.json").read_text())["world"]["rules"][0]
    assert rule["parameters"] == {"fire": "fire", "warmth": "warmth", "gain": 5}
    capsys.readouterr()
    Path("experiments/rules.py").unlink()  # a replay needs no rule
    assert call(replayed) == 0
    assert "warmth" in capsys.readouterr().out


OWN_MAP = """

def meadow(seed, side=9):
    \"\"\"A map of my own: six agents in a corner, a fire somewhere on the last line.\"\"\"
    rows = [["empty"] * side for _ in range(side)]
    for a in range(6):
        rows[a // 3][a % 3] = "agent.0"
    rows[-1][seed % side] = "fire"
    return rows
"""


@pytest.mark.slow
def test_rules_and_maps_are_found_by_every_process_of_a_training_after_a_resume_and_by_an_analysis() -> None:
    write_campfire()
    write("experiments/rules.py", Path("experiments/rules.py").read_text() + OWN_MAP)
    own_map = "world.map.type=function world.map.function=experiments.rules.meadow world.map.parameters.side=7"
    train = f"train campfire run=warm system.processes=2 hooks.display=off evaluation.interval=0 {own_map}"
    for command in (
        f"{train} trainer.total_timesteps=3000",
        f"{train} trainer.total_timesteps=6000",
        "analyze warm episodes=2",
        "replay warm",
    ):
        words = [sys.executable, "-m", "metta.cli", *command.split()]
        variables = {**os.environ, "PYTHONPATH": str(Path(metta.__file__).parents[1])}
        result = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
    assert metrics("warm")["metric/agent_step"] >= 6000
    assert "7 x 7" in result.stderr and "fire" not in result.stderr


def apply(diff: str, root: Path) -> None:
    """Make the changes of a page's diff: each piece's old lines stand once in its file."""
    pieces = re.split(r"^--- (.+)\n", diff, flags=re.MULTILINE)[1:]
    for name, piece in zip(pieces[::2], pieces[1::2], strict=True):
        lines = piece.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        text = (root / name).read_text()
        assert text.count(old) == 1, (name, old)
        (root / name).write_text(text.replace(old, "".join(line[1:] for line in lines if line[0] in " +")))


@pytest.mark.slow
def test_the_edit_of_the_page_gives_a_copy_of_the_package_a_new_rule(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(metta.__file__).parent, tmp_path / "src" / "metta", ignore=ignored)
    (tmp_path / "tests" / "grid").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "grid" / "conftest.py", tmp_path / "tests" / "grid" / "conftest.py")
    rule, test = blocks(RULE_PAGE, "python")[3:]
    (tmp_path / "src" / "metta" / "grid" / "rules" / "hunger.py").write_text(rule)
    (diff,) = blocks(RULE_PAGE, "diff")
    apply(diff, tmp_path)
    (tmp_path / "tests" / "grid" / "test_hunger.py").write_text(test)
    pytest_in(tmp_path, "python -m pytest -q tests", path=str(tmp_path / "src"))
