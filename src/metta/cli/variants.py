"""Unions of models: which field tells the variants apart, and which variant a name chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, Discriminator

from metta.cli.reading import Spec


def discriminator_key(spec: Spec, variants: Sequence[Spec]) -> str | None:
    """Return the field that tells the variants of a union apart; None if there is none."""
    if isinstance(spec.discriminator, str):
        return spec.discriminator
    if isinstance(spec.discriminator, Discriminator) and isinstance(spec.discriminator.discriminator, str):
        return spec.discriminator.discriminator
    shared: set[str] | None = None
    literal: set[str] = set()
    for member in variants:
        model = member.model()
        fields = model.model_fields if model else {}
        shared = set(fields) if shared is None else shared & set(fields)
        literal |= {name for name, field in fields.items() if _literals(field.annotation)}
    found = sorted((shared or set()) & literal)
    return found[0] if found else None


def _literals(annotation: Any) -> tuple[str, ...]:
    values = get_args(annotation) if "Literal" in str(annotation) else ()
    return tuple(value for value in values if isinstance(value, str))


def variant_named(spec: Spec, variants: Sequence[Spec], key: str, name: str) -> type[BaseModel] | None:
    """Return the variant that `key=name` chooses."""
    tag = name
    if isinstance(spec.discriminator, Discriminator) and callable(spec.discriminator.discriminator):
        tag = str(spec.discriminator.discriminator({key: name}))
    for member in variants:
        model = member.model()
        if model is None:
            continue
        values = _literals(model.model_fields[key].annotation)
        if name in values or (tag == member.tag and not values):
            return model
    return None


def variant_names(variants: Sequence[Spec], key: str) -> list[str]:
    """Return what `key` may be."""
    fields = [model.model_fields[key] for member in variants if (model := member.model())]
    return [name for field in fields for name in _literals(field.annotation)]


def other_variants(variants: Sequence[Spec], key: str, where: tuple[str, ...]) -> str:
    """Return a hint when another variant has the field."""
    having = [member for member in variants if (model := member.model()) and key in model.model_fields]
    choice = discriminator_key(Spec(None), variants) if having else None
    if choice is None:
        return ""
    return f" (with {'.'.join((*where, choice))}={'|'.join(variant_names(having, choice))} it would)"
