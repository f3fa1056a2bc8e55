"""The words of a command line, sorted: settings (`key=value`), flags (`--dry-run`), and all other words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from metta.errors import ConfigError, nearest

COMMON_FLAGS = {
    "-h": "help",
    "--help": "help",
    "--list": "list",
    "--dry-run": "dry_run",
    "-v": "verbose",
    "--verbose": "verbose",
    "--json": "json",
    "--debug": "debug",
}
ALIASES = {"py_agent": "policy.architecture", "trainer.num_workers": "system.threads"}

_SETTING = re.compile(r"(?P<key>[^\s=/\\]+)=(?P<text>.*)", re.DOTALL)


class Setting(NamedTuple):
    """One `key=value` as it was typed."""

    key: str
    text: str

    @property
    def path(self) -> tuple[str, ...]:
        """The dotted path that the key stands for, aliases resolved, one part an element."""
        return tuple(ALIASES.get(self.key, self.key).split("."))

    def __str__(self) -> str:
        return f"{self.key}={self.text}"


@dataclass(frozen=True)
class Arguments:
    """A verb's arguments."""

    words: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    flags: frozenset[str] = frozenset()  # of COMMON_FLAGS, by their second names
    tool_flags: tuple[str, ...] = field(default=())  # such as --gif, known to the tool alone

    def first_word(self) -> str | None:
        """Return the first word that is neither a setting nor a flag."""
        return self.words[0] if self.words else None

    def without_first_word(self) -> Arguments:
        """Return the arguments after the first word."""
        return replace(self, words=self.words[1:])

    def text_of(self, *keys: str) -> str | None:
        """Return what was last given for any of `keys`; aliases and the paths they stand for are one."""
        paths = {Setting(key, "").path for key in keys}
        texts = [setting.text for setting in self.settings if setting.path in paths]
        return texts[-1] if texts else None


def sort_arguments(argv: Sequence[str]) -> Arguments:
    """Sort the words after the verb. `--name=value` is the same as `name=value`; after `--` all are plain words."""
    words: list[str] = []
    settings: list[Setting] = []
    flags: set[str] = set()
    tool_flags: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        match = _SETTING.fullmatch(word.removeprefix("--"))
        if word == "--":
            words += rest
            break
        if word in COMMON_FLAGS:
            flags.add(COMMON_FLAGS[word])
        elif match:
            settings.append(Setting(match["key"], match["text"]))
        elif word.startswith("-") and len(word) > 1:
            tool_flags.append(word)
        else:
            words.append(word)
    return Arguments(tuple(words), tuple(settings), frozenset(flags), tuple(tool_flags))


def unknown_flag(flag: str, also: Iterable[str] = ()) -> ConfigError:
    """Return the error for a flag that nobody knows."""
    known = [*COMMON_FLAGS, *also]
    return ConfigError(f"unknown option {flag}{nearest(flag, known)}; there are {', '.join(known)}")
