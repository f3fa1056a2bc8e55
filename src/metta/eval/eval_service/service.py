"""`EvalService`: what can be asked of the service, whoever asks; `app.py` puts it on HTTP."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from metta.eval.eval_service.claims import NewRequest
from metta.eval.eval_service.config import EvalServiceConfig
from metta.eval.eval_service.copies import PolicyCopies
from metta.eval.eval_service.dispatcher import Dispatcher
from metta.eval.eval_service.identity import program_version, request_id
from metta.eval.eval_service.models import OPEN
from metta.eval.eval_service.policies import Keep, PolicyGate
from metta.eval.eval_service.schemas import Ask, Asked, Checked, Health, RequestPage, RequestView, SuiteView
from metta.eval.eval_service.store import RequestStore
from metta.eval.eval_service.suites import admitted_suite
from metta.eval.eval_service.tokens import Proof
from metta.eval.suites import SUITES


@dataclass(frozen=True, kw_only=True)
class EvalService:
    """Takes requests; the dispatcher plays them."""

    config: EvalServiceConfig
    token: str
    store: RequestStore
    gate: PolicyGate
    copies: PolicyCopies
    dispatcher: Dispatcher

    def ask(self, ask: Ask) -> Asked:
        """Keep a request, and have it played. Raises MettaError if it cannot be done."""
        with self.copies.using() as keep:
            request, is_new = self.store.ask(self._new_request(ask, keep=keep))
        self.copies.prune_if_due(self.store.needed_copies)
        self.dispatcher.end_rests(request.number)
        return Asked(is_new=is_new, request=self._now(request))

    def check(self, ask: Ask) -> Checked:
        """Return what `ask` would find, and ask nothing. Raises as `ask` does."""
        new = self._new_request(ask)
        return Checked(
            id=new.id,
            policy_key=new.policy.key,
            policy_version=new.policy.version,
            suite=new.suite.name,
            suite_hash=new.suite_hash,
            simulations=[simulation.name for simulation in new.suite.simulations],
            known=self.get(new.id),
        )

    @cached_property
    def proof(self) -> Proof:
        """What proves that we know the token."""
        return Proof(self.token)

    def get(self, request_id: str) -> RequestView | None:
        """Return a request; None: there is none."""
        found = self.store.get(request_id)
        return found and self._now(found)

    def page(self, *, limit: int, before: int | None, state: str | None, policy_key: str | None) -> RequestPage:
        """Return some requests, newest first."""
        # One more than was asked for: it says whether there is another page.
        found = self.store.page(limit=limit + 1, before=before, state=state, policy_key=policy_key)
        return RequestPage(
            requests=[self._now(one) for one in found[:limit]],
            next=found[limit - 1].number if len(found) > limit else None,
        )

    def cancel(self, request_id: str) -> RequestView | None:
        """End what has not ended of a request; None: there is none."""
        found = self.store.cancel(request_id)
        self.dispatcher.end(request_id)
        if found is not None:
            self.dispatcher.end_rests(found.number)
        return found

    def health(self, challenge: str | None) -> Health:
        """Raises sqlalchemy's DBAPIError if the database does not answer."""
        self.store.ping()
        proof = None if challenge is None else self.proof.of(challenge)
        return Health(program=program_version(), players=self.dispatcher.outage() or "ok", proof=proof)

    def suites(self) -> list[SuiteView]:
        """Return the suites that can be asked for by name."""
        suites = [admitted_suite(name, episodes=None) for name in SUITES]
        return [
            SuiteView(name=suite.name, hash=suite.hash, simulations=[one.name for one in suite.simulations])
            for suite in suites
        ]

    def _now(self, request: RequestView) -> RequestView:
        """Add what only we know: how far the games are that are being played, and why others are not."""
        open_, resting = [one for one in request.simulations if one.state in OPEN], []
        for one in open_:
            if one.state == "running":
                one.played = self.dispatcher.share_played(request.id, one.name)
            elif seconds := self.dispatcher.seconds_of_rest(request.number, one.name):
                one.reason = f"{one.reason}; it is played again in {math.ceil(seconds)} s"
                resting.append(one)
        if open_:
            request.waits_for = self.dispatcher.outage()
            if request.waits_for is None and len(resting) == len(open_):
                request.waits_for = f"{resting[0].name}: {resting[0].reason}"
        return request

    def _new_request(self, ask: Ask, *, keep: Keep | None = None) -> NewRequest:
        suite = admitted_suite(ask.suite, episodes=ask.episodes)
        others = {uri for one in suite.simulations for uri in one.npc_policy_uris}
        policy = self.gate.admit(ask.policy_uri, keep=keep)
        opponents = {uri: self.gate.admit(uri, keep=keep) for uri in sorted(others)}
        suite_hash, program = suite.hash, program_version()
        return NewRequest(
            id=request_id(policy, suite_hash, opponents=opponents, program=program),
            policy=policy,
            opponents=opponents,
            suite=suite,
            suite_hash=suite_hash,
            program=program,
        )
