"""The base of every configuration: strict pydantic models that can be overridden by dotted paths."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A configuration model: unknown keys are errors, and every assignment is validated."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=())
