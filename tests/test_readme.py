"""The README's tree has one line for each file that there is, and its links lead somewhere.

`python tests/test_readme.py` (`make readme`) writes the tree anew.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BESIDE = {  # what is not a module
    "tools/": "the commands as scripts; they find .venv themselves",
    "experiments/recipes/": "your own recipes; they win over the built-in ones",
    "benchmarks/": "what it costs: speed, kept as JSON with the commit",
    "tests/": "one folder a room, and the whole path through the real commands",
    "docs/": "the rules of the world, every metric explained, pictures",
    "Makefile": "demo, test, test-all, bench",
}
_WIDTH = 132


def tree() -> str:
    """The package's files, a line each, with the first sentence of what each says about itself."""
    package = ROOT / "src" / "metta"
    lines = ["src/metta/"]
    for path in _in_order(package):
        indent = "  " * len(path.relative_to(package).parts)
        if path.is_dir():
            lines.append(_line(f"{indent}{path.name}/", _purpose(path / "__init__.py")))
        else:
            lines.append(_line(f"{indent}{path.name}", _purpose(path)))
    return "\n".join([*lines, *(_line(name, text) for name, text in BESIDE.items())])


def _in_order(folder: Path) -> list[Path]:
    """Files before folders, by name; a folder's own line says what its `__init__.py` says."""
    found = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
    for child in sorted(path for path in folder.iterdir() if (path / "__init__.py").exists()):
        found += [child, *_in_order(child)]
    return found


def _purpose(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]
    return re.split(r"(?<=\w|`|\))\. ", " ".join(text.split()))[0].rstrip(".")


def _line(name: str, text: str) -> str:
    """A line of the tree; a sentence too long for it ends at an earlier comma or colon."""
    line = f"{name.ljust(30)} {text}".rstrip()
    if len(line) <= _WIDTH:
        return line
    ends = [match.start() for match in re.finditer(r"[,:;] ", line[: _WIDTH + 1])]
    return line[: ends[-1]] if ends else line[:_WIDTH].rpartition(" ")[0]


def _split(text: str) -> tuple[str, str, str]:
    """The README before its last code block, the block, and what follows."""
    rest, _, after = text.rpartition("```")
    before, _, block = rest.rpartition("```\n")
    return before, block.rstrip("\n"), after


def test_the_tree_has_a_line_for_every_file_and_none_for_others() -> None:
    assert _split(README.read_text(encoding="utf-8"))[1] == tree(), "`make readme` writes the tree anew"


def test_what_stands_beside_the_package_exists() -> None:
    assert not [name for name in BESIDE if not (ROOT / name).exists()]


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in (README, ROOT / "ARCHITECTURE.md"):
        links = re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
        assert not [link for link in links if not (ROOT / link).exists()]


def test_every_command_of_the_readme_is_a_verb() -> None:
    from metta.cli.verbs import VERBS

    verbs = re.findall(r"^metta ([\w-]+)", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(verbs) > 5
    assert set(verbs) <= set(VERBS)


if __name__ == "__main__":
    start, _, end = _split(README.read_text(encoding="utf-8"))
    README.write_text(f"{start}```\n{tree()}\n```{end}", encoding="utf-8")
