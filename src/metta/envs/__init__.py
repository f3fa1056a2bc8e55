"""Many worlds at once: `VecEnv`, the tasks that it plays, and the spaces of what it shows. Loads no torch.

The adapters are modules of their own: gymnasium_env, gymnasium_vec, pettingzoo_env.
"""

from metta.envs.interface import BatchedEnv
from metta.envs.registration import register
from metta.envs.spaces import BoxSpace, DiscreteSpace, Space, TokenSpace
from metta.envs.tasks import EpisodeEnd, FixedTasks, SingleTask, Task, TaskSource
from metta.envs.vec_env import VecEnv

__all__ = [
    "BatchedEnv",
    "BoxSpace",
    "DiscreteSpace",
    "EpisodeEnd",
    "FixedTasks",
    "SingleTask",
    "Space",
    "Task",
    "TaskSource",
    "TokenSpace",
    "VecEnv",
]

register()  # Gymnasium 1.0 gave up looking for entry points: it knows a package's names once that was imported
