"""The folder in which the service keeps its things is its owner's alone."""

from __future__ import annotations

import stat
from pathlib import Path

from metta.eval.eval_service.config import EvalServiceConfig
from metta.eval.eval_service.serve import make_folders


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_that_the_service_makes_can_be_read_by_nobody_else(tmp_path: Path) -> None:
    config = EvalServiceConfig(data_dir=str(tmp_path / "runs"))
    make_folders(config)
    assert mode_of(config.folder) == mode_of(config.policies_folder) == 0o700
    assert mode_of(tmp_path / "runs") != 0o700, "runs are for everybody who may enter"
    make_folders(config)


def test_a_folder_that_was_there_stays_as_open_as_it_was_and_the_copies_in_it_are_closed(tmp_path: Path) -> None:
    config = EvalServiceConfig(service_dir=str(tmp_path / "mine"))
    config.policies_folder.mkdir(parents=True)  # as older versions made it
    for folder in (config.folder, config.policies_folder):
        folder.chmod(0o755)
    make_folders(config)
    assert (mode_of(config.folder), mode_of(config.policies_folder)) == (0o755, 0o700)
