"""Settings `dotted.path=text` laid over a configuration: all collected first, validated together, once.

Each field's type says how its text is read. The order of the settings never matters: a change of variant
(`policy.architecture=lstm`) is made before the fields of the variant are looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from metta.cli.arguments import Setting
from metta.cli.mistakes import Reading, explain
from metta.cli.reading import Spec, UnreadableError, describe, read, read_all
from metta.cli.variants import discriminator_key, other_variants, variant_named, variant_names
from metta.errors import ConfigError, nearest

M = TypeVar("M", bound=BaseModel)


class _Rest(NamedTuple):
    """What of a setting's path is left below the node that is looked at."""

    keys: tuple[str, ...]
    setting: Setting


def override(config: M, settings: Sequence[Setting], *, also: Iterable[str] = ()) -> tuple[M, list[Reading]]:
    """Return a copy of `config` with `settings` laid over it, and how each was understood.

    `also`: further keys that the user could have meant by an unknown one. Raises ConfigError, a line for each mistake:
    an unknown key with the nearest names, a bad value with what is allowed, a key given twice that is no list.
    """
    work = _Override(config, tuple(also))
    data = work.model_data(type(config), config, [_Rest(setting.path, setting) for setting in settings], ())
    if work.problems:
        raise ConfigError("\n".join(dict.fromkeys(work.problems)))
    try:
        return type(config).model_validate(data), work.readings
    except ValidationError as error:
        raise ConfigError(explain(error, data, work.readings)) from error


