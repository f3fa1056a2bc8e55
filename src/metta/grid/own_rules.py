"""From the rules of a user's own, as a `WorldConfig` names them, to addresses that a tick calls."""

from __future__ import annotations

import hashlib
import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import types

from metta.errors import ConfigError, nearest, within
from metta.grid.cache import source_hash
from metta.grid.config import RuleConfig, WorldConfig
from metta.grid.inner_code import set_environments
from metta.grid.jit import JIT_ENABLED, prepare, rule
from metta.grid.maps import map_functions
from metta.grid.own_function import find_function, source_digest
from metta.grid.rules.own import OwnRule, plain_rules
from metta.grid.ruleset import RULE_OWN_AFTER, RULE_OWN_BEFORE, Buffers, Rules
from metta.grid.world import State

FIRST_FIELDS = {"before_turns": RULE_OWN_BEFORE, "after_turns": RULE_OWN_AFTER}
TICK = ("rules", "state", "buffers", "e")  # what every rule is called with, before its parameters
BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
HINT = "calculate with int(...) of what an array holds, as compiled code does"

Number = int | float
Tables = tuple[Rules, State, Buffers]

_addresses: dict[tuple[Callable[..., None], str], int] = {}  # by function and arguments
_machine_code: list[Any] = []  # lives as long as its object


def write_own_rules(rules: Rules, config: WorldConfig, kinds: Sequence[str], tables: Callable[[], Tables]) -> None:
    """Compile the rules of a user's own, and write their addresses into the row of `rules`.

    `kinds`: the names of objects by kind. `tables` gives arrays of the types that worlds have. Equal rules with equal
    parameters are compiled once. Raises ConfigError with the path of a rule that cannot be found or compiled.
    """
    fields = dict(FIRST_FIELDS)
    for i, (own, arguments) in enumerate(zip(config.rules, all_arguments(config, kinds), strict=True)):
        with within(f"rules.{i}"):
            plain = plain_function(own.function)
            key = (plain, repr(arguments))  # as text, 1 and 1.0 are two
            if key not in _addresses:
                _addresses[key] = _compile(own.function, plain, arguments, tables())
            rules.world[0, fields[own.moment]] = _addresses[key]
            fields[own.moment] += 1


def all_arguments(config: WorldConfig, kinds: Sequence[str]) -> list[tuple[Number, ...]]:
    """Return what each of a world's own rules is called with, after what comes from the tick."""
    names = {"resource": list(config.resources), "object": list(kinds)}
    found = []
    for i, own in enumerate(config.rules):
        with within(f"rules.{i}"):
            found.append(tuple(arguments_of(own, names)))
    return found


def arguments_of(own: RuleConfig, names: Mapping[str, Sequence[str]]) -> list[Number]:
    """Return the values of a rule's parameters in order; the name of a resource or object becomes its number."""
    signature = inspect.signature(plain_function(own.function))
    parameters = list(signature.parameters.values())
    if len(parameters) < len(TICK) or any(parameter.kind not in BY_PLACE for parameter in parameters):
        allowed = f"allowed: {', '.join(TICK)}, then parameters of its own, without * and **"
        raise ConfigError(f"given {own.function}{signature}; {allowed}", path="function")
    known = {parameter.name: parameter.default for parameter in parameters[len(TICK) :]}
    for name in own.parameters:
        if name not in known:
            allowed = f"allowed: {', '.join(known) or 'none'}{nearest(name, known)}"
            raise ConfigError(f"{own.function} has no such parameter; {allowed}", path=f"parameters.{name}")
    return [_number(name, own.parameters.get(name, default), names) for name, default in known.items()]


def _number(name: str, value: Any, names: Mapping[str, Sequence[str]]) -> Number:
    if isinstance(value, int | float):
        return value
    known = [other for table in names.values() for other in table]
    allowed = f"allowed: a number, or one of {', '.join(known)}"
    if value is inspect.Parameter.empty:
        raise ConfigError(f"not given, and it has no default; {allowed}", path=f"parameters.{name}")
    found = [table.index(value) for table in names.values() if value in table]
    if len(found) == 1:
        return found[0]
    wrong = "which is a resource and an object" if found else "which is neither a resource nor an object"
    hint = "" if found else nearest(str(value), known)
    raise ConfigError(f"given {value!r}, {wrong}; {allowed}{hint}", path=f"parameters.{name}")


