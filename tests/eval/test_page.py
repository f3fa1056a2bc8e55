"""The page of a report: one policy or twelve, negative scores, gaps, failures, no curve."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metta.eval.analysis import MetricRow, PolicyVersion
from metta.eval.learning_curve import Curve, Point
from metta.eval.pages.curve_figure import _apart
from metta.eval.pages.figure_style import POLICY_COLORS
from metta.eval.pages.run_page import save
from metta.eval.report import Report
from metta.eval.scores import Player, Score, adjusted, compare_all
from metta.eval.statistics import Interval, summarize


def report(folder: Path, *, policies: int, simulations: int, episodes: int = 12, gap: bool = False) -> Report:
    names = [PolicyVersion(f"run_{number}", 10 + number) for number in range(policies)]
    rooms = [f"navigation/room_{number}" for number in range(simulations)]
    generator = np.random.default_rng(0)
    tables = {
        policy: {room: generator.normal(-4 + index, 0.5, size=episodes) for room in rooms}
        for index, policy in enumerate(names)
    }
    if gap:
        del tables[names[-1]][rooms[-1]]
    players = [
        Player(name=str(p), runs=(p,), episodes={room: pd.DataFrame({"v": v}) for room, v in tables[p].items()})
        for p in names
    ]
    scores = [
        Score(policy=p, simulation=room, summary=summarize([tables[p][room]]), episodes=tables[p][room])
        for room in rooms
        for p in names
        if room in tables[p]
    ]
    versus = [line for other in players[1:] for line in compare_all([players[0]], other, rooms)]
    return Report(title="t", metric="reward", folder=folder, scores=scores, comparisons=adjusted(versus))


def text_of(page: Path) -> str:
    return re.sub(r"<svg.*?</svg>", "", page.read_text(), flags=re.DOTALL)


def test_one_policy_in_one_simulation_makes_a_page(tmp_path: Path) -> None:
    page = save(report(tmp_path, policies=1, simulations=1))
    assert page.read_text().count("<svg") == 1  # the episodes; no curve
    assert "-4.1" in text_of(page) and "nan" not in text_of(page).lower() and "Against" not in text_of(page)


@pytest.mark.slow
def test_twelve_policies_in_nine_simulations_fit_on_a_page_below_a_megabyte(tmp_path: Path) -> None:
    made = report(tmp_path, policies=12, simulations=9, episodes=64)
    points = [Point(step * 1e5, step / 10, Interval(step / 60, step / 60 - 0.1, step / 60 + 0.1)) for step in range(60)]
    curves = [Curve(f"run_{number}", points, points[-1:]) for number in range(12)]
    made = Report(**{**made.__dict__, "curves": curves, "curve_simulation": "navigation/room_0"})
    page = save(made)
    assert page.stat().st_size < 1_000_000
    assert len(re.findall(r'<td class="heat"', page.read_text())) == 108
    assert page.read_text().count("<details>") == 1  # comparisons of single simulations are folded away


def test_the_colour_of_a_cell_grows_with_its_score_also_below_zero(tmp_path: Path) -> None:
    page = save(report(tmp_path, policies=3, simulations=1))
    shades = [float(shade) for shade in re.findall(r"rgb\(var\(--heat\) / ([\d.]+)\)\"><b>", page.read_text())]
    assert shades[0] == 0.0 < shades[1] < shades[2] == 0.5


def test_equal_scores_have_no_colour(tmp_path: Path) -> None:
    assert "--heat) / 0.00)" in save(report(tmp_path, policies=1, simulations=1)).read_text()


def test_a_missing_cell_is_a_dash_and_a_failed_policy_a_row(tmp_path: Path) -> None:
    made = report(tmp_path, policies=2, simulations=2, gap=True)
    made = Report(**{**made.__dict__, "failures": {"broken": "no <policy> there"}, "notes": ["3 are missing"]})
    page = save(made).read_text()
    assert "3 are missing" in page and made.score_table().endswith("3 are missing")
    assert page.count('<td class="heat">–</td>') == 1
    assert 'colspan="2">could not play: no &lt;policy&gt; there</td>' in page
    assert re.search(r"broken +could not play", made.score_table())


@pytest.mark.parametrize("episodes", [1, 2, 3])
def test_scores_of_few_episodes_are_marked(tmp_path: Path, episodes: int) -> None:
    made = report(tmp_path, policies=2, simulations=1, episodes=episodes)
    page = text_of(save(made))
    assert "fewer than 10 episodes" in page and "fewer than 10 episodes" in made.score_table()
    assert "no interval*" in page if episodes == 1 else "]*" in page
    assert "nan" not in page.lower() and "nan" not in (made.score_table() + made.comparison_table()).lower()


def test_nothing_evaluated_is_said(tmp_path: Path) -> None:
    made = Report(title="t", metric="m", folder=tmp_path, scores=[])
    assert "Nothing has been evaluated yet" in save(made).read_text()


def test_very_many_metrics_are_cut_and_the_page_says_so(tmp_path: Path) -> None:
    rows = [MetricRow(PolicyVersion("r", 1), "s", f"m{n}", Interval(1.0, 0.5, 1.5), 3, 6) for n in range(1600)]
    page = save(Report(title="t", metric="m", folder=tmp_path, scores=[], rows=rows)).read_text()
    assert "m1499" in page and "m1500" not in page and "100 more lines" in page


def test_of_very_many_episodes_some_are_drawn_and_the_legend_says_so(tmp_path: Path) -> None:
    page = save(report(tmp_path, policies=1, simulations=1, episodes=5000)).read_text()
    assert len(page) < 60_000 and "300 evenly by score" in page
    assert "evenly" not in save(report(tmp_path, policies=1, simulations=1, episodes=300)).read_text()


def test_the_time_of_training_is_that_of_the_policy_that_is_shown(tmp_path: Path) -> None:
    made = report(tmp_path, policies=2, simulations=1)
    other, own = (Curve(f"run_{n}", [Point(1e6, 10.0 + n, Interval(1.0, 0.5, 1.5))]) for n in (1, 0))
    assert '<b class="mid">10.0 min</b>' in save(replace(made, curves=[other, own])).read_text()
    assert " min</b>" not in save(replace(made, curves=[other])).read_text()


def test_a_run_has_one_colour_in_all_figures(tmp_path: Path) -> None:
    made = report(tmp_path, policies=2, simulations=1)
    curve = Curve("run_1", [Point(1e6, 10.0, Interval(1.0, 0.5, 1.5))])  # run_0 has none
    curves, episodes = re.findall(r"<svg.*?</svg>", save(replace(made, curves=[curve])).read_text(), flags=re.DOTALL)
    first, second = POLICY_COLORS[:2]
    assert second in curves and first not in curves and first in episodes and second in episodes


def test_names_of_any_letters_make_a_page_without_a_warning(tmp_path: Path) -> None:
    made = report(tmp_path, policies=2, simulations=1)
    snow = PolicyVersion("雪だるま 💥", 1)
    scores = [replace(score, policy=snow) for score in made.scores]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert str(snow) in save(replace(made, title="雪", scores=scores)).read_text(encoding="utf-8")


@pytest.mark.slow
def test_of_very_many_policies_and_runs_some_are_drawn_and_all_are_in_the_tables(tmp_path: Path) -> None:
    made = report(tmp_path, policies=300, simulations=1)
    points = [Point(step * 1e5, step / 10, Interval(step / 60, step / 60 - 0.1, step / 60 + 0.1)) for step in range(9)]
    curves = [Curve(f"run_{number}", points) for number in range(300)]
    page = save(replace(made, curves=curves)).read_text()
    assert page.count('<td class="name">run_299:309</td>') == 2  # its score, and against the first
    assert "260 more policies are in the table" in page and "288 more runs are not drawn" in page
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "run_39:49" in drawn and "run_40:50" not in drawn and "run_12 " not in drawn


def test_labels_are_moved_apart_and_stay_inside() -> None:
    assert _apart([0.1, 0.5]) == [0.1, 0.5]
    assert _apart([0.1, 0.1, 0.1]) == pytest.approx([0.1, 0.16, 0.22])
    assert _apart([0.99, 0.99]) == pytest.approx([0.94, 1.0])
