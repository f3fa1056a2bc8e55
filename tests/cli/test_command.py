"""The `metta` command: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import metta.cli
from metta.cli.main import main
from metta.cli.verbs import ALIASES, VERBS

RECIPE = '''
"""A recipe of the user's own."""
from metta.tools import TrainTool

def train(width: int = 8, name: str = "x") -> TrainTool:
    """Train a policy of some width."""
    tool = TrainTool(run=name)
    tool.policy.width = width
    return tool

def needs(size: int) -> TrainTool:
    """Needs a size."""
    return TrainTool()
'''


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.split(".")[0] == "experiments"]:
        monkeypatch.delitem(sys.modules, name)


def write_recipe(path: str, text: str = RECIPE) -> None:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def dry_run(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main([*words, "--dry-run"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_help_names_every_verb_and_imports_nothing_heavy() -> None:
    code = "import sys, metta.cli.main as m; m.main(['--help']); print([n for n in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(f"  {verb} " in out for verb in VERBS)
    assert not [heavy for heavy in ("torch", "numpy", "numba", "pydantic", "rich", "typer") if f"'{heavy}'" in out]


def test_a_recipe_can_be_named_in_all_promised_ways(capsys: pytest.CaptureFixture[str]) -> None:
    arena = dry_run(capsys, "train", "arena", "run=r")
    for words in (
        ["run", "experiments.recipes.arena.train"],
        ["run", "arena.train"],
        ["run", "arena", "train"],
        ["train", "experiments.recipes.arena"],
        ["train", "arena.train"],
        ["train"],
    ):
        assert dry_run(capsys, *words, "run=r") == arena


def test_sim_is_another_name_of_evaluate(capsys: pytest.CaptureFixture[str]) -> None:
    assert ALIASES["sim"] == "evaluate" and set(ALIASES.values()) <= set(VERBS)
    assert dry_run(capsys, "sim", "policy_uri=a", "policy_uri=b")["policy_uri"] == ["a", "b"]


def test_a_users_own_recipe_wins_over_the_built_in_one(capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe("experiments/recipes/arena.py")
    assert dry_run(capsys, "train", "arena")["policy"] == {"architecture": "fast", "width": 8}
    assert dry_run(capsys, "run", "experiments.recipes.arena.train", "width=9")["policy"] == {
        "architecture": "fast",
        "width": 9,
    }


def test_a_recipe_anywhere_below_the_working_directory_is_found_by_its_dotted_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_recipe("mine/deep/own.py")
    assert dry_run(capsys, "run", "mine.deep.own.train", "name=none")["run"] == "none"


def test_parameters_come_before_settings_and_the_order_does_not_matter(capsys: pytest.CaptureFixture[str]) -> None:
    first = dry_run(capsys, "train", "shaped=off", "py_agent=lstm", "policy.hidden=32", "trainer.num_workers=2")
    second = dry_run(capsys, "train", "policy.hidden=32", "trainer.num_workers=2", "py_agent=lstm", "shaped=off")
    assert first == second
    assert first["policy"]["architecture"] == "lstm"
    assert first["system"]["threads"] == 2
    assert first["world"]["agent"]["rewards"]["inventory"] == {"heart": 1.0}


def test_batch_sizes_that_are_only_valid_together_are_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["trainer.minibatch_size=32768", "trainer.batch_size=65536"]
    assert dry_run(capsys, "train", *sizes)["trainer"]["batch_size"] == 65536
    assert main(["train", sizes[0], "--dry-run"]) == 2


@pytest.mark.parametrize("path", ["world.map.instance.width=30", "world.agent.rewards.inventory.heart=3"])
def test_deep_settings_of_a_world_can_be_given(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    found: object = dry_run(capsys, "train", path)
    for part in path.partition("=")[0].split("."):
        assert isinstance(found, dict)
        found = found[part]
    assert found == float(path.partition("=")[2])


def test_what_looks_like_a_path_or_a_run_names_the_nearest_of_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "agent_epoch_3.pt").touch()
    (tmp_path / "train_dir" / "my_run").mkdir(parents=True)
    for words, told in (
        (
            ["mock://noop", "runs/first/agent_epoch_4.pt"],
            "runs/first has no agent_epoch_4.pt (did you mean agent_epoch_3.pt?)",
        ),
        (["mock://noop", "runs/frist/x.pt"], "runs has no frist (did you mean first?)"),
        ([f"{tmp_path}/rusn/first/x.pt", "mock://noop"], f"{tmp_path} has no rusn (did you mean runs?)"),
        (["mock://noop", "my_rum"], "nor a file or a run in train_dir (did you mean my_run?)"),
        (["runs/frist/x.pt,my_rum", "mock://noop"], "there is no file or folder runs/frist/x.pt"),
    ):
        assert main(["compare", *words]) == 2
        assert told in capsys.readouterr().err


def test_the_modules_of_the_door_do_not_import_each_other_in_circles() -> None:
    folder = Path(metta.cli.__file__).parent
    imports = {
        path.stem: set(re.findall(r"metta\.cli\.(\w+)|from metta\.cli import (\w+)", path.read_text(encoding="utf-8")))
        for path in folder.glob("*.py")
    }
    left = {name: {a or b for a, b in found} & set(imports) for name, found in imports.items()}
    while free := [name for name, needed in left.items() if not needed & set(left)]:
        for name in free:
            del left[name]
    assert not left


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian"], "did you mean train"),
        (["train", "aerna"], "there is no recipe 'aerna' (did you mean arena"),
        (["run"], "metta run <recipe>.<function>"),
        (["run", "arena"], "say which function"),
        (["run", "arena.trian"], "recipe 'arena' has no 'trian' (did you mean train"),
        (["train", "run=a", "run=b"], "run: given twice, 'a' and 'b'"),
        (["train", "run=a/b"], "the run name 'a/b' is refused"),
        (["train", "run="], "the run name '' is refused"),
        (["train", "trainer.bach_size=3"], "did you mean batch_size"),
        (["train", "batch_size=3"], "did you mean trainer.batch_size"),
        (["train", "trainer.minibatch_size=100000"], "trainer: minibatch_size=100000 is larger than batch_size="),
        (["train", "trainer.batch_size=many"], "trainer.batch_size: given 'many', allowed: a whole number, at least 1"),
        (["train", "policy.architecture=fats"], "allowed: fast or lstm or agalite (did you mean fast"),
        (["train", "num_agents=x"], "num_agents: given 'x', allowed: a whole number (a parameter of arena.train)"),
        (["train", "num_agents=0"], "num_agents"),
        (["train", "--jsno"], "unknown option --jsno (did you mean --json"),
        (["train", "--json"], "prints no JSON"),
        (["train", "arena", "navigation"], "unexpected 'navigation'"),
        (["replay", "nothing"], "nor a file or a run"),
        (["evaluate", "gb/nothere.pt"], "there is no file or folder gb/nothere.pt: this folder has no gb"),
        (["replay", "x.json.z"], "there is no file or folder x.json.z"),
        (["evaluate"], "say which policy"),
        (["list", "recipe"], "did you mean recipes"),
    ],
)
def test_a_mistake_costs_exit_code_2_and_one_line_on_stderr(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert len(captured.err.splitlines()) == 1
    assert not captured.out
    assert "Traceback" not in captured.err


def test_a_mistake_leaves_no_process_behind() -> None:
    before = set(psutil.Process().children())
    assert main(["train", "system.processes=3", "nothing=1"]) == 2
    assert set(psutil.Process().children()) <= before


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "nothing=1", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_recipe_that_cannot_be_loaded_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe("experiments/recipes/broken.py", "import nothing_of_that_name\n")
    assert main(["train", "broken"]) == 2
    assert "No module named 'nothing_of_that_name'" in capsys.readouterr().err


def test_a_recipe_that_ends_the_process_is_told_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe("experiments/recipes/leaves.py", "import sys\n\nsys.exit()\n")
    assert main(["train", "leaves"]) == 2
    place = f"{Path.cwd()}/experiments/recipes/leaves.py, line 3"
    expected = f"metta: recipe 'experiments.recipes.leaves' cannot be loaded: SystemExit ({place})\n"
    assert capsys.readouterr().err == expected


def test_a_parameter_without_a_default_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe("experiments/recipes/mine.py")
    assert main(["run", "mine.needs"]) == 2
    assert "mine.needs needs size=<a whole number>" in capsys.readouterr().err
    assert main(["run", "mine.needs", "-h"]) == 0
    assert "required" in capsys.readouterr().out


def test_a_function_that_returns_no_tool_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe("experiments/recipes/odd.py", "def train():\n    return 3\n")
    assert main(["train", "odd"]) == 2
    assert "odd.train returns int" in capsys.readouterr().err


def test_verbose_says_how_each_argument_was_understood(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "shaped=off", "py_agent=lstm", "wandb=off", "-v", "--dry-run"]) == 0
    told = capsys.readouterr().err
    assert "shaped=off: parameter of arena.train = False" in told
    assert "py_agent=lstm: setting policy.architecture = 'lstm'" in told
    assert "wandb=off: setting wandb.enabled = False" in told


def test_a_verbs_page_shows_parameters_and_settings_with_types_and_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "-h"]) == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "num_agents int = 24" in page
    assert "trainer.batch_size int = " in page
    assert "policy.architecture fast|lstm|agalite = fast" in page
    assert "py_agent = policy.architecture" in page
    assert "world.max_steps" not in page


def test_list_shows_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--list"]) == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "world.objects.altar.cooldown int = 10" in page


def test_list_names_recipes_of_the_user_and_built_in_ones(capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe("experiments/recipes/mine.py")
    assert main(["list", "recipes"]) == 0
    page = capsys.readouterr().out
    assert "mine.train" in page and "Train a policy of some width." in page
    assert "arena_basic_easy_shaped.evaluate" in page


def test_runs_and_policies_are_read_from_file_names(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("train_dir/one/checkpoints")
    folder.mkdir(parents=True)
    for epoch in (9, 10):
        (folder / f"agent_epoch_{epoch}.pt").touch()
    (folder.parent / "metrics.jsonl").write_text('{"metric/agent_step": 1500, "overview/hearts": 2.5}\n{"half')
    Path("train_dir/not_a_run").mkdir()
    assert main(["list", "runs"]) == 0
    assert " ".join(capsys.readouterr().out.split()) == "runs one epoch 10, 1,500 agent steps, hearts 2.50"
    assert main(["list", "policies", "--json"]) == 0
    policies = json.loads(capsys.readouterr().out)["policies"]
    assert policies[:2] == ["one:9", "one:10"] and "mock://random" in policies
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["run"] == "one"


def test_open_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["open", "nothing"]) == 1
    folder = Path("train_dir/one/checkpoints")
    folder.mkdir(parents=True)
    (folder / "agent_epoch_1.pt").touch()
    assert main(["open", "one"]) == 1
    told = capsys.readouterr().err
    assert "there is no run 'nothing'" in told and "one has no report" in told


def test_clean_keeps_runs_and_removes_what_interrupted_saves_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    cache = tmp_path / "cache" / "metta" / "compiled" / "abc"
    cache.mkdir(parents=True)
    folder = Path("train_dir/one/checkpoints")
    folder.mkdir(parents=True)
    (folder / "agent_epoch_1.pt").touch()
    (folder / ".agent_epoch_2.pt.77.tmp").touch()
    assert main(["clean", "--dry-run"]) == 0
    assert cache.is_dir() and len(list(folder.iterdir())) == 2
    assert main(["clean"]) == 0
    assert not cache.exists()
    assert [path.name for path in folder.iterdir()] == ["agent_epoch_1.pt"]


def test_threads_are_set_before_anything_that_reads_them_is_imported() -> None:
    code = (
        "import os, sys\n"
        "from metta.cli.arguments import sort_arguments\n"
        "from metta.cli.threads import set_threads\n"
        "assert 'numba' not in sys.modules and 'torch' not in sys.modules\n"
        "set_threads(sort_arguments(['trainer.num_workers=3']).text_of('system.threads'))\n"
        "import numba\n"
        "print(os.environ['OMP_NUM_THREADS'], numba.config.NUMBA_NUM_THREADS)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["3", "3"]


def test_a_full_disk_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from metta.tools.train import TrainTool

    def fail(self: TrainTool) -> int:
        raise OSError(28, "No space left on device", "train_dir/x")

    monkeypatch.setattr(TrainTool, "run_tool", fail)
    assert main(["train"]) == 1
    assert capsys.readouterr().err == "metta: No space left on device: train_dir/x\n"
