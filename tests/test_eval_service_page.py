"""docs/eval-service.md: its settings and calls are those that there are, and its commands do what it says."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra metta[service] is not installed")

from metta.cli.main import main
from metta.eval.eval_service.app import open_to_all, secured
from metta.eval.eval_service.config import EvalServiceConfig
from tests.eval.eval_service.parts import ServiceProcess

PAGE = (Path(__file__).parents[1] / "docs" / "eval-service.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]


def test_the_page_lists_every_setting_with_its_default() -> None:
    shown = {None: "none", True: "on", False: "off"}
    defaults = {}
    for name, value in EvalServiceConfig().model_dump().items():
        known = shown.get(value) if value is None or isinstance(value, bool) else None
        defaults[name] = known or (f"{value:g}" if isinstance(value, float) else str(value))
    assert dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", PAGE, re.MULTILINE)) == defaults


def test_the_page_lists_every_call() -> None:
    routes = [route for router in (open_to_all, secured) for route in router.routes]
    calls = {f"{method} {route.path}" for route in routes for method in route.methods}
    assert set(re.findall(r"^\| `((?:GET|POST) \S+)` \|", PAGE, re.MULTILINE)) == calls


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("metta local")])
def test_every_way_to_start_it_is_understood(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)[1:]
    assert main([*words, "--dry-run"]) == 0
    resolved = json.loads(capsys.readouterr().out)
    for setting in words[2:]:
        key, _, value = setting.partition("=")
        found = resolved[key]
        assert value in found if isinstance(found, list) else value == str(found)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    service = ServiceProcess(tmp_path)
    service.start()
    yield service
    service.stop()


@pytest.mark.slow
def test_the_commands_ask_and_watch(service: ServiceProcess) -> None:
    shown: list[str] = []
    for command in [line for line in COMMANDS if line.startswith("metta request-eval")]:
        if "--cancel" in command:  # the page cannot know an id
            command = command.replace("0123456789abcdef", json.loads(shown[-1])[0]["id"])
        done = service.request(*shlex.split(command)[2:])
        assert done.returncode == 0, done.stderr
        shown.append(done.stdout)
    asked, waited, listed, listed_as_json, cancelled = shown
    assert "would be asked" in asked and "random:v0  arena/basic   hearts" in waited
    assert listed.count("2/2 done") == 2 and len(json.loads(listed_as_json)) == 2
    assert "noop:v0" in cancelled and "done" in cancelled
    [question] = [line for line in COMMANDS if line.startswith("metta sql")]
    command = [sys.executable, "-m", "metta.cli", *shlex.split(question)[1:], "--json"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=service.folder, timeout=120)
    assert [row["episodes"] for row in json.loads(told.stdout)] == [4] * 4
    port = service.url.rpartition(":")[2]
    watch = "\n".join(line for line in COMMANDS if line.startswith(("TOKEN", "curl")))
    watch = watch.replace("8377", port).replace("~/.local/state", str(service.folder / "state"))
    answer = subprocess.run(["bash", "-c", watch], capture_output=True, text=True, check=True, timeout=60)
    assert [one["state"] for one in json.loads(answer.stdout)["requests"]] == ["done", "done"]
