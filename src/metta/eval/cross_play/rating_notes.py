"""When a rating must not be taken at its word, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from metta.eval.cross_play.decisions import fewest_seeds
from metta.eval.cross_play.rating import Ratings

_SHOWN_CYCLES = 5


def rating_notes(ratings: Ratings, names: Sequence[str]) -> list[str]:
    """Return when a rating must not be taken at its word: cycles, groups that never met, distances nobody knows."""
    pairs = [(i, j) for i in range(len(names)) for j in range(i) if ratings.seeds[i][j]]
    decided = sum(ratings.beats[i][j] or ratings.beats[j][i] for i, j in pairs)
    said = f"{decided} of {len(pairs)} pairs are decided: one of the two wins more than half of the games"
    said += ", at 95 %" if len(pairs) == 1 else ", at 95 % for all of them together"
    notes = [f"No cycle was found. {said}."] if not ratings.cycles else []
    if ratings.cycles:
        notes.append(f"CYCLES: no single number orders these policies, the rating hides who beats whom. {said}.")
        notes += [f"  {_cycle(ratings, cycle, names)}" for cycle in ratings.cycles[:_SHOWN_CYCLES]]
        if len(ratings.cycles) > _SHOWN_CYCLES:
            notes.append(f"  and {len(ratings.cycles) - _SHOWN_CYCLES} more")
    if pairs and max(ratings.seeds[i][j] for i, j in pairs) < (fewest := fewest_seeds(len(pairs))):
        pair = "a pair that meets" if len(pairs) == 1 else f"{len(pairs)} pairs that meet"
        notes.append(f"On fewer than {fewest} seeds {pair} cannot be decided: give more episodes.")
    if len(ratings.groups) > 1:
        groups = "; ".join(_listed(group, names) for group in ratings.groups)
        notes.append(f"Ratings compare within a group alone, for these never met: {groups}.")
    for tiers in ratings.tiers:
        for above, below in pairwise(tiers):
            notes.append(
                f"No game of {_listed(above, names)} was lost or tied against {_listed(below, names)}: "
                "the games do not say how far apart their ratings are, only that it is far."
            )
    return notes


def _cycle(ratings: Ratings, cycle: Sequence[int], names: Sequence[str]) -> str:
    steps = []
    for winner, loser in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
        share = ratings.wins[winner][loser]
        assert share is not None
        steps.append(f"{names[winner]} beats {names[loser]} ({share.value:.0%})")
    return ", ".join(steps)


def _listed(members: Sequence[int], names: Sequence[str]) -> str:
    return ", ".join(names[member] for member in members)
