"""The grid world: what a user configures, and how it is compiled and stepped. Knows nothing of torch."""

from metta.grid.compile import CompiledWorld, Feature, compile_world
from metta.grid.config import WorldConfig

__all__ = ["CompiledWorld", "Feature", "WorldConfig", "compile_world"]
