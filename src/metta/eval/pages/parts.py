"""The tables of a report's page, as HTML."""

from __future__ import annotations

import html
import os
import shlex
from collections.abc import Sequence
from urllib.parse import quote

from metta.eval.game_pairs import decimals, lacks_replays, number
from metta.eval.report import Report
from metta.eval.scores import OVERALL, Versus
from metta.eval.statistics import FEW, Interval, Summary
from metta.eval.verdict import MOST_LINES, few_note, p_text, share

MOST_METRICS = 1500  # lines of the table of metrics: more would make the page slow


def score_table(report: Report) -> str:
    """Return policies by simulations, each column coloured by how good its scores are."""
    columns = _columns(report)
    if not columns:
        return ""
    policies = list(dict.fromkeys(str(score.policy) for score in report.scores))
    lines = [[name(policy), *(_cell(columns[simulation], policy) for simulation in columns)] for policy in policies]
    why = '<td class="left failed" colspan="{}">could not play: {}</td>'
    lines += [[name(policy), why.format(len(columns), text(error))] for policy, error in report.failures.items()]
    is_small = any(summary.is_small() for column in columns.values() for summary in column.values())
    notes = [
        "Mean over agents and episodes and the interquartile mean (IQM), with 95 % intervals. Colour: from the lowest "
        "score of a column, none, to the highest, full. Every policy plays the same evaluation seeds (maps), none of "
        "which was used in training.",
        *(["In the column “all” each simulation counts the same."] if report.overall else []),
        *([few_note()] if is_small else []),
        *report.notes,
    ]
    header = ["policy", *(_title(simulation, column) for simulation, column in columns.items())]
    return f'{table(header, lines)}\n<p class="note">{"<br>".join(map(text, notes))}</p>'


def comparison_table(report: Report) -> str:
    """Return the first policy against each other one."""
    if not report.comparisons:
        return ""
    lines = {versus: _versus(versus) for versus in report.comparisons}
    single = [line for versus, line in lines.items() if versus.simulation != OVERALL]
    overall = [line for versus, line in lines.items() if versus.simulation == OVERALL]
    header = ["against", "<simulation", "difference", "P(improvement)", "pairs won", "pairs", "p"]
    shown = table(header, list(lines.values()))
    if overall and len(lines) > MOST_LINES:
        folded = f"<details><summary>In each simulation</summary>\n{table(header, single)}</details>"
        shown = f"{table(header, overall)}\n{folded}"
    note = f"""Differences are {text(report.comparisons[0].policy)} minus the other, pair by pair on the same seed and
    map. P(improvement): the chance that one of its episodes scores more than one of the other's. p: could chance have
    made the difference (sign-flip test), corrected after Holm: for all comparisons in single simulations, and for all
    over all simulations."""
    return f'{shown}\n<p class="note">{note}</p>'


def _versus(versus: Versus) -> list[str]:
    found = versus.comparison
    return [
        name(versus.other),
        left(versus.simulation),
        f"{found.difference.text(sign='+')} {found.difference.bounds()}".rstrip() + "*" * found.is_small(),
        share(found),
        f"{found.share_of_wins:.0%}",
        str(found.pairs),
        text(p_text(versus)),
    ]


def pair_table(report: Report) -> str:
    """Return the games in which the first policy differs most from the others; a score is a link to its replay."""
    if not report.pairs:
        return ""
    digits = decimals(report.pairs)
    lines = [
        [
            name(pair.other),
            left(pair.simulation),
            left(str(pair.seed)),
            _watched(report, number(pair.score, digits[pair.simulation]), pair.replay),
            _watched(report, number(pair.other_score, digits[pair.simulation]), pair.other_replay),
            number(pair.difference, digits[pair.simulation], sign="+"),
        ]
        for pair in report.pairs
    ]
    note = "A score with a line below it is a link to the replay; <code>metta replay FILE</code> plays one. "
    if lacks_replays(report.pairs):
        note += "<code>metta analyze … watch=3</code> records the games that were not yet."
    header = ["against", "<simulation", "<seed", text(report.pairs[0].policy), "the other", "difference"]
    return f'{table(header, lines)}\n<p class="note">{note}</p>'


def _watched(report: Report, score: str, replay: str | None) -> str:
    """A score in one game, as a link to it if it was recorded."""
    return score if replay is None else f'<a href="{text(_link(report, replay))}">{score}</a>'


def _link(report: Report, url: str) -> str:
    """The address of a replay as the page writes it: relative, so that a folder can be moved as a whole."""
    return url if "://" in url else quote(os.path.relpath(url, report.folder))


