"""Many grid worlds stepped together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from metta.envs import BatchedEnv, EpisodeEnd, FixedTasks, SingleTask, Task, TokenSpace, VecEnv
from metta.errors import CheckpointError, ConfigError
from metta.grid import WorldConfig
from metta.grid.config import AgentConfig, BoxConfig, WallConfig
from metta.grid.maps.config import AsciiMapConfig, ScatterMapConfig
from metta.grid.rng import PURPOSE_POLICY, random_float
from metta.grid.worlds import arena
from metta.grid.worlds.objects import standard_objects


def small_arena(*, size: int = 9, max_steps: int = 20, agents: int = 3) -> WorldConfig:
    """An arena of few agents in little space, so that much happens in few ticks."""
    config = arena(num_agents=6)
    config.num_agents = agents
    config.max_steps = max_steps
    things = {"wall": 4, "mine_red": 4, "generator_red": 3, "altar": 3, "lasery": 1, "armory": 1}
    config.map = ScatterMapConfig(width=size, height=size, border=1, agents=agents, objects=things)
    return config


def noisy_actions(env: BatchedEnv) -> np.ndarray[Any, Any]:
    """Actions that depend on nothing but each agent's noise."""
    noise = np.empty(env.num_agents, np.float32)
    return (env.action_noise(noise) * env.num_actions).astype(np.int32)


def play(env: BatchedEnv, steps: int) -> list[tuple[Any, ...]]:
    """Play with a pseudo-policy; return all that was seen and paid."""
    history = []
    for _ in range(steps):
        env.step(noisy_actions(env))
        history.append(
            (
                env.observations.tobytes(),
                env.token_counts.tobytes(),
                env.rewards.tobytes(),
                env.terminals.tobytes(),
                env.truncations.tobytes(),
                env.action_success.tobytes(),
                env.final_index.tobytes(),
                env.final_observation.tobytes(),
                [plain(end) for end in env.episode_ends],
            )
        )
    return history


def plain(end: EpisodeEnd) -> tuple[Any, ...]:
    """An episode's end without its world's place, ready to be compared."""
    arrays = (end.agent_stats.tolist(), end.rewards.tolist(), end.inventory.tolist())
    return end.task.seed, end.task.key, end.task.label, end.length, end.truncated, *arrays, end.world_stats


def play_to_the_end(env: VecEnv) -> dict[int, tuple[Any, ...]]:
    """Play every task of a finite source; return task key -> result."""
    env.reset()
    results = {}
    while env.active.any():
        env.step(noisy_actions(env))
        for end in env.episode_ends:
            assert end.task.key not in results
            results[end.task.key] = plain(end)
    return results


def assert_tails_are_empty(env: VecEnv) -> None:
    for row in range(env.num_agents):
        count = env.token_counts[row]
        assert (env.observations[row, count:] == 255).all()
        assert (env.observations[row, :count, 1] != 255).all()


def test_shapes_and_tables() -> None:
    env: BatchedEnv = VecEnv(SingleTask(small_arena(), seed=0), num_worlds=5)
    assert (env.num_worlds, env.agents_per_world, env.num_agents) == (5, 3, 15)
    space = env.space
    assert isinstance(space, TokenSpace) and (space.num_tokens, space.height, space.width) == (200, 11, 11)
    assert space.action_names == env.action_names and len(env.action_names) == env.num_actions
    assert env.resource_names[6] == "heart" and "heart.gained" in env.agent_stat_names
    env.reset()
    assert env.observations.shape == (15, 200, 3) and env.observations.dtype == np.uint8
    for name in ("rewards", "terminals", "truncations", "action_success", "token_counts"):
        assert getattr(env, name).shape == (15,)
    assert env.active.all() and not env.episode_ends


def test_an_episode_that_ends_leaves_its_reward_and_last_observation_beside_the_next_first() -> None:
    env = VecEnv(SingleTask(small_arena(max_steps=4), seed=0), num_worlds=2)
    env.reset()
    for _ in range(3):
        env.step(noisy_actions(env))
        assert env.final_index.size == 0 and not env.truncations.any()
    env.step(noisy_actions(env))
    assert env.truncations.all() and not env.terminals.any()
    assert env.final_index.tolist() == list(range(6)) and env.final_observation.shape == (6, 200, 3)
    completion = 7
    (last,) = (token[2] for token in env.final_observation[0] if token[1] == completion)
    firsts = [token[2] for token in env.observations[0] if token[1] == completion]
    assert last == 255 and firsts in ([], [0])
    assert env.state.worlds[:, 0].tolist() == [0, 0]
    assert [end.length for end in env.episode_ends] == [4, 4] and env.episode_ends[0].truncated
    assert_tails_are_empty(env)
    env.step(noisy_actions(env))
    assert env.final_index.size == 0 and not env.episode_ends and not env.truncations.any()


