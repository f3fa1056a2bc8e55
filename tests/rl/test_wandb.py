"""Weights & Biases with the real library: offline, in the files that it wrote; online, with a local service."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from metta.agent import load_policy, resolve_policy_uri
from metta.agent.artifact import read_policy_file
from metta.agent.checkpoints import policy_path
from metta.agent.wandb_policies import WandbRunInfo, extract_wandb_run_info
from metta.errors import CheckpointError, WandbError
from metta.rl import wandb_session
from metta.rl.build import build_trainer
from metta.rl.config import TrainConfig
from metta.rl.resume import resume
from metta.rl.run import train
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager
from metta.rl.trainer import Trainer
from metta.rl.wandb_files import history, records, run_folders, sync_command
from metta.rl.wandb_session import STEP, WandbSession, run_id
from metta.rl.wandb_uploads import artifact_name

from .small_world import small_config
from .wandb_service import API_KEY, WandbService

wandb = pytest.importorskip("wandb")

ROOT = Path(__file__).parents[2]
NOBODY = "http://127.0.0.1:9"  # no service there: a request would fail, and none leaves this machine
VARIES = ("timing", "monitor/", "metric/total_time", "overview/sps")


@contextlib.contextmanager
def fresh_library(home: Path, **variables: str) -> Iterator[None]:
    """The library as on a new machine: no login, no settings, no variables but these."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in wandb.env.os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        defaults = {
            "WANDB_BASE_URL": NOBODY,
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_CONFIG_DIR": str(home / "config"),
            "WANDB_CACHE_DIR": str(home / "cache"),
            "WANDB_ARTIFACT_DIR": str(home / "artifacts"),
            "NETRC": str(home / "netrc"),
        }
        for name, value in (defaults | variables).items():
            patch.setenv(name, value)
        try:
            yield
        finally:
            wandb.teardown()


@pytest.fixture
def library(tmp_path: Path) -> Iterator[None]:
    with fresh_library(tmp_path / "home"):
        yield


def wandb_config(
    data_dir: Path, *, total: int = 512, mode: str | None = "offline", **wandb_settings: Any
) -> TrainConfig:
    config = small_config(data_dir, total=total)
    config.system.processes = 1
    config.wandb = config.wandb.model_validate({"enabled": True, "mode": mode, **wandb_settings})
    return config


def log_of(folder: Path) -> Path:
    """The library's file of a start, whole: its own process writes the end of it after the run is finished."""
    wandb.teardown()
    return next(folder.glob("*.wandb"))


def logged(folder: Path) -> list[dict[str, Any]]:
    """The rows of a start, without what the library adds."""
    rows = history(log_of(folder))
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]


def metrics(data_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data_dir / "run" / "metrics.jsonl").read_text().splitlines()]


def kinds(folder: Path, kind: str) -> list[Any]:
    return [getattr(one, kind) for one in records(log_of(folder)) if one.HasField(kind)]


# ---------------------------------------------------------------------------------------------- offline, two starts


@dataclass
class Offline:
    """A run of 4 epochs that was started again for 6."""

    data_dir: Path
    folders: list[Path]
    told: str  # on stderr, by both
    trainer: Trainer  # of the second start


SETTINGS = {
    "project": "p",
    "entity": "somebody",
    "name": "shown",
    "group": "g",
    "job_type": "j",
    "tags": ["a", "b"],
    "notes": "why",
}


def offline_config(data_dir: Path, epochs: int) -> TrainConfig:
    config = wandb_config(data_dir, total=512 * epochs, **SETTINGS)
    config.checkpoint.interval, config.checkpoint.keep = 2, 1
    config.evaluation.interval, config.evaluation.episodes = 3, 1
    config.hooks.display = True
    return config


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offline]:
    data_dir, told = tmp_path_factory.mktemp("offline"), io.StringIO()
    with fresh_library(data_dir / "home"), contextlib.redirect_stderr(told):
        assert train(offline_config(data_dir, 4)) == 0
        trainer = build_trainer(offline_config(data_dir, 6), run="run")
        resume(trainer, TinyCheckpointManager("run", data_dir))
        trainer.train()
        run_dir = data_dir / "run"
        yield Offline(data_dir, run_folders(run_dir / "wandb", run_id(run_dir)), told.getvalue(), trainer)


