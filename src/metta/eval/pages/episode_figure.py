"""Every episode of every policy as a figure: a panel a simulation, a row a policy, a dot an episode."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metta.eval.pages.figure_style import FAINT, INK, STYLE, svg, with_room
from metta.eval.resampling import Values
from metta.eval.statistics import Interval

MOST_DOTS = 300  # of a row; of more, this many are drawn, spread evenly by score


@dataclass(frozen=True)
class Sample:
    """One policy's episodes in one simulation."""

    policy: str
    simulation: str
    episodes: Values
    mean: Interval
    color: str


def distributions(samples: Sequence[Sample], *, metric: str) -> str:
    """Return the SVG of all episodes' scores: a panel a simulation, a row a policy, a dot an episode."""
    panels: dict[str, list[Sample]] = {}
    for sample in samples:
        panels.setdefault(sample.simulation, []).append(sample)
    policies = list(dict.fromkeys(sample.policy for sample in samples))
    columns = min(len(panels), 3)
    lines = -(-len(panels) // columns)
    with matplotlib.rc_context(STYLE):
        size = (10, 0.5 + lines * (0.95 + 0.5 * len(policies)))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
        for number, (axes, (simulation, rows)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
            _draw_panel(axes, rows, policies)
            axes.set_title(simulation)
            if number + columns >= len(panels):
                axes.set_xlabel(f"{metric} per agent in one episode")
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        marks = _dot_and_bar(max(len(sample.episodes) for sample in samples))
        figure.legend(*marks, loc="outside upper left", ncols=2, frameon=False, borderaxespad=0.2)
        return svg(figure, name="distributions")


def _draw_panel(axes: Axes, rows: Sequence[Sample], policies: Sequence[str]) -> None:
    for sample in rows:
        row = policies.index(sample.policy)
        dots = np.quantile(sample.episodes, np.linspace(0, 1, MOST_DOTS), method="nearest")
        dots = dots if len(sample.episodes) > MOST_DOTS else sample.episodes
        spread = np.random.default_rng(row).uniform(-0.2, 0.2, len(dots))
        _draw_dots(axes, dots, row + 0.08 + spread, color=sample.color)
        _draw_mean(axes, sample.mean, row + 0.08)
    axes.set_yticks(range(len(policies)), policies)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(policies) - 0.5, -0.6)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=FAINT, alpha=0.25, linewidth=0.6)
    numbers = [float(value) for sample in rows for value in sample.episodes]
    axes.set_xlim(*with_room(numbers))
    axes.locator_params(axis="x", nbins=5)


def _draw_dots(axes: Axes, places: Iterable[float], heights: Iterable[float], *, color: str) -> None:
    """Draw dots as one path, each a line of almost no length with round ends: a fifth of the bytes of markers."""
    gap = np.nan
    xs = [number for place in places for number in (place, place, gap)]
    ys = [number for height in heights for number in (height, height + 1e-3, gap)]
    axes.plot(xs, ys, color=color, alpha=0.65, linewidth=4.2, solid_capstyle="round")


def _dot_and_bar(episodes: int) -> tuple[list[Any], list[str]]:
    dot = Line2D([], [], color=FAINT, marker="o", markersize=4, linestyle="none")
    bar = Line2D([], [], color=INK, linewidth=2.2)
    one = "one episode" if episodes <= MOST_DOTS else f"one episode; of more, {MOST_DOTS} evenly by score"
    return [dot, bar], [one, "mean of the episodes, with its 95 % interval"]


def _draw_mean(axes: Axes, mean: Interval, row: float) -> None:
    if not np.isnan(mean.low):
        axes.plot([mean.low, mean.high], [row, row], color=INK, linewidth=2.2, solid_capstyle="butt")
    axes.plot([mean.value] * 2, [row - 0.16, row + 0.16], color=INK, linewidth=2.2, solid_capstyle="butt")
    axes.annotate(
        mean.text(), (mean.value, row - 0.24), xytext=(0, 1), textcoords="offset points", ha="center", weight="bold"
    )
