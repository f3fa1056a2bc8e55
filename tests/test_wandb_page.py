"""docs/wandb.md: its settings are those that there are, its commands are understood, its Python runs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from metta.agent import wandb_policies
from metta.agent.wandb_policies import WandbRunInfo
from metta.cli.main import main
from metta.rl.config import WandbConfig
from metta.rl.wandb_files import sync_command

PAGE = (Path(__file__).parents[1] / "docs" / "wandb.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]


def test_the_page_lists_every_setting_with_its_default() -> None:
    shown = {None: "none", True: "on", False: "off"}
    defaults = {
        f"wandb.{name}": str(value) if isinstance(value, list) else shown[value]
        for name, value in WandbConfig().model_dump().items()
    }
    assert dict(re.findall(r"^\| `(wandb\.\w+)` \| (\S+) \|", PAGE, re.MULTILINE)) == defaults


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("metta ")])
def test_every_command_is_understood(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)[1:]
    assert main([*words, "--dry-run"]) == 0
    resolved = json.loads(capsys.readouterr().out)
    for path, value in (word.split("=", 1) for word in words if "_uri=" in word):
        for part in path.split("."):
            resolved = resolved[part]
        assert resolved in (value, [value])


def test_the_sync_command_of_the_page_is_the_one_that_a_run_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [command] = [line for line in COMMANDS if line.startswith("wandb sync")]
    monkeypatch.chdir(tmp_path)
    for path in shlex.split(command)[2:]:
        Path(path).mkdir(parents=True)
    assert sync_command(Path("train_dir/mine/wandb"), command.rpartition("-")[2]) == command


def test_the_python_of_the_page_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    info = WandbRunInfo("mine", 200, 4_915_200, 7.5, "https://wandb.ai/x", "wandb://me/metta/mine:v3")
    monkeypatch.setattr(wandb_policies, "extract_wandb_run_info", {"wandb://metta/mine": info}.__getitem__)
    [code] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    exec(code, {})
    assert capsys.readouterr().out == "mine 200 4915200 7.5 https://wandb.ai/x\n"


def test_the_options_of_wandb_sync_that_are_named_exist() -> None:
    cli = pytest.importorskip("wandb.cli.cli")
    options = {option for parameter in cli.sync.params for option in parameter.opts}
    named = set(re.findall(r"`wandb sync (--[\w-]+)`", PAGE))
    assert named == {"--include-online"} <= options
