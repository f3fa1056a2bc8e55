"""A report as one HTML page that needs nothing else: no network, no other file but the replays it links to."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from pathlib import Path

from metta.eval import figures
from metta.eval.report import Report
from metta.eval.scores import Score

_CSS = """
:root { color-scheme: light dark; --ink: #1b1d21; --soft: #63676f; --line: #d9dce1; --page: #fcfcfd; --heat: 63 127 214;
        --code: #f0f1f4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7e8eb; --soft: #9a9ea8; --line: #34373e; --page: #16181c; --heat: 90 150 235; --code: #22252b; }
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
svg { display: block; width: 100%; height: auto; color: var(--ink); margin: .4rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .42rem .9rem .42rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 600; color: var(--soft); font-size: .84rem; }
td.heat { padding: .42rem .8rem; }
td small { color: var(--soft); }
td.name { font-weight: 600; }
.bar { display: inline-block; height: .7rem; background: rgb(var(--heat) / .75); border-radius: 2px; }
td.wide { width: 16rem; }
td.left, td.wide, th.left { text-align: left; }
code { background: var(--code); padding: .12rem .35rem; border-radius: 4px; overflow-wrap: anywhere;
       font: .86em ui-monospace, "DejaVu Sans Mono", monospace; }
ul { padding-left: 1.1rem; }
li { margin: .3rem 0; }
a { color: inherit; }
summary { cursor: pointer; color: var(--soft); margin-top: 3rem; }
"""


def render(report: Report) -> str:
    """Return the page."""
    sections = [
        f"<h1>{_text(report.title)}</h1>",
        _headline(report),
        _curves(report),
        _scores(report),
        _distributions(report),
        _comparisons(report),
        _wasted(report),
        _replays(report),
        _metrics(report),
        _FOOTER,
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(report.title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body>\n</html>\n"
    )


_FOOTER = """<footer><p>Intervals: 95 % percentile bootstrap over episodes, stratified by simulation (agents of one
episode are no independent samples). Interquartile mean and probability of improvement (the chance that an episode of
one policy scores more than one of the other) after Agarwal et al., <a href="https://arxiv.org/abs/2108.13264">Deep
Reinforcement Learning at the Edge of the Statistical Precipice</a>, 2021.</p></footer>"""


def _headline(report: Report) -> str:
    """The score of the first policy in large, those of the yardsticks beside it."""
    if not report.scores:
        return "<p>Nothing has been evaluated yet.</p>"
    first = report.scores[0]
    mean = first.summary.mean
    blocks = [
        f'<div><b class="big">{mean.text()}</b><span>{_text(report.metric)} per agent {mean.bounds()}<br>'
        f"{_text(str(first.policy))}, {first.summary.episodes} episodes of {_text(first.simulation)}</span></div>"
    ]
    for name, interval in report.yardsticks.items():
        blocks.append(
            f'<div><b class="mid">{interval.text()}</b><span>{_text(name)}<br>{interval.bounds()}</span></div>'
        )
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
    figure = figures.learning_curve(report.curves, report.yardsticks, metric=report.metric)
    return f"<h2>Learning curve</h2>\n{figure}"


def _scores(report: Report) -> str:
    """Policies by simulations, each column coloured by how good its scores are."""
    if not report.scores:
        return ""
    simulations = list(dict.fromkeys(score.simulation for score in report.scores))
    cells: dict[str, dict[str, str]] = {}
    for name in simulations:
        column = [score for score in report.scores if score.simulation == name]
        best = max(score.summary.mean.value for score in column)
        for score in column:
            cells.setdefault(str(score.policy), {})[name] = _score_cell(score, best)
    lines = [[_name(policy), *(row.get(name, "<td>–</td>") for name in simulations)] for policy, row in cells.items()]
    note = """Mean over agents and episodes, interval over episodes; below it the interquartile mean (IQM) and the
    number of episodes. The same seeds for every policy, none of them used in training."""
    failed = "".join(
        f'<p class="note">{_text(policy)} was not evaluated: {_text(why)}</p>'
        for policy, why in report.failures.items()
    )
    return (
        f"<h2>Scores: {_text(report.metric)} per agent, with 95 % intervals</h2>\n"
        f'{_table(["policy", *simulations], lines)}\n{failed}<p class="note">{note}</p>'
    )


def _score_cell(score: Score, best: float) -> str:
    mean, iqm, episodes = score.summary
    shade = 0.42 * max(0.0, mean.value) / best if best > 0 else 0.0
    return (
        f'<td class="heat" style="background: rgb(var(--heat) / {shade:.2f})"><b>{mean.text()}</b> {mean.bounds()}<br>'
        f"<small>IQM {iqm.text(like=mean)} · {episodes} episodes</small></td>"
    )


def _distributions(report: Report) -> str:
    if not report.scores:
        return ""
    samples = [
        figures.Sample(
            policy=str(score.policy),
            simulation=score.simulation,
            episodes=score.episodes,
            mean=score.summary.mean,
            color=_color(report, score),
        )
        for score in sorted(report.scores, key=lambda score: score.simulation)
    ]
    return f"<h2>Every episode</h2>\n{figures.distributions(samples, metric=report.metric)}"


def _color(report: Report, score: Score) -> str:
    keys = [other.policy.key for other in report.scores if other.policy.key not in figures.YARDSTICK_COLORS]
    if score.policy.key in figures.YARDSTICK_COLORS:
        return figures.YARDSTICK_COLORS[score.policy.key]
    return figures.POLICY_COLORS[list(dict.fromkeys(keys)).index(score.policy.key) % len(figures.POLICY_COLORS)]


def _comparisons(report: Report) -> str:
    lines = []
    for versus in report.comparisons:
        found = versus.comparison
        difference, chance = found.difference, found.probability_of_improvement
        lines.append(
            [
                _name(f"{versus.policy} against {versus.other}"),
                _left(versus.simulation),
                f"{difference.text(sign='+')} {difference.bounds()}",
                f"{chance.value:.0%} [{chance.low:.0%}, {chance.high:.0%}]",
                f"{found.share_of_wins:.0%}",
                str(found.pairs),
            ]
        )
    if not lines:
        return ""
    header = ["", "<simulation", "difference", "probability of improvement", "pairs won", "pairs"]
    return f"<h2>Against others, on the same episodes</h2>\n{_table(header, lines)}"


def _wasted(report: Report) -> str:
    most = max((action.share for actions in report.wasted.values() for action in actions), default=0.0)
    lines = []
    for policy, actions in report.wasted.items():
        for number, action in enumerate(actions):
            width = round(100 * action.share / most)
            lines.append(
                [
                    _name(str(policy) if number == 0 else ""),
                    _left(action.name),
                    f"{action.share:.1%}",
                    f'<td class="wide"><span class="bar" style="width: {width}%"></span></td>',
                    f"{action.per_episode:,.1f}",
                ]
            )
    if not lines:
        return ""
    note = """Wasted: the action failed (a move into something solid, nothing to get, put or attack, a lacking
    resource), does not exist (invalid), or hit an agent that was frozen already. Of all actions chosen while not
    frozen; waiting on purpose (noop) is not counted as waste."""
    header = ["policy", "<wasted action", "of all actions", "", "per agent and episode"]
    return f'<h2>The three most frequent wasted actions</h2>\n{_table(header, lines)}\n<p class="note">{note}</p>'


def _replays(report: Report) -> str:
    items = []
    for name, urls in report.replay_urls.items():
        for url in urls:
            link, shown = (url, url) if "://" in url else (os.path.relpath(url, report.folder), os.path.relpath(url))
            items.append(
                f'<li>{_text(name)}: <a href="{_text(link)}">{_text(Path(url).name)}</a><br>'
                f"<code>metta replay {_text(shown)}</code></li>"
            )
    return f"<h2>Watch it</h2>\n<ul>{''.join(items)}</ul>" if items else ""


def _metrics(report: Report) -> str:
    lines = [
        [
            _name(row.metric),
            _left(str(row.policy)),
            _left(row.simulation),
            row.mean.text(),
            row.mean.bounds(),
            str(row.episodes),
            f"{row.agents:,}",
        ]
        for row in report.rows
    ]
    if not lines:
        return ""
    header = ["metric", "<policy", "<simulation", "mean", "95 % interval", "episodes", "agents"]
    return f"<details><summary>All metrics, per agent and episode</summary>\n{_table(header, lines)}</details>"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table of cells that are HTML: bare ones become right-aligned. `<` before a title aligns it to the left."""
    titles = [
        f'<th class="left">{_text(title[1:])}</th>' if title.startswith("<") else f"<th>{_text(title)}</th>"
        for title in header
    ]
    rows = [titles, *([cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in line] for line in lines)]
    text = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="scroll"><table>{text}</table></div>'


def _name(text: str) -> str:
    return f'<td class="name">{_text(text)}</td>'


def _left(text: str) -> str:
    return f'<td class="left">{_text(text)}</td>'


def _text(text: str) -> str:
    return html.escape(text)
