"""From the words after a verb to a tool that runs: recipe, parameters, settings."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metta.cli.arguments import Arguments, Setting, sort_arguments, unknown_flag
from metta.cli.lookup import find_recipe, list_recipes, load_function
from metta.cli.tables import recipe_rows, two_columns
from metta.cli.threads import set_threads
from metta.cores import available_cores
from metta.errors import ConfigError, nearest
from metta.spare import let_go, start_spare

if typing.TYPE_CHECKING:
    from metta.tools import Tool

DEFAULT_RECIPE = {"demo": "arena_basic_easy_shaped"}
THE_ARENA = "arena"
DATA_DIR = "./train_dir"
TRAINING = ("train", "demo")  # functions that train
SHORT_RUN = 100_000  # agent steps below which one process trains, most likely


class Target(NamedTuple):
    """What a command line asks for."""

    recipe: str
    function: str
    subjects: tuple[str, ...] = ()  # words that are no recipe: a run, policies, a file


def run_verb(name: str, argv: Sequence[str]) -> int:
    """Find the recipe's function, settle its tool's configuration, and run it; return the exit code."""
    arguments = sort_arguments(argv)
    set_threads(arguments.text_of("system.threads"))
    if name == "run" and not arguments.words:
        return _without_recipe(arguments)
    target = find_target(name, arguments)
    try:
        if target.function in TRAINING and not arguments.flags:
            start_spare(spare_processes(arguments))
        return _run_target(name, target, arguments)
    finally:
        let_go()  # after a mistake nobody takes them, and who called us may live on


def _run_target(name: str, target: Target, arguments: Arguments) -> int:
    """Run what was found, or show what was asked about it."""
    function = load_function(target.recipe, target.function)
    if "help" in arguments.flags or "list" in arguments.flags:
        from metta.cli.parameters import print_parameters

        print_parameters(target.recipe, function, verb=name, is_full="list" in arguments.flags)
        return 0
    tool = build_tool(function, arguments, target)
    if "dry_run" in arguments.flags:
        print(tool.model_dump_json(indent=2))
        return 0
    if "json" not in arguments.flags:
        return tool.run_tool()
    if not tool.prints_json:
        name = f"{target.recipe}.{target.function}"
        raise ConfigError(f"{name} prints no JSON; --dry-run prints its configuration as JSON")
    return tool.run_tool(as_json=True)


def spare_processes(arguments: Arguments) -> int:
    """Return how many processes to start before anything is loaded: as many as will likely train, beside this one."""
    asked, steps = (arguments.text_of(key) for key in ("system.processes", "trainer.total_timesteps"))
    if steps is not None and steps.isdigit() and int(steps) < SHORT_RUN:
        return 0
    processes = int(asked) if asked is not None and asked.isdigit() else 0
    return (processes or available_cores()) - 1


def find_target(verb: str, arguments: Arguments) -> Target:
    """Return the recipe, its function, and the words that are neither. Raises ConfigError for an unknown recipe."""
    words = list(arguments.words)
    if verb == "run":
        recipe, _, function = words.pop(0).rpartition(".")
        if not recipe or find_recipe(f"{recipe}.{function}"):
            recipe = f"{recipe}.{function}".lstrip(".")
            if not words:
                raise ConfigError(f"say which function of the recipe: {recipe}.<function>; `metta list` shows them")
            function = words.pop(0)
        target = Target(recipe, function)
    else:
        target = Target(DEFAULT_RECIPE.get(verb, THE_ARENA), verb.replace("-", "_"))
        if words and find_recipe(words[0]):
            target = target._replace(recipe=words.pop(0))
        elif words and find_recipe(words[0].removesuffix(f".{target.function}")):
            target = target._replace(recipe=words.pop(0).removesuffix(f".{target.function}"))
    return target._replace(subjects=tuple(words))


def build_tool(function: Callable[..., Any], arguments: Arguments, target: Target) -> Tool:
    """Call the recipe's function with its parameters, and lay all other settings over the tool that it returns.

    Raises ConfigError for every mistake in the settings.
    """
    from metta.cli.overrides import override

    name = f"{target.recipe}.{target.function}"
    parameters = inspect.signature(function).parameters
    tool, understood = _call(function, name, [s for s in arguments.settings if s.key in parameters])
    flags = [Setting(*_flag_setting(flag, tool).split("=", 1)) for flag in arguments.tool_flags]
    subjects = _subject_settings(target, arguments, tool)  # first: what is compared is compared with the first
    settings = [setting for setting in arguments.settings if setting.key not in parameters]
    tool, readings = override(tool, [*subjects, *settings, *flags], also=parameters)
    if "verbose" in arguments.flags:
        understood += [f"{r.setting}: setting {r.path} = {r.value!r} ({r.type})" for r in readings]
        print(f"recipe {function.__module__}.{function.__name__} -> {type(tool).__name__}", file=sys.stderr)
        print("\n".join(understood), file=sys.stderr)
    return tool


def _call(function: Callable[..., Any], name: str, settings: list[Setting]) -> tuple[Tool, list[str]]:
    """Return what the recipe's function makes of its parameters, and how each was understood."""
    from pydantic import TypeAdapter, ValidationError

    from metta.cli.mistakes import explain
    from metta.cli.reading import Spec, UnreadableError, describe, read, read_all
    from metta.tools import Tool

    hints = typing.get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    values: dict[str, Any] = {}
    understood = []
    for key in dict.fromkeys(setting.key for setting in settings):
        texts = [setting.text for setting in settings if setting.key == key]
        spec = Spec.of(hints.get(key, Any))
        try:
            value = read(spec, texts[0]) if len(texts) == 1 else read_all(spec, texts)
            values[key] = TypeAdapter(hints.get(key, Any)).validate_python(value)
        except (UnreadableError, ValidationError) as error:
            given = " and ".join(map(repr, texts))
            raise ConfigError(f"{key}: given {given}, allowed: {describe(spec)} (a parameter of {name})") from error
        understood.append(f"{key}={texts[-1]}: parameter of {name} = {values[key]!r} ({describe(spec)})")
    missing = [key for key, p in parameters.items() if p.default is p.empty and key not in values]
    if missing:
        needed = [f"{key}=<{describe(Spec.of(hints.get(key, Any)))}>" for key in missing]
        raise ConfigError(f"{name} needs {' '.join(needed)}")
    try:
        tool = function(**values)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{name}: {line}" for line in explain(error).splitlines())) from error
    if not isinstance(tool, Tool):
        raise ConfigError(f"{name} returns {type(tool).__name__}; a recipe's function returns a configured tool")
    return tool, understood


