"""The figures of cross-play: heatmaps of pairs, and ratings with their intervals, in the style of `figure_style.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from metta.eval.pages import figure_style
from metta.eval.statistics import Interval

_SCORE, _WINS, _LOSSES = "#3f7fd6", "#2a9d8f", "#c2578b"
_FAINTEST, _STRONGEST = 0.06, 0.55  # of a cell's colour: the page's ink stays legible on it, light or dark
_ABREAST = 4  # columns whose numbers have room in half of the width
_LEGIBLE = 10  # and in the whole

Cells = Sequence[Sequence[Interval | None]]


def score_heatmaps(
    focal: Cells, partner: Cells, *, rows: Sequence[str], columns: Sequence[str], metric: str, name: str
) -> str:
    """Return the SVG of two heatmaps, [N, N + H] each: what the row gets, and what it leaves to the column.

    `columns` after the first N are partners held out. The colours of both run from the lowest to the highest score.
    """
    known = [cell.value for cells in (focal, partner) for row in cells for cell in row if cell is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    with matplotlib.rc_context(figure_style.STYLE):
        figure, first, second = _two_panels(len(rows), len(columns))
        for axes, cells, whose in ((first, focal, "focal: the row's"), (second, partner, "partner: the column's")):
            _draw_cells(
                axes,
                cells,
                color=lambda value: to_rgba(_SCORE, _depth((value - low) / (high - low or 1))),
                texts=lambda cell: (cell.text(), cell.bounds()),
            )
            _name_axes(axes, rows, columns)
            axes.set_title(f"{whose} {metric} per agent")
            axes.set_ylabel("focal policy")
            axes.set_xlabel("partner")
        return figure_style.svg(figure, name=name)


def wins_and_ratings(
    wins: Cells, ratings: Sequence[Interval | None], *, names: Sequence[str], anchor: str | None
) -> str:
    """Return the SVG of who does better how often [N, N], and of the ratings [N]."""
    with matplotlib.rc_context(figure_style.STYLE):
        figure, first, second = _two_panels(len(names), len(names))
        _draw_cells(
            first,
            wins,
            color=lambda value: to_rgba(_WINS if value >= 0.5 else _LOSSES, _depth(abs(2 * value - 1))),
            texts=lambda cell: (f"{cell.value:.0%}", f"[{cell.low:.0%}, {cell.high:.0%}]"),
        )
        _name_axes(first, names, names)
        first.set_title("share of games in which the row does better than the column")
        _draw_ratings(second, ratings, names)
        second.set_title(f"rating with its 95 % interval; {anchor or 'the mean'} is 0")
        second.set_xlabel("Elo: 400 more are 10 wins for 1 loss")
        return figure_style.svg(figure, name="wins-and-ratings")


def _two_panels(rows: int, columns: int) -> tuple[Figure, Axes, Axes]:
    """Return a figure and two axes: side by side while the numbers of so many columns have room, else stacked."""
    height = 1.6 + 0.62 * rows
    is_stacked = columns > _ABREAST
    figure = Figure(figsize=(10, 2 * height if is_stacked else height), layout="constrained")
    first, second = figure.subplots(2, 1) if is_stacked else figure.subplots(1, 2)
    return figure, first, second


def _depth(share: float) -> float:
    return _FAINTEST + (_STRONGEST - _FAINTEST) * share


def _draw_cells(
    axes: Axes,
    cells: Cells,
    *,
    color: Callable[[float], tuple[float, float, float, float]],
    texts: Callable[[Interval], tuple[str, str]],
) -> None:
    """Draw a box for each cell, with a number and its bounds; a dash where there is none."""
    size = 7.5 if len(cells[0]) <= _LEGIBLE else 5.5
    for row, line in enumerate(cells):
        for column, cell in enumerate(line):
            if cell is None:
                axes.text(column, row, "–", ha="center", va="center")
                continue
            axes.add_patch(Rectangle((column - 0.48, row - 0.47), 0.96, 0.94, facecolor=color(cell.value)))
            value, bounds = texts(cell)
            axes.text(column, row - 0.02, value, ha="center", va="bottom", weight="bold")
            axes.text(column, row + 0.06, bounds, ha="center", va="top", fontsize=size)


def _name_axes(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Name rows and columns; a line stands between the policies and the partners held out."""
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    labels = [column.replace(" (", "\n(") for column in columns]
    axes.set_xticks(range(len(columns)), labels)
    if max(map(len, rows)) * len(columns) > (40 if len(columns) <= _ABREAST else 100):  # characters side by side
        axes.set_xticks(range(len(columns)), labels, rotation=25, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if len(columns) > len(rows):
        axes.axvline(len(rows) - 0.5, color=figure_style.INK, linewidth=1.4)


def _draw_ratings(axes: Axes, ratings: Sequence[Interval | None], names: Sequence[str]) -> None:
    for row, rating in enumerate(ratings):
        if rating is None:
            continue
        value, low, high = rating
        axes.plot([low, high], [row, row], color=figure_style.INK, linewidth=2.2, solid_capstyle="butt")
        axes.plot([value], [row], "o", color=_SCORE, markeredgecolor=figure_style.INK, markersize=6)
        axes.annotate(f"{value:+.0f}", (value, row - 0.16), ha="center", va="bottom", weight="bold")
    axes.axvline(0, color=figure_style.FAINT, linewidth=1, linestyle=(0, (5, 3)))
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=figure_style.FAINT, alpha=0.25, linewidth=0.6)
    axes.spines["left"].set_visible(False)
