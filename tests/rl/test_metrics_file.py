from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from metta.rl.build import build_trainer
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.hooks.metrics import keep_epochs

from .small_world import small_config

if TYPE_CHECKING:
    from metta.rl.trainer_state import TrainerState


def lines(*epochs: int) -> str:
    return "".join(json.dumps({"metric/epoch": epoch}) + "\n" for epoch in epochs)


def test_lines_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(1, 2, 3, 4))
    keep_epochs(path, last_epoch=2)
    assert path.read_text() == lines(1, 2)


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(1, 2) + '{"metric/ep')
    keep_epochs(path, last_epoch=9)
    assert path.read_text() == lines(1, 2)


def test_a_run_that_begins_anew_keeps_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(1))
    keep_epochs(path, last_epoch=0)
    assert path.read_text() == ""


class AddsNumbers(TrainerHook):
    """What hooks of a user may put into the metrics."""

    def on_epoch_end(self, state: TrainerState) -> None:
        state.metrics |= {"mine/exact": 0.1 + 0.2, "mine/unknown": float("nan"), "mine/numpy": np.float32(0.5)}


def test_every_line_is_strict_json_with_the_exact_numbers_and_null_for_what_is_no_number(tmp_path: Path) -> None:
    trainer = build_trainer(small_config(tmp_path, total=512), run="run")
    trainer.hooks.insert(0, AddsNumbers())
    trainer.train()

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    [row] = [json.loads(line, parse_constant=refuse) for line in text.splitlines()]
    assert (row["mine/exact"], row["mine/unknown"], row["mine/numpy"]) == (0.1 + 0.2, None, 0.5)
