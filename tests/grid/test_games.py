"""Whole games: compiled against plain Python, repeated, moved in the batch, saved, and recorded."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metta.grid.cpu import step_worlds
from metta.grid.worlds import arena, easy_arena

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden" / "grid_games.json"
NUM_GAMES = 30
NUM_OWN = 10  # with rules of the user's own


def run_plain(*arguments: str) -> str:
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-W", "error", str(HERE / "random_games.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """What a process without the JIT made of the random games (random_games.py)."""
    return json.loads(run_plain(str(NUM_GAMES), str(NUM_GAMES), str(NUM_OWN)))


def test_compiled_rules_equal_plain_python_in_random_worlds(games, plain):
    assert [games.play(seed) for seed in range(NUM_GAMES)] == plain["random"]
    assert [games.play(seed, wide=True) for seed in range(NUM_GAMES)] == plain["wide"]


def test_compiled_rules_of_ones_own_equal_plain_python_in_random_worlds(games, plain):
    assert [games.play(seed, own=True) for seed in range(NUM_OWN)] == plain["own"]


def test_the_compared_games_take_every_branch_of_every_rule(plain):
    """A new rule that no random world uses, or a condition that is never false there, shows here."""
    assert plain["missing"] == []


def test_what_random_worlds_do_not_reach_is_the_same_when_compiled(games):
    games.play_misfits()
    games.play_for_long()


def test_random_worlds_use_everything(games):
    """The equality above would prove little if nothing happened in those worlds."""
    counted: dict[str, int] = {}
    objects: dict[str, int] = {}
    for seed in range(NUM_GAMES):
        game = games.begin(games.random_config(seed), seed=seed)
        draw = random.Random(seed + 1000)
        for _ in range(40):
            game.buffers.actions[0] = games.random_actions_of(game, draw)
            step_worlds(game.rules, game.state, game.buffers)
        for name, count in zip(game.compiled.stat_names, game.state.stats[0].sum(0), strict=True):
            counted[name] = counted.get(name, 0) + int(count)
        for name, count in zip(game.compiled.object_stat_names, game.state.object_stats[0].sum(0), strict=True):
            objects[name] = objects.get(name, 0) + int(count)
        dropped = game.state.world_stats[0, game.compiled.world_stat_names.index("tokens_dropped")]
        counted["tokens_dropped"] = counted.get("tokens_dropped", 0) + int(dropped)
    verbs = [name for name in counted if name.startswith("action.") and name.endswith((".success", ".failed"))]
    never = {"action.noop.failed", "action.rotate.failed", "action.change_color.failed", "action.change_glyph.failed"}
    assert {name for name in verbs if not counted[name]} <= never
    assert counted["tokens_dropped"] and counted["box.opened"] and counted["action.swap.agent"]
    assert counted["action.attack.red.hit.blue"] and counted["action.attack.red.blocked_by.blue"]
    assert counted["action.attack.red.wasted_on_frozen"] and counted["action.attack.red.friendly_fire"]
    assert not [name for name, count in objects.items() if not count and not name.startswith(tuple(games.RESOURCES))]
    for what in ("added", "removed", "consumed", "produced"):
        assert any(count for name, count in objects.items() if name.endswith(what))


def test_games_are_those_that_were_recorded(games):
    """A change of the rules on purpose: run `python tests/grid/record_games.py`, and say so in the change."""
    recorded = json.loads(GOLDEN.read_text())
    assert [games.play(seed)["game"] for seed in range(len(recorded["random"]))] == recorded["random"]
    assert [games.play(seed, wide=True)["game"] for seed in range(len(recorded["wide"]))] == recorded["wide"]
    assert arena_digest(games) == recorded["easy_arena"]


def arena_digest(games) -> str:
    game = games.begin(easy_arena(), seed=7)
    draw = random.Random(7)
    digest = hashlib.sha256(games.visible(game))
    for _ in range(300):
        game.buffers.actions[0] = games.random_actions_of(game, draw)
        step_worlds(game.rules, game.state, game.buffers)
        digest.update(games.visible(game))
    return digest.hexdigest()[:24]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_game_does_not_depend_on_its_place_or_on_threads(games, threads):
    alone = games.begin(arena(), seed=3)
    batch = games.begin(arena(), seed=3, num_worlds=5)
    compiled = batch.compiled
    rng = np.random.default_rng(0)
    for e in (0, 1, 3, 4):  # the neighbours of world 2 play other games
        games.reset_world(compiled, batch.rules, batch.state, batch.buffers, e, compiled.build_map(50 + e), seed=50 + e)
    for _ in range(60):
        batch.buffers.actions[:] = rng.integers(0, len(compiled.action_names), batch.buffers.actions.shape)
        alone.buffers.actions[0] = batch.buffers.actions[2]
        step_worlds(batch.rules, batch.state, batch.buffers, threads)
        step_worlds(alone.rules, alone.state, alone.buffers)
    assert games.visible(batch, 2) == games.visible(alone, 0)


def test_inactive_worlds_rest(games):
    batch = games.begin(arena(), seed=3, num_worlds=3)
    batch.buffers.active[1] = False
    before = [array[1].copy() for array in batch.state]
    step_worlds(batch.rules, batch.state, batch.buffers)
    assert all((array[1] == old).all() for array, old in zip(batch.state, before, strict=True))
    assert batch.state.worlds[0, 0] == batch.state.worlds[2, 0] == 1


def test_a_copied_state_goes_on_as_the_original_would(games):
    game = games.begin(games.random_config(4), seed=4)
    draw = random.Random(0)
    actions = [games.random_actions_of(game, draw) for _ in range(30)]
    for action in actions[:10]:
        game.buffers.actions[0] = action
        step_worlds(game.rules, game.state, game.buffers)
    saved = [array.copy() for array in game.state], game.buffers.observations.copy(), game.buffers.token_counts.copy()
    for action in actions[10:]:
        game.buffers.actions[0] = action
        step_worlds(game.rules, game.state, game.buffers)
    expected = games.everything(game)
    for array, old in zip(game.state, saved[0], strict=True):
        array[...] = old
    game.buffers.observations[...], game.buffers.token_counts[...] = saved[1:]
    for action in actions[10:]:
        game.buffers.actions[0] = action
        step_worlds(game.rules, game.state, game.buffers)
    assert games.everything(game) == expected


def test_a_reset_leaves_nothing_of_the_episode_before(games):
    config = games.random_config(5)
    used, fresh = games.begin(config, seed=1), games.begin(config, seed=2)
    draw = random.Random(0)
    for _ in range(30):
        used.buffers.actions[0] = games.random_actions_of(used, draw)
        step_worlds(used.rules, used.state, used.buffers)
    games.reset_world(used.compiled, used.rules, used.state, used.buffers, 0, used.compiled.build_map(2), seed=2)
    used.buffers.actions[...] = fresh.buffers.actions
    used.buffers.order[...] = fresh.buffers.order
    used.buffers.pools[...] = fresh.buffers.pools
    assert games.everything(used) == games.everything(fresh)


def test_the_end_of_an_episode_is_told_to_every_agent(scene):
    world = scene("@@", max_steps=3).do("noop", times=2)
    assert not world.buffers.truncations.any() and not world.buffers.terminals.any()
    world.do("noop")
    assert world.buffers.truncations.all() and not world.buffers.terminals.any()


def test_an_episode_may_end_as_terminated(scene):
    world = scene("@@", max_steps=2, episode_truncates=False).do("noop", times=2)
    assert world.buffers.terminals.all() and not world.buffers.truncations.any()


def test_an_endless_episode_goes_on(scene):
    world = scene("@", max_steps=0).do("noop", times=2000)
    assert not world.buffers.truncations.any() and not world.buffers.terminals.any()
    assert world.shown("episode_completion_pct") == [0]
