"""The door: the `metta` command. It finds a recipe, settles its configuration, and runs the tool."""

from metta.cli.main import main

__all__ = ["main"]
