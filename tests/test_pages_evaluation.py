"""The pages about evaluating and comparing: their commands run as they are written, on runs of a moment."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from metta.cli.main import main
from metta.sim import SimulationRows, SimulationStatsDB
from tests.sim.rows import simulation

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[1] / "docs"
RUNS, COPIES = ("first", "second"), ("base", "new")
LATEST = ("first", 2)  # the policy whose worst games are looked for
SHORT = ["world.max_steps=20", "trainer.total_timesteps=100", "evaluation.interval=0", "hooks.display=off", "wandb=off"]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def commands(page: str) -> list[str]:
    return [line for block in blocks(page, "sh") for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, and copies of them under other names."""
    folder = tmp_path_factory.mktemp("pages")
    with contextlib.chdir(folder):
        for seed, run in enumerate(RUNS):
            words = [f"run={run}", f"system.seed={seed}", "system.processes=1", *SHORT]
            assert main(["train", "arena_basic_easy_shaped", *words]) == 0
            for copy in COPIES:
                shutil.copytree(f"train_dir/{run}", f"train_dir/{copy}_{seed + 1}")
    return folder


def call(folder: Path, command: str, *more: str) -> str:
    """Run a command of a page and return what it printed."""
    words = shlex.split(command)
    assert words.pop(0) == "metta"
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        assert main([*words, *more]) == 0, command
    return printed.getvalue()


@pytest.fixture(autouse=True)
def _short_games(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the suite of the pages play 20 ticks instead of 1,000."""
    from metta.eval import suites
    from metta.grid import worlds

    def short(*, combat: bool) -> object:
        world = worlds.arena(combat=combat)
        world.max_steps = 20
        return world

    monkeypatch.setattr(suites, "arena", short)


def test_the_commands_of_how_good_is_my_policy_run(folder: Path) -> None:
    evaluate, table, as_json, sql, replay = commands("evaluation.md")
    assert "arena/combat" in call(folder, evaluate, "episodes=3")
    printed = call(folder, table, "episodes=3")
    assert "second:1" in printed and "heart.gained" not in printed.split("\n\n")[0]
    assert (folder / "train_dir/first/report/index.html").is_file()
    assert {row["policy"] for row in json.loads(call(folder, as_json, "episodes=3"))["scores"]} >= {"first:1", "random"}
    assert call(folder, sql).splitlines()[0].split() == ["seed", "hearts", "replay"]
    assert "step" in call(folder, replay)


def test_the_worst_games_are_those_of_the_latest_policy_and_agents_without_a_heart_count(tmp_path: Path) -> None:
    """Four agents a game: the policy's own two, the second without a heart, and two of an opponent that has many."""

    def played(policy: tuple[str, int], *hearts: int) -> SimulationRows:
        return simulation([[[0, n, 0], [0, 90, 0], [0, 0, 0], [0, 90, 0]] for n in hearts], policy=policy, npc=LATEST)

    rows = [played(LATEST, 8, 0, 2), played(("first", 1), 0, 0, 0), played(("scripted", 0), 0, 0, 0)]
    SimulationStatsDB.write(tmp_path / "train_dir/first/stats/stats.duckdb", rows)
    found = json.loads(call(tmp_path, commands("evaluation.md")[3], "--json"))
    assert [(row["seed"], row["hearts"]) for row in found] == [(101, 0.0), (102, 1.0), (100, 4.0)]


def test_the_python_of_how_good_is_my_policy_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(folder, commands("evaluation.md")[0], "episodes=3")
    (code,) = blocks("evaluation.md", "python")
    with contextlib.chdir(folder):
        exec(compile(code, "evaluation.md", "exec"), {})
    assert capsys.readouterr().out.endswith("3 3\n")


def test_the_commands_of_compare_two_policies_run(folder: Path) -> None:
    two, several, as_json, watch, groups = commands("compare.md")
    assert "second:1" in call(folder, two, "episodes=3")
    assert "scripted" in call(folder, several.replace("episodes=16", "episodes=3"))
    assert len(json.loads(call(folder, as_json, "episodes=3"))["verdicts"]) == 1
    assert "difference" in call(folder, watch, "episodes=3")
    printed = call(folder, groups.replace("episodes=12", "episodes=3"))
    assert re.search(r"new_1,new_2 +all .* 12 +3 +2$", printed, re.MULTILINE)


def test_every_column_of_the_tables_is_explained(folder: Path) -> None:
    printed = call(folder, "metta compare first second suite=arena", "episodes=2")
    *tables, _ = printed.split("\n\n")
    titles = {title for table in tables for title in re.split(r"  +", table.splitlines()[0])}
    explained = set()
    for page in ("evaluation.md", "compare.md"):
        explained |= set(re.findall(r"^\| ([\w() %]+) \|", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE))
    assert titles - explained == {"policy", "simulation", "against", "hearts per agent"}
