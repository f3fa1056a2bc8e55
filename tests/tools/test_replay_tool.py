"""`metta replay`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from metta.errors import CheckpointError, ReplayError, RunError
from metta.grid import WorldConfig
from metta.replay import ReplayFrames, read_replay
from metta.tools import ReplayTool
from metta.tools.replay import Player, newest_replay


@pytest.fixture
def replay(world: WorldConfig, tmp_path: Path) -> str:
    return ReplayTool(world=world, policy_uri="mock://random", data_dir=str(tmp_path)).find()


def make_run(folder: Path, *replays: str) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "agent_epoch_1.pt").touch()
    (folder / "replays").mkdir()
    for name in replays:
        (folder / "replays" / name).touch()
    return folder


def test_without_a_terminal_a_few_frames_are_printed_the_first_and_the_last_too(
    replay: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ReplayTool(replay=replay).run_tool() == 0
    printed = capsys.readouterr().out
    assert [f"step {step} of 6" in printed for step in range(7)] == [True, False, True, False, True, False, True]
    assert "# @ . . . . . _ #" in printed


def test_only_the_steps_asked_for_are_shown(replay: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ReplayTool(replay=replay, first=2, last=3).run_tool() == 0
    printed = capsys.readouterr().out
    assert "step 2 of 6" in printed and "step 3 of 6" in printed and "step 4 of 6" not in printed
    with pytest.raises(ReplayError, match="first=9 is behind the last step"):
        ReplayTool(replay=replay, first=9).run_tool()


def test_a_gif_is_written_and_its_path_printed(replay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "episode.gif"
    assert ReplayTool(replay=replay, gif=str(target)).run_tool() == 0
    assert capsys.readouterr().out.strip() == str(target)
    assert target.read_bytes()[:4] == b"GIF8"


def test_paths_may_begin_at_home(
    replay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    name = Path(replay).relative_to(tmp_path)
    assert ReplayTool(replay=f"~/{name}", gif="~/episode.gif").run_tool() == 0
    assert (tmp_path / "episode.gif").is_file() and capsys.readouterr().out.strip() == str(tmp_path / "episode.gif")


def test_a_runs_newest_replay_is_that_of_its_highest_epoch(tmp_path: Path) -> None:
    names = ("r.v9.arena-basic.1.json.z", "r.v10.arena-combat.1.json.z", "r.v10.arena-basic.1.json.z")
    run = make_run(tmp_path / "r", *names)
    assert newest_replay(run) == run / "replays" / "r.v10.arena-basic.1.json.z"
    assert ReplayTool(run="r", data_dir=str(tmp_path)).find() == str(run / "replays" / "r.v10.arena-basic.1.json.z")
    assert ReplayTool(replay="r", data_dir=str(tmp_path)).find() == ReplayTool(run=str(run)).find()


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    make_run(tmp_path / "empty")
    with pytest.raises(RunError, match="has no replays"):
        ReplayTool(run="empty", data_dir=str(tmp_path)).find()
    with pytest.raises(RunError, match=r"there is no run 'emty' \(did you mean empty"):
        ReplayTool(run="emty", data_dir=str(tmp_path)).find()
    with pytest.raises(CheckpointError):
        ReplayTool(policy_uri="nothing.pt", data_dir=str(tmp_path)).find()
    broken = tmp_path / "broken.json.z"
    broken.write_bytes(b"no replay")
    with pytest.raises(ReplayError, match=r"broken\.json\.z"):
        ReplayTool(replay=str(broken)).run_tool()


def test_an_episode_is_played_when_there_is_no_replay(replay: str, tmp_path: Path) -> None:
    assert Path(replay).parent == tmp_path / "evaluation" / "replays"
    assert read_replay(replay).num_steps == 7


def test_keys_pause_step_and_follow(replay: str) -> None:
    player = Player(ReplayFrames(read_replay(replay)), 0, 6)
    assert player.press(None) and player.step == 1
    assert player.press("right") and player.step == 2 and player.is_paused
    assert player.press("left") and player.press("left") and player.press("left") and player.step == 0
    assert player.press("space") and not player.is_paused
    for _ in range(10):
        player.press(None)
    assert player.step == 6
    assert player.press("0") and player.step == 0
    assert player.press("up") and player.frames_per_second == 24
    assert player.press("tab") and player.follow == 0
    assert player.press("tab") and player.follow is None
    assert not player.press("q")


def test_at_a_terminal_it_plays_until_q(replay: str, at_terminal: Callable[..., str]) -> None:
    drawn = at_terminal("replay", replay, "frames_per_second=50", typed=b"q", ready=b"step 6 of 6")
    assert "space pause" in drawn
