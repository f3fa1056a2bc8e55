"""The pages about losses, hooks and teachers: their examples run as they are written."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metta.cli.main import main
from metta.rl import BaseLoss, LossConfig, TrainerHook
from metta.rl.kickstarter import KickstarterConfig

DOCS = Path(__file__).parents[1] / "docs"
SMALL = ["trainer.total_timesteps=100", "system.processes=1", "evaluation.interval=0", "hooks.display=off"]


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page that begin a line."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    for name in [name for name in sys.modules if name.split(".")[0] == "experiments"]:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "experiments"]:
        del sys.modules[name]


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def call(command: str, *, run: str = "t") -> list[dict[str, float]]:
    """Run a command of a page with a few steps; returns the run's metrics."""
    words = shlex.split(command)
    assert words[0] == "metta"
    assert main([*words[1:], *SMALL, f"run={run}"]) == 0
    return [json.loads(line) for line in Path(f"train_dir/{run}/metrics.jsonl").read_text().splitlines()]


def test_the_loss_of_the_page_trains_from_the_command_line_and_from_a_recipe() -> None:
    loss, recipe, _ = blocks("add-a-loss.md", "python")
    command, scheduled = blocks("add-a-loss.md", "sh")
    write("experiments/losses.py", loss)
    lines = call(command)
    assert 0.4 < lines[0]["losses/success/error"] < 1.0 and 0 <= lines[0]["losses/success/right"] <= 1
    written = json.loads(Path("train_dir/t/config.json").read_text())["trainer"]["losses"]["user"]["success"]
    assert written["config"]["coef"] == 0.2
    write("experiments/recipes/mine.py", recipe)
    lines = call(scheduled, run="u")
    assert lines[0]["parameters/losses.user.success.coef"] == 0.1


def test_the_hook_of_the_page_adds_a_metric() -> None:
    (hook,), (command,) = blocks("add-a-hook.md", "python"), blocks("add-a-hook.md", "sh")
    write("experiments/hooks.py", hook)
    assert all(line["best/hearts"] >= 0 for line in call(command))


def test_the_kickstarters_page_has_its_settings_and_defaults_and_its_command_runs() -> None:
    text = (DOCS / "kickstarter.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", text, re.MULTILINE))
    fields = KickstarterConfig.model_fields.keys() - LossConfig.model_fields.keys()
    defaults = KickstarterConfig()
    values = {name: getattr(defaults, name) for name in fields}
    assert rows == {name: "none" if value is None else f"{value:g}" for name, value in values.items()}
    command = blocks("kickstarter.md", "sh")[0].splitlines()[0]
    assert call(command.replace("run=taught", ""))[0]["losses/kickstarter_share"] == 1.0


@pytest.mark.parametrize(("page", "base"), [("add-a-loss.md", BaseLoss), ("add-a-hook.md", TrainerHook)])
def test_the_page_names_every_moment_that_there_is(page: str, base: type) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(\w+)\(", text, re.MULTILINE))
    methods = {name for name in vars(base) if name.startswith(("on_", "run_"))}
    assert methods <= named <= {*methods, "__init__", "experience_spec"}
