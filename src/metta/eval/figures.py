"""The figures of a report: each reads without its caption, on a light page and on a dark one.

They are drawn as SVG whose text stays text; black becomes the page's own colour.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from metta.eval.learning_curve import Curve, Point
from metta.eval.statistics import Interval, Values

# Legible on white and on near-black, told apart by the colour-blind; grey and amber are kept for the yardsticks.
POLICY_COLORS = ("#3f7fd6", "#c2578b", "#2a9d8f", "#8a63d2", "#b0622a")
YARDSTICK_COLORS = {"random": "#868c96", "noop": "#868c96", "scripted": "#d08a1d"}

_INK = "#010203"  # stands for the page's text colour
_FAINT = "#a0a4ab"
_STYLE: dict[Any, Any] = {  # matplotlib types each key by itself
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titlepad": 10,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Sample:
    """One policy's episodes in one simulation."""

    policy: str
    simulation: str
    episodes: Values
    mean: Interval
    color: str


def learning_curve(curves: Sequence[Curve], yardsticks: dict[str, Interval], *, metric: str) -> str:
    """Return the SVG of a score over agent steps and over minutes; yardsticks are labelled lines."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(10, 4.1), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"wspace": 0.06})
        most_steps = max((point.agent_steps for curve in curves for point in _points(curve)), default=1.0)
        unit, name = (1e6, "million agent steps") if most_steps >= 1e6 else (1e3, "thousand agent steps")
        for axes, scale, label in ((left, unit, name), (right, None, "minutes of training")):
            for number, curve in enumerate(curves):
                _draw_curve(axes, curve, scale=scale, color=POLICY_COLORS[number % len(POLICY_COLORS)])
            axes.set_xlabel(label)
            axes.set_xlim(left=0)
            axes.grid(axis="y", color=_FAINT, alpha=0.25, linewidth=0.6)
        values = [point.interval.value for curve in curves for point in _points(curve)]
        values += [interval.value for interval in yardsticks.values()]
        bottom, top = min([0.0, *values]), max([0.0, *values])
        left.set_ylim(bottom - 0.04 * (top - bottom or 1), top + 0.12 * (top - bottom or 1))
        for policy, interval in yardsticks.items():
            _draw_yardstick(left, policy, interval)
            _draw_yardstick(right, policy, interval)
        _label_lines(right, curves, yardsticks)
        left.set_ylabel(f"{metric} per agent")
        _explain_marks(figure)
        return _svg(figure, name="learning-curve")


def distributions(samples: Sequence[Sample], *, metric: str) -> str:
    """Return the SVG of all episodes' scores: a dot an episode, a bar for the mean's 95 % interval."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(10, 1.1 + 0.52 * len(samples)), layout="constrained")
        axes = figure.subplots()
        several = len({sample.simulation for sample in samples}) > 1
        generator = np.random.default_rng(0)
        for row, sample in enumerate(samples):
            jitter = generator.uniform(-0.24, 0.24, len(sample.episodes))
            axes.scatter(sample.episodes, row + jitter, s=14, color=sample.color, alpha=0.4, linewidths=0)
            _draw_mean(axes, sample.mean, row)
        names = [f"{s.policy}   {s.simulation}" if several else s.policy for s in samples]
        axes.set_yticks(range(len(samples)), names)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(samples) - 0.5, -0.6)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=_FAINT, alpha=0.25, linewidth=0.6)
        axes.set_xlabel(f"{metric} per agent in one episode")
        where = "" if several or not samples else f" of {samples[0].simulation}"
        axes.set_title(f"Each dot: one episode{where}. Bar: mean with its 95 % interval")
        return _svg(figure, name="distributions")


def _points(curve: Curve) -> list[Point]:
    return [*curve.training, *curve.evaluations]


def _places(points: Sequence[Point], scale: float | None) -> list[float]:
    """Where points stand: agent steps in units of `scale`, or minutes if it is None."""
    return [point.minutes if scale is None else point.agent_steps / scale for point in points]


def _draw_curve(axes: Axes, curve: Curve, *, scale: float | None, color: str) -> None:
    if curve.training:
        places = _places(curve.training, scale)
        intervals = [point.interval for point in curve.training]
        axes.fill_between(
            places, [i.low for i in intervals], [i.high for i in intervals], color=color, alpha=0.22, linewidth=0
        )
        axes.plot(places, [i.value for i in intervals], color=color, linewidth=1.8)
    for place, point in zip(_places(curve.evaluations, scale), curve.evaluations, strict=True):
        value, low, high = point.interval
        axes.plot([place, place], [low, high], color=_INK, linewidth=1.3)
        axes.plot([place], [value], "o", color=color, markeredgecolor=_INK, markersize=5.5, markeredgewidth=1.2)


def _label_lines(axes: Axes, curves: Sequence[Curve], yardsticks: dict[str, Interval]) -> None:
    """Name every line at the right edge, where it ends; names that would touch are moved apart."""
    labels = [(interval, name, YARDSTICK_COLORS.get(name, _FAINT)) for name, interval in yardsticks.items()]
    for number, curve in enumerate(curves):
        last = curve.last()
        if last is not None:
            labels.append((last.interval, curve.label, POLICY_COLORS[number % len(POLICY_COLORS)]))
    labels.sort(key=lambda label: label[0].value)
    bottom, top = axes.get_ylim()
    height = 0.0
    for interval, name, color in labels:
        height = max((interval.value - bottom) / (top - bottom), height)
        axes.annotate(
            f"{name} {interval.text()}",
            (1.02, height),
            xycoords="axes fraction",
            va="center",
            color=color,
            weight="bold",
            annotation_clip=False,
        )
        height += 0.06


def _explain_marks(figure: Figure) -> None:
    color = POLICY_COLORS[0]
    marks: list[Any] = [
        (Line2D([], [], color=color, linewidth=1.8), Patch(color=color, alpha=0.22, linewidth=0)),
        Line2D([], [], color=color, marker="o", markeredgecolor=_INK, markersize=5.5, linestyle="none"),
    ]
    labels = ["while training, with 95 % interval", "evaluation on seeds never trained on, with 95 % interval"]
    figure.legend(marks, labels, loc="outside upper left", ncols=2, frameon=False, borderaxespad=0.2)


def _draw_yardstick(axes: Axes, policy: str, interval: Interval) -> None:
    color = YARDSTICK_COLORS.get(policy, _FAINT)
    axes.axhline(interval.value, color=color, linewidth=1.4, linestyle=(0, (5, 3)))
    if not np.isnan(interval.low):
        axes.axhspan(interval.low, interval.high, color=color, alpha=0.15, linewidth=0)


def _draw_mean(axes: Axes, mean: Interval, row: int) -> None:
    if not np.isnan(mean.low):
        axes.plot([mean.low, mean.high], [row, row], color=_INK, linewidth=2.2, solid_capstyle="butt")
    axes.plot([mean.value] * 2, [row - 0.2, row + 0.2], color=_INK, linewidth=2.2, solid_capstyle="butt")
    axes.annotate(
        mean.text(), (mean.value, row - 0.27), xytext=(0, 2), textcoords="offset points", ha="center", weight="bold"
    )


def _svg(figure: Figure, *, name: str) -> str:
    """Return the figure as an SVG element: scaled to the page, ids of its own, ink in the page's colour."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 role="img"', text, count=1)
    text = text.replace(_INK, "currentColor").replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans'")
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
