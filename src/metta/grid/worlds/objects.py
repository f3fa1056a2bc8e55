"""The standard objects of docs/world.md, section 4."""

from __future__ import annotations

from metta.grid.config import BoxConfig, ConverterConfig, ObjectConfig, WallConfig

_COLORS = ("red", "blue", "green")


def standard_objects(*names: str) -> dict[str, ObjectConfig]:
    """Return new configurations of the standard objects called `names`; of all of them if none is named."""
    table = _table()
    return {name: table[name] for name in names or table}


def _table() -> dict[str, ObjectConfig]:
    table: dict[str, ObjectConfig] = {"wall": WallConfig(type_id=1)}
    for i, color in enumerate(_COLORS):
        table[f"mine_{color}"] = ConverterConfig(type_id=2 + i, output_resources={f"ore_{color}": 1}, cooldown=50)
    for i, color in enumerate(_COLORS):
        table[f"generator_{color}"] = ConverterConfig(
            type_id=5 + i,
            input_resources={f"ore_{color}": 1},
            output_resources={f"battery_{color}": 1},
            cooldown=25,
        )
    table["altar"] = ConverterConfig(
        type_id=8, input_resources={"battery_red": 3}, output_resources={"heart": 1}, cooldown=10
    )
    table["block"] = WallConfig(type_id=14, swappable=True)
    table["lasery"] = ConverterConfig(
        type_id=15, input_resources={"battery_red": 1, "ore_red": 2}, output_resources={"laser": 1}, cooldown=10
    )
    table["armory"] = ConverterConfig(
        type_id=16, input_resources={"ore_red": 3}, output_resources={"armor": 1}, cooldown=10
    )
    for i, name in enumerate(("lab", "factory", "temple")):
        table[name] = ConverterConfig(type_id=17 + i, cooldown=5)
    table["box"] = BoxConfig(type_id=30)
    return table
