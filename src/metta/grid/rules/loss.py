"""Resources that agents lose by themselves, tick by tick."""

from __future__ import annotations

from metta.grid.jit import rule
from metta.grid.rng import MASK, PURPOSE_RESOURCE_LOSS, stream_key, stream_u32
from metta.grid.rules.inventory import change_inventory
from metta.grid.ruleset import RULE_LOSS, Rules
from metta.grid.world import WORLD_SEED, WORLD_STEP, State


@rule
def lose_resources(rules: Rules, state: State, e: int) -> None:
    """Take floor(p * amount) of every resource, and one more with the probability of the fraction."""
    probability = int(rules.world[e, RULE_LOSS])
    if probability == 0:
        return
    key = stream_key(int(state.worlds[e, WORLD_SEED]), int(state.worlds[e, WORLD_STEP]), PURPOSE_RESOURCE_LOSS)
    for a in range(state.agents.shape[1]):
        for r in range(state.inventory.shape[2]):
            if state.inventory[e, a, r] != 0:
                expected = probability * int(state.inventory[e, a, r])  # in units of 2**-32
                amount = expected >> 32
                if stream_u32(key, a, r) < (expected & MASK):
                    amount += 1
                if amount > 0:
                    change_inventory(rules, state, e, a, r, -amount)
