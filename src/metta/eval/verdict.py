"""What a comparison comes to: a table, and one plain sentence that a table leaves to the reader."""

from __future__ import annotations

import math
from collections.abc import Sequence

from metta.eval.analysis import format_table
from metta.eval.scores import OVERALL, Versus
from metta.eval.significance import LEVEL, more_for
from metta.eval.statistics import FEW, FEW_RUNS, Comparison, Interval

MOST_LINES = 20  # of comparisons; of more, those of single simulations are folded away
_TOO_MANY = 1_000_000  # episodes that nobody plays


def format_comparisons(comparisons: Sequence[Versus]) -> str:
    """Return comparisons as text: difference, probability of improvement, how many pairs were won, p-value.

    Intervals that rest on too few episodes or runs have a star; `few_note` explains it.
    """
    lines = []
    for versus in comparisons:
        found = versus.comparison
        star = "*" if found.is_small() else ""
        numbers = [f"{found.difference.text(sign='+')} {found.difference.bounds()}".rstrip() + star, share(found)]
        won = "" if found.is_of_runs() else f"{found.share_of_wins:.0%}"
        lines.append([versus.policy, versus.other, versus.simulation, *numbers, won, str(found.pairs), p_text(versus)])
    header = ["policy", "against", "simulation", "difference", "P(improvement)", "pairs won", "pairs", "p"]
    return format_table(lines, header=header)


def verdict(versus: Versus, *, metric: str, comparisons: int = 1) -> str:
    """Return one sentence: who is better and by how much, or how much more play it would take to tell.

    `comparisons`: for how many the p-value has been corrected.
    """
    found, size = versus.comparison, versus.comparison.difference
    p = p_text(versus)
    p = f"p {p}" if p.startswith("<") else f"p = {p}"
    corrected = f", corrected after Holm for {comparisons} comparisons" if comparisons > 1 else ""
    many = f" over {'all simulations' if versus.simulation == OVERALL else versus.simulation}"
    numbers = f"{size.text(sign='+')} {metric} per agent {size.bounds()}".rstrip() + f"{many}, {p}{corrected}"
    if versus.p_adjusted < LEVEL:
        better = "better" if size.value > 0 else "worse"
        return f"{versus.policy} is {better} than {versus.other}: {numbers}."
    if found.difference == Interval(0.0, 0.0, 0.0) and found.p_value == 1:
        return f"{versus.policy} and {versus.other} score the same in every pair of episodes{many}."
    unclear = f"No difference between {versus.policy} and {versus.other} could be shown: {numbers}."
    return f"{unclear} {_what_it_takes(found, comparisons)}"


def p_text(versus: Versus) -> str:
    """Return the corrected p-value with the digits that it is worth."""
    return "<0.001" if versus.p_adjusted < 0.001 else f"{versus.p_adjusted:.{2 if versus.p_adjusted >= 0.1 else 3}f}"


def share(comparison: Comparison) -> str:
    """Return the probability of improvement in per cent, with its interval."""
    value, low, high = comparison.probability_of_improvement
    return f"{value:.0%}" + ("" if low != low else f" [{low:.0%}, {high:.0%}]")


def few_note() -> str:
    """Return what a star at an interval means."""
    return f"* fewer than {FEW} episodes of a simulation or {FEW_RUNS} runs: the interval is too narrow to be trusted"


def _what_it_takes(found: Comparison, comparisons: int) -> str:
    """Say how much play would show the difference at the level that is left to each of so many comparisons."""
    if found.needed is None and found.fewest == 1:
        return "One episode does not tell what is chance: play more (episodes=64)."
    if found.needed is None:
        return "There is no difference to look for."
    needed = math.ceil(found.needed * more_for(comparisons))
    what, now = "episodes of each simulation", f"{found.fewest:,}"
    if found.is_of_runs():
        what = "runs of the recipe" if min(found.runs) == 1 else "runs of each recipe"
        now = " and ".join(str(number) for number in sorted(set(found.runs) - {1}))
    if needed > _TOO_MANY:
        return f"One of this size would take more than a million {what}."
    return f"About {_rounded(needed):,} {what} would be needed to show one of this size (here: {now})."


def _rounded(number: int) -> int:
    """Two digits: more would pretend to know."""
    scale: int = 10 ** max(0, len(str(number)) - 2)
    return -(-number // scale) * scale