def _compile(path: str, plain: Callable[..., None], arguments: tuple[Number, ...], tables: Tables) -> int:
    """Return the address of a rule with its arguments; with the JIT off, the number under which it is called."""
    if not JIT_ENABLED:
        number = len(plain_rules) + 1
        plain_rules[number] = _guarded(path, plain, arguments)
        return number
    with compiling(path, plain):
        compiled = rule(plain)

    def entry(rules: Rules, state: State, buffers: Buffers, e: int) -> None:
        compiled(rules, state, buffers, e, *arguments)

    kinds: Any = [prepare(table)._numba_type_ for table in tables]
    signature: Any = types.void(*kinds, types.int64)
    to_c: Any = numba.cfunc(signature, error_model="numpy")
    with compiling(path, plain):
        code = to_c(entry)
    set_environments(code._library)
    _machine_code.append(code)
    return int(code.address)


def _guarded(path: str, plain: Callable[..., None], arguments: tuple[Number, ...]) -> OwnRule:
    """Return a rule as plain Python plays it: a number that leaves the range of its type is an error.

    NumPy calculates with what an array holds in the array's own few bits; compiled code does so with 64.
    """

    def play(rules: Rules, state: State, buffers: Buffers, e: int) -> None:
        try:
            with np.errstate(over="raise"):
                plain(rules, state, buffers, e, *arguments)
        except (FloatingPointError, OverflowError) as error:
            raise ConfigError(f"rule {path}: {error}{_place(error)}; {HINT}") from error

    return play


def _place(error: Exception) -> str:
    """Return the last line that is not this package's: the user's own, or that of a function it calls."""
    package = str(Path(__file__).parents[1])
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(package)]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def plain_function(path: str) -> Callable[..., None]:
    """Return the Python function of a rule, whether or not its module has it compiled.

    Raises ConfigError, also for what can be called and is no plain function: it would not be compiled, or do nothing.
    """
    found = find_function(path)
    plain: Callable[..., None] = getattr(found, "py_func", found)
    is_other = inspect.isgeneratorfunction(plain) or inspect.iscoroutinefunction(plain)
    if not inspect.isfunction(plain) or is_other or inspect.isasyncgenfunction(plain):
        given = "a generator or a coroutine" if inspect.isfunction(plain) else f"of type {type(plain).__name__}"
        raise ConfigError(f"given {path!r}, which is {given}; allowed: a plain Python function", path="function")
    return plain


@contextmanager
def compiling(path: str, plain: Callable[..., None]) -> Iterator[None]:
    """Raise ConfigError, in one line, for what the compiler says of a rule inside."""
    try:
        yield
    except Exception as error:  # Numba has several kinds, not all of one family
        reason = _reason(error, plain.__code__.co_filename)
        raise ConfigError(f"given {path!r}; it cannot be compiled: {reason}", path="function") from error


def _reason(error: Exception, file: str) -> str:
    """Return what the compiler says in one line, and the last line of the user's file that it speaks of."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines() if line.strip()]
    named = [line for line in lines if Path(file).name in line]
    numbers = [int(match[1]) for line in named if (match := re.search(r"(?:, line |\()(\d+)", line))]
    skipped = ("Failed in", "No implementation", "During:", "File ", "<", "- ")
    reasons = [line for line in lines if not line.startswith(skipped)]
    place = f" ({file}, line {numbers[-1]})" if numbers else ""
    reason = reasons[0].partition(" Raised from")[0] if reasons else type(error).__name__
    if reason.startswith(">>> "):
        reason = (
            f"a rule cannot call {reason[4:]} (it allocates nothing; functions of one's own that it calls are @rule)"
        )
    return f"{reason}{place}"


def rules_hash(config: WorldConfig) -> str:
    """Return a digest of all sources that decide a game: the simulator's, and those of the user's own functions."""
    own = own_hash(config)
    return f"{source_hash()}+{own}" if own else source_hash()


def own_hash(config: WorldConfig) -> str:
    """Return a digest of the sources of the user's own rules and map builders; an empty text without any."""
    paths = [*(own.function for own in config.rules), *map_functions(config.map)]
    sources = "".join(f"{path}\0{source_digest(path)}\0" for path in paths)
    return hashlib.sha256(sources.encode()).hexdigest()[:16] if paths else ""
