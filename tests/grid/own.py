"""Rules of a user's own, for tests: as a user would write them, in one file, with nothing registered."""

from __future__ import annotations

import functools

import numpy as np
from numba.core.errors import LoweringError
from numba.core.extending import intrinsic

from metta.grid.jit import rule
from metta.grid.rng import random_below
from metta.grid.rules.cells import step_of
from metta.grid.rules.inventory import change_inventory
from metta.grid.rules.own import kind_at
from metta.grid.world import AGENT_POSITION, WORLD_SEED, WORLD_STEP

SLIP = 1000  # the purpose of our random numbers


def warm(rules, state, buffers, e, fire, warmth, gain=3):
    """Agents cool by one a tick; every fire at their side warms them."""
    for a in range(state.agents.shape[1]):
        change_inventory(rules, state, e, a, warmth, -1)
        change_inventory(rules, state, e, a, warmth, gain * fires_beside(state, e, a, fire))


@rule
def fires_beside(state, e, a, fire):
    """Return how many there are."""
    number = 0
    for direction in range(4):
        number += kind_at(state, e, state.agents[e, a, AGENT_POSITION] + step_of(state, e, direction)) == fire
    return number


def slip(rules, state, buffers, e, percent):
    """Now and then an agent does something else than it wanted."""
    for a in range(state.agents.shape[1]):
        seed, tick = state.worlds[e, WORLD_SEED], state.worlds[e, WORLD_STEP]
        if random_below(seed, tick, SLIP, a, 0, 100) < percent:
            buffers.actions[e, a] = random_below(seed, tick, SLIP, a, 1, rules.actions.shape[1])


def pay(rules, state, buffers, e, amount=0.5):
    """Everyone is paid."""
    for a in range(state.agents.shape[1]):
        state.rewards[e, a] += np.float32(amount)


def double(rules, state, buffers, e):
    """What everyone was paid in this tick so far counts twice."""
    for a in range(state.agents.shape[1]):
        state.rewards[e, a] *= np.float32(2.0)


def tell(rules, state, buffers, e):
    """What a user does to see what happens."""
    print("world", e, "tick", state.worlds[e, WORLD_STEP])


@rule
def is_even(number):
    """Return whether a number is even, the long way: it and `is_odd` call each other."""
    return True if number == 0 else is_odd(number - 1)


@rule
def is_odd(number):
    return False if number == 0 else is_even(number - 1)


def pay_on_even_ticks(rules, state, buffers, e):
    """Everyone is paid at every second tick."""
    if is_even(state.worlds[e, WORLD_STEP]):
        for a in range(state.agents.shape[1]):
            state.rewards[e, a] += np.float32(1.0)


def unknown_field(rules, state, buffers, e):
    state.agnts[e, 0, 0] = 1


def unknown_name(rules, state, buffers, e):
    state.rewards[e, 0] = nothing  # noqa: F821


def allocates(rules, state, buffers, e):
    state.rewards[e, 0] = np.zeros(3, np.float32)[0]


def spends(rules, state, buffers, e, price=5):
    """Whoever cannot pay loses a point; with an `int` around what is read it is the same in plain Python."""
    for a in range(state.agents.shape[1]):
        if state.inventory[e, a, 0] - price < 0:
            state.rewards[e, a] -= np.float32(1.0)


def spends_whole_numbers(rules, state, buffers, e, price=5):
    """The same, as it should be written."""
    for a in range(state.agents.shape[1]):
        if int(state.inventory[e, a, 0]) - price < 0:
            state.rewards[e, a] -= np.float32(1.0)


def generates(rules, state, buffers, e):
    yield e


async def waits(rules, state, buffers, e):
    state.rewards[e, 0] = 1.0


async def waits_and_generates(rules, state, buffers, e):
    yield e


class Pays:
    """What can be called, and is no function."""

    def __call__(self, rules, state, buffers, e):
        state.rewards[e, 0] = 1.0


an_object = Pays()
a_part = functools.partial(pay, amount=1.0)


def too_few(rules, state):
    state.rewards[0, 0] = 1.0


def by_keyword(rules, state, buffers, e, *, gain=3):
    state.rewards[e, 0] += np.float32(gain)


def any_number(rules, state, buffers, e, *gain):
    state.rewards[e, 0] += np.float32(gain[0])


@intrinsic
def _of_the_host(typing_context, number):
    """Return a number; a function that only a CPU has."""

    def generate(context, builder, signature, args):
        if "cuda" in type(context).__module__:
            raise LoweringError("there is no such function on a GPU")
        return args[0]

    return number(number), generate


def only_on_a_cpu(rules, state, buffers, e):
    """A rule that calls it."""
    _of_the_host(e)
