"""`metta request-eval`: asks the evaluation service for the scores of policies in suites."""

from __future__ import annotations

if __name__ == "__main__":
    from metta.tools.command import become_command

    become_command("request-eval")

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from metta.errors import ConfigError, ServiceError, UnreachableError
from metta.eval.analysis import format_table
from metta.eval.eval_service.config import DEFAULT_PORT
from metta.eval.eval_service.schemas import Ask, Checked, RequestView
from metta.eval.suites import SUITES, Suite, named_suite
from metta.tools.local import missing_extra
from metta.tools.request_list import cancel_requests, list_requests
from metta.tools.request_tables import REQUESTS, SCORES, Asking, asking_json, asking_row, problems, score_rows
from metta.tools.tool import Tool

if TYPE_CHECKING:
    from metta.eval.eval_service.client import EvalServiceClient


LIMIT = 20  # requests that are listed


class RequestEvalTool(Tool):
    """Asks the evaluation service for the scores of every policy in every suite; lists and cancels what was asked."""

    flags: ClassVar[dict[str, str]] = {"--wait": "wait=on", "--dry-run": "dry_run=on", "--requests": "requests=on"}
    value_flags: ClassVar[dict[str, str]] = {"--policy": "policy", "--eval": "eval", "--cancel": "cancel"}
    prints_json: ClassVar[bool] = True

    policy: list[str] = Field(default_factory=list, description="a run, run:epoch, file or address; repeatable")
    eval: list[str] = Field(
        default_factory=list, description=f"a suite: {', '.join(SUITES)}, or package.module.function; repeatable"
    )
    episodes: int | None = Field(
        None, ge=1, le=100_000, description="episodes of each simulation; none: the suite's own numbers"
    )
    wait: bool = Field(False, description="follow until all is played, and print the scores")
    dry_run: bool = Field(False, description="say what would be asked or cancelled, and do nothing")
    requests: bool = Field(False, description="list what was asked, by anybody, newest first")
    limit: int = Field(LIMIT, ge=1, description="with --requests: how many")
    state: Literal["queued", "running", "done", "failed", "cancelled"] | None = Field(
        None, description="with --requests: only those"
    )
    cancel: list[str] = Field(default_factory=list, description="end the request of this id; repeatable")
    url: str = Field(f"http://127.0.0.1:{DEFAULT_PORT}", description="where the service is")
    token_file: str | None = Field(
        None, description="a file with the token; none: METTA_EVAL_TOKEN, or the one that a service here has made"
    )

    def run_tool(self, *, as_json: bool = False) -> int:
        """Ask, list or cancel; 1 if a policy could not be asked for or played, which costs it its own row alone."""
        if [bool(self.policy or self.eval), self.requests, bool(self.cancel)].count(True) > 1:
            raise ConfigError("one thing at a time: --policy with --eval, --requests, or --cancel")
        if (self.state is not None or self.limit != LIMIT) and not self.requests:
            raise ConfigError("state= and limit= go with --requests")
        if self.requests:
            with self._client() as client:
                return list_requests(client, limit=self.limit, state=self.state, as_json=as_json)
        if self.cancel:
            _check_given("--cancel", self.cancel)
            with self._client() as client:
                return cancel_requests(client, self.cancel, is_dry=self.dry_run, as_json=as_json)
        return self._ask_all(as_json)

    def _ask_all(self, as_json: bool) -> int:
        if not self.policy or not self.eval:
            missing = "policy: --policy <run or file or address>" if not self.policy else "suite: --eval <suite>"
            raise ConfigError(f"say which {missing}; suites: {', '.join(SUITES)}")
        _check_given("--policy", self.policy)
        _check_given("--eval", self.eval)
        suites, policies = {name: _to_send(name) for name in dict.fromkeys(self.eval)}, list(dict.fromkeys(self.policy))
        with self._client() as client:
            if self.dry_run and not client.answers():
                for name, suite in suites.items():
                    if isinstance(suite, str):
                        named_suite(name)  # raises, with the nearest names: a service would
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
        print(json.dumps([asking_json(asking) for asking in found], indent=2) if as_json else self._table(found))
        for asking in found:
            for line in problems(asking):
                print(line, file=sys.stderr)
        return int(any(asking.is_bad for asking in found))

    def _client(self) -> EvalServiceClient:
        try:
            from metta.eval.eval_service.client import EvalServiceClient, address_of, find_token
        except ModuleNotFoundError as error:
            raise missing_extra("metta request-eval", error) from error
        address_of(self.url)
        return EvalServiceClient(self.url, token=partial(find_token, self.url, self.token_file))

    def _ask(self, client: EvalServiceClient, policy: str, suite: str | Suite) -> RequestView | Checked | ServiceError:
        ask = Ask(policy_uri=_in_full(policy), suite=suite, episodes=self.episodes)
        try:
            return client.check(ask) if self.dry_run else client.ask(ask).request
        except UnreachableError:
            raise
        except ServiceError as error:
            return error

    def _table(self, found: list[Asking]) -> str:
        if self.wait and not self.dry_run:
            return format_table([row for asking in found for row in score_rows(asking)], header=SCORES)
        return format_table([asking_row(asking) for asking in found], header=REQUESTS)


def _check_given(flag: str, given: Sequence[str]) -> None:
    if not all(text.strip() for text in given):
        raise ConfigError(f"{flag} is empty; it needs a value")


def _in_full(policy: str) -> str:
    """Return a policy as the service can find it: it has another working directory, and another home."""
    path = Path(policy).expanduser()
    return str(path.resolve()) if path.exists() else policy


def _to_send(name: str) -> str | Suite:
    """Return a suite of the user's own as data: the service imports no code. Others it knows, and judges, by name."""
    if name in SUITES or "." not in name:
        return name
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a command that is installed does not look where it is called
    suite = named_suite(name)
    for simulation in suite.simulations:
        if simulation.npc_policy_uri is not None:
            simulation.npc_policy_uri = [_in_full(uri) for uri in simulation.npc_policy_uris]
    return suite
