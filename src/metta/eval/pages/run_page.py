"""A report as one HTML page that needs nothing else: no network, no other file but the replays it links to."""

from __future__ import annotations

from metta.eval.pages import parts
from metta.eval.pages.curve_figure import learning_curve
from metta.eval.pages.episode_figure import Sample, distributions
from metta.eval.pages.figure_style import POLICY_COLORS, YARDSTICK_COLORS
from metta.eval.pages.parts import text
from metta.eval.report import Report
from metta.eval.scores import Score

CSS = """
:root { color-scheme: light dark; --ink: #1b1d21; --soft: #63676f; --line: #d9dce1; --page: #fcfcfd; --heat: 63 127 214;
        --code: #f0f1f4; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7e8eb; --soft: #9a9ea8; --line: #34373e; --page: #16181c; --heat: 90 150 235; --code: #22252b;
          --bad: #ff8a80; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 3rem 1.5rem 5rem; max-width: 62rem; background: var(--page); color: var(--ink);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.05rem; font-weight: 600; color: var(--soft); margin: 0 0 1.2rem; }
h2 { font-size: 1.15rem; margin: 3rem 0 .6rem; }
p { margin: .4rem 0 .9rem; max-width: 44rem; }
p.note, footer { color: var(--soft); font-size: .88rem; }
.headline { display: flex; flex-wrap: wrap; gap: 1rem 3rem; align-items: flex-end; }
.headline div { min-width: 8rem; }
.headline .big { font-size: 3.2rem; font-weight: 700; line-height: 1; letter-spacing: -.02em; }
.headline .mid { font-size: 1.7rem; font-weight: 600; line-height: 1.15; }
.headline span { display: block; color: var(--soft); font-size: .88rem; margin-top: .35rem; }
svg { display: block; width: 100%; min-width: 44rem; height: auto; color: var(--ink); margin: .4rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .42rem .7rem .42rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 600; color: var(--soft); font-size: .84rem; }
td:first-child, th:first-child { position: sticky; left: 0; background: var(--page); }
td.heat { padding: .42rem .8rem; line-height: 1.3; text-align: center; }
td.failed { color: var(--bad); white-space: normal; min-width: 16rem; }
th { vertical-align: bottom; line-height: 1.3; max-width: 9rem; white-space: normal; }
th small { font-weight: 400; }
td.name { font-weight: 600; }
.bar { display: inline-block; height: .7rem; background: rgb(var(--heat) / .75); border-radius: 2px; }
td.wide { width: 16rem; }
td.left, td.wide, th.left { text-align: left; }
code { background: var(--code); padding: .12rem .35rem; border-radius: 4px; overflow-wrap: anywhere;
       font: .86em ui-monospace, "DejaVu Sans Mono", monospace; }
ul { padding-left: 1.1rem; }
li { margin: .3rem 0; }
a { color: inherit; }
summary { cursor: pointer; color: var(--soft); margin-top: 1.5rem; }
"""


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
        _section("The three most frequent wasted actions", parts.wasted_table(report)),
        _section("Watch it", parts.replay_list(report)),
        _details("All metrics, per agent and episode", parts.metric_table(report)),
        _FOOTER,
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(report.title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body>\n</html>\n"
    )


_FOOTER = """<footer><p>Intervals: 95 % percentile bootstrap over episodes, stratified by simulation (agents of one
episode are no independent samples); they say how the same policy would do on other maps, not how another training run
would do. Interquartile mean and probability of improvement after Agarwal et al.,
<a href="https://arxiv.org/abs/2108.13264">Deep Reinforcement Learning at the Edge of the Statistical Precipice</a>,
2021.</p></footer>"""


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
    last = report.curves[0].last() if report.curves else None
    if last is not None:
        blocks.append(
            f'<div><b class="mid">{last.minutes:.1f} min</b><span>of training<br>'
            f"{last.agent_steps / 1e6:.1f} million agent steps</span></div>"
        )
    return f'<div class="headline">{"".join(blocks)}</div>'


def _curves(report: Report) -> str:
    if not report.curves:
        return ""
    figure = learning_curve(report.curves, report.yardsticks, metric=report.metric, simulation=report.curve_simulation)
    return f'<div class="scroll">{figure}</div>'


def _distributions(report: Report) -> str:
    if not report.scores:
        return ""
    samples = [
        Sample(
            policy=str(score.policy),
            simulation=score.simulation,
            episodes=score.episodes,
            mean=score.summary.mean,
            color=_color(report, score),
        )
        for score in report.scores
    ]
    return f'<div class="scroll">{distributions(samples, metric=report.metric)}</div>'


def _color(report: Report, score: Score) -> str:
    keys = [other.policy.key for other in report.scores if other.policy.key not in YARDSTICK_COLORS]
    if score.policy.key in YARDSTICK_COLORS:
        return YARDSTICK_COLORS[score.policy.key]
    return POLICY_COLORS[list(dict.fromkeys(keys)).index(score.policy.key) % len(POLICY_COLORS)]
