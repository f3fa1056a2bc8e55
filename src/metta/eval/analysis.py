"""From a statistics file to the tables that people read: metrics with intervals, and what is wasted."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic import Field
from rich.cells import cell_len

from metta.config import Config
from metta.errors import StatsError, nearest
from metta.eval.eval_stats_db import EvalStatsDB
from metta.eval.filters import Filter
from metta.eval.statistics import Interval, mean_intervals
from metta.sim import parse_policy_uri

_VERB = re.compile(r"action\.(?P<verb>\w+)\.(?P<end>success|failed)")
_ON_FROZEN = re.compile(r"action\.attack\.\w+\.wasted_on_frozen")


class AnalysisConfig(Config):
    """What an analysis looks at."""

    metrics: list[str] = Field(default_factory=lambda: ["*"], description="names with * and ?, e.g. heart*")
    policies: list[str] = Field(
        default_factory=list, description="beside the run's latest: run, run:epoch, file, address"
    )
    suite: str | None = Field(None, description="a suite by name; none: the one that the run is evaluated on")
    output: str | None = Field(None, description="folder of the report; none: report/ of the run")


class PolicyVersion(NamedTuple):
    """A policy in a statistics file."""

    key: str
    version: int

    def __str__(self) -> str:
        return self.key if self.version == 0 else f"{self.key}:{self.version}"


class MetricRow(NamedTuple):
    """One line of the table: a metric of a policy in a simulation, per agent and episode."""

    policy: PolicyVersion
    simulation: str
    metric: str
    mean: Interval
    episodes: int
    agents: int  # agent-episode pairs


class WastedAction(NamedTuple):
    """An action that achieved nothing."""

    name: str
    share: float  # of all actions that the policy's agents chose, 0..1
    per_episode: float  # a number per agent and episode


def policy_versions(database: EvalStatsDB, policies: Sequence[str] = ()) -> list[PolicyVersion]:
    """Return the policies of a file that `policies` name; all without. A run without an epoch means its latest there.

    Raises StatsError for a policy of which the file holds nothing, with the nearest names.
    """
    present = []
    for uri in database.get_all_policy_uris():
        key, version = parse_policy_uri(uri)
        present.append(PolicyVersion(key, version or 0))
    return [_find(name, present) for name in policies] if policies else present


def metric_rows(
    database: EvalStatsDB,
    *,
    metrics: Sequence[str] = ("*",),
    policies: Iterable[PolicyVersion],
    filters: Sequence[Filter] = (None,),
) -> list[MetricRow]:
    """Return the table of all metrics that match one of the globs, by policy, simulation and metric's name.

    `filters`: which episodes count, one filter after the other; without, all that there are.
    A metric that was 0 in every episode has a line only if one of `metrics` is its whole name.
    Raises StatsError for a glob that nothing matches, with the nearest names.
    """
    names = matching_metrics(database.metric_names(), metrics)
    rows = [row for policy in policies for where in filters for row in _policy_rows(database, names, policy, where)]
    return [row for row in rows if row.mean.value or row.mean.low or row.metric in metrics]


def matching_metrics(names: Sequence[str], globs: Sequence[str]) -> list[str]:
    """Return the names that match any of the globs, sorted; each once."""
    found: set[str] = set()
    for glob in globs:
        matches = fnmatch.filter(names, glob)
        if not matches:
            raise StatsError(f"no metric is called {glob!r}{nearest(glob, names)}")
        found.update(matches)
    return sorted(found)


def wasted_actions(
    database: EvalStatsDB, policy: PolicyVersion, *, filter: Filter = None, count: int = 3
) -> list[WastedAction]:
    """Return the `count` most frequent wasted actions, most frequent first.

    An action is **wasted** if it failed (`<verb> failed`: a move into something solid, nothing to get or put, nobody to
    attack, a lacking resource), was no action at all (`invalid`), or hit an agent that was frozen already (`attack on a
    frozen agent`). Standing still on purpose (noop) is not counted as waste. The share is of all actions that were
    chosen while not frozen: successful, failed and invalid ones.
    """
    names = [name for name in database.metric_names() if name.startswith("action.")]
    means = database.episode_metrics(names, *policy, filter=filter)
    if means.empty:
        return []
    totals = means[names].mul(means["agents"], axis=0).sum()
    wasted: dict[str, float] = {}
    chosen = float(totals.get("action.invalid", 0.0))
    for name, total in totals.items():
        match = _VERB.fullmatch(str(name))
        chosen += float(total) if match else 0.0
        if match and match["end"] == "failed":
            wasted[f"{match['verb']} failed"] = float(total)
        elif name == "action.invalid":
            wasted["invalid"] = float(total)
        elif _ON_FROZEN.fullmatch(str(name)):
            label = "attack on a frozen agent"
            wasted[label] = wasted.get(label, 0.0) + float(total)
    pairs = float(means["agents"].sum())
    most = sorted((name for name, total in wasted.items() if total > 0), key=lambda name: (-wasted[name], name))
    return [WastedAction(name, wasted[name] / chosen, wasted[name] / pairs) for name in most[:count]]


def format_table(rows: Sequence[Sequence[str]], *, header: Sequence[str]) -> str:
    """Return rows of text as an aligned table: numbers and intervals to the right, all else to the left."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    are_numbers = [all(re.match(r"[\[\d+.-]|$", cell) for cell in column[1:]) for column in columns]

    def text(line: Sequence[str]) -> str:
        cells = [(cell, " " * (width - cell_len(cell))) for cell, width in zip(line, widths, strict=True)]
        aligned = zip(cells, are_numbers, strict=True)
        return "  ".join(space + cell if number else cell + space for (cell, space), number in aligned).rstrip()

    return "\n".join([text(header), "  ".join("-" * width for width in widths), *map(text, rows)])


def _find(name: str, present: Sequence[PolicyVersion]) -> PolicyVersion:
    key, version = EvalStatsDB.split_policy(name)
    of_key = [policy for policy in present if policy.key == key and version in (None, policy.version)]
    if not of_key:
        known = [str(policy) for policy in present]
        raise StatsError(f"there are no episodes of {name}; there are some of {', '.join(known)}{nearest(name, known)}")
    return max(of_key, key=lambda policy: policy.version)


def _policy_rows(database: EvalStatsDB, names: Sequence[str], policy: PolicyVersion, where: Filter) -> list[MetricRow]:
    means = database.episode_metrics(names, *policy, filter=where)
    rows = []
    for simulation, episodes in means.groupby(level="sim_name"):
        intervals = mean_intervals([episodes[list(names)].to_numpy()])
        agents = int(episodes["agents"].sum())
        for name, interval in zip(names, intervals, strict=True):
            rows.append(MetricRow(policy, str(simulation), name, interval, len(episodes), agents))
    return rows
