"""Gymnasium finds our worlds by an entry point of the package: `gymnasium.make("metta/Arena-v0")` needs no import."""

from __future__ import annotations

_MODULE = "metta.envs.gymnasium_env"


def register() -> None:
    """Tell Gymnasium the names of the standard worlds; calling it again changes nothing."""
    from gymnasium.envs.registration import register as register_env
    from gymnasium.envs.registration import registry

    for name, maker in (("metta/Arena-v0", "make_arena"), ("metta/Navigation-v0", "make_navigation")):
        if name not in registry:
            register_env(name, entry_point=f"{_MODULE}:{maker}", vector_entry_point=f"{_MODULE}:{maker}_vector")
