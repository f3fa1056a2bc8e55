"""Which branches of the rules a run of plain Python took: `Reach`, for code that runs with `NUMBA_DISABLE_JIT=1`.

Coverage by lines would not see that a condition was never false. Here every conditional jump of the byte code must have
gone both ways. A function whose jumps all did is no longer traced, which makes this quick.
"""

from __future__ import annotations

import dis
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any


class Reach:
    """Watches the functions of some files while it is entered as a context; all calls count, also nested ones."""

    def __init__(self, files: list[Path]) -> None:
        self._files = {str(path) for path in files}
        self._jumps: dict[CodeType, dict[int, set[int]]] = {}  # jump -> where it went
        self._open: dict[CodeType, int] = {}  # jumps that have gone one way at most
        self._last: dict[FrameType, int] = {}

    def __enter__(self) -> Reach:
        sys.settrace(self._call)
        return self

    def __exit__(self, *error: Any) -> None:
        sys.settrace(None)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if code.co_filename not in self._files:
            return None
        if code not in self._jumps:
            self._jumps[code] = {at: set() for at in conditional_jumps(code)}
            self._open[code] = len(self._jumps[code])
        if not self._open[code]:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._opcode

    def _opcode(self, frame: FrameType, event: str, argument: Any) -> Any:
        last = self._last.pop(frame, None)
        if event != "opcode":
            return self._opcode
        jumps = self._jumps[frame.f_code]
        if last is not None and frame.f_lasti not in jumps[last]:
            jumps[last].add(frame.f_lasti)
            self._open[frame.f_code] -= len(jumps[last]) == 2
        if frame.f_lasti in jumps:
            self._last[frame] = frame.f_lasti
        return self._opcode

    def missing(self, codes: list[CodeType]) -> list[str]:
        """Return functions among `codes` that were never called, and conditions that only ever had one outcome."""
        result = []
        for code in codes:
            name = f"{Path(code.co_filename).name}: {code.co_name}"
            if code not in self._jumps:
                result.append(f"{name} was never called")
                continue
            lines = {i.offset: i.positions.lineno for i in dis.get_instructions(code) if i.positions}
            taken = self._jumps[code]
            result += [f"{name}, line {lines[at]}: one outcome" for at in taken if len(taken[at]) < 2]
        return result


def conditional_jumps(code: CodeType) -> list[int]:
    """Return the offsets of the instructions of a function that may go one of two ways, with their prefixes."""
    jumps, begin = [], None
    for instruction in dis.get_instructions(code):
        begin = instruction.offset if begin is None else begin
        if instruction.opname == "EXTENDED_ARG":  # a prefix: it and what it belongs to are traced as one
            continue
        if ("JUMP" in instruction.opname and "IF" in instruction.opname) or instruction.opname == "FOR_ITER":
            jumps.append(begin)
        begin = None
    return jumps