def test_an_episode_may_end_for_good() -> None:
    config = small_arena(max_steps=2)
    config.episode_truncates = False
    env = VecEnv(SingleTask(config, seed=0), num_worlds=2)
    env.reset()
    play(env, 2)
    assert env.terminals.all() and not env.truncations.any() and not env.episode_ends[0].truncated


def test_rewards_of_the_last_step_survive_the_reset() -> None:
    config = WorldConfig(
        num_agents=1, max_steps=3, objects=standard_objects("wall", "mine_red"), map=AsciiMapConfig(text="m\n@")
    )
    config.agent.rewards.inventory = {"ore_red": 1.0}
    env = VecEnv(SingleTask(config, seed=0), num_worlds=1)
    env.reset()
    noop, get = (env.action_names.index(name) for name in ("noop", "get_items"))
    for action in (noop, noop, get):
        env.step(np.array([action], np.int32))
    assert env.rewards.tolist() == [1.0] and env.action_success.all()
    assert env.episode_ends[0].rewards.tolist() == [1.0]
    assert env.episode_ends[0].inventory[0, 0] == 1
    assert env.state.inventory.sum() == 0


def test_episode_ends_belong_to_the_receiver() -> None:
    env = VecEnv(SingleTask(small_arena(max_steps=5), seed=0), num_worlds=1)
    env.reset()
    play(env, 5)
    end = env.episode_ends[0]
    before = plain(end)
    play(env, 4)
    assert plain(end) == before and end.agent_stats.sum() > 0


def test_an_episodes_end_says_what_its_converters_made() -> None:
    objects = standard_objects("wall", "mine_red", "altar")
    config = WorldConfig(num_agents=1, max_steps=60, objects=objects, map=AsciiMapConfig(text="mm_\n@.."))
    env = VecEnv(SingleTask(config, seed=0), num_worlds=2)
    env.reset()
    get = env.action_names.index("get_items")
    for tick in range(60):
        env.step(np.array([0, get if tick == 55 else 0], np.int32))
    lazy, busy = (end.world_stats for end in env.episode_ends)
    assert lazy["mine_red.ore_red.produced"] == busy["mine_red.ore_red.produced"] == 4
    assert (lazy["mine_red.ore_red.removed"], busy["mine_red.ore_red.removed"]) == (0, 2)
    assert lazy["altar.blocked.insufficient_input"] == lazy["objects.altar"] == 1
    assert "altar.ore_red.added" not in lazy and "wall.conversions.started" not in lazy


def test_whoever_watches_sees_the_last_tick_before_the_reset() -> None:
    env = VecEnv(SingleTask(small_arena(max_steps=3), seed=0), num_worlds=2)
    env.reset()
    seen = []

    def look(world: int) -> None:
        seen.append((world, int(env.state.worlds[world, 0]), env.state.rewards[world].tolist()))
        env.before_reset.remove(look)

    env.before_reset.append(look)
    play(env, 3)
    assert seen == [(0, 3, env.rewards[:3].tolist())] and not env.before_reset


def test_who_hears_of_an_end_sees_the_last_tick_of_all_worlds_and_may_pay_for_it() -> None:
    class Curious(SingleTask):
        def next_task(self, world: int, episode: int) -> Task:
            if episode:
                seen.append((env.truncations.all(), env.rewards.tolist()))
            return super().next_task(world, episode)

    seen: list[tuple[bool, list[float]]] = []
    env = VecEnv(Curious(small_arena(max_steps=3, agents=1), seed=1), num_worlds=3)
    env.reset()

    def pay(world: int) -> None:
        env.rewards[world] = 10 + world

    env.before_reset.append(pay)
    play(env, 3)
    assert seen == [(True, [10, 0, 0]), (True, [10, 11, 0]), (True, [10, 11, 12])]
    assert env.rewards.tolist() == [10, 11, 12] and env.truncations.all()


def test_each_finished_task_is_reported_once_and_idle_worlds_stay_silent() -> None:
    tasks = [Task(small_arena(max_steps=5), seed, "task", seed) for seed in range(3)]
    env = VecEnv(FixedTasks(tasks), num_worlds=2)
    env.reset()
    play(env, 5)
    assert env.active.tolist() == [True, False] and env.final_index.size == 6
    play(env, 1)
    idle = slice(3, 6)
    assert not env.truncations.any() and not env.rewards[idle].any() and not env.token_counts[idle].any()
    assert (env.observations[idle] == 255).all()
    play(env, 4)
    assert not env.active.any() and [end.task.key for end in env.episode_ends] == [2]
    assert play(env, 1)[0][-1] == [] and env.final_index.size == 0


