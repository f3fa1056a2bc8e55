"""Tables of names and a word on each, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from metta.cli.lookup import list_recipes


def two_columns(rows: Sequence[tuple[str, str]]) -> str:
    """Return a line a row, the second column aligned."""
    if not rows:
        return "  none"
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name.ljust(width)}  {text}".rstrip() for name, text in rows)


def recipe_rows() -> list[tuple[str, str]]:
    """Return all recipes' functions, and what each is for."""
    recipes = list_recipes()
    return [(f"{recipe.name}.{name}", doc) for recipe in recipes for name, doc in recipe.functions.items()]
