"""From what is written in the database to what a worker is told, and back."""

from __future__ import annotations

from metta.eval.eval_service.claims import Claim
from metta.eval.eval_service.config import EvalServiceConfig
from metta.eval.eval_service.models import Result
from metta.eval.eval_service.play import PlayAnswer, PlayOrder
from metta.eval.eval_service.policies import AdmittedPolicy
from metta.eval.suites import Suite


def order_of(claim: Claim, config: EvalServiceConfig) -> PlayOrder:
    """Return what is to be played for a claim."""
    suite = Suite.model_validate_json(claim.suite)
    simulation = next(simulation for simulation in suite.simulations if simulation.name == claim.simulation)
    return PlayOrder(
        program=claim.program,
        simulation=simulation,
        policy=AdmittedPolicy(
            uri=claim.policy_uri,
            key=claim.policy_key,
            version=claim.policy_version,
            checksum=claim.policy_checksum,
        ),
        opponents={uri: AdmittedPolicy.model_validate(one) for uri, one in claim.opponents.items()},
        policies_dir=str(config.policies_folder),
        replay_dir=config.replay_uri(claim.request_id),
        stats_uri=config.stats_uri(claim.request_id),
        threads=config.threads,
    )


def result_of(answer: PlayAnswer) -> Result:
    """Return the row for an answer."""
    return Result(
        score=None if answer.score is None else answer.score.model_dump(),
        missing_episodes=answer.missing_episodes,
        replay_urls=answer.replay_urls,
        seconds=answer.seconds,
        agent_steps=answer.agent_steps,
    )
