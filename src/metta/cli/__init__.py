"""The door: the `metta` command (main.py). It finds a recipe, settles its configuration, and runs the tool."""

from metta.cli.main import run_verb
from metta.cli.verbs import VERBS

__all__ = ["VERBS", "run_verb"]
