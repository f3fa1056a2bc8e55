"""Converters: starting, finishing, cooling down (docs/world.md, section 4)."""

from __future__ import annotations

import numpy as np

from metta.grid.jit import rule
from metta.grid.rules.looks import look_of_object
from metta.grid.ruleset import (
    CLASS_CONVERTER,
    KIND_CLASS,
    KIND_CONVERSION_TICKS,
    KIND_COOLDOWN,
    KIND_MAX_CONVERSIONS,
    KIND_MAX_OUTPUT,
    PLANE_INPUT,
    PLANE_IS_OUTPUT,
    PLANE_OUTPUT,
    Rules,
)
from metta.grid.stats import (
    BLOCKED_INSUFFICIENT_INPUT,
    BLOCKED_OUTPUT_FULL,
    CONSUMED,
    CONVERSIONS_COMPLETED,
    CONVERSIONS_STARTED,
    COOLDOWN_COMPLETED,
    COOLDOWN_STARTED,
    PRODUCED,
)
from metta.grid.world import (
    NEVER,
    OBJECT_CONVERSIONS,
    OBJECT_KIND,
    OBJECT_PHASE,
    OBJECT_READY_AT,
    PHASE_CONVERTING,
    PHASE_COOLING,
    PHASE_IDLE,
    WORLD_NEXT_READY,
    WORLD_NUM_OBJECTS,
    WORLD_STEP,
    State,
)


@rule
def update_converters(rules: Rules, state: State, e: int) -> None:
    """Change the state of every converter whose conversion or cooldown ends at this tick, in order of rows."""
    step = state.worlds[e, WORLD_STEP]
    if step < state.worlds[e, WORLD_NEXT_READY]:
        return
    state.worlds[e, WORLD_NEXT_READY] = NEVER
    for o in range(state.worlds[e, WORLD_NUM_OBJECTS]):
        if state.objects[e, o, OBJECT_PHASE] != PHASE_IDLE:
            if state.objects[e, o, OBJECT_READY_AT] == step:
                end_phase(rules, state, e, o)
            else:
                expect(state, e, state.objects[e, o, OBJECT_READY_AT])


@rule
def begin_phase(state: State, e: int, o: int, phase: int, ticks: int) -> None:
    """Let a converter be busy for some ticks."""
    ready_at = state.worlds[e, WORLD_STEP] + ticks
    state.objects[e, o, OBJECT_PHASE] = phase
    state.objects[e, o, OBJECT_READY_AT] = ready_at
    expect(state, e, ready_at)


@rule
def expect(state: State, e: int, ready_at: int) -> None:
    """Remember that some phase ends at a tick."""
    if ready_at < state.worlds[e, WORLD_NEXT_READY]:
        state.worlds[e, WORLD_NEXT_READY] = ready_at


@rule
def end_phase(rules: Rules, state: State, e: int, o: int) -> None:
    """Finish a conversion (the outputs appear, the cooldown begins) or a cooldown (the next conversion may start)."""
    kind = int(state.objects[e, o, OBJECT_KIND])
    cooldown = int(rules.kinds[e, kind, KIND_COOLDOWN])
    first_count = 4 * state.inventory.shape[2]
    was_converting = state.objects[e, o, OBJECT_PHASE] == PHASE_CONVERTING
    state.objects[e, o, OBJECT_PHASE] = PHASE_IDLE
    if was_converting:
        produce(rules, state, e, o, kind)
        state.object_stats[e, o, first_count + CONVERSIONS_COMPLETED] += 1
    else:
        state.object_stats[e, o, first_count + COOLDOWN_COMPLETED] += 1
    if was_converting and cooldown > 0:
        begin_phase(state, e, o, PHASE_COOLING, cooldown)
        state.object_stats[e, o, first_count + COOLDOWN_STARTED] += 1
    else:
        try_to_start(rules, state, e, o)
    look_of_object(rules, state, e, o)


@rule
def produce(rules: Rules, state: State, e: int, o: int, kind: int) -> None:
    """Add the outputs of one conversion; what does not fit into a byte is lost."""
    for r in range(state.inventory.shape[2]):
        before = int(state.object_inventory[e, o, r])
        after = min(before + int(rules.kind_resources[e, kind, PLANE_OUTPUT, r]), 255)
        state.object_inventory[e, o, r] = after
        state.object_stats[e, o, 4 * r + PRODUCED] += after - before


@rule
def try_to_start(rules: Rules, state: State, e: int, o: int) -> None:
    """Begin a conversion if nothing stands in the way; does not refresh the look."""
    kind = int(state.objects[e, o, OBJECT_KIND])
    first_count = 4 * state.inventory.shape[2]
    max_conversions = int(rules.kinds[e, kind, KIND_MAX_CONVERSIONS])
    if state.objects[e, o, OBJECT_PHASE] != PHASE_IDLE or rules.kinds[e, kind, KIND_CLASS] != CLASS_CONVERTER:
        return
    if max_conversions >= 0 and state.objects[e, o, OBJECT_CONVERSIONS] >= max_conversions:
        return
    if output_full(rules, state, e, o, kind):
        state.object_stats[e, o, first_count + BLOCKED_OUTPUT_FULL] += 1
    elif lacks_input(rules, state, e, o, kind):
        state.object_stats[e, o, first_count + BLOCKED_INSUFFICIENT_INPUT] += 1
    else:
        consume(rules, state, e, o, kind)
        begin_phase(state, e, o, PHASE_CONVERTING, rules.kinds[e, kind, KIND_CONVERSION_TICKS])
        state.objects[e, o, OBJECT_CONVERSIONS] += 1
        state.object_stats[e, o, first_count + CONVERSIONS_STARTED] += 1


@rule
def output_full(rules: Rules, state: State, e: int, o: int, kind: int) -> bool:
    """Return whether it holds `max_output` or more of its outputs in all."""
    limit = int(rules.kinds[e, kind, KIND_MAX_OUTPUT])
    total = 0
    for r in range(state.inventory.shape[2]):
        total += int(state.object_inventory[e, o, r]) * int(rules.kind_resources[e, kind, PLANE_IS_OUTPUT, r])
    return limit >= 0 and total >= limit


@rule
def lacks_input(rules: Rules, state: State, e: int, o: int, kind: int) -> bool:
    """Return whether some input is missing."""
    for r in range(state.inventory.shape[2]):
        if state.object_inventory[e, o, r] < rules.kind_resources[e, kind, PLANE_INPUT, r]:
            return True
    return False


@rule
def consume(rules: Rules, state: State, e: int, o: int, kind: int) -> None:
    """Take the inputs of one conversion."""
    for r in range(state.inventory.shape[2]):
        amount = int(rules.kind_resources[e, kind, PLANE_INPUT, r])
        state.object_inventory[e, o, r] -= np.uint8(amount)
        state.object_stats[e, o, 4 * r + CONSUMED] += amount
