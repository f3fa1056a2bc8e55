"""`metta request-eval`: asks the evaluation service for the scores of policies in suites."""

from __future__ import annotations

if __name__ == "__main__":
    from metta.tools.command import become_command

    become_command("request-eval")

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import Field

from metta.errors import ConfigError, ServiceError, UnreachableError
from metta.eval.analysis import format_table
from metta.eval.eval_service.config import DEFAULT_PORT
from metta.eval.eval_service.schemas import Ask, Checked, RequestView, SimulationView
from metta.eval.suites import SUITES, Suite, named_suite
from metta.tools.local import missing_extra
from metta.tools.tool import Tool

if TYPE_CHECKING:
    from metta.eval.eval_service.client import EvalServiceClient

_SCORES = ("policy", "simulation", "score", "mean", "95 % interval", "interquartile mean", "episodes", "missing")
_REQUESTS = ("request", "policy", "suite", "simulations", "state")


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


class RequestEvalTool(Tool):
    """Asks the evaluation service for the scores of every policy in every suite; what it knows is not played again."""

    flags: ClassVar[dict[str, str]] = {"--wait": "wait=on", "--dry-run": "dry_run=on"}
    value_flags: ClassVar[dict[str, str]] = {"--policy": "policy", "--eval": "eval"}
    prints_json: ClassVar[bool] = True

    policy: list[str] = Field(default_factory=list, description="a run, run:epoch, file or address; repeatable")
    eval: list[str] = Field(
        default_factory=list, description=f"a suite: {', '.join(SUITES)}, or package.module.function; repeatable"
    )
    episodes: int | None = Field(
        None, ge=1, le=100_000, description="episodes of each simulation; none: the suite's own numbers"
    )
    wait: bool = Field(False, description="follow until all is played, and print the scores")
    dry_run: bool = Field(False, description="say what would be asked, and ask nothing")
    url: str = Field(f"http://127.0.0.1:{DEFAULT_PORT}", description="where the service is")
    token_file: str | None = Field(
        None, description="a file with the token; none: METTA_EVAL_TOKEN, or the one that a service here has made"
    )

    def run_tool(self, *, as_json: bool = False) -> int:
        """Ask; 1 if a policy could not be asked for or played, which costs it its own row alone."""
        if not self.policy or not self.eval:
            missing = "policy: --policy <run or file or address>" if not self.policy else "suite: --eval <suite>"
            raise ConfigError(f"say which {missing}; suites: {', '.join(SUITES)}")
        suites, policies = {name: _to_send(name) for name in dict.fromkeys(self.eval)}, list(dict.fromkeys(self.policy))
        with self._client() as client:
            if self.dry_run and not client.answers():
                print(f"no service answers at {self.url}; this is what would be asked", file=sys.stderr)
                return self._show([Asking(policy, name, None) for policy in policies for name in suites], as_json)
            found = [
                Asking(policy, name, self._ask(client, policy, suite))
                for policy in policies
                for name, suite in suites.items()
            ]
            if self.wait and not self.dry_run:
                from metta.tools.request_progress import follow

                ids = [asking.answer.id for asking in found if isinstance(asking.answer, RequestView)]
                views = follow(client, list(dict.fromkeys(ids)))
                found = [a._replace(answer=views.get(getattr(a.answer, "id", ""), a.answer)) for a in found]
        return self._show(found, as_json)

    def _show(self, found: list[Asking], as_json: bool) -> int:
        print(json.dumps([_as_json(asking) for asking in found], indent=2) if as_json else self._table(found))
        for asking in found:
            for line in _problems(asking):
                print(line, file=sys.stderr)
        return int(any(asking.is_bad for asking in found))

    def _client(self) -> EvalServiceClient:
        try:
            from metta.eval.eval_service.client import EvalServiceClient, find_token
        except ModuleNotFoundError as error:
            raise missing_extra("metta request-eval", error) from error
        try:
            token = find_token(self.url, self.token_file)
        except ServiceError:
            if not self.dry_run:
                raise
            token = ""
        return EvalServiceClient(self.url, token=token)

    def _ask(self, client: EvalServiceClient, policy: str, suite: str | Suite) -> RequestView | Checked | ServiceError:
        # The service has another working directory: what is a path here is sent in full.
        uri = str(Path(policy).resolve()) if Path(policy).exists() else policy
        ask = Ask(policy_uri=uri, suite=suite, episodes=self.episodes)
        try:
            return client.check(ask) if self.dry_run else client.ask(ask).request
        except UnreachableError:
            raise
        except ServiceError as error:
            return error

    def _table(self, found: list[Asking]) -> str:
        if self.wait and not self.dry_run:
            rows = [row for asking in found for row in _score_rows(asking)]
            return format_table(rows, header=_SCORES)
        return format_table([_request_row(asking) for asking in found], header=_REQUESTS)


def _to_send(name: str) -> str | Suite:
    """Return a suite of the user's own as data: the service imports no code. Others it knows, and judges, by name."""
    if name in SUITES or "." not in name:
        return name
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a command that is installed does not look where it is called
    return named_suite(name)


def _request_row(asking: Asking) -> list[str]:
    answer = asking.answer
    if answer is None:
        return ["", asking.policy, asking.suite, "", "would be asked"]
    if isinstance(answer, ServiceError):
        return ["", asking.policy, asking.suite, "", "refused"]
    policy = f"{answer.policy_key}:v{answer.policy_version}"
    if isinstance(answer, Checked):
        state = "would be asked" if answer.known is None else f"asked before: {answer.known.state}"
        return [answer.id, policy, answer.suite, str(len(answer.simulations)), state]
    return [answer.id, policy, answer.suite, _progress(answer), answer.state]


def _progress(view: RequestView) -> str:
    return f"{view.progress.get('done', 0)}/{len(view.simulations)} done"


def _score_rows(asking: Asking) -> list[list[str]]:
    if not isinstance(asking.answer, RequestView):
        return [[asking.policy, asking.suite, "refused", *[""] * (len(_SCORES) - 3)]]
    policy = f"{asking.answer.policy_key}:v{asking.answer.policy_version}"
    return [[policy, simulation.name, *_score_cells(simulation)] for simulation in asking.answer.simulations]


def _score_cells(simulation: SimulationView) -> list[str]:
    result = simulation.result
    if result is None or result.score is None:
        missing = "" if result is None else str(result.missing_episodes)
        return [simulation.state if result is None else "no episode", "", "", "", "", missing]
    mean, middle = result.score.mean.interval(), result.score.interquartile_mean.interval()
    counts = [str(result.score.episodes), str(result.missing_episodes)]
    return [result.score.metric, mean.text(), mean.bounds(), middle.text(like=mean), *counts]


def _problems(asking: Asking) -> list[str]:
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


def _as_json(asking: Asking) -> dict[str, Any]:
    named = {"policy": asking.policy, "eval": asking.suite}
    if isinstance(asking.answer, ServiceError):
        return {**named, "error": str(asking.answer)}
    if asking.answer is None:
        return {**named, "request": None}
    return {**named, "request": asking.answer.model_dump(mode="json")}
