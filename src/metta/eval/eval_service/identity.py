"""What a request is: the same policy, games and program always give the same id, so nothing is played twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import metta
from metta.eval.eval_service.policies import AdmittedPolicy
from metta.grid.cache import source_hash


def program_version() -> str:
    """Return the version of metta, and the hash of the sources that decide how a world goes on."""
    return f"{metta.__version__}+{source_hash()}"


def request_id(
    policy: AdmittedPolicy, suite_hash: str, *, opponents: Mapping[str, AdmittedPolicy], program: str
) -> str:
    """Return 16 hex digits derived from all that results depend on; `opponents`: by their addresses in the suite."""
    others = [(uri, *_content(one)) for uri, one in sorted(opponents.items())]
    parts = [*_content(policy), suite_hash, others, program]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _content(policy: AdmittedPolicy) -> tuple[str, int, str]:
    """Return who it is, wherever its file is."""
    return policy.key, policy.version, policy.checksum