def test_each_start_has_a_folder_and_all_have_one_id(offline: Offline) -> None:
    assert [folder.name.partition("-")[0] for folder in offline.folders] == ["offline", "offline"]
    assert len({kinds(folder, "run")[0].run_id for folder in offline.folders}) == 1


def test_the_rows_of_all_starts_are_those_of_the_metrics_file(offline: Offline) -> None:
    rows = [row for folder in offline.folders for row in logged(folder)]
    assert [row for row in rows if "overview/sps" in row] == metrics(offline.data_dir)
    assert [row["metric/epoch"] for row in rows if "overview/sps" in row] == [1, 2, 3, 4, 5, 6]


def test_every_metric_is_charted_against_agent_steps(offline: Offline) -> None:
    for folder in offline.folders:
        assert ("*", STEP) in [(one.glob_name, one.step_metric) for one in kinds(folder, "metric")]


def test_the_configuration_is_that_of_the_run(offline: Offline) -> None:
    given = {item.key: json.loads(item.value_json) for item in kinds(offline.folders[1], "run")[0].config.update}
    written = json.loads((offline.data_dir / "run" / "config.json").read_text())
    assert given["trainer"]["total_timesteps"] == 512 * 6
    # the file was written by the first start, through `train`, which resolves the number of processes
    for part in ("run", "world", "policy", "evaluation", "checkpoint", "wandb"):
        assert given[part] == written[part]


def test_every_setting_reaches_the_run(offline: Offline) -> None:
    run = kinds(offline.folders[0], "run")[0]
    assert {
        "project": run.project,
        "entity": run.entity,
        "name": run.display_name,
        "group": run.run_group,
        "job_type": run.job_type,
        "tags": list(run.tags),
        "notes": run.notes,
    } == SETTINGS


def test_every_saved_policy_is_an_artifact_whose_file_outlives_the_checkpoint(offline: Offline) -> None:
    artifacts = [one for folder in offline.folders for one in kinds(folder, "artifact")]
    known = [json.loads(one.metadata) for one in artifacts]
    # every 2 epochs, after an evaluation (every 3, and the last), and at the end of each start
    assert [facts["epoch"] for facts in known] == [2, 3, 4, 6]
    assert len(list((offline.data_dir / "run" / "checkpoints").glob("agent_epoch_*.pt"))) < 4  # keep=1
    for one, facts in zip(artifacts, known, strict=True):
        assert (one.name, one.type) == ("run", "model")
        assert set(one.aliases) == {"latest", f"epoch-{facts['epoch']}"}
        [entry] = one.manifest.contents
        assert entry.path == f"agent_epoch_{facts['epoch']}.pt"
        assert Path(entry.local_path).is_absolute()
        contents = read_policy_file(entry.local_path)
        assert facts == {
            "architecture": "fast",
            **{name: contents[name] for name in ("run", "epoch", "agent_step")},
            **contents["metrics"],
        }
        load_policy(entry.local_path)
    assert "score" in known[1]


def test_an_artifact_has_no_version_before_it_is_sent(offline: Offline) -> None:
    assert offline.trainer.state.latest_wandb_uri is None


def test_every_recorded_replay_is_a_page(offline: Offline) -> None:
    rows = [row for row in logged(offline.folders[0]) if "replays/training/world.path" in row]
    assert [(row["metric/epoch"], row[STEP]) for row in rows] == [(3, 3 * 512), (4, 4 * 512)]
    page = (offline.folders[0] / "files" / rows[0]["replays/training/world.path"]).read_text()
    assert f"metta replay {offline.data_dir}/run/replays/run.v3." in page


