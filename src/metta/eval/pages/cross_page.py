"""Cross-play as one HTML page that needs nothing else, in the style of `run_page.py`."""

from __future__ import annotations

import html
from pathlib import Path

from metta.eval.cross_play.report import CrossReport
from metta.eval.cross_play.scores import CrossScores
from metta.eval.pages import cross_figures, parts
from metta.eval.pages.page import page, write_page

_FOOTER = """<footer><p>Every pair of policies plays the same seeds, twice: either is the focal policy once. Scores are
means over agents and seeds with 95 % bootstrap intervals over seeds. A game is won by who has more per agent. Ratings:
Bradley-Terry with half a seed won by either side of a pair beforehand; their intervals: Bayesian bootstrap over seeds.
Partners held out are met, but not rated.</p></footer>"""


def save(report: CrossReport, path: Path) -> Path:
    """Write the page, whole or not at all, and return its path."""
    return write_page(render(report), path)


def render(report: CrossReport) -> str:
    """Return the page."""
    title = f"Cross-play: {report.results.suite.name}"
    sections = [
        f"<h1>{html.escape(title)}</h1>",
        _notes(report),
        _ratings(report),
        *(_matrix(report, scores) for scores in report.results.scores),
        *(_partners(report, metric) for metric in report.partners),
        _FOOTER,
    ]
    return page(title, sections)


def _notes(report: CrossReport) -> str:
    """The sentences: a cycle is a warning, and stands out."""
    has_cycle = report.ratings is not None and bool(report.ratings.cycles)
    style = ' style="border-left: 4px solid #c2578b; padding-left: 1rem"' if has_cycle else ""
    failures = [f"{who} could not play: {why}" for who, why in report.results.failures.items()]
    notes, lacking = ("".join(f"<p>{html.escape(line)}</p>" for line in lines) for lines in (report.notes(), failures))
    return f"<div{style}>{notes}</div>{lacking}"


def _ratings(report: CrossReport) -> str:
    if report.ratings is None:
        return ""
    figure = cross_figures.wins_and_ratings(
        [[report.ratings.wins[row][column] for column in report.order] for row in report.order],
        [report.ratings.ratings[row] for row in report.order],
        names=[report.names[row] for row in report.order],
        anchor=report.anchor,
    )
    return f"<h2>Who does better</h2>\n{_scrolled(figure)}"


def _matrix(report: CrossReport, scores: CrossScores) -> str:
    figure = cross_figures.score_heatmaps(
        [[scores.focal_interval(row, column) for column in report.columns] for row in report.order],
        [[scores.partner_interval(row, column) for column in report.columns] for row in report.order],
        rows=[report.names[row] for row in report.order],
        columns=[report.column_names[column] for column in report.columns],
        metric=scores.metric,
        name=f"cross-play-{scores.simulation}",
    )
    note = f"""The focal policy plays {scores.focal_agents} of {scores.agents} agents, its partner the rest; on the
    diagonal a policy plays with itself alone. {scores.num_seeds()} seeds. Both matrices are of the same games: what the
    row gets, and what the column gets beside it."""
    title = f"{html.escape(scores.simulation)}: who gets what with whom"
    return f'<h2>{title}</h2>\n{_scrolled(figure)}\n<p class="note">{note}</p>'


def _partners(report: CrossReport, metric: str) -> str:
    header, lines = report.partner_rows(metric)
    rows = [[parts.name(name), *map(_two_lines, cells)] for name, *cells in lines]
    note = """Gap: the score with itself minus the score with the others, seed by seed. Above 0 it does worse with
    others: they do not share its habits, or are harder to play with. Means over partners, simulations and seeds; the
    intervals are over seeds, and say nothing about partners that were not met."""
    title = f"With whom it works: {html.escape(metric)}"
    return f'<h2>{title}</h2>\n{parts.table(["policy", *header], rows)}\n<p class="note">{note}</p>'


def _two_lines(cell: str) -> str:
    """A number, and its interval below it."""
    value, bracket, bounds = html.escape(cell).partition(" [")
    return f"<td>{value}<br><small>[{bounds}</small></td>" if bracket else f"<td>{value}</td>"


def _scrolled(figure: str) -> str:
    return f'<div class="scroll">{figure}</div>'
