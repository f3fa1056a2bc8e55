"""What goes into the store, and what is taken out of it to be played."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from metta.eval.eval_service.policies import AdmittedPolicy
from metta.eval.eval_service.rests import UnitKey
from metta.eval.suites import Suite


@dataclass(frozen=True, kw_only=True)
class NewRequest:
    """What is asked for."""

    id: str
    policy: AdmittedPolicy
    opponents: dict[str, AdmittedPolicy]  # who else plays, by their addresses in the suite
    suite: Suite
    suite_hash: str
    program: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Claim:
    """A unit that somebody plays now. `attempt` tells it from earlier ones; two claims are never the same."""

    request: int
    request_id: str
    simulation: str
    attempt: int
    deaths: int
    policy_uri: str
    policy_key: str
    policy_version: int
    policy_checksum: str
    opponents: dict[str, Any]  # address -> `AdmittedPolicy`, JSON
    suite: str  # JSON
    program: str

    @property
    def unit(self) -> UnitKey:
        """What is played, whoever plays it."""
        return self.request, self.simulation
