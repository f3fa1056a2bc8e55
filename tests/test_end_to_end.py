"""The whole path through the real commands: train, resume, evaluate, analyse, replay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TRAIN = ("train", "arena_basic_easy_shaped", "run=first", "world.max_steps=40", "evaluation.interval=0", "wandb=off")


def metta(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "metta.cli", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_train_checkpoint_evaluate_analyse_and_replay(tmp_path: Path) -> None:
    run = tmp_path / "train_dir" / "first"

    done = metta(tmp_path, *TRAIN, "trainer.total_timesteps=1600")
    assert "the batch shrinks to 768" in done.stderr
    assert sorted(path.name for path in (run / "checkpoints").glob("*.pt")) == [
        "agent_epoch_3.pt",
        "trainer_epoch_3.pt",
    ]
    assert json.loads((run / "config.json").read_text())["world"]["max_steps"] == 40
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3

    done = metta(tmp_path, *TRAIN, "trainer.total_timesteps=2400")
    assert "resuming first from epoch 3" in done.stderr
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["metric/epoch"] for line in lines] == [1, 2, 3, 4]

    policies = ("policy_uri=first", "policy_uri=mock://random", "policy_uri=nothing")
    done = metta(
        tmp_path, "evaluate", "arena_basic_easy_shaped", *policies, "episodes=1", "replays=off", "--json", code=1
    )
    found = json.loads(done.stdout)["policies"]
    assert [policy["policy_uri"] for policy in found] == ["first", "mock://random", "nothing"]
    assert (found[0]["policy_key"], found[0]["policy_version"]) == ("first", 4)
    assert found[0]["simulations"]["arena_easy/basic"]["episodes"] == 1
    assert "error" in found[2] and "error" not in found[1]

    done = metta(tmp_path, "analyze", "first", "episodes=2", "--json")
    report = json.loads(done.stdout)
    assert {score["policy"] for score in report["scores"]} == {"first:4", "scripted", "random"}
    assert all(score["episodes"] == 2 for score in report["scores"])
    assert len(report["wasted"]["first:4"]) == 3
    page = run / "report" / "index.html"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")

    replays = list((run / "replays").glob("*.json.z"))
    assert len(replays) == 1
    done = metta(tmp_path, "replay", str(replays[0].relative_to(tmp_path)))
    assert "step 40 of 40" in done.stdout

    assert "first" in metta(tmp_path, "list", "runs").stdout
