"""The learning curves of runs as a figure that reads without its caption, on a light page and on a dark one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from metta.eval.learning_curve import Curve, Point
from metta.eval.pages.figure_style import FAINT, INK, STYLE, YARDSTICK_COLORS, svg, with_room
from metta.eval.statistics import Interval


def learning_curve(
    curves: Sequence[Curve],
    yardsticks: dict[str, Interval],
    *,
    colors: Sequence[str],
    metric: str,
    simulation: str = "evaluation",
) -> str:
    """Return the SVG of a score over agent steps and over minutes; yardsticks are labelled lines.

    `colors`: of each curve. `simulation`: where the curves' evaluations and the yardsticks were played.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.1), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"wspace": 0.06})
        most_steps = max((point.agent_steps for curve in curves for point in _points(curve)), default=1.0)
        unit, name = (1e6, "million agent steps") if most_steps >= 1e6 else (1e3, "thousand agent steps")
        for axes, scale, label in ((left, unit, name), (right, None, "minutes of training")):
            for curve, color in zip(curves, colors, strict=True):
                _draw_curve(axes, curve, scale=scale, color=color, band=0.22 if len(curves) < 5 else 0.1)
            axes.set_xlabel(label)
            axes.set_xlim(left=0)
            axes.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.6)
        intervals = [point.interval for curve in curves for point in _points(curve)] + list(yardsticks.values())
        bottom, top = with_room([0.0, *(number for interval in intervals for number in interval)])
        left.set_ylim(bottom, top)
        for policy, interval in yardsticks.items():
            _draw_yardstick(left, policy, interval)
            _draw_yardstick(right, policy, interval)
        _label_lines(right, curves, colors, yardsticks)
        left.set_ylabel(f"{metric} per agent")
        _explain_marks(figure, curves, color=colors[0], simulation=simulation)
        return svg(figure, name="learning-curve")


def _points(curve: Curve) -> list[Point]:
    return [*curve.training, *curve.evaluations]


def _places(points: Sequence[Point], scale: float | None) -> list[float]:
    """Where points stand: agent steps in units of `scale`, or minutes if it is None."""
    return [point.minutes if scale is None else point.agent_steps / scale for point in points]


def _draw_curve(axes: Axes, curve: Curve, *, scale: float | None, color: str, band: float) -> None:
    if curve.training:
        places = _places(curve.training, scale)
        intervals = [point.interval for point in curve.training]
        axes.fill_between(
            places, [i.low for i in intervals], [i.high for i in intervals], color=color, alpha=band, linewidth=0
        )
        axes.plot(places, [i.value for i in intervals], color=color, linewidth=1.8)
    for place, point in zip(_places(curve.evaluations, scale), curve.evaluations, strict=True):
        value, low, high = point.interval
        axes.plot([place, place], [low, high], color=INK, linewidth=1.3)
        axes.plot([place], [value], "o", color=color, markeredgecolor=INK, markersize=5.5, markeredgewidth=1.2)


def _label_lines(axes: Axes, curves: Sequence[Curve], colors: Sequence[str], yardsticks: dict[str, Interval]) -> None:
    """Name every line at the right edge, where it ends; names that would touch are moved apart."""
    labels = [(interval, name, YARDSTICK_COLORS.get(name, FAINT)) for name, interval in yardsticks.items()]
    for curve, color in zip(curves, colors, strict=True):
        last = curve.last()
        if last is not None:
            labels.append((last.interval, curve.label, color))
    labels.sort(key=lambda label: label[0].value)
    bottom, top = axes.get_ylim()
    places = [(interval.value - bottom) / (top - bottom) for interval, _, _ in labels]
    for height, (interval, name, color) in zip(_apart(places), labels, strict=True):
        axes.annotate(
            f"{name} {interval.text()}",
            (1.02, height),
            xycoords="axes fraction",
            va="center",
            color=color,
            weight="bold",
            annotation_clip=False,
        )


def _apart(places: Sequence[float], *, gap: float = 0.06) -> list[float]:
    """Return ascending places moved so that neighbours are `gap` apart, upwards, and below 1 as far as they fit."""
    found: list[float] = []
    for place in places:
        found.append(max(place, found[-1] + gap) if found else place)
    highest = 1.0
    for index in reversed(range(len(found))):
        found[index] = min(found[index], highest)
        highest = found[index] - gap
    return found


def _explain_marks(figure: Figure, curves: Sequence[Curve], *, color: str, simulation: str) -> None:
    marks: list[Any] = []
    labels: list[str] = []
    if any(curve.training for curve in curves):
        marks.append((Line2D([], [], color=color, linewidth=1.8), Patch(color=color, alpha=0.22, linewidth=0)))
        labels.append("training episodes: mean of neighbouring epochs, 95 % interval")
    if any(curve.evaluations for curve in curves):
        marks.append(Line2D([], [], color=color, marker="o", markeredgecolor=INK, markersize=5.5, linestyle="none"))
        labels.append(f"{simulation}, seeds never trained on: mean, 95 % interval")
    figure.legend(marks, labels, loc="outside upper left", ncols=2, frameon=False, borderaxespad=0.2)


def _draw_yardstick(axes: Axes, policy: str, interval: Interval) -> None:
    color = YARDSTICK_COLORS.get(policy, FAINT)
    axes.axhline(interval.value, color=color, linewidth=1.4, linestyle=(0, (5, 3)))
    if not np.isnan(interval.low):
        axes.axhspan(interval.low, interval.high, color=color, alpha=0.15, linewidth=0)
