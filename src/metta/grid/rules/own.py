"""Rules of the user's own: functions outside of this package that play their part of every tick.

They are compiled apart from the tick, in a fraction of a second, and called through their address, which stands in the
world's row of `Rules`. Worlds without one pay for a look at a zero; worlds side by side may have different ones.
docs/write-your-own-rule.md is the page about them.
"""

# Numba's own compiler parts are not annotated.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import extending, types

from metta.grid.handles import TableType
from metta.grid.jit import JIT_ENABLED, rule
from metta.grid.ruleset import MAX_OWN_RULES, Buffers, Rules
from metta.grid.world import CELL_FIRST_OBJECT, OBJECT_KIND, State

OwnRule = Callable[[Rules, State, Buffers, int], None]

plain_rules: dict[int, OwnRule] = {}  # with the JIT off, what stands for an address

_intrinsic: Any = extending.intrinsic
_word = ir.IntType(64)


@rule
def play_own_rules(rules: Rules, state: State, buffers: Buffers, e: int, moment: int) -> None:
    """Let the user's rules of a moment (`RULE_OWN_...`), in order, play their part of the tick of world `e`."""
    for i in range(MAX_OWN_RULES):
        address = int(rules.world[e, moment + i])
        if address == 0:
            return
        call_address(address, rules, state, buffers, e)


@rule
def kind_at(state: State, e: int, position: int) -> int:
    """Return the kind of the object on a cell, an index into `Rules.kinds`; -1 if there is none."""
    code = int(state.cells[e, position])
    if code >= CELL_FIRST_OBJECT:
        return int(state.objects[e, code - CELL_FIRST_OBJECT, OBJECT_KIND])
    return code - 1 if code > 0 else -1


def _call_plain(address: int, rules: Rules, state: State, buffers: Buffers, e: int) -> None:
    plain_rules[address](rules, state, buffers, e)


@_intrinsic
def _call_compiled(typing_context: Any, address: Any, rules: Any, state: Any, buffers: Any, e: Any) -> Any:
    tables = (rules, state, buffers)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        is_cpu = "cuda" not in type(context).__module__  # a GPU cannot call an address of the host's
        if is_cpu and all(isinstance(table, TableType) for table in tables):
            function_type = ir.FunctionType(ir.VoidType(), [_word] * 4)
            builder.call(builder.inttoptr(args[0], function_type.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, *tables, types.int64), generate


call_address: Callable[[int, Rules, State, Buffers, int], None] = _call_compiled if JIT_ENABLED else _call_plain
