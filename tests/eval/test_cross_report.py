"""What cross-play says in words, and its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from metta.errors import ConfigError
from metta.eval import world_suite
from metta.eval.analysis import PolicyVersion
from metta.eval.cross_play.play import CrossPlayResults
from metta.eval.cross_play.report import CrossReport, make_report
from metta.eval.cross_play.scores import CrossScores
from metta.eval.pages.cross_page import save
from metta.grid.worlds import arena

NONE = float("nan")


def report(
    margins: list[list[float]],
    *,
    seeds: int = 20,
    held_out: int = 0,
    anchor: str | None = None,
    noise: float = 0.0,
    metrics: Sequence[str] = ("hearts",),
) -> CrossReport:
    """Policies a, b, c ... of which the row scores `margins` more than the column; NaN: never met."""
    number = len(margins)
    wide = np.pad(np.array(margins, np.float64), ((0, 0), (0, held_out)))
    focal = 5 + np.tile(wide, (seeds, 1, 1)) + noise * np.random.default_rng(0).normal(size=(seeds, *wide.shape))
    partner = np.where(np.isnan(wide), NONE, 5.0) + np.zeros_like(focal)
    results = CrossPlayResults(
        suite=world_suite(arena(num_agents=2), name="tiny/x"),
        share=0.5,
        policies=[PolicyVersion("abcdefgh"[k], 0) for k in range(number)],
        addresses=[f"runs/{'abcdefgh'[k]}" for k in range(number)],
        held_out=[PolicyVersion("<x>", 7)] * held_out,
        failures={},
        scores=[
            CrossScores(
                simulation=f"tiny/{'xyz'[k]}",
                metric=metric,
                focal=focal + k,
                partner=partner,
                focal_agents=1,
                agents=24,
            )
            for k, metric in enumerate(metrics)
        ],
    )
    return make_report(results, anchor=anchor)


CIRCLE = [[0, 1, -1], [-1, 0, 1], [1, -1, 0]]


def test_a_cycle_is_told_first_with_who_beats_whom() -> None:
    notes = report(CIRCLE).notes()
    assert notes[0].startswith("CYCLES: no single number orders these policies")
    assert "3 of 3 pairs are decided" in notes[0]
    assert notes[1].strip() == "a beats b (100%), b beats c (100%), c beats a (100%)"


def test_of_many_cycles_a_few_are_told_and_the_others_counted() -> None:
    """Seven in a round, each beating the next three, have fourteen cycles of three."""
    margins = [[0 if i == j else 1 if (j - i) % 7 <= 3 else -1 for j in range(7)] for i in range(7)]
    notes = report(margins).notes()
    assert [note.strip() for note in notes][6] == "and 9 more" and len(notes) == 7


def test_without_a_cycle_the_best_stands_first_and_unknown_distances_are_told() -> None:
    found = report([[0, -1, 0], [1, 0, 1], [0, -1, 0]])
    assert [found.names[row] for row in found.order] == ["b", "a", "c"]
    assert found.notes() == [
        "No cycle was found. 2 of 3 pairs are decided: one of the two wins more than half of the games, "
        "at 95 % for all of them together.",
        "No game of b was lost or tied against a, c: "
        "the games do not say how far apart their ratings are, only that it is far.",
    ]


def test_few_seeds_and_groups_that_never_met_are_told() -> None:
    apart = [[0, 0, NONE], [0, 0, NONE], [NONE, NONE, 0]]
    notes = report(apart, seeds=5).notes()
    assert "On fewer than 6 seeds a pair that meets cannot be decided: give more episodes." in notes
    assert "Ratings compare within a group alone, for these never met: a, b; c." in notes
    assert len(report(apart, seeds=6).notes()) == len(notes) - 1
    assert "-" in report(apart).text().splitlines()[3].split()
    ratings = report(apart).rating_table(report(apart).ratings).splitlines()
    assert [line.split()[:2] for line in ratings[3:]] == [["a", "+0"], ["b", "+0"], ["c", "-"]]


def test_more_policies_need_more_seeds_to_be_told_apart() -> None:
    margins = [[0 if i == j else i - j for j in range(8)] for i in range(8)]
    few, enough = report(margins, seeds=10), report(margins, seeds=11)
    assert "On fewer than 11 seeds 28 pairs that meet cannot be decided: give more episodes." in few.notes()
    assert few.notes()[0].startswith("No cycle was found. 0 of 28 pairs are decided")
    assert enough.notes()[0].endswith(
        "28 of 28 pairs are decided: one of the two wins more than half of the games, at 95 % for all of them together."
    )


def test_hearts_and_rewards_are_not_averaged_with_each_other() -> None:
    one, two = report([[0, 1], [-1, 0]]), report([[0, 1], [-1, 0]], metrics=("hearts", "reward", "hearts"))
    assert one.partners["hearts"][0].itself.value == 5 and "over all simulations" in one.text()
    assert (two.partners["hearts"][0].itself.value, two.partners["reward"][0].itself.value) == (6, 6)
    assert two.partners["hearts"][0].each_other.value == 7
    assert "reward of each policy by its partners, over the simulations scored by reward" in two.text()
    assert "plays 1 of 24 agents beside the column's" in two.text()


def test_the_anchor_is_found_by_name_or_address_and_a_wrong_one_is_a_mistake() -> None:
    for anchor in ("b", "runs/b"):
        found = report(CIRCLE, anchor=anchor, noise=1.0)
        assert found.ratings is not None and found.anchor == "b" and found.ratings.ratings[1].value == 0
    with pytest.raises(ConfigError, match=r"anchor=run/b is none of the policies: .*did you mean runs/b"):
        report(CIRCLE, anchor="run/b")


def test_one_policy_with_partners_held_out_is_not_rated() -> None:
    found = report([[0]], held_out=1)
    assert found.ratings is None and "rating" not in found.text()
    assert "<x>:7 (held out)" in found.text() and "with held-out" in found.text()


def test_the_page_warns_of_cycles_and_holds_every_figure(tmp_path: Path) -> None:
    page = save(report(CIRCLE, held_out=1, noise=0.1), tmp_path / "new" / "page.html").read_text()
    assert "border-left" in page and "CYCLES" in page
    assert page.count("<svg") == 2 and page.count("tiny/x: who gets what with whom") == 1
    assert "&lt;x&gt;:7" in page and "<x>" not in page
    assert "border-left" not in save(report([[0, 1], [-1, 0]]), tmp_path / "page.html").read_text()
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["page.html"]


def test_many_policies_have_a_page_too(tmp_path: Path) -> None:
    """With more columns than have room side by side the matrices stand below each other."""
    few, many = (report([[0.0] * n for _ in range(n)], noise=1.0) for n in (4, 8))
    heights = [
        float(save(found, tmp_path / "page.html").read_text().split('viewBox="0 0 ')[1].split('"')[0].split()[1])
        for found in (few, many)
    ]
    assert heights[1] > 2.5 * heights[0]
