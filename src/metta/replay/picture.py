"""Frames as pictures: a PNG of one step, a GIF of many."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from metta.errors import ReplayError
from metta.grid.maps.colors import FLOOR, FROZEN, Color, object_color, team_color
from metta.replay.draw import AgentMark, Frame, ReplayFrames, Thing

_DARK: Color = (40, 38, 36)
# Row and column towards which an orientation looks.
_FACINGS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def draw_picture(frame: Frame, *, cell: int = 12) -> Image.Image:
    """Return an RGB image, `cell` pixels a side for each cell, at least 4.

    Walls are dark, converters are squares with a bright core when they hold something and a rim when they are busy,
    agents are discs with a dot where they look.
    """
    cell = max(cell, 4)
    codes = np.where(frame.walls[:, :, None], object_color("wall"), FLOOR).astype(np.uint8)
    image = Image.fromarray(codes.repeat(cell, axis=0).repeat(cell, axis=1))
    brush = ImageDraw.Draw(image)
    for thing in frame.things:
        _draw_thing(brush, thing, cell)
    for agent in frame.agents:
        _draw_agent(brush, agent, cell)
    return image


def save_picture(frame: Frame, path: str | Path, *, cell: int = 12) -> Path:
    """Write a frame as PNG (or by the name's ending), whole or not at all; return the path."""
    suffix = Path(path).suffix or ".png"
    content = io.BytesIO()
    try:
        draw_picture(frame, cell=cell).save(content, format=Image.registered_extensions().get(suffix.lower(), suffix))
    except (KeyError, ValueError) as error:
        raise ReplayError(f"a picture cannot be written as {suffix}; allowed for example .png") from error
    return _write(Path(path), content.getvalue())


def save_gif(
    frames: ReplayFrames,
    path: str | Path,
    *,
    cell: int = 8,
    first: int = 0,
    last: int | None = None,
    every: int = 1,
    frames_per_second: float = 12.0,
) -> Path:
    """Write steps `first` to `last` (the end), each `every`-th, as an animated GIF that repeats; return the path.

    Raises ReplayError when no step is left, or the file cannot be written.
    """
    content = draw_gif(frames, cell=cell, first=first, last=last, every=every, frames_per_second=frames_per_second)
    return _write(Path(path), content)


def draw_gif(
    frames: ReplayFrames,
    *,
    cell: int = 8,
    first: int = 0,
    last: int | None = None,
    every: int = 1,
    frames_per_second: float = 12.0,
) -> bytes:
    """Return the bytes of the GIF that `save_gif` writes."""
    end = len(frames) if last is None else min(last + 1, len(frames))
    steps = range(first, end, max(every, 1))
    if len(steps) == 0 or first < 0:
        raise ReplayError(f"no steps from {first} to {end - 1}; the replay has steps 0 to {len(frames) - 1}")
    content = io.BytesIO()
    pictures = _quantized(draw_picture(frames[step], cell=cell) for step in steps)
    head, *rest = pictures
    head.save(
        content,
        format="GIF",
        save_all=True,
        append_images=rest,
        duration=max(round(1000 / frames_per_second), 20),
        loop=0,
        optimize=False,
    )
    return content.getvalue()


def _quantized(images: Iterable[Image.Image]) -> list[Image.Image]:
    """Return images of 64 colours under the palette of the first, so that only what moves is stored."""
    palette: Image.Image | None = None
    result = []
    for image in images:
        if palette is None:
            palette = image.quantize(64, dither=Image.Dither.NONE)
        result.append(image.quantize(palette=palette, dither=Image.Dither.NONE))
    return result


def _draw_thing(brush: ImageDraw.ImageDraw, thing: Thing, cell: int) -> None:
    left, top = thing.column * cell, thing.row * cell
    color = object_color(thing.name)
    brush.rectangle((left + 1, top + 1, left + cell - 2, top + cell - 2), fill=color)
    if thing.is_busy:
        brush.rectangle((left + 1, top + 1, left + cell - 2, top + cell - 2), outline=_DARK)
    if thing.inventory:
        inset = cell // 3
        brush.rectangle((left + inset, top + inset, left + cell - inset - 1, top + cell - inset - 1), fill=FLOOR)


def _draw_agent(brush: ImageDraw.ImageDraw, agent: AgentMark, cell: int) -> None:
    left, top = agent.column * cell, agent.row * cell
    color = FROZEN if agent.is_frozen else team_color(agent.team)
    brush.ellipse((left, top, left + cell - 1, top + cell - 1), fill=color, outline=_DARK)
    row, column = _FACINGS[agent.orientation % len(_FACINGS)]
    middle, reach, size = (cell - 1) / 2, cell / 3, max(cell / 8, 0.5)
    x, y = left + middle + column * reach, top + middle + row * reach
    brush.ellipse((x - size, y - size, x + size, y + size), fill=_DARK)


def _write(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ReplayError(f"{path} cannot be written: {error}") from error
    return path