def test_the_library_itself_prints_nothing(offline: Offline) -> None:
    assert "wandb:" not in offline.told
    lines = [line for line in offline.told.splitlines() if line.startswith("W&B")]
    assert lines == [f"W&B: offline, in {folder}" for folder in offline.folders]


def test_the_command_that_is_told_last_names_the_folders_of_all_starts(offline: Offline) -> None:
    told = offline.told.splitlines()[-1].removeprefix("to send this run to W&B: ")
    assert shlex.split(told) == ["wandb", "sync", *map(str, offline.folders)]
    command = [sys.executable, "-m", *shlex.split(told), "--dry-run"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=offline.data_dir)
    assert "Would sync 2 run(s)" in done.stderr
    assert all(folder.name in done.stderr for folder in offline.folders)


def test_the_command_that_is_told_last_joins_all_starts_as_one_run(offline: Offline, tmp_path: Path) -> None:
    """It is run for real, against a service on this machine."""
    copy = shutil.copytree(offline.data_dir / "run" / "wandb", tmp_path / "wandb")
    service, told = WandbService(), shlex.split(sync_command(copy, run_id(offline.data_dir / "run")))
    with fresh_library(tmp_path / "home", WANDB_BASE_URL=service.url, WANDB_API_KEY=API_KEY):
        subprocess.run([sys.executable, "-m", *told], check=True, capture_output=True, cwd=tmp_path)
        again = sync_command(copy, run_id(offline.data_dir / "run"))
    service.close()
    [run] = service.runs.values()
    assert [row["metric/epoch"] for row in run.history if "overview/sps" in row] == [1, 2, 3, 4, 5, 6]
    assert len({row["_step"] for row in run.history}) == len(run.history)
    assert [(version.number, version.is_committed) for version in service.versions] == [
        (0, True), (1, True), (2, True), (3, True),
    ]  # fmt: skip
    assert sum(name.endswith(".html") for name in service.uploads) == 3
    assert not service.unknown
    assert again == "wandb sync"  # nothing is left to be sent


# ------------------------------------------------------------------------------------------------- other settings


def test_training_is_bit_for_bit_the_same_with_and_without(library: None, tmp_path: Path) -> None:
    weights, rows = [], []
    for folder, is_enabled in (("with", True), ("without", False)):
        config = wandb_config(tmp_path / folder, total=512 * 3)
        config.wandb.enabled = is_enabled
        config.evaluation.interval, config.evaluation.episodes, config.checkpoint.interval = 2, 1, 1
        assert train(config) == 0
        weights.append(read_policy_file(tmp_path / folder / "run" / "checkpoints" / "agent_epoch_3.pt")["state_dict"])
        rows.append([{k: v for k, v in row.items() if not k.startswith(VARIES)} for row in metrics(tmp_path / folder)])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0].keys() | weights[1].keys())
    assert rows[0] == rows[1]
    assert len(rows[0]) == 3


def test_without_artifacts_and_replays_only_metrics_go_up(library: None, tmp_path: Path) -> None:
    config = wandb_config(tmp_path, artifacts=False, replays=False)
    config.evaluation.interval, config.evaluation.episodes = 1, 1
    assert train(config) == 0
    [folder] = run_folders(tmp_path / "run" / "wandb", run_id(tmp_path / "run"))
    assert len(logged(folder)) == 1
    assert not kinds(folder, "artifact")
    assert not list(folder.rglob("*.html"))
    assert not (tmp_path / "run" / "wandb" / "policies").exists()


def test_variables_stand_in_for_settings_that_are_none(tmp_path: Path) -> None:
    variables = {
        "WANDB_MODE": "offline",
        "WANDB_PROJECT": "p",
        "WANDB_ENTITY": "e",
        "WANDB_NAME": "n",
        "WANDB_RUN_GROUP": "g",
        "WANDB_JOB_TYPE": "j",
        "WANDB_TAGS": "a,b",
        "WANDB_NOTES": "why",
        "WANDB_RUN_ID": "my-id",
        "WANDB_DIR": str(tmp_path / "elsewhere"),
    }
    with fresh_library(tmp_path / "home", **variables):
        session = WandbSession(wandb_config(tmp_path, mode=None), run_dir=tmp_path / "run")
        session.open(agent_step=0)
        session.close(None)
    [folder] = run_folders(tmp_path / "elsewhere" / "wandb", "my-id")
    run = kinds(folder, "run")[0]
    assert (run.project, run.entity, run.display_name, run.run_group, run.job_type, list(run.tags), run.notes) == (
        ("p", "e", "n", "g", "j", ["a", "b"], "why")
    )  # fmt: skip
    assert not (tmp_path / "run" / "wandb").exists()