def wasted_table(report: Report) -> str:
    """Return the most frequent wasted actions, with bars."""
    most = max((action.share for actions in report.wasted.values() for action in actions), default=0.0)
    lines = []
    for policy, actions in report.wasted.items():
        for index, action in enumerate(actions):
            width = round(100 * action.share / most)
            lines.append(
                [
                    name(str(policy) if index == 0 else ""),
                    left(action.name),
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
    return f'{table(header, lines)}\n<p class="note">{note}</p>'


def replay_list(report: Report) -> str:
    """Return a line a policy: a link to the replay of each simulation, and the command that draws the first."""
    items = []
    for policy, simulations in report.replay_urls.items():
        links, files = [], []
        for simulation, urls in simulations.items():
            for index, url in enumerate(urls):
                title = simulation if index == 0 else f"{simulation} ({index + 1})"
                links.append(f'<a href="{text(_link(report, url))}">{text(title)}</a>')
                files.append(url if "://" in url else os.path.relpath(url))
        if links:
            command = f"<code>metta replay {text(shlex.quote(files[0]))}</code>"
            items.append(f"<li><b>{text(policy)}</b>: {', '.join(links)}<br>{command}</li>")
    return f"<ul>{''.join(items)}</ul>" if items else ""


def metric_table(report: Report) -> str:
    """Return the metrics of the table; the first 1,500 lines."""
    lines = [
        [
            name(row.metric),
            left(str(row.policy)),
            left(row.simulation),
            row.mean.text(),
            f"{row.mean.bounds()}{'*' if row.episodes < FEW else ''}",
            str(row.episodes),
            f"{row.agents:,}",
        ]
        for row in report.rows[:MOST_METRICS]
    ]
    if not lines:
        return ""
    header = ["metric", "<policy", "<simulation", "mean", "95 % interval", "episodes", "agents"]
    rest = len(report.rows) - len(lines)
    more = f'<p class="note">{rest:,} more lines are in the output of <code>metta analyze --json</code></p>'
    return table(header, lines) + (more if rest else "")


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table of cells that are HTML: bare ones become right-aligned. `<` before a title aligns it left."""
    titles = [
        f'<th class="left">{title[1:]}</th>' if title.startswith("<") else f"<th>{title}</th>" for title in header
    ]
    rows = [titles, *([cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in line] for line in lines)]
    content = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="scroll"><table>{content}</table></div>'


def name(content: str) -> str:
    """Return a cell with a name."""
    return f'<td class="name">{text(content)}</td>'


def left(content: str) -> str:
    """Return a cell with words."""
    return f'<td class="left">{text(content)}</td>'


def text(content: str) -> str:
    """Return a text with nothing in it that HTML would read."""
    return html.escape(content)


def _columns(report: Report) -> dict[str, dict[str, Summary]]:
    """Simulation -> policy -> summary; with the mean over all simulations last, where that means something."""
    columns: dict[str, dict[str, Summary]] = {}
    for score in report.scores:
        columns.setdefault(score.simulation, {})[str(score.policy)] = score.summary
    if report.overall:
        columns[OVERALL] = {str(policy): summary for policy, summary in report.overall.items()}
    return columns


def _title(simulation: str, column: dict[str, Summary]) -> str:
    """The column's name, and what its scores rest on where that is the same for all of them."""
    counts = {_counts(summary) for summary in column.values()}
    words = text(simulation).replace("/", "/<wbr>").replace("_", "_<wbr>")
    return words + (f"<br><small>{counts.pop()}</small>" if len(counts) == 1 else "")


def _counts(summary: Summary) -> str:
    return f"{summary.episodes:,} episodes, {summary.seeds:,} seeds"


def _cell(column: dict[str, Summary], policy: str) -> str:
    if policy not in column:
        return '<td class="heat">–</td>'
    summary, values = column[policy], [other.mean.value for other in column.values()]
    low, high = min(values), max(values)
    shade = 0.5 * (summary.mean.value - low) / (high - low) if high > low else 0.0
    same = len({_counts(other) for other in column.values()}) == 1
    return (
        f'<td class="heat" style="background: rgb(var(--heat) / {shade:.2f})"><b>{summary.mean.text()}</b><br>'
        f"<small>{_bounds(summary.mean, is_small=summary.is_small())}<br>IQM {summary.iqm}"
        f"{'' if same else '<br>' + _counts(summary)}</small></td>"
    )


def _bounds(interval: Interval, *, is_small: bool) -> str:
    return f"{interval.bounds() or 'no interval'}{'*' * is_small}"
