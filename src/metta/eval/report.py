"""`report/index.html`: one page that needs nothing else, no network and no other file but the replays it links to."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from metta.eval.analysis import MetricRow, PolicyVersion, WastedAction, format_table
from metta.eval.learning_curve import Curve
from metta.eval.statistics import Comparison, Interval, Summary, Values, decimals


@dataclass(frozen=True, kw_only=True)
class Score:
    """A policy in a simulation."""

    policy: PolicyVersion
    simulation: str
    summary: Summary
    episodes: Values  # float64 [E] score of each


@dataclass(frozen=True, kw_only=True)
class Versus:
    """A policy against another on the same episodes."""

    policy: PolicyVersion
    other: PolicyVersion
    simulation: str
    comparison: Comparison


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a report shows, and where it was written."""

    title: str
    metric: str  # the score
    scores: Sequence[Score]
    comparisons: Sequence[Versus] = ()
    wasted: dict[PolicyVersion, Sequence[WastedAction]] = field(default_factory=dict)
    rows: Sequence[MetricRow] = ()
    replay_urls: dict[str, Sequence[str]] = field(default_factory=dict)  # policy and simulation -> addresses
    curves: Sequence[Curve] = ()
    yardsticks: dict[str, Interval] = field(default_factory=dict)
    path: Path | None = None

    def table(self) -> str:
        """Return the metrics as text: metric, mean, interval, episodes, agents."""
        several = len({(row.policy, row.simulation) for row in self.rows}) > 1
        header = ["metric", "mean", "95 % interval", "episodes", "agents"]
        lines = []
        for row in self.rows:
            line = [row.metric, *_mean_and_bounds(row.mean), str(row.episodes), str(row.agents)]
            lines.append([f"{row.policy} {row.simulation}", *line] if several else line)
        return format_table(lines, header=["policy, simulation", *header] if several else header)

    def score_table(self) -> str:
        """Return the scores as text."""
        lines = [
            [
                *(str(score.policy), score.simulation, *_mean_and_bounds(score.summary.mean)),
                *(f"{score.summary.iqm.value:.2f}", str(score.summary.episodes)),
            ]
            for score in self.scores
        ]
        header = ["policy", "simulation", f"{self.metric}", "95 % interval", "interquartile mean", "episodes"]
        return format_table(lines, header=header)

    def wasted_table(self) -> str:
        """Return the most frequent wasted actions as text."""
        lines = [
            [str(policy), action.name, f"{action.share:.1%}", f"{action.per_episode:.1f}"]
            for policy, actions in self.wasted.items()
            for action in actions
        ]
        return format_table(lines, header=["policy", "wasted action", "of all actions", "per agent and episode"])

    def save(self, folder: Path) -> Path:
        """Write `folder`/index.html, whole or not at all, and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "index.html"
        work = folder / f".index.html.{os.getpid()}.tmp"
        try:
            work.write_text(_page(self, folder), encoding="utf-8")
            work.replace(path)
        finally:
            work.unlink(missing_ok=True)
        return path


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
td.wide { width: 16rem; text-align: left; }
code { background: var(--code); padding: .12rem .35rem; border-radius: 4px; font: .86em ui-monospace, "DejaVu Sans Mono",
       monospace; overflow-wrap: anywhere; }
ul { padding-left: 1.1rem; }
li { margin: .3rem 0; }
a { color: inherit; }
summary { cursor: pointer; color: var(--soft); margin-top: 3rem; }
"""


