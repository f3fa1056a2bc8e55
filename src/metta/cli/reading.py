"""Texts read as the type of a field says, and types put into words."""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, Discriminator, Tag
from pydantic.fields import FieldInfo

_TRUE, _FALSE, _NONE = ("on", "true", "yes", "1"), ("off", "false", "no", "0"), ("none", "null")


class UnreadableError(Exception):
    """The text cannot be read as this type."""


@dataclass(frozen=True)
class Spec:
    """A field's type, taken apart."""

    annotation: Any
    constraints: tuple[Any, ...] = ()
    discriminator: str | Discriminator | None = None
    tag: str | None = None

    @classmethod
    def of(cls, annotation: Any) -> Spec:
        """Return the spec of a type, which may be `Annotated` or a named alias."""
        alias = getattr(annotation, "__value__", None)  # of a `type` statement or a TypeAliasType
        if alias is not None and getattr(annotation, "__name__", "") != "JsonValue":
            return cls.of(alias)
        if get_origin(annotation) is not typing.Annotated:
            return cls(annotation)
        inner, *metadata = get_args(annotation)
        spec = cls.of(inner)
        constraints, discriminator, tag = list(spec.constraints), spec.discriminator, spec.tag
        for item in metadata:
            if isinstance(item, FieldInfo):
                constraints += item.metadata
                discriminator = item.discriminator or discriminator
            elif isinstance(item, Discriminator):
                discriminator = item
            elif isinstance(item, Tag):
                tag = item.tag
            else:
                constraints.append(item)
        return cls(spec.annotation, tuple(constraints), discriminator, tag)

    @classmethod
    def of_field(cls, field: FieldInfo) -> Spec:
        """Return the spec of a model's field."""
        spec = cls.of(field.annotation)
        found: Any = field.discriminator
        for item in field.metadata:
            found = item if isinstance(item, Discriminator) else found
        return cls(spec.annotation, (*spec.constraints, *field.metadata), found or spec.discriminator)

    def members(self) -> tuple[Spec, ...]:
        """Return the members of a union, those of unions inside it too; the spec itself if it is none."""
        if get_origin(self.annotation) not in (Union, types.UnionType):
            return (self,)
        found: list[Spec] = []
        for argument in get_args(self.annotation):
            member = Spec.of(argument)
            found += [member] if member.tag else member.members()
        return tuple(found)

    def model(self) -> type[BaseModel] | None:
        """Return the model class that this is, None if it is none."""
        is_model = isinstance(self.annotation, type) and issubclass(self.annotation, BaseModel)
        return self.annotation if is_model else None

    def origin(self) -> Any:
        """Return `list` for list[int], and so on; a plain type itself."""
        return get_origin(self.annotation) or self.annotation

    def is_list(self) -> bool:
        """Whether several values can be given for it."""
        return self.origin() in (list, set, frozenset, tuple, Sequence)

    def is_mapping(self) -> bool:
        """Whether it has entries under keys of the user's own."""
        return self.origin() in (dict, Mapping)

    def item(self, index: int = 0) -> Spec:
        """Return the spec of a list's items; of a tuple's item `index`; of a dictionary: 0 its keys, 1 its values."""
        arguments = [argument for argument in get_args(self.annotation) if argument is not Ellipsis]
        if not arguments:
            return Spec(Any)
        return Spec.of(arguments[min(index, len(arguments) - 1)])


def read(spec: Spec, text: str) -> Any:
    """Return the value that `text` stands for.

    Only the type is looked at: bounds are checked when the whole configuration is. Raises UnreadableError.
    """
    for member in sorted(spec.members(), key=_preference):
        try:
            return _read_member(member, text)
        except (UnreadableError, ValueError):
            continue
    raise UnreadableError


def read_all(spec: Spec, texts: Sequence[str]) -> Any:
    """Return the list that several texts make. Raises UnreadableError if `spec` is no list or one is unreadable."""
    for member in spec.members():
        if member.is_list():
            return [read(member.item(index), text) for index, text in enumerate(texts)]
    raise UnreadableError


def _preference(spec: Spec) -> int:
    """Text last: everything can be read as text."""
    order = (types.NoneType, bool, int, float)
    if spec.annotation in order:
        return order.index(spec.annotation)
    return 10 if spec.annotation in (str, Path) or _is_anything(spec) else 5


def _is_anything(spec: Spec) -> bool:
    return spec.annotation in (Any, object) or getattr(spec.annotation, "__name__", "") == "JsonValue"