def test_without_settings_and_variables_the_run_has_its_own_name_in_project_metta(
    library: None, tmp_path: Path
) -> None:
    session = WandbSession(wandb_config(tmp_path), run_dir=tmp_path / "run")
    session.open(agent_step=0)
    session.close(None)
    run = kinds(run_folders(tmp_path / "run" / "wandb", run_id(tmp_path / "run"))[0], "run")[0]
    assert (run.project, run.entity, run.display_name, list(run.tags)) == ("metta", "", "run", [])


def test_the_library_can_be_disabled_by_its_own_variable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fresh_library(tmp_path / "home", WANDB_MODE="disabled"):
        assert train(wandb_config(tmp_path, mode=None)) == 0
    assert "W&B is off: WANDB_MODE=disabled" in capsys.readouterr().err
    assert not (tmp_path / "run" / "wandb").exists()


def test_two_runs_of_one_name_in_two_places_have_two_ids(tmp_path: Path) -> None:
    first, second = run_id(tmp_path / "a" / "run"), run_id(tmp_path / "b" / "run")
    assert first != second
    assert run_id(tmp_path / "a" / "run") == first


def test_a_run_of_the_users_own_stays_open(library: None, tmp_path: Path) -> None:
    own = wandb.init(mode="offline", dir=tmp_path, settings=wandb.Settings(silent=True, console="off"))
    session = WandbSession(wandb_config(tmp_path), run_dir=tmp_path / "run")
    session.open(agent_step=0)
    session.log({STEP: 1, "x": 1.0})
    session.close(None)
    assert wandb.run is own
    own.log({"mine": 1})
    own.finish()
    assert [row.keys() for row in logged(Path(own.settings.sync_dir))] == [{"mine"}]


def test_rows_that_a_killed_start_lost_are_sent_by_the_next_and_no_row_twice(library: None, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    rows = [{STEP: 512 * epoch, "metric/epoch": epoch, "x": float(epoch)} for epoch in range(1, 7)]
    run_dir.mkdir()

    def start(*, resumed_at: int, up_to: int, in_file: int) -> None:
        (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:in_file]))
        session = WandbSession(wandb_config(tmp_path), run_dir=run_dir)
        session.open(agent_step=512 * resumed_at)
        for row in rows[resumed_at:up_to]:
            session.log(row)
        session.close(None)

    start(resumed_at=0, up_to=4, in_file=0)
    folders = run_folders(run_dir / "wandb", run_id(run_dir))
    path = log_of(folders[0])
    while len(history(path)) > 2:  # as if it had been killed: its last rows never reached the file
        path.write_bytes(path.read_bytes()[:-1])
    folders[0].rename(folders[0].with_name(folders[0].name.replace("offline-run-20", "offline-run-18")))
    start(resumed_at=3, up_to=6, in_file=3)  # its checkpoint was that of epoch 3
    folders = run_folders(run_dir / "wandb", run_id(run_dir))
    assert [[row["metric/epoch"] for row in logged(folder)] for folder in folders] == [[1, 2], [3, 4, 5, 6]]
    assert [row for folder in folders for row in logged(folder)] == rows
    folders[1].rename(folders[1].with_name(folders[1].name.replace("offline-run-20", "offline-run-19")))
    start(resumed_at=5, up_to=6, in_file=5)  # killed after its last row: epoch 6 is played again
    assert logged(run_folders(run_dir / "wandb", run_id(run_dir))[-1]) == []


