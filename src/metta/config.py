"""The base of every configuration: strict pydantic models that can be overridden by dotted paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os.path import expanduser
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from metta.errors import nearest

Folder = Annotated[str, AfterValidator(expanduser)]
"""The path of a folder; a `~` at its beginning is the user's home, whatever the shell made of it."""


class Config(BaseModel):
    """A configuration model: unknown keys are errors that name the nearest, and every assignment is validated.

    Numbers are finite: as JSON, by which configurations are kept and told apart, all others would be null.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=(), allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, data: Any) -> Any:
        """Refuse unknown keys with pydantic's own type of error, but with a hint."""
        fields = cls.model_fields
        unknown = [str(key) for key in data if key not in fields] if isinstance(data, dict) else []
        if unknown:
            mistakes = [
                InitErrorDetails(
                    type=PydanticCustomError("extra_forbidden", "unknown key{hint}", {"hint": _hint(key, [*fields])}),
                    loc=(key,),
                    input=data[key],
                )
                for key in unknown
            ]
            raise ValidationError.from_exception_data(cls.__name__, mistakes)
        return data


def path_in(data: Any, location: Sequence[int | str]) -> str:
    """Return the dotted path of pydantic's location in a model's `data`, without the names of variants in it."""
    parts = []
    is_new = False  # a part was entered just now, so that the next may be the name of its variant
    for number, part in enumerate(location):
        if is_new and part == _item(data, "type"):
            is_new = False
            continue
        inner = _item(data, part)
        if inner is not None:
            data, is_new = inner, True
        elif number < len(location) - 1 or (data is not None and not isinstance(data, Mapping | BaseModel)):
            continue  # a variant's name
        parts.append(str(part))
    return ".".join(parts)


def _item(data: Any, part: int | str) -> Any:
    """Return what stands under `part` in a model, a mapping or a list; None if nothing does."""
    if isinstance(data, BaseModel):
        return getattr(data, str(part)) if part in type(data).model_fields else None
    if isinstance(data, Mapping):
        return data.get(part)
    is_there = isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
    return data[part] if is_there else None


def allowed(message: str) -> str:
    """Return what pydantic says of a value that it refuses as what is allowed: `at least 0`."""
    message = message.replace("less than or equal to", "up to").replace("greater than or equal to", "at least")
    return f"allowed: {message.removeprefix('Input should be ')}"


def _hint(key: str, fields: list[str]) -> str:
    return nearest(key, fields) or f"; allowed: {', '.join(fields)}"
