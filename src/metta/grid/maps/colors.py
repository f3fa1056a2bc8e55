"""One colour a thing, wherever a world is drawn."""

from __future__ import annotations

import zlib

Color = tuple[int, int, int]  # red, green, blue

FLOOR: Color = (238, 234, 226)
FROZEN: Color = (150, 210, 235)

_TEAMS: tuple[Color, ...] = (
    (214, 48, 49),
    (41, 98, 196),
    (39, 148, 84),
    (222, 178, 30),
    (130, 72, 176),
    (230, 126, 34),
)
_OBJECTS: dict[str, Color] = {
    "wall": (84, 78, 74),
    "block": (132, 118, 104),
    "mine_red": (168, 92, 84),
    "mine_blue": (88, 108, 160),
    "mine_green": (92, 142, 100),
    "generator_red": (226, 122, 98),
    "generator_blue": (112, 150, 220),
    "generator_green": (122, 196, 128),
    "altar": (224, 88, 150),
    "armory": (110, 124, 140),
    "lasery": (200, 60, 200),
    "box": (180, 140, 84),
}


def team_color(team: int) -> Color:
    """Return the colour of a team's agents; from the seventh team on they repeat."""
    return _TEAMS[team % len(_TEAMS)]


def object_color(name: str) -> Color:
    """Return the colour of a kind of object; a name that has none gets one of its own, always the same."""
    known = _OBJECTS.get(name)
    if known is not None:
        return known
    code = zlib.crc32(name.encode())
    return 64 + code % 160, 64 + (code >> 8) % 160, 64 + (code >> 16) % 160
