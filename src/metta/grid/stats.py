"""Statistics: names, made once at compile time, and the columns at which a tick adds to them."""

from __future__ import annotations

from collections.abc import Sequence

from metta.grid.ruleset import VERBS

TEAM_COLORS = ("red", "blue", "green", "yellow", "purple", "orange")
DIRECTIONS = ("N", "S", "W", "E", "NW", "NE", "SW", "SE")

# Columns of `State.stats`, one row an agent. After the fixed ones: 2 a verb, 4 a resource, the teams', the swaps'.
STAT_INVALID = 0
STAT_FAILURES = 1
STAT_FROZEN_TICKS = 2
STAT_MAX_STILL = 3
STAT_BOX_CREATED = 4
STAT_BOX_OPENED = 5
STAT_SEQUENTIAL_ROTATIONS = 6
STAT_ROTATIONS = 7  # one column a direction
STAT_VERBS = STAT_ROTATIONS + len(DIRECTIONS)  # success, failed
STAT_RESOURCES = STAT_VERBS + 2 * len(VERBS)
GAINED, LOST, GET, PUT = 0, 1, 2, 3

# Columns of `State.object_stats`: 4 a resource, then these after `4 * R`.
ADDED, REMOVED, CONSUMED, PRODUCED = 0, 1, 2, 3
CONVERSIONS_STARTED = 0
CONVERSIONS_COMPLETED = 1
BLOCKED_OUTPUT_FULL = 2
BLOCKED_INSUFFICIENT_INPUT = 3
COOLDOWN_STARTED = 4
COOLDOWN_COMPLETED = 5

# Columns of `State.world_stats`; then one for each object: how many the map placed.
TOKENS_WRITTEN = 0
TOKENS_DROPPED = 1
TOKENS_FREE_SPACE = 2
FIRST_OBJECT_COUNT = 3


def team_name(team: int) -> str:
    """Return the name under which a team is charted."""
    return TEAM_COLORS[team] if team < len(TEAM_COLORS) else f"team_{team}"


def agent_stat_names(resources: Sequence[str], teams: Sequence[str], objects: Sequence[str]) -> list[str]:
    """Return the names of the columns of `State.stats`."""
    names = [
        "action.invalid",
        "action.failure_penalty",
        "status.frozen.ticks",
        "status.max_steps_without_motion",
        "box.created",
        "box.opened",
        "movement.sequential_rotations",
    ]
    names += [f"movement.rotation.to_{direction}" for direction in DIRECTIONS]
    names += [f"action.{verb}.{outcome}" for verb in VERBS for outcome in ("success", "failed")]
    names += [f"{resource}.{what}" for resource in resources for what in ("gained", "lost", "get", "put")]
    return names + team_stat_names(resources, teams) + swap_stat_names(objects)


def team_stat_names(resources: Sequence[str], teams: Sequence[str]) -> list[str]:
    """Return the attack statistics; `rules/attack.py` computes their columns in this order."""
    pairs = [(own, other) for own in teams for other in teams]
    rivals = [(own, other) for own, other in pairs if own != other]
    names = [f"action.attack.{own}.hit.{other}" for own, other in rivals]
    names += [f"action.attack.{own}.hit_by.{other}" for own, other in rivals]
    names += [f"action.attack.{own}.blocked_by.{other}" for own, other in pairs]
    names += [f"action.attack.{own}.friendly_fire" for own in teams]
    names += [f"action.attack.{own}.wasted_on_frozen" for own in teams]
    names += [f"action.attack.{own}.steals.{resource}.from.{other}" for own, other in pairs for resource in resources]
    return names


def swap_stat_names(objects: Sequence[str]) -> list[str]:
    """Return one name for each kind of object, and one for agents."""
    return [f"action.swap.{name}" for name in (*objects, "agent")]


def object_stat_names(resources: Sequence[str]) -> list[str]:
    """Return the names of the columns of `State.object_stats`; only converters count."""
    names = [f"{resource}.{what}" for resource in resources for what in ("added", "removed", "consumed", "produced")]
    names += ["conversions.started", "conversions.completed", "blocked.output_full", "blocked.insufficient_input"]
    return [*names, "cooldown.started", "cooldown.completed"]


def world_stat_names(objects: Sequence[str]) -> list[str]:
    """Return the names of the columns of `State.world_stats`."""
    return ["tokens_written", "tokens_dropped", "tokens_free_space", *(f"objects.{name}" for name in objects)]
