"""docs/maps.md and `metta map`: the page's commands run, its pictures and tables are those of the code."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic_core import to_json

from metta.cli.main import main
from metta.grid.maps import build_map, map_text
from metta.grid.maps.examples import EXAMPLES

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "maps.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## [^\n]*`(\w+)`\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))


def blocks(language: str, text: str = PAGE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "80")


def shown(capsys: pytest.CaptureFixture[str], command: str) -> str:
    """Run a command of the page; return what it prints."""
    words = shlex.split(command)
    assert words[0] == "metta"
    assert main(words[1:]) == 0
    return capsys.readouterr().out


def test_every_builder_has_a_section_and_its_picture_is_what_the_command_draws(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(SECTIONS) == list(EXAMPLES)
    for name, section in SECTIONS.items():
        command, path = blocks("sh", section)[-1], f"docs/images/maps/{name}.png"
        assert command == f"metta map {name} --png {path}\n" and f"(images/maps/{name}.png)" in section
        assert shown(capsys, command) == f"{path}\n"
        with Image.open(path) as drawn, Image.open(DOCS / "images" / "maps" / f"{name}.png") as kept:
            assert np.array_equal(np.asarray(drawn.convert("RGB")), np.asarray(kept.convert("RGB"))), name


def test_the_tables_have_every_key_and_its_default() -> None:
    for name, section in SECTIONS.items():
        rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE))
        fields = {key: field for key, field in type(EXAMPLES[name]).model_fields.items() if key not in ("type", "seed")}
        assert rows.keys() == fields.keys(), name
        for key, field in fields.items():
            default = (
                json.loads(to_json(field.get_default(call_default_factory=True))) if not field.is_required() else 0
            )
            assert rows[key] == ("must be given" if field.is_required() else f"`{json.dumps(default)}`"), (name, key)


def test_the_other_commands_of_the_page_show_maps(capsys: pytest.CaptureFixture[str]) -> None:
    first, others = blocks("sh")[:2]
    assert shown(capsys, first).count("seed ") == 6
    arena, recipe, terrain = (shown(capsys, line) for line in others.splitlines())
    assert "@ agent.0: 24\n" in arena and arena.count("seed ") == 1
    assert "_ altar: 5\n" in recipe  # one instance
    width = len(terrain.splitlines()[1])
    assert "seed 3" in terrain and 32 <= width <= 42


def test_the_builder_of_the_page_is_found_in_the_working_directory(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my_maps.py").write_text(blocks("python", SECTIONS["function"])[0])
    lines = shown(capsys, blocks("sh", SECTIONS["function"])[0]).splitlines()
    assert lines[1] == "  ".join(["@.........."] + 5 * ["@....#....."])
    del sys.modules["my_maps"]


def test_the_arrays_of_the_page_become_drawings(capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks("python")[-1], {})
    assert capsys.readouterr().out == (
        "#########\n.........\n.........\n..!!!....\n.........\n.@....._.\n.........\n######\n......\n.@..!.\n......\n"
    )


def test_maps_stand_beside_each_other_as_far_as_the_terminal_is_wide(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {}
    for columns in (30, 60, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = shown(capsys, "metta map maze").splitlines()
        sizes[columns] = [line.count("seed") for line in lines if "seed" in line]
        assert all(len(line) <= columns for line in lines)
    assert sizes == {30: [1] * 6, 60: [2, 2, 2], 200: [6]}


def test_what_is_shown_is_what_the_builder_builds(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "metta map bsp seeds=4").splitlines()
    text = map_text(build_map(EXAMPLES["bsp"], 4))
    assert lines[0] == "seed 4" and "\n".join(lines[1:17]) == text
    assert "\x1b" not in "".join(lines)


def test_json_has_the_configuration_and_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown(capsys, "metta map scatter seeds=1,2 objects.altar=7 --json"))
    assert found["config"]["objects"]["altar"] == 7 and [one["seed"] for one in found["maps"]] == [1, 2]
    first = found["maps"][0]
    assert sum(name == "altar" for row in first["names"] for name in row) == first["counts"]["altar"] == 7
    assert (first["height"], first["width"]) == (len(first["names"]), len(first["names"][0]))


def test_dry_run_prints_a_configuration_and_help_the_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(shown(capsys, "metta map maze width=7 --dry-run"))["width"] == 7
    assert all(f"  {name} " in shown(capsys, "metta map -h") for name in EXAMPLES)
    page = shown(capsys, "metta map maze -h")
    assert all(f"  {key} " in page for key in ("width", "algorithm", "objects", "seeds", "cell"))


def test_a_map_that_never_changes_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "metta map ascii").count("seed ") == 1
    assert "seed 9\n" in shown(capsys, "metta map maze seed=9")


def test_a_larger_cell_makes_a_larger_picture(capsys: pytest.CaptureFixture[str]) -> None:
    for cell in (4, 9):
        shown(capsys, f"metta map maze seeds=0 cell={cell} --png {cell}.png")
        with Image.open(f"{cell}.png") as picture:
            assert picture.size == (23 * cell, 13 * cell)


def test_files_are_shown_as_text_or_pixel_by_pixel(capsys: pytest.CaptureFixture[str]) -> None:
    Path("level.txt").write_text("#@\n._\n")
    assert shown(capsys, "metta map level.txt").startswith("seed 0\n#@\n._\n")
    Image.fromarray(np.array([[[214, 48, 49], [84, 78, 74]]], np.uint8)).save("level.png")
    assert shown(capsys, "metta map level.png").startswith("seed 0\n@#\n")
    Image.fromarray(np.array([[[214, 48, 49], [84, 78, 74]]], np.uint8).repeat(8, 0).repeat(8, 1)).save("large.png")
    assert shown(capsys, "metta map large.png image_cell=8").startswith("seed 0\n@#\n")
    assert "  image_cell " in shown(capsys, "metta map -h")
    Path("level.bin").write_bytes(b"\xff\xfe\x00")
    assert main(["map", "level.bin"]) == 2
    assert capsys.readouterr().err.startswith("metta: image: level.bin cannot be read as an image: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("mace", "there is no map 'mace' (did you mean maze?); builders: ascii, "),
        ("navgation", "there is no map 'navgation' (did you mean navigation, function?)"),
        ("maze widht=9", "unknown key 'widht': the configuration has no 'widht' (did you mean width, height?)"),
        ("maze width=10", "width: given 10; allowed: odd numbers from 5 to 1023"),
        ("maze width=x", "width: given 'x', allowed: "),
        ("maze seeds=-1", "seeds"),
        ("maze 5", "unexpected '5': settings are key=value, options begin with -"),
        ("maze --pgn x.png", "unknown option --pgn (did you mean --png, --json, --help?)"),
        ("maze image_cell=8", "unknown key 'image_cell'"),  # the maze is no image
        ("instances instances=0", "instances: given '0', allowed: "),
        ("maze --png", "--png needs a value"),
        ("maze --png x.bmp", "png: given 'x.bmp', allowed: a file whose name ends in .png"),
        ("function function=nowhere.f", "function: given 'nowhere.f'; nowhere cannot be imported"),
        ("navigation.evaluate", "there is no map 'navigation.evaluate'"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_name(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["map", *words.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"metta: {message}") and error.count("\n") == 1


def test_no_torch_is_loaded() -> None:
    code = "import sys; from metta.cli.main import main; main(['map', 'arena']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
