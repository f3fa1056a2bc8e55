from __future__ import annotations

import json
from pathlib import Path

from metta.rl.hooks.metrics import keep_epochs


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
