"""change_color and change_glyph: what agents show of themselves at will."""

from __future__ import annotations

import numpy as np

from metta.grid.jit import rule
from metta.grid.rules.looks import look_of_agent, show_color
from metta.grid.world import AGENT_COLOR, AGENT_GLYPH, State

COLOR_STEPS = np.array([1, -1, 63, -63], dtype=np.int64)


@rule
def change_color(state: State, e: int, a: int, argument: int) -> bool:
    """Turn the colour by +1, -1, +63 or -63; it wraps at 256."""
    state.agents[e, a, AGENT_COLOR] = (int(state.agents[e, a, AGENT_COLOR]) + int(COLOR_STEPS[argument])) & 255
    show_color(state, e, a)
    return True


@rule
def change_glyph(state: State, e: int, a: int, glyph: int) -> bool:
    """Show a glyph; 0 is none."""
    state.agents[e, a, AGENT_GLYPH] = glyph
    look_of_agent(state, e, a)
    return True
