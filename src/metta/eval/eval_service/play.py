"""Playing one simulation: the same in a worker process and on a Ray node."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from metta.agent import load_policy_from_uri
from metta.agent.checkpoints import ResolvedPolicy
from metta.errors import CheckpointError, ConfigError, PolicyMismatchError, ServiceError, SuiteError
from metta.eval.eval_service.checksums import Checksums
from metta.eval.eval_service.identity import program_version
from metta.eval.eval_service.policies import AdmittedPolicy
from metta.eval.eval_service.schemas import IntervalView, ScoreView
from metta.eval.policy_evaluator import EvalResults, PolicyEvaluator
from metta.eval.statistics import Interval
from metta.sim import SimulationConfig

PROGRESS_SECONDS = 0.5  # between two reports of how much has been played


class PlayOrder(BaseModel):
    """What a worker is to play, as JSON."""

    program: str
    simulation: SimulationConfig
    policy: AdmittedPolicy
    opponents: dict[str, AdmittedPolicy]  # by their addresses in the simulation
    policies_dir: str  # with a copy of each of them
    replay_dir: str | None
    stats_uri: str  # the statistics file that episodes are handed in for
    threads: int

    def players(self) -> list[AdmittedPolicy]:
        """Return all who play, the policy first."""
        return [self.policy, *self.opponents.values()]


class PlayAnswer(BaseModel):
    """What came of it, as JSON."""

    refusal: str | None = None  # why it cannot be played, now and ever
    breakdown: str | None = None  # an error of ours or of the machine's, which another attempt may not meet
    score: ScoreView | None = None
    missing_episodes: int = 0
    replay_urls: list[str] = []
    seconds: float = 0.0
    agent_steps: int = 0


def play(order: PlayOrder, on_progress: Callable[[float], None] | None = None) -> PlayAnswer:
    """Play an order; never raises but for what ends the process. `on_progress` hears the share that has been played.

    The episodes are handed in first. If nobody hears the answer, they are played again and replace themselves.
    """
    try:
        _check_program(order.program)
        policy, opponents = _copy(order.policy, order), {uri: _copy(one, order) for uri, one in order.opponents.items()}
        evaluator = PolicyEvaluator(
            [order.simulation],
            replay_dir=order.replay_dir,
            stats_uri=order.stats_uri,
            threads=order.threads,
            opponents=opponents,
            on_progress=None if on_progress is None else seldom(on_progress),
        )
        results = evaluator.evaluate(load_policy_from_uri(policy), order.policy.key, order.policy.version)
    except (CheckpointError, ConfigError, PolicyMismatchError, ServiceError, SuiteError) as error:
        return PlayAnswer(refusal=str(error))  # another time it would be the same
    except Exception as error:
        return PlayAnswer(breakdown=f"{type(error).__name__}: {error}")
    return _answer(results, order.simulation.name)


def seldom(
    on_progress: Callable[[float], None], *, clock: Callable[[], float] = time.monotonic
) -> Callable[[str, float], None]:
    """Return what a `PolicyEvaluator` may call every tick: it passes on a share now and then.

    The first one at once: it says that the game has begun, also of a game that is over before the second.
    """
    last = -math.inf

    def report(_: str, share: float) -> None:
        nonlocal last
        if clock() - last >= PROGRESS_SECONDS:
            last = clock()
            on_progress(share)

    return report


def _check_program(asked: str) -> None:
    """Raise what must not be played: another program would give other scores under the same name."""
    if asked != program_version():
        raise ServiceError(
            f"it was asked for with metta {asked}, the worker has {program_version()}: scores could be others; "
            "ask again, and if it stays so start service and cluster again with one version"
        )


def _copy(policy: AdmittedPolicy, order: PlayOrder) -> ResolvedPolicy:
    """Return the copy that is to be opened. Raises CheckpointError if it is not what was asked for."""
    copy = policy.copied_in(Path(order.policies_dir))
    if copy.path is not None and Checksums().of(copy.path) != policy.checksum:
        raise CheckpointError(f"the copy of {policy.uri} is no longer what it was when it was asked for; ask again")
    return copy


def _answer(results: EvalResults, name: str) -> PlayAnswer:
    score = results.simulations.get(name)
    view = None
    if score is not None and score.episodes:
        view = ScoreView(
            metric=score.metric,
            mean=_interval(score.mean),
            interquartile_mean=_interval(score.iqm),
            episodes=score.episodes,
            seeds=score.seeds,
        )
    return PlayAnswer(
        score=view,
        missing_episodes=results.missing_episodes,
        replay_urls=results.replay_urls.get(name, []),
        seconds=results.seconds,
        agent_steps=results.agent_steps,
    )


def _interval(interval: Interval) -> IntervalView:
    """JSON has neither NaN nor infinity."""
    known = {name: value if math.isfinite(value) else None for name, value in interval._asdict().items()}
    return IntervalView.model_validate(known)
