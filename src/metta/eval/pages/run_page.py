"""A report as one HTML page that needs nothing else: no network, no other file but the replays it links to."""

from __future__ import annotations

from pathlib import Path

from metta.eval.pages import parts
from metta.eval.pages.curve_figure import learning_curve
from metta.eval.pages.episode_figure import Sample, distributions
from metta.eval.pages.figure_style import POLICY_COLORS, YARDSTICK_COLORS
from metta.eval.pages.page import page, write_page
from metta.eval.pages.parts import text
from metta.eval.report import Report

MOST_CURVES = 12  # runs in the figure of learning curves: the names of more would not fit beside them
MOST_ROWS = 40  # policies in the figure of every episode, the yardsticks apart


def save(report: Report) -> Path:
    """Write the page to `report.path`, whole or not at all, and return its path."""
    return write_page(render(report), report.path)


def render(report: Report) -> str:
    """Return the page."""
    metric = text(report.metric)
    sections = [
        f"<h1>{text(report.title)}</h1>",
        _headline(report),
        _section("Learning curve", _curves(report)),
        _section(f"Scores: {metric} per agent", parts.score_table(report)),
        _section("Every episode", _distributions(report)),
        _section("Against others, on the same episodes", parts.comparison_table(report)),
        _section("Where it differs most from them, game by game", parts.pair_table(report)),
        _section("The three most frequent wasted actions", parts.wasted_table(report)),
        _section("Watch it", parts.replay_list(report)),
        _details("All metrics, per agent and episode", parts.metric_table(report)),
        _FOOTER,
    ]
    return page(report.title, sections)


_FOOTER = """<footer><p>Intervals: 95 % percentile bootstrap over episodes, stratified by simulation. Agents of one
episode are no independent samples; a seed that several simulations share is drawn together in all of them. Intervals
say how the same policy would do on other maps, not how another training run would do. Interquartile mean and
probability of improvement after Agarwal et al., <a href="https://arxiv.org/abs/2108.13264">Deep Reinforcement Learning
at the Edge of the Statistical Precipice</a>, 2021.</p></footer>"""


def _section(title: str, content: str) -> str:
    return f"<h2>{title}</h2>\n{content}" if content else ""


def _details(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>\n{content}</details>" if content else ""


def _headline(report: Report) -> str:
    """The score of the first policy in large, those of the yardsticks beside it, in the same simulation."""
    if not report.scores:
        return "<p>Nothing has been evaluated yet.</p>"
    first, *others = report.scores
    mean = first.summary.mean
    blocks = [
        f'<div><b class="big">{mean.text()}</b><span>{text(report.metric)} per agent {mean.bounds()}<br>'
        f"{text(str(first.policy))}, {first.summary.episodes} episodes of {text(first.simulation)}</span></div>"
    ]
    for other in others:
        if other.simulation == first.simulation and other.policy.key in YARDSTICK_COLORS:
            interval = other.summary.mean
            label = f"{text(str(other.policy))}<br>{interval.bounds()}"
            blocks.append(f'<div><b class="mid">{interval.text()}</b><span>{label}</span></div>')
    last = next((curve.last() for curve in report.curves if curve.run == first.policy.key), None)
    if last is not None:
        blocks.append(
            f'<div><b class="mid">{last.minutes:.1f} min</b><span>of training<br>'
            f"{last.agent_steps / 1e6:.1f} million agent steps</span></div>"
        )
    return f'<div class="headline">{"".join(blocks)}</div>'


def _curves(report: Report) -> str:
    if not report.curves:
        return ""
    shown = report.curves[:MOST_CURVES]
    colors = _colors(report)
    figure = learning_curve(
        shown,
        report.yardsticks,
        colors=[colors[curve.run] for curve in shown],
        metric=report.metric,
        simulation=report.curve_simulation,
    )
    return _scrolled(figure) + _left_out(len(report.curves) - len(shown), "runs are not drawn")


def _distributions(report: Report) -> str:
    if not report.scores:
        return ""
    policies = list(dict.fromkeys(score.policy for score in report.scores))
    learned = [policy for policy in policies if policy.key not in YARDSTICK_COLORS]
    shown = {*learned[:MOST_ROWS], *(set(policies) - set(learned))}
    colors = _colors(report)
    samples = [
        Sample(
            policy=str(score.policy),
            simulation=score.simulation,
            episodes=score.episodes,
            mean=score.summary.mean,
            color=colors[score.policy.key],
        )
        for score in report.scores
        if score.policy in shown
    ]
    figure = distributions(samples, metric=report.metric)
    return _scrolled(figure) + _left_out(len(policies) - len(shown), "policies are in the table")


def _scrolled(figure: str) -> str:
    return f'<div class="scroll">{figure}</div>'


def _left_out(number: int, what: str) -> str:
    return f'<p class="note">{number:,} more {what}.</p>' if number else ""


def _colors(report: Report) -> dict[str, str]:
    """A run's colour, the same in all figures."""
    keys = dict.fromkeys([*(score.policy.key for score in report.scores), *(curve.run for curve in report.curves)])
    learned = [key for key in keys if key not in YARDSTICK_COLORS]
    return YARDSTICK_COLORS | {key: POLICY_COLORS[n % len(POLICY_COLORS)] for n, key in enumerate(learned)}