def test_more_worlds_than_tasks_leaves_worlds_idle_from_the_start() -> None:
    env = VecEnv(FixedTasks([Task(small_arena(), 1)]), num_worlds=3)
    env.reset()
    assert env.active.tolist() == [True, False, False]
    assert env.token_counts[:3].all() and not env.token_counts[3:].any()


def mixed_tasks() -> list[Task]:
    sizes = [(9, 15), (16, 20), (6, 11), (12, 9)]
    worlds = [small_arena(size=size, max_steps=steps) for size, steps in sizes]
    return [Task(worlds[i % 4], 1000 + i, f"task {i}", i) for i in range(9)]


def test_results_do_not_depend_on_the_number_of_worlds_or_threads() -> None:
    expected = play_to_the_end(VecEnv(FixedTasks(mixed_tasks()), num_worlds=1))
    assert sorted(expected) == list(range(9))
    assert all(np.sum(result[5]) > 0 for result in expected.values())
    for num_worlds, threads in ((3, 1), (7, 2), (12, 2)):
        assert play_to_the_end(VecEnv(FixedTasks(mixed_tasks()), num_worlds=num_worlds, threads=threads)) == expected


def test_noise_depends_on_seed_tick_and_agent_alone() -> None:
    env = VecEnv(FixedTasks([Task(small_arena(), 7), Task(small_arena(), 8)]), num_worlds=2)
    env.reset()
    play(env, 3)
    noise = env.action_noise(np.empty(6, np.float32))
    assert noise.tolist() == [
        float(random_float(seed, 3, PURPOSE_POLICY, agent, 0)) for seed in (7, 8) for agent in range(3)
    ]
    assert len(set(noise.tolist())) == 6 and (noise >= 0).all() and (noise < 1).all()


def test_staggered_worlds_shorten_their_first_episode_alone() -> None:
    env = VecEnv(SingleTask(small_arena(max_steps=50, agents=1), seed=0), num_worlds=20, stagger=True)
    env.reset()
    ends: list[EpisodeEnd] = []
    for _ in range(100):
        env.step(noisy_actions(env))
        assert not env.terminals.any()
        ends += env.episode_ends
    first = {end.world: end for end in reversed(ends)}
    assert len(first) == 20 and len({end.length for end in first.values()}) > 8
    assert all(end.staggered == (end.length < 50) for end in ends)
    assert all(end.truncated for end in ends)
    later = [end for end in ends if end is not first[end.world]]
    assert later and all(end.length == 50 for end in later)


def test_a_staggered_end_is_a_truncation_even_where_episodes_terminate() -> None:
    config = small_arena(max_steps=50, agents=1)
    config.episode_truncates = False
    env = VecEnv(SingleTask(config, seed=0), num_worlds=20, stagger=True)
    env.reset()
    for _ in range(50):
        env.step(noisy_actions(env))
        assert env.truncations.sum() == sum(end.staggered for end in env.episode_ends)
        assert all(end.truncated == end.staggered for end in env.episode_ends)
        assert (env.terminals | env.truncations).sum() == len(env.episode_ends)


def test_evaluation_never_staggers() -> None:
    env = VecEnv(SingleTask(small_arena(max_steps=20, agents=1), seed=0), num_worlds=20)
    env.reset()
    assert not any(ends for *_, ends in play(env, 19))
    assert len(play(env, 1)[0][-1]) == 20


def growing_tasks(*, everything: bool = False) -> list[Task]:
    """Worlds of which each needs more room than the one before, one with more kinds of objects and teams."""
    worlds = [small_arena(size=size, max_steps=8) for size in (6, 14, 9, 20)]
    worlds[1].map = ScatterMapConfig(width=30, height=5, border=2, agents=3, objects={"mine_red": 40, "altar": 9})
    worlds[3].objects = {"block": WallConfig(type_id=14, swappable=True), **worlds[3].objects}
    worlds[3].map.agents = {0: 1, 4: 2}
    for world in worlds if everything else []:
        world.objects = {"box": BoxConfig(), **world.objects}
        world.observation.visitation_counts = True
        world.actions.place_box.enabled = True
        world.actions.swap.enabled = True
        world.agents = [AgentConfig(team=4, group_reward_pct=0.5)]
    return [Task(worlds[i % 4], i, "", i) for i in range(12)]


