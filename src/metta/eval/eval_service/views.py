"""From rows of the database to what goes over the wire."""

from __future__ import annotations

from collections import Counter

from metta.eval.eval_service.models import Request, Unit
from metta.eval.eval_service.schemas import RequestView, ResultView, ScoreView, SimulationView, overall_state


def request_view(request: Request, *, stats_uri: str) -> RequestView:
    """Return a request with all that is known of it."""
    states = [unit.state for unit in request.units]
    return RequestView(
        id=request.id,
        number=request.number,
        state=overall_state(states),
        created_at=request.created_at,
        policy_uri=request.policy_uri,
        policy_key=request.policy_key,
        policy_version=request.policy_version,
        policy_checksum=request.policy_checksum,
        suite=request.suite.name,
        suite_hash=request.suite_hash,
        program=request.program,
        stats_uri=stats_uri,
        progress=dict(Counter(states)),
        simulations=[_simulation_view(unit) for unit in request.units],
    )


def _simulation_view(unit: Unit) -> SimulationView:
    result = unit.result
    return SimulationView(
        name=unit.simulation,
        state=unit.state,
        deaths=unit.deaths,
        reason=unit.reason,
        started_at=unit.started_at,
        finished_at=unit.finished_at,
        result=result
        and ResultView(
            score=None if result.score is None else ScoreView.model_validate(result.score),
            missing_episodes=result.missing_episodes,
            replay_urls=result.replay_urls,
            seconds=result.seconds,
            agent_steps=result.agent_steps,
        ),
    )
