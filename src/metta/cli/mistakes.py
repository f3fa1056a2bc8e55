"""What pydantic found wrong, in lines for people: the path, what was given, what is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from metta.cli.arguments import Setting
from metta.config import allowed, path_in
from metta.errors import nearest


class Reading(NamedTuple):
    """How one setting was understood."""

    setting: Setting
    path: str
    value: Any
    type: str


def explain(error: ValidationError, data: Any = None, readings: Sequence[Reading] = ()) -> str:
    """Return a line for each mistake that pydantic found: the path, what was given, what is allowed.

    `data` is what was validated: its keys tell parts of the path from names of variants. `readings`: what was typed.
    """
    lines = []
    for item in error.errors(include_url=False):
        path = path_in(data, item["loc"])
        cause = item.get("ctx", {}).get("error")
        typed = next((r for r in readings if path == r.path or path.startswith(f"{r.path}.")), None)
        if item["type"] in ("value_error", "assertion_error") and cause is not None:
            lines.append(f"{path}: {cause}" if path else str(cause))
        elif item["type"] == "missing":
            lines.append(f"{path} is missing")
        elif item["type"] == "extra_forbidden":
            lines.append(f"unknown key {path!r}{item.get('ctx', {}).get('hint', '')}")
        elif item["type"] == "union_tag_invalid":
            lines.append(_unknown_variant(path, item["ctx"]))
        elif typed is not None:
            lines.append(f"{path}: given {typed.setting.text!r}, allowed: {typed.type}")
        else:
            lines.append(f"{path}: given {item['input']!r}; {allowed(item['msg'])}")
    return "\n".join(dict.fromkeys(lines))


def _unknown_variant(path: str, context: Mapping[str, str]) -> str:
    """Return the line for a `type` that does not exist."""
    names = [name.strip("'") for name in context["expected_tags"].split(", ")]
    field = context["discriminator"].strip("'")
    hint = nearest(context["tag"], names)
    return f"{path}.{field}: given {context['tag']!r}; allowed: {', '.join(names)}{hint}"
