"""How the figures of a report look: colours, fonts, and SVG whose text stays text, in the page's own colour."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

# Legible on white and on near-black, told apart by the colour-blind; grey and amber are kept for the yardsticks.
POLICY_COLORS = ("#3f7fd6", "#c2578b", "#2a9d8f", "#8a63d2", "#b0622a", "#5f8a2c", "#d0493b", "#1d8fb5")
YARDSTICK_COLORS = {"random": "#868c96", "noop": "#868c96", "scripted": "#d08a1d"}

INK = "#010203"  # stands for the page's text colour
FAINT = "#a0a4ab"
STYLE: dict[Any, Any] = {  # matplotlib types each key by itself
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titlepad": 10,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def with_room(numbers: Iterable[float]) -> tuple[float, float]:
    """Return bounds with some room around all numbers that are known."""
    known = [number for number in numbers if np.isfinite(number)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    room = (high - low) or max(1.0, abs(high))
    return low - 0.05 * room, high + 0.1 * room


def svg(figure: Figure, *, name: str) -> str:
    """Return the figure as an SVG element: scaled to the page, ids of its own, ink in the page's colour."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the reader's browser has it
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 role="img"', text, count=1)
    text = text.replace(INK, "currentColor").replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans'")
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
