"""A replay as one HTML page that needs nothing else: an animated picture of the episode, and the replay's file."""

from __future__ import annotations

import base64
import shlex
from html import escape
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from metta.replay.draw import ReplayFrames
from metta.replay.format import Replay
from metta.replay.picture import draw_gif

FRAMES = 80  # of an arena half a megabyte, drawn in half a second
WIDTH = 560  # pixels of the picture, about
SMALLEST_CELL, LARGEST_CELL = 4, 16  # pixels
LARGEST_CARRIED = 8_000_000  # bytes of a replay file that the page carries

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 14px/1.5 system-ui, sans-serif; margin: 1em }}
img {{ max-width: 100%; image-rendering: pixelated }}
code {{ background: #eee; color: #222; padding: 0.2em 0.4em }}</style></head>
<body><h3>{title}</h3>
<p>{facts}</p>
<img src="data:image/gif;base64,{picture}" alt="{title}">
<p>{file} opens with <code>{command}</code></p>
</body></html>
"""


def replay_page(replay: Replay, *, source: str, title: str) -> str:
    """Return the page of a replay.

    `source` is where its file stands: the page names it in the command that opens it, and links to it if it is an
    http(s) address; else the page carries the replay for download, unless it is very large.
    """
    frames = ReplayFrames(replay)
    every = max(1, len(frames) // FRAMES)
    cell = min(max(WIDTH // max(frames.width, 1), SMALLEST_CELL), LARGEST_CELL)
    return _PAGE.format(
        title=escape(title),
        facts=f"{len(frames)} steps, of which every {every}. is shown, {frames.width} x {frames.height} cells, "
        f"{int(replay.data['num_agents'])} agents",
        picture=base64.b64encode(draw_gif(frames, cell=cell, every=every)).decode(),
        file=_file(replay, source),
        command=escape(f"metta replay {shlex.quote(source)}"),
    )


def _file(replay: Replay, source: str) -> str:
    """The file's name, as a link where there is something to link to."""
    name = escape(PurePosixPath(urlsplit(source).path).name)
    if urlsplit(source).scheme in ("http", "https"):
        return f'<a href="{escape(source)}">{name}</a>'
    content = replay.to_bytes()
    if len(content) > LARGEST_CARRIED:
        return name
    data = base64.b64encode(content).decode()
    return f'<a download="{name}" href="data:application/octet-stream;base64,{data}">{name}</a>'
