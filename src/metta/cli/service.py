"""`metta local <what>`, `metta request-eval`, `metta sql`: verbs of one tool each, which needs no recipe."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from metta.cli.arguments import COMMON_FLAGS, Arguments, Setting, sort_arguments, unknown_flag
from metta.cli.threads import set_threads
from metta.errors import ConfigError, nearest

if TYPE_CHECKING:
    from metta.tools import Tool

# Module and class of each verb's tool; `metta local` starts one of several.
TOOLS = {
    "request-eval": ("metta.tools.request_eval", "RequestEvalTool"),
    "sql": ("metta.tools.sql", "SqlTool"),
}
LOCAL = {"eval-service": ("metta.tools.local", "EvalServiceTool")}


def run_verb(name: str, argv: Sequence[str]) -> int:
    """Settle the configuration of the verb's tool, and run it; return the exit code."""
    words, usage = list(argv), f"metta {name}"
    if name != "local":
        module, tool_class = TOOLS[name]
    else:
        if words and words[0] in ("-h", "--help"):
            print(f"usage: metta local {'|'.join(LOCAL)} [key=value ...]")
            return 0
        module, tool_class = _local_tool(words)
        usage += f" {words.pop(0)}"
    set_threads(None)
    tool: Tool = getattr(importlib.import_module(module), tool_class)()
    arguments = sort_arguments(with_values(words, tool.value_flags))
    if arguments.flags & {"help", "list"}:
        _print_page(tool, usage, is_full="list" in arguments.flags)
        return 0
    tool = _configured(tool, arguments)
    if "dry_run" in arguments.flags and "--dry-run" not in tool.flags:
        print(tool.model_dump_json(indent=2))
        return 0
    if "json" not in arguments.flags:
        return tool.run_tool()
    if not tool.prints_json:
        raise ConfigError(f"{usage} prints no JSON; --dry-run prints its configuration as JSON")
    return tool.run_tool(as_json=True)


def with_values(words: Sequence[str], value_flags: Mapping[str, str]) -> list[str]:
    """Return the words with every `--policy X` written as the setting `policy=X`. Raises ConfigError without an X."""
    rest, found = list(words), []
    while rest:
        word = rest.pop(0)
        if word not in value_flags:
            found.append(word)
            continue
        if not rest or rest[0].startswith("-"):
            raise ConfigError(f"{word} needs a value: {word} <{value_flags[word]}>")
        found.append(f"{value_flags[word]}={rest.pop(0)}")
    return found


def _local_tool(words: Sequence[str]) -> tuple[str, str]:
    if not words:
        raise ConfigError(f"say what to start: metta local {'|'.join(LOCAL)}")
    if words[0] not in LOCAL:
        raise ConfigError(f"metta local has no {words[0]!r}{nearest(words[0], LOCAL)}; there is {', '.join(LOCAL)}")
    return LOCAL[words[0]]


def _configured(tool: Tool, arguments: Arguments) -> Tool:
    """Return the tool with settings and flags laid over it. Raises ConfigError for every mistake in them."""
    from metta.cli.overrides import override

    words = list(arguments.words)
    subject = [Setting(tool.subject, words.pop(0))] if words and tool.subject else []
    common = [flag for flag, name in COMMON_FLAGS.items() if name in arguments.flags and flag in tool.flags]
    flags = [*common, *arguments.tool_flags]
    for flag in flags:
        if flag not in tool.flags:
            raise unknown_flag(flag, [*tool.flags, *tool.value_flags])
    if words:
        raise ConfigError(f"unexpected {words[0]!r}: settings are key=value, options begin with -")
    settings = [*subject, *arguments.settings, *(Setting(*tool.flags[flag].split("=", 1)) for flag in flags)]
    tool, readings = override(tool, settings)
    if "verbose" in arguments.flags:
        print("\n".join(f"{r.setting}: setting {r.path} = {r.value!r} ({r.type})" for r in readings), file=sys.stderr)
    return tool


def _print_page(tool: Tool, usage: str, *, is_full: bool) -> None:
    from metta.cli.parameters import print_settings

    subject = f" [{tool.subject}]" if tool.subject else ""
    given = subject + "".join(f" [{flag} {name.upper()} ...]" for flag, name in tool.value_flags.items())
    print(
        f"{(tool.__doc__ or '').strip()}\n\nusage: {usage}{given} [key=value ...] [--dry-run] [--json] [-v] [--debug]"
    )
    print_settings(tool, is_full=is_full)
