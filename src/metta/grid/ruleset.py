"""What is fixed during an episode: `Rules`, a few wide arrays with one row a world, and the names of their fields.

Worlds that run together share resources, actions, agents' number and window; all else may differ from row to row.
While all of them play the same, their rows are one in memory, which nobody writes (`compile.one_row_for_all`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metta.grid.world import Sizes

# Verbs, in the order of the flat action list.
VERB_NOOP = 0
VERB_MOVE = 1
VERB_ROTATE = 2
VERB_GET_ITEMS = 3
VERB_PUT_ITEMS = 4
VERB_ATTACK = 5
VERB_SWAP = 6
VERB_CHANGE_COLOR = 7
VERB_CHANGE_GLYPH = 8
VERB_PLACE_BOX = 9
VERBS = (
    "noop",
    "move",
    "rotate",
    "get_items",
    "put_items",
    "attack",
    "swap",
    "change_color",
    "change_glyph",
    "place_box",
)

# `world[e, field]`, int64
RULE_MAX_STEPS = 0
RULE_TRUNCATES = 1
RULE_WINDOW_HEIGHT = 2
RULE_WINDOW_WIDTH = 3
RULE_NUM_TOKENS = 4
RULE_SHOW_COMPLETION = 5
RULE_SHOW_LAST_ACTION = 6
RULE_SHOW_LAST_REWARD = 7
RULE_SHOW_RESOURCE_REWARDS = 8
RULE_SHOW_VISITS = 9
RULE_SHOW_RECIPES = 10
RULE_DIAGONALS = 11
RULE_LOSS = 12  # resource_loss_prob in units of 2**-32
RULE_BOX_KIND = 13  # -1: no box
RULE_HAS_DEFENSE = 14
RULE_NUM_STAT_REWARDS = 15
RULE_SHARES = 16  # 1 if some template shares its reward
RULE_NUM_TEAMS = 17
RULE_NUM_KINDS = 18
RULE_STAT_TEAMS = 19  # first column of the team statistics (stats.py)
RULE_STAT_SWAPS = 20  # first column of action.swap.<object>
RULE_NUMBER = 21  # of the compiled world whose rules the row holds, 0: none yet
RULE_OWN_BEFORE = 22  # MAX_OWN_RULES addresses of the user's own rules, before the turns; 0: no more of them
RULE_OWN_AFTER = 30  # the same, after the turns
RULE_FIELDS = 38

MAX_OWN_RULES = 8

# `actions[e, action, field]`
ACTION_VERB = 0
ACTION_ARGUMENT = 1

# `verbs[e, verb, field]`
VERB_REQUIRES = 0  # 1 if any resource is required
VERB_CONSUMES = 1
VERB_FIELDS = 2

# `verb_resources[e, verb, plane, resource]`
PLANE_REQUIRED = 0
PLANE_CONSUMED = 1
PLANE_DEFENSE = 2

# `templates[e, template, field]`
TEMPLATE_FREEZE_DURATION = 0
TEMPLATE_RESOURCE_REWARDS = 1  # the value of the token resource_rewards
TEMPLATE_FIELDS = 2

# `template_floats[e, template, field]`
TEMPLATE_FAILURE_PENALTY = 0
TEMPLATE_GROUP_PCT = 1

# `template_resources[e, template, plane, resource]`
PLANE_LIMIT = 0
PLANE_INITIAL = 1

# `inventory_rewards[e, template, plane, resource]` and `stat_rewards[e, template, plane, i]`
PLANE_WEIGHT = 0
PLANE_CAP = 1

# `kinds[e, kind, field]`
KIND_CLASS = 0
KIND_TYPE_ID = 1
KIND_SWAPPABLE = 2
KIND_MAX_OUTPUT = 3
KIND_MAX_CONVERSIONS = 4
KIND_CONVERSION_TICKS = 5
KIND_COOLDOWN = 6
KIND_INITIAL_COUNT = 7
KIND_COLOR = 8
KIND_FIELDS = 9

CLASS_WALL = 0
CLASS_CONVERTER = 1
CLASS_BOX = 2

# `kind_resources[e, kind, plane, resource]`
PLANE_INPUT = 0
PLANE_OUTPUT = 1
PLANE_IS_OUTPUT = 2  # 1 if it is among the outputs, even with amount 0


CHUNK_BITS = 6  # cells of a window's row that are ranked at once
WINDOW_CHUNKS = 3  # chunks of a row of 15, the widest window
RANK_BITS = 63  # ranks in one word of a set: no sign bit

# `window_cells[rank, field]`
WINDOW_OFFSET = 0  # flat index of the cell, less that of the window's first cell
WINDOW_PLACES = 1  # three words: the cell's place byte wherever it stands in eight tokens

SHARED_FIELDS = ("window_cells", "window_sets")


class Rules(NamedTuple):
    """The rules of E worlds. V verbs, P agent templates, N stat rewards, G kinds of objects, R resources."""

    world: NDArray[np.int64]  # [E, RULE_FIELDS]
    actions: NDArray[np.int32]  # [E, actions, 2] the flat list
    verbs: NDArray[np.int32]  # [E, V, VERB_FIELDS]
    verb_resources: NDArray[np.uint8]  # [E, V, 3, R]
    templates: NDArray[np.int32]  # [E, P, TEMPLATE_FIELDS]
    template_floats: NDArray[np.float32]  # [E, P, 2]
    template_resources: NDArray[np.uint8]  # [E, P, 2, R]
    inventory_rewards: NDArray[np.float32]  # [E, P, 2, R]
    stat_rewards: NDArray[np.float32]  # [E, P, 2, N] in alphabetical order of the stats
    stat_reward_columns: NDArray[np.int32]  # [E, P, N] columns of State.stats; -1: the episode's reward
    kinds: NDArray[np.int32]  # [E, G, KIND_FIELDS]
    kind_resources: NDArray[np.uint8]  # [E, G, 3, R]
    # Two tables that all worlds share (observe.py). Cells of the window have ranks, in the order of observation.
    window_cells: NDArray[np.int64]  # [cells, 4] by rank
    window_sets: NDArray[np.int64]  # [2 * rows * WINDOW_CHUNKS, 2**CHUNK_BITS, 2] cells as bits -> set of ranks


class Buffers(NamedTuple):
    """What goes into a step and comes out of it; `order` and `pools` are working space."""

    actions: NDArray[np.int32]  # [E, A] flat action ids, anything
    observations: NDArray[np.uint8]  # [E, A, tokens, 3]
    token_counts: NDArray[np.int32]  # [E, A] tokens written; all after them are 255
    terminals: NDArray[np.bool_]  # [E, A]
    truncations: NDArray[np.bool_]  # [E, A]
    action_success: NDArray[np.bool_]  # [E, A]
    active: NDArray[np.bool_]  # [E] worlds that are stepped; the others' rows are left alone
    order: NDArray[np.int32]  # [E, A]
    pools: NDArray[np.float32]  # [E, teams, 2]


def allocate_buffers(sizes: Sizes, num_worlds: int) -> Buffers:
    """Return buffers for a batch: observations empty (255), every world active."""
    E, A = num_worlds, sizes.agents
    return Buffers(
        actions=np.zeros((E, A), np.int32),
        observations=np.full((E, A, sizes.tokens, 3), 255, np.uint8),
        token_counts=np.zeros((E, A), np.int32),
        terminals=np.zeros((E, A), np.bool_),
        truncations=np.zeros((E, A), np.bool_),
        action_success=np.zeros((E, A), np.bool_),
        active=np.ones(E, np.bool_),
        order=np.zeros((E, A), np.int32),
        pools=np.zeros((E, sizes.teams, 2), np.float32),
    )
