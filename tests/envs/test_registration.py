"""Under which names Gymnasium finds our worlds."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import gymnasium

from metta.envs.registration import register

SCRIPT = """
import sys, gymnasium
env = gymnasium.make("metta.envs:metta/Arena-v0")
print(env.reset(seed=1)[0].shape, "torch" in sys.modules)
"""


def test_the_name_of_our_package_is_enough_in_a_fresh_process() -> None:
    result = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("(200, 3) False\n", "")


def test_registering_again_changes_nothing() -> None:
    before = dict(gymnasium.registry)
    register()
    assert gymnasium.registry == before and {"metta/Arena-v0", "metta/Navigation-v0"} <= before.keys()


def test_the_entry_point_names_the_function_that_registers() -> None:
    (entry,) = (entry for entry in entry_points(group="gymnasium.envs") if entry.value.startswith("metta."))
    assert entry.load() is register


def test_navigation_can_be_made() -> None:
    env = gymnasium.make("metta/Navigation-v0")
    observation, _ = env.reset(seed=2)
    assert observation in env.observation_space
    assert gymnasium.make_vec("metta/Navigation-v0", num_envs=3).num_envs == 3
