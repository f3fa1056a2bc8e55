"""Complete experiments: functions that return a configured tool. One module a recipe, found by its name."""

__all__: list[str] = []
