"""The names under which Gymnasium makes our worlds: `import metta.envs`, then `gymnasium.make("metta/Arena-v0")`.

`gymnasium.make("metta.envs:metta/Arena-v0")` needs no import. The package also has an entry point `gymnasium.envs`,
which names `register` to programs that look for such; Gymnasium itself did so until 1.0.
"""

from __future__ import annotations

from gymnasium.envs.registration import register as register_env
from gymnasium.envs.registration import registry

_MODULE = "metta.envs.gymnasium_env"


def register() -> None:
    """Tell Gymnasium the names of the standard worlds; calling it again changes nothing."""
    for name, maker in (("metta/Arena-v0", "make_arena"), ("metta/Navigation-v0", "make_navigation")):
        if name not in registry:
            register_env(name, entry_point=f"{_MODULE}:{maker}", vector_entry_point=f"{_MODULE}:{maker}_vector")
