"""A request's id changes with everything that its results depend on, and with nothing else."""

from __future__ import annotations

import metta
from metta.eval.eval_service.identity import program_version, request_id
from metta.eval.eval_service.policies import AdmittedPolicy
from metta.grid.cache import source_hash

POLICY = AdmittedPolicy(uri="file:///a.pt", key="run", version=3, checksum="c")


def test_every_part_makes_another_id_and_the_address_does_not() -> None:
    def identity(policy: AdmittedPolicy = POLICY, suite: str = "s", program: str = "p", **opponents: str) -> str:
        others = {uri: changed(checksum=checksum) for uri, checksum in opponents.items()}
        return request_id(policy, suite, opponents=others, program=program)

    def changed(**values: object) -> AdmittedPolicy:
        return POLICY.model_copy(update=values)

    others = [
        identity(changed(key="other")),
        identity(changed(version=4)),
        identity(changed(checksum="d")),
        identity(suite="t"),
        identity(program="q"),
        identity(a="1"),
        identity(a="2"),
        identity(b="1"),
    ]
    assert len({identity(), *others}) == len(others) + 1
    assert identity(changed(uri="file:///elsewhere/a.pt")) == identity()
    assert identity(a="1", b="2") == identity(b="2", a="1")


def test_the_program_is_its_version_and_the_rules_of_the_world() -> None:
    assert program_version() == f"{metta.__version__}+{source_hash()}"
