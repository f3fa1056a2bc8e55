"""An evaluation in training: one set of numbers, wherever they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from metta.agent.artifact import read_policy_file
from metta.eval import EvalStatsDB, PolicyEvaluator
from metta.grid import WorldConfig
from metta.replay import read_replay
from metta.rl.build import build_trainer
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.hooks.evaluation import evaluation_suite
from metta.rl.run import train
from metta.rl.trainer_state import TrainerState
from metta.sim import evaluation_seeds

from .small_world import small_config

EPOCHS = (2, 4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four epochs that was evaluated after the second and the last."""
    folder = tmp_path_factory.mktemp("evaluated")
    made = small_config(folder, total=512 * 4)
    made.evaluation.interval, made.evaluation.episodes = 2, 3
    assert train(made) == 0
    return folder / "run"


def lines(run: Path) -> dict[int, dict[str, Any]]:
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["metric/epoch"]: line for line in read}


def test_the_yaml_the_metrics_and_the_statistics_file_agree_in_every_evaluated_epoch(run: Path) -> None:
    known, scores = lines(run), []
    assert [epoch for epoch, line in known.items() if "eval_training/score" in line] == list(EPOCHS)
    with EvalStatsDB.from_uri(run / "stats" / "stats.duckdb") as database:
        assert database.get_all_policy_uris() == [f"run:v{epoch}" for epoch in EPOCHS]
        for epoch in EPOCHS:
            noted = yaml.safe_load((run / "checkpoints" / f"agent_epoch_{epoch}.yaml").read_text())
            in_file = read_policy_file(run / "checkpoints" / f"agent_epoch_{epoch}.pt")["metrics"]
            stored = database.get_scores("run", epoch)
            assert (noted["epoch"], noted["agent_step"]) == (epoch, 512 * epoch)
            assert noted["scores"] == in_file
            assert known[epoch]["eval_training/score"] == known[epoch]["eval_training/world"] == in_file["score"]
            assert stored.simulation_scores["training/world"] == pytest.approx(in_file["score"], rel=1e-6)
            scores.append(in_file["score"])
    assert scores[0] != scores[1]  # or nothing above could tell two epochs apart


def test_each_replay_is_of_the_epoch_in_its_name(run: Path) -> None:
    seed = evaluation_seeds(1)[0]
    names = [f"run.v{epoch}.training-world.{seed}.json.z" for epoch in EPOCHS]
    assert sorted(path.name for path in (run / "replays").iterdir()) == names
    with EvalStatsDB.from_uri(run / "stats" / "stats.duckdb") as database:
        for epoch, name in zip(EPOCHS, names, strict=True):
            (url,) = database.get_replay_urls(f"run:v{epoch}")
            assert Path(url) == run / "replays" / name
            agents = [one for one in read_replay(url).data["objects"] if one.get("is_agent")]
            total = np.mean([one["total_reward"][-1][1] if one["total_reward"] else 0.0 for one in agents])
            mean = database.get_average_metric_by_filter("reward", "run", epoch, {"seed": seed})
            assert total == pytest.approx(mean, abs=1e-5)


def test_a_suite_of_several_categories_gives_each_simulation_and_category_a_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = small_config(tmp_path, total=512)
    (tmp_path / "suites_of_mine.py").write_text(
        "from metta.eval import Suite\n"
        "from metta.grid import WorldConfig\n"
        "from metta.sim import SimulationConfig\n"
        "from pathlib import Path\n"
        "def several():\n"
        "    text = (Path(__file__).parent / 'world.json').read_text()\n"
        "    names = {'rooms/a': 3, 'rooms/b': 9, 'halls/c': 9}\n"
        "    worlds = {name: WorldConfig.model_validate_json(text) for name in names}\n"
        "    for name, steps in names.items():\n"
        "        worlds[name].max_steps = steps\n"
        "    return Suite(name='mine', simulations=[\n"
        "        SimulationConfig(name=name, world=world, score_metric='action.noop.success')\n"
        "        for name, world in worlds.items()])\n"
    )
    world: WorldConfig = made.world
    (tmp_path / "world.json").write_text(world.model_dump_json())
    monkeypatch.syspath_prepend(tmp_path)
    made.evaluation.interval, made.evaluation.episodes, made.evaluation.suite = 1, 4, "suites_of_mine.several"
    train(made)
    found = {name: value for name, value in lines(tmp_path / "run")[1].items() if name.startswith("eval_")}
    assert set(found) == {"eval_rooms/a", "eval_rooms/b", "eval_halls/c", "eval_rooms/score", "eval_halls/score"}
    assert found["eval_rooms/score"] == (found["eval_rooms/a"] + found["eval_rooms/b"]) / 2
    assert found["eval_halls/score"] == found["eval_halls/c"] == found["eval_rooms/b"] > found["eval_rooms/a"] > 0
    noted = yaml.safe_load((tmp_path / "run" / "checkpoints" / "agent_epoch_1.yaml").read_text())["scores"]
    assert noted["score"] == pytest.approx(
        np.mean([found[f"eval_{name}"] for name in ("rooms/a", "rooms/b", "halls/c")])
    )


@pytest.mark.parametrize(
    ("architecture", "precision"), [("fast", "float32"), ("lstm", "float32"), ("lstm", "bfloat16")]
)
def test_an_evaluation_in_training_is_that_of_the_file_which_is_saved(
    tmp_path: Path, architecture: str, precision: str
) -> None:
    made = small_config(tmp_path, architecture=architecture, total=512 * 2)
    made.evaluation.interval, made.evaluation.episodes = 1, 3
    train(made)
    with EvalStatsDB.from_uri(tmp_path / "run" / "stats" / "stats.duckdb") as database:
        for epoch in (1, 2):
            uri = str(tmp_path / "again.duckdb")
            PolicyEvaluator(evaluation_suite(made), stats_uri=uri, data_dir=str(tmp_path)).evaluate(f"run:{epoch}")
            with EvalStatsDB.from_uri(uri) as again:
                query = f"SELECT seed, agent_id, metric, value FROM policy_simulation_agent_metrics \
                    WHERE policy_key = 'run' AND policy_version = {epoch} ORDER BY ALL"
                in_training, of_file = database.query(query), again.query(query)
                assert len(of_file) > 3 * 4 and of_file.equals(in_training)


class Stops(TrainerHook):
    """Ends the run in its third epoch, at the moment that it is told."""

    def __init__(self, moment: str) -> None:
        setattr(self, moment, self.stop)

    def stop(self, state: TrainerState) -> None:
        state.stop_rollout = state.agent_step == 3 * 512


@pytest.mark.parametrize(("moment", "evaluated"), [("on_train_phase_end", [2, 3]), ("on_epoch_end", [2])])
def test_a_run_that_something_ends_is_evaluated_if_that_was_known_in_time(
    tmp_path: Path, moment: str, evaluated: list[int]
) -> None:
    made = small_config(tmp_path, total=512 * 20)
    made.evaluation.interval, made.evaluation.episodes = 2, 1
    trainer = build_trainer(made, run="run")
    trainer.hooks.insert(0, Stops(moment))
    trainer.train()
    known = lines(tmp_path / "run")
    assert list(known) == [1, 2, 3]
    assert [epoch for epoch, line in known.items() if "eval_training/score" in line] == evaluated
