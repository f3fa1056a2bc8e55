"""Hooks, one a file: whatever watches or steers a run."""

from metta.rl.hooks.base_hook import TrainerHook

__all__ = ["TrainerHook"]
