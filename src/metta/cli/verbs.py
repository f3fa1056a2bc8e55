"""The verbs of the door: what each is for, and which module of this room does it."""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """A verb of the door."""

    purpose: str
    home: str  # the module of this room that has its function `run_verb(name, argv)`
    usage: str = "[recipe] [key=value ...]"


VERBS = {
    "train": Verb("train a policy; the same run= goes on where it stopped", "launch"),
    "evaluate": Verb("play a suite with one or several policies, and score them", "launch"),
    "analyze": Verb("tables of a run, and its report with plots", "launch", "[run|recipe] [key=value ...]"),
    "compare": Verb("which of two policies is better, on the same episodes", "launch", "[recipe] A B [key=value ...]"),
    "cross-play": Verb("who does well with whom: a matrix of policies, and ratings", "launch"),
    "replay": Verb("watch a recorded episode in the terminal", "launch", "[file|run|recipe] [key=value ...]"),
    "map": Verb(
        "maps of a builder, a world or a file, seed by seed", "map", "builder|world|recipe|file [key=value ...]"
    ),
    "play": Verb("see a world in the terminal, and play one agent", "launch"),
    "demo": Verb("train for two minutes, evaluate, write a report and a replay", "launch"),
    "run": Verb("any function of a recipe: metta run arena.train run=x", "launch", "recipe.function [key=value ...]"),
    "sql": Verb("ask anything about what was played", "service", '["SELECT ..."] [run=...] [key=value ...]'),
    "local": Verb("start a service on this machine: eval-service", "service", "eval-service [key=value ...]"),
    "request-eval": Verb(
        "ask the evaluation service for scores",
        "service",
        "--policy URI --eval SUITE [--wait] | --requests | --cancel ID",
    ),
    "open": Verb("open a run's report in the browser, and watch its replay", "inventory", "run"),
    "list": Verb("what there is: recipes, tools, policies, runs", "inventory", "[recipes|tools|policies|runs]"),
    "status": Verb("runs and how far they are; this machine", "inventory", ""),
    "clean": Verb("remove compiled caches and what interrupted saves left behind", "upkeep", ""),
    "test": Verb("run the tests of a clone", "upkeep", "[pytest arguments]"),
}
ALIASES = {"sim": "evaluate", "cross_play": "cross-play", "request_eval": "request-eval"}
