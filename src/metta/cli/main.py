"""The `metta` command: a table of verbs, and how mistakes are told. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NamedTuple

import metta
from metta.errors import ConfigError, MettaError, nearest

DEBUG_VARIABLE = "METTA_DEBUG"


class Verb(NamedTuple):
    """A verb of the door."""

    purpose: str
    home: str  # the module of this room that has its function `run_verb(name, argv)`
    usage: str = "[recipe] [key=value ...]"


VERBS = {
    "train": Verb("train a policy; the same run= goes on where it stopped", "launch"),
    "evaluate": Verb("play a suite with one or several policies, and score them", "launch"),
    "analyze": Verb("tables of a run, and its report with plots", "launch", "[run|recipe] [key=value ...]"),
    "compare": Verb("which of two policies is better, on the same episodes", "launch", "[recipe] A B [key=value ...]"),
    "cross-play": Verb("who does well with whom: a matrix of policies, and ratings", "launch"),
    "replay": Verb("watch a recorded episode in the terminal", "launch", "[file|run|recipe] [key=value ...]"),
    "map": Verb(
        "maps of a builder, a world or a file, seed by seed", "map", "builder|world|recipe|file [key=value ...]"
    ),
    "play": Verb("see a world in the terminal, and play one agent", "launch"),
    "demo": Verb("train for two minutes, evaluate, write a report and a replay", "launch"),
    "run": Verb("any function of a recipe: metta run arena.train run=x", "launch", "recipe.function [key=value ...]"),
    "sql": Verb("ask anything about what was played", "service", '["SELECT ..."] [run=...] [key=value ...]'),
    "local": Verb("start a service on this machine: eval-service", "service", "eval-service [key=value ...]"),
    "request-eval": Verb(
        "ask the evaluation service for scores", "service", "--policy URI --eval SUITE [key=value ...] [--wait]"
    ),
    "open": Verb("open a run's report in the browser, and watch its replay", "inventory", "run"),
    "list": Verb("what there is: recipes, tools, policies, runs", "inventory", "[recipes|tools|policies|runs]"),
    "status": Verb("runs and how far they are; this machine", "inventory", ""),
    "clean": Verb("remove compiled caches and what interrupted saves left behind", "upkeep", ""),
    "test": Verb("run the tests of a clone", "upkeep", "[pytest arguments]"),
}
ALIASES = {"sim": "evaluate", "cross_play": "cross-play", "request_eval": "request-eval"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 2 for a mistake in the words, 1 for another that the user can mend."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(front_page())
        return 0
    if words[0] == "--version":
        print(f"metta {metta.__version__}")
        return 0
    is_debug = "--debug" in words or bool(os.environ.get(DEBUG_VARIABLE))
    logging.basicConfig(format="metta: %(message)s", level=logging.INFO if "-v" in words else logging.WARNING)
    try:
        return run_verb(words[0], words[1:])
    except MettaError as error:
        return _tell(str(error), error.exit_code, is_debug=is_debug)
    except KeyboardInterrupt:
        return _tell("interrupted", 130, is_debug=is_debug)
    except BrokenPipeError:  # the reader of our output has gone: `metta list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _tell(f"{error.strerror or error}{where}", 1, is_debug=is_debug)


def run_verb(name: str, argv: Sequence[str]) -> int:
    """Run a verb. Raises ConfigError, with the nearest names, if there is no such verb."""
    name = ALIASES.get(name, name)
    if name not in VERBS:
        known = [*VERBS, *ALIASES]
        raise ConfigError(f"there is no verb {name!r}{nearest(name, known)}; there are {', '.join(VERBS)}")
    code: int = importlib.import_module(f"metta.cli.{VERBS[name].home}").run_verb(name, list(argv))
    return code


def front_page() -> str:
    """Return the page of `metta --help`."""
    lines = [
        "metta: train, evaluate, analyse and replay multi-agent grid-world policies",
        "",
        "usage: metta <verb> [recipe] [key=value ...] [options]",
        "",
    ]
    width = max(map(len, VERBS)) + 2
    lines += [f"  {name:<{width}}{verb.purpose}" for name, verb in VERBS.items()]
    lines += [
        "",
        "options: -h (a verb's settings with types and defaults)  --list (every setting)  --dry-run (the resolved",
        "configuration)  -v (how each argument was understood)  --json  --debug (tracebacks)",
        "",
        "begin with: metta train arena_basic_easy_shaped run=first",
    ]
    return "\n".join(lines)


def _tell(message: str, code: int, *, is_debug: bool) -> int:
    if is_debug:
        traceback.print_exc()
    for line in message.splitlines():
        print(f"metta: {line}", file=sys.stderr)
    return code