def test_long_logs_are_read_whole(library: None, tmp_path: Path) -> None:
    """Records run over the blocks of 32 KiB in which the library writes."""
    session = WandbSession(wandb_config(tmp_path), run_dir=tmp_path / "run")
    session.open(agent_step=0)
    rows = [{STEP: number, **{f"metric/{k}": number + k / 7 for k in range(40)}} for number in range(200)]
    rows += [{STEP: 1000, "text": "x" * 100_000}]
    for row in rows:
        session.log(row)
    session.close(None)
    [folder] = run_folders(tmp_path / "run" / "wandb", run_id(tmp_path / "run"))
    assert logged(folder) == rows
    assert log_of(folder).stat().st_size > 10 * 32_768


@pytest.mark.parametrize(("run", "name"), [("a_b-c.1", "a_b-c.1"), ("läuft+gut", "l_uft_gut"), ("x" * 200, "x" * 128)])
def test_an_artifact_is_named_after_the_run_as_far_as_wandb_allows(run: str, name: str) -> None:
    assert artifact_name(run) == name
    wandb.Artifact(artifact_name(run), type="model")


# --------------------------------------------------------------------------------------------- what can go wrong


def test_without_a_login_training_goes_on_and_the_message_says_what_helps(
    library: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert train(wandb_config(tmp_path, total=512 * 2, mode="online")) == 1
    assert "needs a login at W&B" in caplog.text
    assert "`wandb login`, or wandb.mode=offline" in caplog.text
    assert len(metrics(tmp_path)) == 2
    assert (tmp_path / "run" / "checkpoints" / "agent_epoch_2.pt").exists()


def test_a_bad_key_is_no_login(tmp_path: Path) -> None:
    with fresh_library(tmp_path / "home", WANDB_API_KEY="short"):
        session = WandbSession(wandb_config(tmp_path, mode="online"), run_dir=tmp_path / "run")
        with pytest.raises(WandbError, match=r"refused.*40"):
            session.open(agent_step=0)
        session.close(None)


def test_a_service_that_does_not_answer_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wandb_session, "INIT_SECONDS", 0.5)
    with fresh_library(tmp_path / "home", WANDB_API_KEY=API_KEY):
        assert train(wandb_config(tmp_path, mode="online")) == 1
    assert "W&B cannot be used" in caplog.text
    assert "wandb.mode=offline needs no network" in caplog.text
    assert len(metrics(tmp_path)) == 1


def test_without_the_library_the_run_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(WandbError, match=r"pip install 'metta\[wandb\]'"):
        build_trainer(wandb_config(tmp_path), run="run")
    assert not (tmp_path / "run").exists()


def test_with_wandb_off_the_library_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it fails
    config = small_config(tmp_path, total=512)
    config.system.processes = 1
    assert train(config) == 0
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "wandb"], path


