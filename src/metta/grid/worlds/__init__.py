"""The standard worlds: functions that return a `WorldConfig`."""

from __future__ import annotations

from metta.grid.worlds.arena import arena, easy_arena
from metta.grid.worlds.navigation import navigation, navigation_on, navigation_suite
from metta.grid.worlds.objects import standard_objects

__all__ = ["arena", "easy_arena", "navigation", "navigation_on", "navigation_suite", "standard_objects"]
