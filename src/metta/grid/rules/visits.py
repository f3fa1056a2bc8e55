"""Visitation counts: how often an agent has stood in each cell at the end of a tick."""

from __future__ import annotations

import numpy as np

from metta.grid.jit import rule
from metta.grid.ruleset import RULE_SHOW_VISITS, Rules
from metta.grid.world import AGENT_POSITION, State


@rule
def count_visits(rules: Rules, state: State, e: int) -> None:
    """Count one more tick for the cell in which each agent stands; counts stop at 65535."""
    if rules.world[e, RULE_SHOW_VISITS]:
        for a in range(state.agents.shape[1]):
            position = int(state.agents[e, a, AGENT_POSITION])
            if state.visits[e, a, position] < 65535:
                state.visits[e, a, position] += np.uint16(1)
