"""Rules of the user's own on a GPU: a kernel each, launched where the tick on a CPU calls them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from metta.errors import within
from metta.grid.compile import CompiledWorld
from metta.grid.cuda.kernels import (
    ACT,
    START,
    TURNS,
    VISITS,
    WORLD_THREADS,
    Kernel,
    buffers_at,
    cuda,
    rules_at,
    state_at,
)
from metta.grid.jit import rule
from metta.grid.own_rules import Number, all_arguments, compiling, plain_function


def act_kernels(compiled: CompiledWorld) -> list[Kernel]:
    """Return the kernels that play a world's tick before the observations, in order; all take the same tables."""
    config = compiled.config
    if not config.rules:
        return [ACT]
    pairs = list(zip(config.rules, all_arguments(config, compiled.object_names), strict=True))
    before, after = (
        [own_kernel(plain_function(own.function), *arguments) for own, arguments in pairs if own.moment == moment]
        for moment in ("before_turns", "after_turns")
    )
    return [START, *before, TURNS, *after, VISITS]


def check_own_rules(compiled: CompiledWorld, prepare: Callable[[Kernel], object]) -> None:
    """Let `prepare` compile a world's own rules; raise ConfigError with the path of one that the GPU cannot have."""
    for i, (own, arguments) in enumerate(
        zip(compiled.config.rules, all_arguments(compiled.config, compiled.object_names), strict=True)
    ):
        plain = plain_function(own.function)
        with within(f"rules.{i}"), compiling(own.function, plain):
            prepare(own_kernel(plain, *arguments))


@lru_cache(maxsize=None, typed=True)
def own_kernel(plain: Callable[..., None], *arguments: Number) -> Kernel:
    """Return the kernel of a rule with its arguments; one thread a world."""
    play_rule: Any = rule(plain)

    def own(rules_table: int, state_table: int, buffers_table: int) -> None:
        rules, state, buffers = rules_at(rules_table), state_at(state_table), buffers_at(buffers_table)
        e = cuda.grid(1)
        if e < state.worlds.shape[0]:
            play_rule(rules, state, buffers, e, *arguments)

    return Kernel(f"own_{plain.__name__}", own, 3, WORLD_THREADS, WORLD_THREADS)
