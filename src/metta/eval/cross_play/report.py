"""`CrossReport`: what cross-play found, as tables and sentences; `pages/cross_page.py` makes a page of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metta.errors import ConfigError, nearest
from metta.eval.analysis import format_table
from metta.eval.cross_play.partners import WithPartners, with_partners
from metta.eval.cross_play.play import CrossPlayResults
from metta.eval.cross_play.rating import Ratings, rate
from metta.eval.cross_play.rating_notes import rating_notes
from metta.eval.cross_play.scores import CrossScores
from metta.eval.statistics import Interval


@dataclass(frozen=True, kw_only=True)
class CrossReport:
    """The results of cross-play and what follows from them."""

    results: CrossPlayResults
    ratings: Ratings | None  # None: fewer than two policies
    partners: dict[str, list[WithPartners]]  # metric -> [N], over the simulations that are scored by it
    order: list[int]  # [N] the policies, best rating first
    anchor: str | None  # whose rating is 0; None: the mean

    @property
    def names(self) -> list[str]:
        """The policies' names, [N]."""
        return [str(policy) for policy in self.results.policies]

    @property
    def columns(self) -> list[int]:
        """The partners in the order in which they are shown: the policies, best rating first, then those held out."""
        number = len(self.results.policies)
        return [*self.order, *range(number, number + len(self.results.held_out))]

    @property
    def column_names(self) -> list[str]:
        """The partners' names, [N + H]."""
        return [*self.names, *(f"{policy} (held out)" for policy in self.results.held_out)]

    def text(self) -> str:
        """Return everything for a terminal."""
        parts = [self.matrix_tables(table) for table in self.results.scores]
        if self.ratings is not None:
            parts += [self.wins_table(self.ratings), self.rating_table(self.ratings)]
        lacking = [f"{who} could not play" for who in self.results.failures]
        parts += [*map(self.partner_table, self.partners), "\n".join([*self.notes(), *lacking])]
        return "\n\n".join(part for part in parts if part)

    def matrix_tables(self, scores: CrossScores) -> str:
        """Return focal and partner scores of one simulation."""
        where = f"{scores.simulation}, {scores.num_seeds()} seeds"
        share = f"{scores.focal_agents} of {scores.agents} agents"
        focal = f"{scores.metric} per agent of the row's policy, which plays {share} beside the column's ({where})"
        partner = f"{scores.metric} per agent of the column's policy in the same games"
        return f"{focal}\n{self._matrix(scores.focal_interval)}\n\n{partner}\n{self._matrix(scores.partner_interval)}"

    def wins_table(self, ratings: Ratings) -> str:
        """Return who did better in how many games."""
        header = [self.names[column] for column in self.order]
        lines = [
            [self.names[row], *(percent(ratings.wins[row][column]) for column in self.order)] for row in self.order
        ]
        title = "share of games in which the row's agents score more than the column's, ties half"
        return f"{title}\n{format_table(lines, header=['', *header])}"

    def rating_table(self, ratings: Ratings) -> str:
        """Return the ratings."""
        lines = []
        for row in self.order:
            beats, loses = sum(ratings.beats[row]), sum(line[row] for line in ratings.beats)
            lines.append([self.names[row], *self._rating(ratings.ratings[row], row), str(beats), str(loses)])
        title = f"rating (Elo scale, {self.anchor or 'the mean'} is 0)"
        return f"{title}\n{format_table(lines, header=['', 'rating', '95 % interval', 'beats', 'loses to'])}"

    def partner_table(self, metric: str) -> str:
        """Return how well each policy does with whom."""
        header, lines = self.partner_rows(metric)
        where = "all simulations" if len(self.partners) == 1 else f"the simulations scored by {metric}"
        title = f"{metric} of each policy by its partners, over {where}; gap: with itself - with the others"
        return f"{title}\n{format_table(lines, header=['', *header])}"

    def partner_rows(self, metric: str) -> tuple[list[str], list[list[str]]]:
        """Return titles, and a line a policy that begins with its name; what nobody played has no column."""
        names = ["with itself", "with each other", "gap", "with held-out", "gap"]
        found = [self.partners[metric][row] for row in self.order]
        rows = [[one.itself, one.each_other, one.gap_each_other, one.held_out, one.gap_held_out] for one in found]
        kept = [k for k in range(len(names)) if any(row[k] is not None for row in rows)]
        lines = [
            [self.names[number], *(_cell(row[k]) for k in kept)] for number, row in zip(self.order, rows, strict=True)
        ]
        return [names[k] for k in kept], lines

    def notes(self) -> list[str]:
        """Return what the numbers alone do not say, a sentence each."""
        return [] if self.ratings is None else rating_notes(self.ratings, self.names)

    def _rating(self, rating: Interval | None, row: int) -> tuple[str, str]:
        if rating is None:
            return "-", ""
        is_anchor = self.names[row] == self.anchor
        return f"{rating.value:+.0f}", "" if is_anchor else f"[{rating.low:+.0f}, {rating.high:+.0f}]"

    def _matrix(self, cell: Callable[[int, int], Interval | None]) -> str:
        lines = [[self.names[row], *(_cell(cell(row, column)) for column in self.columns)] for row in self.order]
        return format_table(lines, header=["", *(self.column_names[column] for column in self.columns)])


def make_report(results: CrossPlayResults, *, anchor: str | None = None) -> CrossReport:
    """Rate, compare and order what was played.

    `anchor`: the policy whose rating is 0, by name or address; none, or one that could not play: the mean. Raises
    ConfigError if it is none of the policies.
    """
    index = _anchor_index(results, anchor)
    number = len(results.policies)
    ratings = rate([table.outcomes() for table in results.scores], anchor=index) if number > 1 else None
    order = list(range(number))
    if ratings is not None:
        order = _best_first(ratings)
    return CrossReport(
        results=results,
        ratings=ratings,
        partners=_partners(results.scores, number),
        order=order,
        anchor=None if index is None else str(results.policies[index]),
    )


def _partners(scores: Sequence[CrossScores], policies: int) -> dict[str, list[WithPartners]]:
    """Return what each policy does with whom, for every metric apart: hearts and rewards have no mean."""
    metrics = dict.fromkeys(table.metric for table in scores)
    return {
        metric: [with_partners([table for table in scores if table.metric == metric], row) for row in range(policies)]
        for metric in metrics
    }


def percent(interval: Interval | None) -> str:
    """Return a share in per cent with its interval; a dash for none."""
    return "-" if interval is None else f"{interval.value:.0%} [{interval.low:.0%}, {interval.high:.0%}]"


def _best_first(ratings: Ratings) -> list[int]:
    """Return the policies group by group, best rating first."""
    order: list[int] = []
    for group in ratings.groups:
        known = {policy: rating.value for policy in group if (rating := ratings.ratings[policy]) is not None}
        order += sorted(group, key=lambda policy: -known.get(policy, 0.0))
    return order


def _cell(interval: Interval | None) -> str:
    return "-" if interval is None else str(interval)


def _anchor_index(results: CrossPlayResults, anchor: str | None) -> int | None:
    if anchor is None or anchor in results.failures:
        return None
    for index, (policy, address) in enumerate(zip(results.policies, results.addresses, strict=True)):
        if anchor in (address, str(policy), policy.key):
            return index
    known = list(dict.fromkeys([*results.addresses, *map(str, results.policies)]))
    raise ConfigError(f"anchor={anchor} is none of the policies: {', '.join(known)}{nearest(anchor, known)}")
