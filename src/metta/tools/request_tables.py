"""What is printed of requests: tables, problems a line each, JSON."""

from __future__ import annotations

from typing import Any, NamedTuple

from metta.errors import ServiceError
from metta.eval.eval_service.schemas import Checked, RequestView, SimulationView

SCORES = ("policy", "simulation", "score", "mean", "95 % interval", "interquartile mean", "episodes", "missing")
REQUESTS = ("request", "policy", "suite", "simulations", "state")


class Asking(NamedTuple):
    """A policy and a suite as the user named them, and what the service said."""

    policy: str
    suite: str
    answer: RequestView | Checked | ServiceError | None  # None: it could not be asked what it would say

    @property
    def is_bad(self) -> bool:
        """Whether there is no hope of a score, of one simulation at least."""
        if not isinstance(self.answer, RequestView):
            return isinstance(self.answer, ServiceError)
        is_ended_without = any(one.result is not None and one.result.score is None for one in self.answer.simulations)
        return is_ended_without or self.answer.state in ("failed", "cancelled")


def asking_row(asking: Asking) -> list[str]:
    """Return the cells of `REQUESTS`."""
    answer = asking.answer
    if answer is None:
        return ["", asking.policy, asking.suite, "", "would be asked"]
    if isinstance(answer, ServiceError):
        return ["", asking.policy, asking.suite, "", "refused"]
    if isinstance(answer, RequestView):
        return request_row(answer)
    state = "would be asked" if answer.known is None else f"asked before: {answer.known.state}"
    return [answer.id, _policy(answer), answer.suite, str(len(answer.simulations)), state]


def request_row(view: RequestView) -> list[str]:
    """Return the cells of `REQUESTS`."""
    progress = f"{view.progress.get('done', 0)}/{len(view.simulations)} done"
    return [view.id, _policy(view), view.suite, progress, view.state]


def score_rows(asking: Asking) -> list[list[str]]:
    """Return the cells of `SCORES` for every simulation."""
    if not isinstance(asking.answer, RequestView):
        return [[asking.policy, asking.suite, "refused", *[""] * (len(SCORES) - 3)]]
    policy = _policy(asking.answer)
    return [[policy, simulation.name, *_score_cells(simulation)] for simulation in asking.answer.simulations]


def problems(asking: Asking) -> list[str]:
    """Return a line for each thing that went wrong."""
    if isinstance(asking.answer, ServiceError):
        return [f"{asking.policy} in {asking.suite}: {asking.answer}"]
    if not isinstance(asking.answer, RequestView):
        return []
    return [
        f"{asking.policy} in {one.name}: {one.reason or 'no episode was finished within the time limit'}"
        for one in asking.answer.simulations
        if one.state == "failed" or (one.result is not None and one.result.score is None)
    ]


def asking_json(asking: Asking) -> dict[str, Any]:
    """Return everything that is known, for programs."""
    named = {"policy": asking.policy, "eval": asking.suite}
    if isinstance(asking.answer, ServiceError):
        return {**named, "error": str(asking.answer)}
    return {**named, "request": None if asking.answer is None else asking.answer.model_dump(mode="json")}


def _policy(answer: RequestView | Checked) -> str:
    return f"{answer.policy_key}:v{answer.policy_version}"


def _score_cells(simulation: SimulationView) -> list[str]:
    result = simulation.result
    if result is None or result.score is None:
        missing = "" if result is None else str(result.missing_episodes)
        return [simulation.state if result is None else "no episode", "", "", "", "", missing]
    mean, middle = result.score.mean.interval(), result.score.interquartile_mean.interval()
    counts = [str(result.score.episodes), str(result.missing_episodes)]
    return [result.score.metric, mean.text(), mean.bounds(), middle.text(like=mean), *counts]
