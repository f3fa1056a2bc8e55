"""The `metta` command: which verb is meant, and how mistakes are told. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence

import metta
from metta.cli.verbs import ALIASES, VERBS
from metta.errors import ConfigError, MettaError, nearest

DEBUG_VARIABLE = "METTA_DEBUG"


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
