"""The sources of tasks."""

from __future__ import annotations

from metta.envs import FixedTasks, SingleTask, Task
from metta.grid import WorldConfig


def test_single_task_gives_every_place_and_episode_a_seed_of_its_own() -> None:
    sources = [SingleTask(WorldConfig(), seed=seed, first_world=first) for seed in (0, 1) for first in (0, 10)]
    seeds = [source.next_task(w, e).seed for source in sources for w in range(10) for e in range(10)]
    assert len(set(seeds)) == 400 and min(seeds) >= 0 and max(seeds) < 2**63
    assert sources[0].next_task(3, 4).seed == seeds[34]


def test_single_task_keeps_its_world_as_it_was_given() -> None:
    config = WorldConfig(max_steps=10)
    source = SingleTask(config, seed=0, label="mine")
    config.max_steps = 20
    task = source.next_task(0, 0)
    assert task.config.max_steps == 10 and task.label == "mine"
    assert source.next_task(1, 7).config is task.config


def test_single_task_goes_on_with_the_seeds_of_the_run_that_was_saved() -> None:
    source, other = SingleTask(WorldConfig(), seed=3, first_world=2), SingleTask(WorldConfig(), seed=4)
    other.load_state_dict(source.state_dict())
    assert other.next_task(5, 6).seed == source.next_task(5, 6).seed


def test_fixed_tasks_are_handed_out_once_in_list_order() -> None:
    tasks = [Task(WorldConfig(), seed, "", seed) for seed in range(3)]
    source = FixedTasks(tasks)
    assert [source.next_task(world, 0) for world in (4, 1, 2)] == tasks
    assert source.next_task(0, 1) is None and source.next_task(0, 2) is None


def test_fixed_tasks_go_on_after_those_that_were_out() -> None:
    tasks = [Task(WorldConfig(), seed) for seed in range(3)]
    source, other = FixedTasks(tasks), FixedTasks(tasks)
    source.next_task(0, 0)
    other.load_state_dict(source.state_dict())
    assert other.next_task(0, 0) is tasks[1]