def _page(report: Report, folder: Path) -> str:
    sections = [
        f"<h1>{_text(report.title)}</h1>",
        _headline(report),
        _curves(report),
        _scores(report),
        _distributions(report),
        _comparisons(report),
        _wasted(report),
        _replays(report, folder),
        _metrics(report),
        _footer(),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(report.title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body>\n</html>\n"
    )


def _headline(report: Report) -> str:
    """The score of the first policy in large, those of the yardsticks beside it."""
    if not report.scores:
        return "<p>Nothing has been evaluated yet.</p>"
    first = report.scores[0]
    blocks = [
        f'<div><b class="big">{_number(first.summary.mean)}</b>'
        f"<span>{_text(report.metric)} per agent{_bounds(first.summary.mean)}<br>{_text(str(first.policy))}, "
        f"{first.summary.episodes} episodes of {_text(first.simulation)}</span></div>"
    ]
    blocks += [
        f'<div><b class="mid">{_number(interval)}</b><span>{_text(name)}{_bounds(interval)}</span></div>'
        for name, interval in report.yardsticks.items()
    ]
    last = report.curves[0].last() if report.curves else None
    if last is not None:
        blocks.append(
            f'<div><b class="mid">{last.minutes:.1f} min</b>'
            f"<span>of training<br>{last.agent_steps / 1e6:.1f} million agent steps</span></div>"
        )
    return f'<div class="headline">{"".join(blocks)}</div>'


def _curves(report: Report) -> str:
    if not report.curves:
        return ""
    from metta.eval import figures  # matplotlib is slow to import, and training has no use for it

    return "<h2>Learning curve</h2>\n" + figures.learning_curve(
        report.curves, report.yardsticks, metric=report.metric
    )


def _scores(report: Report) -> str:
    """Policies by simulations, coloured by how good each is in its column."""
    simulations = list(dict.fromkeys(score.simulation for score in report.scores))
    policies = list(dict.fromkeys(score.policy for score in report.scores))
    found = {(score.policy, score.simulation): score for score in report.scores}
    best = {
        name: max(score.summary.mean.value for score in report.scores if score.simulation == name) for name in simulations
    }
    lines = []
    for policy in policies:
        cells = [f'<td class="name">{_text(str(policy))}</td>']
        for name in simulations:
            score = found.get((policy, name))
            cells.append('<td class="heat">–</td>' if score is None else _score_cell(score, best[name]))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    header = "".join(f"<th>{_text(name)}</th>" for name in simulations)
    return (
        f"<h2>Scores: {_text(report.metric)} per agent, with 95 % intervals</h2>\n"
        f'<div class="scroll"><table><tr><th>policy</th>{header}</tr>{"".join(lines)}</table></div>\n'
        '<p class="note">Mean over agents and episodes, interval over episodes; below it the interquartile mean and the '
        "number of episodes. The same seeds for every policy, none of them used in training.</p>"
    )


def _score_cell(score: Score, best: float) -> str:
    mean, iqm = score.summary.mean, score.summary.iqm
    shade = 0.42 * max(0.0, mean.value) / best if best > 0 else 0.0
    return (
        f'<td class="heat" style="background: rgb(var(--heat) / {shade:.2f})"><b>{_number(mean)}</b>{_bounds(mean)}<br>'
        f"<small>IQM {_number(iqm)} · {score.summary.episodes} episodes</small></td>"
    )


def _distributions(report: Report) -> str:
    if not report.scores:
        return ""
    from metta.eval import figures

    names = [score.policy for score in report.scores if score.policy.key not in figures.YARDSTICK_COLORS]
    order = list(dict.fromkeys(names))
    samples = [
        figures.Sample(
            policy=str(score.policy),
            simulation=score.simulation,
            episodes=score.episodes,
            mean=score.summary.mean,
            color=figures.YARDSTICK_COLORS.get(score.policy.key)
            or figures.POLICY_COLORS[order.index(score.policy) % len(figures.POLICY_COLORS)],
        )
        for score in sorted(report.scores, key=lambda score: score.simulation)
    ]
    return "<h2>Every episode</h2>\n" + figures.distributions(samples, metric=report.metric)


def _comparisons(report: Report) -> str:
    if not report.comparisons:
        return ""
    lines = []
    for versus in report.comparisons:
        found = versus.comparison
        lines.append(
            f'<tr><td class="name">{_text(str(versus.policy))} against {_text(str(versus.other))}</td>'
            f"<td>{_text(versus.simulation)}</td><td>{_signed(found.difference)}</td>"
            f"<td>{_percent(found.probability_of_improvement)}</td><td>{found.share_of_wins:.0%}</td>"
            f"<td>{found.pairs}</td></tr>"
        )
    return (
        "<h2>Against others, on the same episodes</h2>\n"
        '<div class="scroll"><table><tr><th></th><th>simulation</th><th>difference</th>'
        f"<th>probability of improvement</th><th>pairs won</th><th>pairs</th></tr>{''.join(lines)}</table></div>"
    )


def _wasted(report: Report) -> str:
    lines = []
    most = max((action.share for actions in report.wasted.values() for action in actions), default=0.0)
    for policy, actions in report.wasted.items():
        for number, action in enumerate(actions):
            name = f'<td class="name">{_text(str(policy))}</td>' if number == 0 else "<td></td>"
            width = 100 * action.share / most if most else 0
            lines.append(
                f"<tr>{name}<td>{_text(action.name)}</td><td>{action.share:.1%}</td>"
                f'<td class="wide"><span class="bar" style="width: {width:.0f}%"></span></td>'
                f"<td>{action.per_episode:,.1f}</td></tr>"
            )
    if not lines:
        return ""
    return (
        "<h2>The three most frequent wasted actions</h2>\n"
        '<div class="scroll"><table><tr><th>policy</th><th>wasted action</th><th>of all actions</th><th></th>'
        f"<th>per agent and episode</th></tr>{''.join(lines)}</table></div>\n"
        '<p class="note">Wasted: the action failed (a move into something solid, nothing to get, put or attack, a '
        "lacking resource), does not exist (invalid), or hit an agent that was frozen already. Of all actions chosen "
        "while not frozen; waiting on purpose (noop) is not counted as waste.</p>"
    )


def _replays(report: Report, folder: Path) -> str:
    items = []
    for name, urls in report.replay_urls.items():
        for url in urls:
            link = url if "://" in url else os.path.relpath(url, folder)
            shown = url if "://" in url else os.path.relpath(url)
            items.append(
                f'<li>{_text(name)}: <a href="{_text(link)}">{_text(Path(url).name)}</a><br>'
                f"<code>metta replay {_text(shown)}</code></li>"
            )
    if not items:
        return ""
    return f"<h2>Watch it</h2>\n<ul>{''.join(items)}</ul>"


def _metrics(report: Report) -> str:
    if not report.rows:
        return ""
    lines = [
        f'<tr><td class="name">{_text(row.metric)}</td><td>{_text(str(row.policy))}</td><td>{_text(row.simulation)}</td>'
        f"<td>{_number(row.mean)}</td><td>{_mean_and_bounds(row.mean)[1]}</td><td>{row.episodes}</td>"
        f"<td>{row.agents:,}</td></tr>"
        for row in report.rows
    ]
    return (
        "<details><summary>All metrics, per agent and episode</summary>\n"
        '<div class="scroll"><table><tr><th>metric</th><th>policy</th><th>simulation</th><th>mean</th>'
        f"<th>95 % interval</th><th>episodes</th><th>agents</th></tr>{''.join(lines)}</table></div></details>"
    )


def _footer() -> str:
    return (
        "<footer><p>Intervals: 95 % percentile bootstrap over episodes, stratified by simulation (agents of one episode "
        "are no independent samples). Interquartile mean and probability of improvement (the chance that an episode of "
        "one policy scores more than one of the other) after Agarwal et al., "
        '<a href="https://arxiv.org/abs/2108.13264">Deep Reinforcement Learning at the Edge of the Statistical '
        "Precipice</a>, 2021.</p></footer>"
    )


def _text(text: str) -> str:
    return html.escape(text)


def _number(interval: Interval) -> str:
    return f"{interval.value:,.{decimals(interval)}f}"


def _bounds(interval: Interval) -> str:
    bounds = _mean_and_bounds(interval)[1]
    return f" {bounds}" if bounds else ""


def _mean_and_bounds(interval: Interval) -> tuple[str, str]:
    digits = decimals(interval)
    if interval.low != interval.low:  # NaN
        return f"{interval.value:,.{digits}f}", ""
    return f"{interval.value:,.{digits}f}", f"[{interval.low:,.{digits}f}, {interval.high:,.{digits}f}]"


def _signed(interval: Interval) -> str:
    digits = decimals(interval)
    return f"{interval.value:+,.{digits}f} [{interval.low:+,.{digits}f}, {interval.high:+,.{digits}f}]"


def _percent(interval: Interval) -> str:
    return f"{interval.value:.0%} [{interval.low:.0%}, {interval.high:.0%}]"