def _read_member(spec: Spec, text: str) -> Any:
    kind, lowered = spec.annotation, text.strip().lower()
    if kind is types.NoneType:
        return _one_of(lowered, dict.fromkeys(_NONE))
    if kind is bool:
        return _one_of(lowered, {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)})
    if kind is int:
        return _read_int(text)
    if kind is float:
        return float(text)
    if kind is str:
        return text
    if get_origin(kind) is Literal:
        return _one_of(text, {str(value): value for value in get_args(kind)})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _one_of(text, {**{str(item.value): item for item in kind}, **{item.name: item for item in kind}})
    if spec.is_list():
        return _read_list(spec, text)
    if spec.is_mapping() or spec.model():
        if not text.lstrip().startswith("{"):
            raise UnreadableError
        return json.loads(text)
    if _is_anything(spec):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _one_of(text: str, values: dict[str, Any]) -> Any:
    if text not in values:
        raise UnreadableError
    return values[text]


def _read_int(text: str) -> int:
    """Read 1000000, 1_000_000, or 1e6."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise UnreadableError from None
        return int(number)


def _read_list(spec: Spec, text: str) -> list[Any]:
    """Read JSON, `[a, b]` without quotes, `1,2` where the items are not texts, or the one item that `text` is."""
    stripped = text.strip()
    if stripped.startswith("["):
        try:
            value = json.loads(stripped)
        except ValueError:
            if not stripped.endswith("]"):
                raise UnreadableError from None
            pieces = [piece.strip() for piece in stripped[1:-1].split(",")]
            return [read(spec.item(index), piece) for index, piece in enumerate(pieces) if piece]
        return list(value)
    pieces = [text] if spec.item().annotation is str else text.split(",")
    return [read(spec.item(index), piece) for index, piece in enumerate(pieces)]


# ------------------------------------------------------------------------------------------------- in words


def describe(spec: Spec) -> str:
    """Say what may be given: `a whole number, at least 1`."""
    members = spec.members()
    if len(members) == 1:
        return _describe_member(members[0])
    words = " or ".join(dict.fromkeys(_describe_member(member) for member in members))
    bounds = _describe_bounds(spec.constraints)
    return f"{words}, {bounds}" if bounds else words


def _describe_member(spec: Spec) -> str:
    kind = spec.annotation
    model = spec.model()
    if model is not None:
        fields = ", ".join(model.model_fields)
        return f"a JSON object or settings of its own fields ({fields})"
    if get_origin(kind) is Literal:
        return " or ".join(str(value) for value in get_args(kind))
    names = {types.NoneType: "none", bool: "on or off", int: "a whole number", float: "a number", str: "a text"}
    if kind in names:
        words = names[kind]
    elif spec.is_mapping():
        words = "entries .<key>=<value>"
    elif spec.is_list():
        words = f"a list, each item {describe(spec.item())}"
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        words = " or ".join(str(item.value) for item in kind)
    else:
        words = "any value" if _is_anything(spec) else getattr(kind, "__name__", str(kind))
    bounds = _describe_bounds(spec.constraints)
    return f"{words}, {bounds}" if bounds else words


def _describe_bounds(constraints: Sequence[Any]) -> str:
    low = high = ""
    others: list[str] = []
    for item in constraints:
        if isinstance(item, annotated_types.Ge):
            low = f"at least {item.ge}"
        elif isinstance(item, annotated_types.Gt):
            low = f"above {item.gt}"
        elif isinstance(item, annotated_types.Le):
            high = f"at most {item.le}"
        elif isinstance(item, annotated_types.Lt):
            high = f"below {item.lt}"
        elif isinstance(item, annotated_types.MinLen):
            others.append(f"{item.min_length} items or more")
        elif isinstance(item, annotated_types.MaxLen):
            others.append(f"{item.max_length} items or fewer")
        elif getattr(item, "pattern", None):
            others.append(f"like {item.pattern}")
    if low and high:
        return ", ".join([f"{low} and {high}", *others])
    return ", ".join(part for part in (low, high, *others) if part)


def short_type(spec: Spec) -> str:
    """Return a type in a word or two, for tables: `int`, `text|none`, `fast|lstm`."""
    names = {types.NoneType: "none", bool: "on|off", int: "int", float: "float", str: "text"}
    parts = []
    for member in spec.members():
        model = member.model()
        if member.annotation in names:
            parts.append(names[member.annotation])
        elif get_origin(member.annotation) is Literal:
            parts += [str(value) for value in get_args(member.annotation)]
        elif member.is_mapping():
            parts.append(f"{{{short_type(member.item(0))}: {short_type(member.item(1))}}}")
        elif member.is_list():
            parts.append(f"[{short_type(member.item())}]")
        else:
            parts.append(model.__name__ if model else getattr(member.annotation, "__name__", str(member.annotation)))
    return "|".join(dict.fromkeys(parts))
