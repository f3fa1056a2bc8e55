"""`metta cross-play`: the command, its page, and its document."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metta.agent import make_policy, save_policy
from metta.cli.main import main
from metta.envs import FixedTasks, Task, VecEnv
from metta.eval import SUITES, Suite

DOCUMENT = Path(__file__).parents[2] / "docs" / "cross-play.md"
TINY = '''
from metta.grid.maps.config import AsciiMapConfig
from metta.grid.worlds import navigation_on
from metta.sim import SimulationConfig
from metta.tools import CrossPlayTool

MAP = """
#########
#@.._..@#
#@.._..@#
#########
""".strip()


def cross_play() -> CrossPlayTool:
    worlds = {"tiny/short": navigation_on(AsciiMapConfig(text=MAP), max_steps=10),
              "tiny/long": navigation_on(AsciiMapConfig(text=MAP), max_steps=20)}
    for world in worlds.values():
        world.num_agents = 4
    return CrossPlayTool(simulations=[SimulationConfig(name=name, world=world) for name, world in worlds.items()])
'''


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work where nothing is, and forget the recipes of other tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    _forget_recipes()
    yield
    _forget_recipes()


def _forget_recipes() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "experiments"]:
        del sys.modules[name]


def write_recipe(name: str, text: str) -> None:
    path = Path("experiments/recipes") / f"{name}.py"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_the_command_prints_matrix_ratings_and_partners_and_writes_the_page(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_recipe("tiny", TINY)
    words = ["cross-play", "tiny", "mock://noop", "mock://random", "held_out=mock://scripted", "episodes=8"]
    assert main([*words, "anchor=noop"]) == 0
    text = capsys.readouterr().out
    for name in ("tiny/short", "tiny/long"):
        assert f"({name}, 8 seeds)" in text
    table = text[text.index("rating (Elo scale, noop is 0)") :].splitlines()[1:5]
    assert table[0].split() == ["rating", "95", "%", "interval", "beats", "loses", "to"]
    assert [line.split()[0] for line in table[2:]] == ["random", "noop"]
    assert table[3].split()[1:] == ["+0", "0", "1"]  # the best first; who moves finds hearts, who stands does not
    header = text[text.index("with itself  ") :].splitlines()[0]
    assert re.split(r" {2,}", header) == ["with itself", "with each other", "gap", "with held-out", "gap"]
    assert "No cycle was found. 1 of 1 pairs are decided" in text
    page = Path("train_dir/cross_play/cross_play.html").read_text()
    assert page.count("<svg") == 3 and "scripted" in page and "http" not in page.replace("http://www.w3.org", "")


def test_json_holds_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe("tiny", TINY)
    words = ["cross-play", "tiny", "mock://noop", "mock://random", "held_out=mock://scripted", "episodes=3"]
    assert main([*words, "output=here", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["policies"] == ["noop", "random"] and found["held_out"] == ["scripted"]
    assert found["share"] == 0.5 and found["cycles"] == [] and found["groups"] == [["noop", "random"]]
    matrix = found["simulations"]["tiny/long"]
    assert matrix["metric"] == "hearts" and matrix["seeds"] == 3
    assert [[set(cell) for cell in row] for row in matrix["focal"]] == [[{"value", "low", "high"}] * 3] * 2
    assert matrix["focal"][0][0] == matrix["partner"][0][0] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found["ratings"][0]["value"] == pytest.approx(-found["ratings"][1]["value"])
    assert found["wins"][0][0] is None and found["wins"][1][0]["value"] > 0.5
    assert found["partners"]["hearts"][0]["held_out"]["value"] == 0.0
    assert (matrix["focal_agents"], matrix["agents"]) == (2, 4)
    assert {file.name for file in Path("here").iterdir() if not file.name.startswith(".")} >= {
        "cross_play.html",
        "stats.duckdb",
    }


def test_who_does_not_load_fails_alone_and_so_does_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe("tiny", TINY)
    words = ["cross-play", "tiny", "mock://noop", "mock://random", "episodes=1"]
    assert main([*words, "policy_uri=nix", "anchor=nix", "stats_uri=s.duckdb"]) == 1
    captured = capsys.readouterr()
    assert "nix: no policy at 'nix'" in captured.err and "nix could not play" in captured.out
    assert "rating (Elo scale, the mean is 0)" in captured.out
    assert "nix could not play: no policy" in Path("train_dir/cross_play/cross_play.html").read_text()
    assert Path("s.duckdb").exists()
    assert main(["cross-play", "tiny", "policy_uri=nix", "policy_uri=nobody"]) == 1


def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe("tiny", TINY)
    for words, message in (
        (["tiny"], "say which policies"),
        (["tiny", "mock://noop"], "two policies at least"),
        (["tiny", "mock://noop", "mock://random", "share=1"], "share"),
        (["tiny", "mock://noop", "mock://random", "episodes=1", "anchor=nop"], "did you mean noop"),
        (["mock://noop", "mock://random", "suite=navigation"], "world of one agent"),
    ):
        assert main(["cross-play", *words]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert message in lines[-1] and lines[-1].startswith("metta: ")


def short_arena() -> Suite:
    """The arena's suite, over soon."""
    suite = SUITES["arena"]()
    for simulation in suite.simulations:
        simulation.world.max_steps = 20
    return suite


@pytest.mark.slow
def test_the_documents_commands_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    commands = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
    ]
    write_recipe("duel", recipe)
    suite = short_arena()
    monkeypatch.setitem(SUITES, "arena", lambda: suite)
    world = suite.simulations[0].world
    env = VecEnv(FixedTasks([Task(world, 1)]), num_worlds=1)
    for seed, run in enumerate(("first", "second")):
        path = Path("train_dir") / run / "checkpoints" / "agent_epoch_5.pt"
        path.parent.mkdir(parents=True)
        policy = make_policy("fast", env.space, seed=seed, action_names=env.action_names)
        save_policy(path, policy, run=run, epoch=5, agent_step=0)
    assert len(commands) == 3
    for command in commands:
        words = [word for word in shlex.split(command) if not word.startswith("episodes=")]
        assert words[0] == "metta"
        assert main([*words[1:], "episodes=1"]) == 0
        assert "rating (Elo scale" in capsys.readouterr().out
    assert Path("train_dir/cross_play/cross_play.html").exists()