@pytest.mark.parametrize("everything", [False, True])
def test_maps_that_grow_change_nothing_in_the_worlds_beside_them(everything: bool) -> None:
    tasks = growing_tasks(everything=everything)

    def run(order: list[int], num_worlds: int) -> dict[int, tuple[Any, ...]]:
        env = VecEnv(FixedTasks([tasks[i] for i in order]), num_worlds=num_worlds, layout=tasks[0].config)
        env.reset()
        results = {}
        while env.active.any():
            env.step(noisy_actions(env))
            for end in env.episode_ends:
                rows = np.isin(env.final_index // env.agents_per_world, end.world)
                results[end.task.key] = plain(end), env.final_observation[rows].tolist()
        return results

    assert run([3, 1, 2, 0, 5], 5) == run([0, 5, 2, 1, 3], 2) == run([0, 2, 5, 1, 3], 1)


def test_a_world_that_is_half_played_survives_growing() -> None:
    tasks = growing_tasks(everything=True)
    short, long = tasks[0].config.model_copy(update={"max_steps": 3}), tasks[0].config
    mixed = [Task(short, 50), Task(long, 51, "", 1), tasks[3]]  # the third comes while the second is at tick 3
    env = VecEnv(FixedTasks(mixed), num_worlds=2, layout=tasks[0].config)
    alone = VecEnv(FixedTasks([mixed[1]]), num_worlds=1, layout=tasks[0].config)
    env.reset()
    alone.reset()
    stride = env.state.cells.shape[2]
    for tick in range(1, 9):
        actions = noisy_actions(env)
        actions[3:] = noisy_actions(alone)
        alone.step(actions[3:])
        env.step(actions)
        assert env.observations[3:].tobytes() == alone.observations.tobytes() or tick == 8
        assert (env.state.cells.shape[2] > stride) == (tick >= 3)
    assert [plain(end) for end in env.episode_ends] == [plain(end) for end in alone.episode_ends]


MAKERS: dict[str, Callable[[], VecEnv]] = {
    "training": lambda: VecEnv(SingleTask(small_arena(max_steps=15), seed=4), num_worlds=4, stagger=True),
    "evaluation": lambda: VecEnv(FixedTasks(growing_tasks()), num_worlds=3),
}


@pytest.mark.parametrize("steps", [0, 7, 16])
@pytest.mark.parametrize("maker", MAKERS)
def test_a_restored_environment_goes_on_bit_for_bit(maker: str, steps: int) -> None:
    env = MAKERS[maker]()
    env.reset()
    play(env, steps)
    snapshot, digest = env.snapshot(), env.hash()
    expected = play(env, 25)
    fresh, used = MAKERS[maker](), MAKERS[maker]()
    used.reset()
    play(used, 9)
    for other in (fresh, used):
        other.restore(snapshot)
        assert other.hash() == digest
        assert play(other, 25) == expected
        assert other.hash() == env.hash() != digest


def test_a_snapshot_is_a_copy_of_plain_data() -> None:
    env = MAKERS["training"]()
    env.reset()
    play(env, 3)
    snapshot = env.snapshot()

    def check(value: Any) -> None:
        if isinstance(value, dict):
            assert all(type(key) is str for key in value)
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                check(item)
        elif isinstance(value, np.ndarray):
            assert value.dtype.kind in "biuf" and value.flags.owndata
        else:
            assert value is None or type(value) in (bool, int, float, str)

    check(snapshot)


def test_a_snapshot_survives_a_safe_file(through_a_safe_file: Callable[[Any], Any]) -> None:
    env, other = MAKERS["evaluation"](), MAKERS["evaluation"]()
    env.reset()
    play(env, 11)
    other.restore(through_a_safe_file(env.snapshot()))
    assert other.hash() == env.hash()
    assert play(other, 20) == play(env, 20)


def test_a_snapshot_of_another_shape_or_world_is_refused() -> None:
    env = VecEnv(SingleTask(small_arena(), seed=0), num_worlds=2)
    env.reset()
    snapshot = env.snapshot()
    with pytest.raises(CheckpointError, match="2 worlds"):
        VecEnv(SingleTask(small_arena(), seed=0), num_worlds=3).restore(snapshot)
    with pytest.raises(CheckpointError):
        VecEnv(SingleTask(small_arena(agents=2), seed=0), num_worlds=2).restore(snapshot)


def test_observations_can_be_written_into_a_trainers_own_memory() -> None:
    env, plain_env = (VecEnv(SingleTask(small_arena(max_steps=6), seed=1), num_worlds=2) for _ in range(2))
    slots = np.zeros((5, 6, 200, 3), np.uint8)  # garbage: an empty token is 255
    counts = np.full((5, 6), 200, np.int32)  # so everything may be stale
    plain_env.reset()
    env.set_observation_buffer(slots[0], counts[0])
    env.reset()
    assert env.observations is not None and np.shares_memory(env.observations, slots[0])
    for t in range(40):
        plain_env.step(noisy_actions(plain_env))
        actions = noisy_actions(env)
        before = slots[t % 5].copy()
        env.set_observation_buffer(slots[(t + 1) % 5], counts[(t + 1) % 5])
        env.step(actions)
        assert (slots[t % 5] == before).all()
        assert (slots[(t + 1) % 5] == plain_env.observations).all()
        assert (env.final_observation == plain_env.final_observation).all()
        assert_tails_are_empty(env)


def test_an_observation_buffer_of_another_shape_is_a_mistake() -> None:
    env = VecEnv(SingleTask(small_arena(), seed=1), num_worlds=2)
    with pytest.raises(AssertionError):
        env.set_observation_buffer(np.zeros((5, 200, 3), np.uint8), np.zeros(5, np.int32))


def test_worlds_that_cannot_share_a_batch_are_refused() -> None:
    tasks = [Task(small_arena(agents=3), 1), Task(small_arena(agents=2), 2)]
    env = VecEnv(FixedTasks(tasks), num_worlds=2)
    with pytest.raises(ConfigError, match="agents"):
        env.reset()


def test_worlds_with_other_objects_report_in_the_columns_of_the_layout() -> None:
    plain_world, with_block = small_arena(max_steps=6), small_arena(max_steps=6)
    with_block.objects = {"block": WallConfig(type_id=14, swappable=True), **with_block.objects}
    env = VecEnv(FixedTasks([Task(plain_world, 1), Task(with_block, 1)]), num_worlds=2)
    alone = VecEnv(FixedTasks([Task(with_block, 1)]), num_worlds=1)
    assert env.agent_stat_names != alone.agent_stat_names
    for each in (env, alone):
        each.reset()
        play(each, 6)
    mixed, own = env.episode_ends[1].agent_stats, alone.episode_ends[0].agent_stats
    assert mixed.shape == (3, len(env.agent_stat_names)) and mixed.sum() == own.sum() > 0
    for column, name in enumerate(env.agent_stat_names):
        assert mixed[:, column].tolist() == own[:, alone.agent_stat_names.index(name)].tolist()
    assert "objects.block" in env.episode_ends[1].world_stats


def test_worlds_that_play_the_same_share_their_rules_until_one_plays_something_else() -> None:
    usual, rich = small_arena(max_steps=6), small_arena(max_steps=9)
    rich.agent.initial_inventory = {"laser": 50}
    tasks = [Task(usual, 1, key=0), Task(usual, 2, key=1), Task(rich, 3, key=2), Task(usual, 4, key=3)]
    env = VecEnv(FixedTasks(tasks), num_worlds=2)
    env.reset()
    assert env.rules.kinds.strides[0] == 0 and env.rules.kinds.shape[0] == 2
    results = {}
    while env.active.any():
        env.step(noisy_actions(env))
        results |= {end.task.key: plain(end) for end in env.episode_ends}
    assert env.rules.kinds.strides[0] > 0, "one of them has played something else"
    for task in tasks:
        assert play_to_the_end(VecEnv(FixedTasks([task]), num_worlds=1)) == {task.key: results[task.key]}


def test_any_integer_may_be_sent_as_an_action() -> None:
    env = VecEnv(SingleTask(small_arena(agents=4), seed=0), num_worlds=1)
    env.reset()
    env.step(np.array([-1, 2**31 - 1, -(2**31), env.num_actions], np.int32))
    assert not env.action_success.any()
    invalid = env.agent_stat_names.index("action.invalid")
    assert env.state.stats[0, :, invalid].tolist() == [1, 1, 1, 1]


def test_actions_may_come_as_another_integer_type() -> None:
    env = VecEnv(SingleTask(small_arena(), seed=0), num_worlds=1)
    env.reset()
    env.step(np.zeros(3, np.int64))
    assert env.action_success.all()


@pytest.mark.parametrize("arguments", [{"num_worlds": 0}, {"num_worlds": 1, "threads": 0}])
def test_impossible_numbers_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        VecEnv(SingleTask(small_arena(), seed=0), **arguments)


def test_a_source_without_tasks_needs_a_layout() -> None:
    with pytest.raises(ConfigError, match="layout"):
        VecEnv(FixedTasks([]), num_worlds=1)
    env = VecEnv(FixedTasks([]), num_worlds=1, layout=small_arena())
    env.reset()
    assert not env.active.any()