def _flag_setting(flag: str, tool: Tool) -> str:
    """Return the `key=value` that a flag of the tool stands for."""
    if flag not in tool.flags:
        raise unknown_flag(flag, tool.flags)
    return tool.flags[flag]


def _subject_settings(target: Target, arguments: Arguments, tool: Tool) -> list[Setting]:
    """Return the settings that bare words stand for: one, or several where the tool's subject is a list."""
    settings = [_subject_setting(word, arguments, tool) for word in target.subjects]
    takes_many = tool.subject and typing.get_origin(type(tool).model_fields[tool.subject].annotation) is list
    if len(settings) > 1 and not takes_many:
        raise ConfigError(f"unexpected {settings[1].text!r}: settings are key=value, options begin with -")
    return settings


def _subject_setting(word: str, arguments: Arguments, tool: Tool) -> Setting:
    """Return the setting that a bare word stands for. Raises ConfigError if nothing of that name is there."""
    data_dir = Path(arguments.text_of("data_dir") or DATA_DIR).expanduser()
    parts = word.split(",")  # commas join the runs of a group
    are_there = [Path(part).expanduser().exists() or (data_dir / part.partition(":")[0]).is_dir() for part in parts]
    if tool.subject and ("://" in word or any(are_there)):
        return Setting(tool.subject, word)
    if tool.subject is None and find_recipe(word):
        raise ConfigError(f"unexpected {word!r}: settings are key=value, options begin with -")
    if tool.subject and _is_path(parts[0]):
        raise ConfigError(_not_there(Path(parts[0]).expanduser()))
    names = [recipe.name for recipe in list_recipes()]
    runs = sorted(path.name for path in data_dir.glob("*/")) if tool.subject else []
    also = f", nor a file or a run in {data_dir}" if tool.subject else ""
    raise ConfigError(f"there is no recipe {word!r}{also}{nearest(word, [*names, *runs])}; recipes: {', '.join(names)}")


def _is_path(word: str) -> bool:
    """Whether the user means a file or folder by it, not a recipe or run."""
    return "/" in word or word.endswith((".pt", ".json.z"))


def _not_there(path: Path) -> str:
    """Return that there is no such path, and the nearest name where its folders end."""
    folder = next(parent for parent in path.parents if parent.is_dir())
    missing = path.relative_to(folder).parts[0]
    near = nearest(missing, sorted(entry.name for entry in folder.iterdir()))
    where = "this folder" if str(folder) == "." else str(folder)
    return f"there is no file or folder {path}: {where} has no {missing}{near}"


def _without_recipe(arguments: Arguments) -> int:
    if arguments.flags & {"help", "list"}:
        print("usage: metta run <recipe>.<function> [key=value ...]\n\n" + two_columns(recipe_rows()))
        return 0
    raise ConfigError("say what to run: metta run <recipe>.<function> [key=value ...]; `metta list` shows all")