def test_the_versions_that_can_be_installed_are_those_whose_command_line_we_print() -> None:
    """Before 0.30 `wandb sync` was another program, which needed --append to join folders."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {text for extra in extras.values() for text in extra if "wandb" in text} == {"wandb>=0.31"}


# ---------------------------------------------------------------------------------------- online, on this machine


@pytest.fixture
def service(tmp_path: Path) -> Iterator[WandbService]:
    service = WandbService()
    with fresh_library(tmp_path / "home", WANDB_BASE_URL=service.url, WANDB_API_KEY=API_KEY):
        yield service
    service.close()


def test_an_online_run_goes_on_under_its_id_and_its_policies_have_addresses(
    service: WandbService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for epochs in (2, 3):
        config = wandb_config(tmp_path, total=512 * epochs, mode="online")
        config.evaluation.interval, config.evaluation.episodes = 2, 1
        trainer = build_trainer(config, run="run")
        resume(trainer, TinyCheckpointManager("run", tmp_path))
        trainer.train()
        assert not trainer.failed_hooks
    [run] = service.runs.values()
    assert [row["metric/epoch"] for row in run.history if "overview/sps" in row] == [1, 2, 3]
    assert run.exit_code == 0
    assert sum(name.endswith(".html") for name in service.uploads) == 2
    assert [(v.name, set(v.aliases), v.is_committed) for v in service.versions] == [
        ("run", {"epoch-2"}, True),
        ("run", {"latest", "epoch-3"}, True),
    ]
    saved = (tmp_path / "run" / "checkpoints" / "agent_epoch_3.pt").read_bytes()
    assert service.versions[-1].files == {"agent_epoch_3.pt": saved}
    assert trainer.state.latest_wandb_uri == "wandb://metta/run:v1"
    assert not list((tmp_path / "run" / "wandb" / "policies").iterdir())  # nothing waits any more
    told = capsys.readouterr().err
    assert f"W&B: {service.url}/team/metta/runs/{run_id(tmp_path / 'run')}" in told
    assert "the last policy at W&B: wandb://metta/run:v1" in told
    assert "wandb:" not in told.replace("wandb://", "")
    assert not service.unknown


def test_an_uploaded_policy_comes_down_as_it_was_saved(service: WandbService, tmp_path: Path) -> None:
    config = wandb_config(tmp_path, total=512 * 3, mode="online", entity="team")
    config.checkpoint.interval = 2
    trainer = build_trainer(config, run="run")
    trainer.train()
    assert trainer.state.latest_wandb_uri == "wandb://team/metta/run:v1"  # with the entity that was chosen
    for uri, epoch, version in (("wandb://metta/run", 3, 1), ("wandb://team/metta/run:epoch-2", 2, 0)):
        found = resolve_policy_uri(uri)
        saved = policy_path(tmp_path / "run", epoch)
        assert found.path is not None
        assert found.path.read_bytes() == saved.read_bytes()
        assert (found.policy_key, found.policy_version) == ("run", epoch)
        assert found.uri == f"wandb://team/metta/run:v{version}"
        url = f"{service.url}/team/metta/runs/{run_id(tmp_path / 'run')}"
        assert extract_wandb_run_info(uri) == WandbRunInfo("run", epoch, 512 * epoch, None, url, found.uri)
    service.runs.clear()  # deleted there
    assert extract_wandb_run_info("wandb://metta/run").url is None
    with pytest.raises(CheckpointError, match="there is no wandb://metta/run:v7 at W&B"):
        resolve_policy_uri("wandb://metta/run:v7")
    assert not service.unknown


def test_rows_that_the_service_has_are_not_sent_again(service: WandbService, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    for first in (1, 3):  # the second start plays epochs 3 and 4 again, as after a kill
        session = WandbSession(wandb_config(tmp_path, mode="online"), run_dir=run_dir)
        session.open(agent_step=512 * (first - 1))
        for epoch in range(first, first + 4):
            session.log({STEP: 512 * epoch, "metric/epoch": epoch})
        session.close(None)
    [run] = service.runs.values()
    assert [row["metric/epoch"] for row in run.history] == [1, 2, 3, 4, 5, 6]


def test_an_upload_that_is_refused_is_told_and_training_goes_on(
    service: WandbService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service.refused.add("CreateArtifact")
    config = wandb_config(tmp_path, total=512 * 3, mode="online")
    config.checkpoint.interval = 1
    assert train(config) == 1
    assert "WandbUploadHook failed and training goes on" in caplog.text
    assert "CreateArtifact is refused" in caplog.text
    assert [row["metric/epoch"] for row in next(iter(service.runs.values())).history] == [1, 2, 3]


@pytest.mark.slow
def test_a_service_that_takes_too_long_at_the_end_is_left(
    service: WandbService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_session, "FINISH_SECONDS", 3.0)
    session = WandbSession(wandb_config(tmp_path, mode="online"), run_dir=tmp_path / "run")
    session.open(agent_step=0)
    service.is_deaf = True
    session.log({STEP: 1, "x": 1.0})
    with pytest.raises(WandbError, match=r"did not take everything in time.*wandb sync --include-online .*/run-\d"):
        session.close(None)