class _Override:
    """The walk down the tree; it gathers mistakes instead of stopping at the first."""

    def __init__(self, config: BaseModel, also: tuple[str, ...]) -> None:
        self.problems: list[str] = []
        self.readings: list[Reading] = []
        self._root = config
        self._also = also

    def value(self, spec: Spec, current: Any, rests: list[_Rest], where: tuple[str, ...]) -> Any:
        """Return what stands at `where` once `rests` are laid over `current`."""
        here = [rest.setting for rest in rests if not rest.keys]
        below = [rest for rest in rests if rest.keys]
        if here:
            switched = self._switch(spec, current, here, where)
            current = self._read(spec, here, where) if switched is None else switched
        members = spec.members()
        mapping = next((member for member in members if member.is_mapping()), None)
        sequence = next((member for member in members if member.is_list()), None)
        if not below:
            return current
        if any(member.model() for member in members) and not (mapping and isinstance(current, dict)):
            return self._below_model(spec, current, below, where)
        if mapping is not None:
            return self._below_mapping(mapping, current, below, where)
        if sequence is not None:
            return self._below_list(sequence, current, below, where)
        for rest in below:
            self.problems.append(
                f"unknown key {rest.setting.key!r}: {_dotted(where)} is {describe(spec)}, it has no fields"
            )
        return current

    def model_data(
        self,
        model: type[BaseModel],
        current: Any,
        rests: list[_Rest],
        where: tuple[str, ...],
        variants: Sequence[Spec] = (),
    ) -> dict[str, Any]:
        """Return the fields of `model`, from an instance or a dictionary, with `rests` laid over them.

        `variants`: what else could stand there, for hints.
        """
        if isinstance(current, BaseModel):
            data = {name: getattr(current, name) for name in type(current).model_fields}
        else:
            data = dict(current or {})
        for key, group in _by_first_key(rests).items():
            field = model.model_fields.get(key)
            if field is None:
                self._unknown(group[0].setting, where, key, model, variants)
                continue
            inner = data.get(key)
            if key not in data and not field.is_required():
                inner = field.get_default(call_default_factory=True)
            data[key] = self.value(Spec.of_field(field), inner, group, (*where, key))
        return data

    def _below_model(self, spec: Spec, current: Any, below: list[_Rest], where: tuple[str, ...]) -> Any:
        variants = [member for member in spec.members() if member.model()]
        model = self._variant(spec, variants, current, below, where)
        if model is None:
            return current
        if isinstance(current, BaseModel) and type(current) is not model:
            current = {}  # another variant begins from its own defaults
        return self.model_data(model, current, below, where, variants)

    def _variant(
        self, spec: Spec, variants: list[Spec], current: Any, below: list[_Rest], where: tuple[str, ...]
    ) -> type[BaseModel] | None:
        """Return the class that the node will have; None after a mistake."""
        if len(variants) == 1:
            return variants[0].model()
        key = discriminator_key(spec, variants)
        chosen = [rest.setting for rest in below if rest.keys == (key,)]
        if key is not None and chosen:
            model = variant_named(spec, variants, key, chosen[-1].text)
            if model is None:
                names = variant_names(variants, key)
                self.problems.append(
                    f"{_dotted((*where, key))}: given {chosen[-1].text!r}, allowed: {' or '.join(names)}"
                    f"{nearest(chosen[-1].text, names)}"
                )
            return model
        if isinstance(current, BaseModel):
            return type(current)
        if key is not None and isinstance(current, dict) and key in current:
            return variant_named(spec, variants, key, str(current[key]))
        first_keys = {rest.keys[0] for rest in below}
        for member in variants:
            model = member.model()
            if model is not None and first_keys <= set(model.model_fields) and key is None:
                return model
        names = variant_names(variants, key) if key else []
        self.problems.append(f"{_dotted(where)} is not set: give {_dotted((*where, key or ''))}={'|'.join(names)} too")
        return None

    def _below_mapping(self, mapping: Spec, current: Any, below: list[_Rest], where: tuple[str, ...]) -> Any:
        data = dict(current) if isinstance(current, Mapping) else {}
        groups: dict[str, list[_Rest]] = {}
        for rest in below:
            length = _key_length(mapping.item(1), data, rest.keys)
            name = ".".join(rest.keys[:length])
            groups.setdefault(name, []).append(_Rest(rest.keys[length:], rest.setting))
        for name, group in groups.items():
            try:
                key = read(mapping.item(0), name)
            except UnreadableError:
                self.problems.append(f"{_dotted((*where, name))}: a key there is {describe(mapping.item(0))}")
                continue
            data[key] = self.value(mapping.item(1), data.get(key), group, (*where, name))
        return data

    def _below_list(self, sequence: Spec, current: Any, below: list[_Rest], where: tuple[str, ...]) -> Any:
        items = list(current or [])
        groups = _by_first_key(below)
        for key in sorted(groups, key=lambda key: int(key) if key.isdigit() else -1):
            if not key.isdigit() or int(key) > len(items):
                self.problems.append(
                    f"unknown key {groups[key][0].setting.key!r}: {_dotted(where)} is a list of {len(items)}; "
                    f"allowed: a number from 0 to {len(items)}, the last of which adds an item"
                )
                continue
            index = int(key)
            old = items[index] if index < len(items) else None
            items[index : index + 1] = [self.value(sequence.item(index), old, groups[key], (*where, key))]
        return items

    def _switch(self, spec: Spec, current: Any, here: list[Setting], where: tuple[str, ...]) -> Any:
        """Return the fields of a model that has a switch `enabled` for `x=on` and `x=off`; None if this is none."""
        models = [member.model() for member in spec.members() if member.model()]
        model = models[0] if len(models) == 1 else None
        if model is None or len(here) > 1 or "enabled" not in model.model_fields:
            return None
        try:
            is_on = read(Spec(bool), here[0].text)
        except UnreadableError:
            return None
        self.readings.append(Reading(here[0], _dotted((*where, "enabled")), is_on, "on or off"))
        return {**self.model_data(model, current, [], where), "enabled": is_on}

    def _read(self, spec: Spec, here: list[Setting], where: tuple[str, ...]) -> Any:
        path = _dotted(where)
        try:
            if len(here) == 1:
                value = read(spec, here[0].text)
            else:
                value = read_all(spec, [setting.text for setting in here])
        except UnreadableError:
            given = " and ".join(repr(setting.text) for setting in here)
            if len(here) > 1 and not any(member.is_list() for member in spec.members()):
                self.problems.append(f"{path}: given twice, {given}, and it is no list")
            else:
                self.problems.append(f"{path}: given {given}, allowed: {describe(spec)}")
            return None
        self.readings += [Reading(setting, path, value, describe(spec)) for setting in here]
        return value

    def _unknown(
        self, setting: Setting, where: tuple[str, ...], key: str, model: type[BaseModel], variants: Sequence[Spec]
    ) -> None:
        place = _dotted(where) if where else "the configuration"
        known = [*model.model_fields, *(() if where else self._also)]
        hint = (
            self._deeper(key, where)
            or other_variants(variants, key, where)
            or nearest(key, known)
            or f" (it has {', '.join(known)})"
        )
        self.problems.append(f"unknown key {setting.key!r}: {place} has no {key!r}{hint}")

    def _deeper(self, key: str, where: tuple[str, ...]) -> str:
        """Return a hint when a field of this very name exists further down."""
        start = "".join(f"{part}." for part in where)
        paths = [path for path in dotted_paths(self._root) if path.startswith(start)]
        found = [path for path in paths if path.rpartition(".")[2] == key]
        return f" (did you mean {', '.join(found[:3])}?)" if found else ""


def dotted_paths(config: BaseModel, prefix: str = "") -> list[str]:
    """Return the path of every field, nested ones too; entries of dictionaries and lists are left out."""
    paths = []
    for name in type(config).model_fields:
        paths.append(f"{prefix}{name}")
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            paths += dotted_paths(value, f"{prefix}{name}.")
    return paths


def _key_length(item: Spec, data: Mapping[Any, Any], keys: tuple[str, ...]) -> int:
    """Return how many parts of a dotted path are one dictionary key: `action.move.success` is one.

    The longest key that is there already; else all up to a field of the item; of items without fields, all.
    """
    known = {str(key) for key in data}
    for length in range(len(keys), 0, -1):
        if ".".join(keys[:length]) in known:
            return length
    models = [model for member in item.members() if (model := member.model())]
    if not models:
        return len(keys) if not any(m.is_list() or m.is_mapping() for m in item.members()) else 1
    for length in range(1, len(keys)):
        if any(keys[length] in model.model_fields for model in models):
            return length
    return 1


def _by_first_key(rests: list[_Rest]) -> dict[str, list[_Rest]]:
    groups: dict[str, list[_Rest]] = {}
    for rest in rests:
        groups.setdefault(rest.keys[0], []).append(_Rest(rest.keys[1:], rest.setting))
    return groups


def _dotted(where: Iterable[str]) -> str:
    return ".".join(where)
