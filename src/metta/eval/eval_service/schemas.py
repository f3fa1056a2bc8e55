"""What goes over the wire: the bodies of requests and answers, which are the OpenAPI document too."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from pydantic import BaseModel, Field

from metta.config import Config
from metta.eval.statistics import Interval
from metta.eval.suites import Suite


class Ask(Config):
    """A policy to be played in a suite."""

    policy_uri: str = Field(
        min_length=1,
        max_length=4096,
        description="a run, run:epoch, path or address, as the service's machine sees it; mock://random and the like",
        examples=["mock://scripted"],
    )
    suite: str | Suite = Field(
        description="a name that GET /suites lists, or a whole suite as data", examples=["arena"]
    )
    episodes: int | None = Field(
        None, ge=1, le=100_000, description="of each simulation; null: the suite's own numbers"
    )


class IntervalView(BaseModel):
    """A number and its 95 % bootstrap interval; null: not known (of one episode there is no interval)."""

    value: float | None
    low: float | None
    high: float | None

    def interval(self) -> Interval:
        """Return it as evaluations have it: NaN for what is not known."""
        value, low, high = (float("nan") if number is None else number for number in (self.value, self.low, self.high))
        return Interval(value, low, high)


class ScoreView(BaseModel):
    """A policy's score in a simulation, over its own agents."""

    metric: str
    mean: IntervalView
    interquartile_mean: IntervalView
    episodes: int
    seeds: int = Field(description="different ones among the episodes")


class ResultView(BaseModel):
    """What came of a simulation; with missing episodes it is played again when it is asked for again."""

    score: ScoreView | None = Field(description="null: no episode was finished in time")
    missing_episodes: int = Field(description="asked for, and not finished in time")
    replay_urls: list[str]
    seconds: float
    agent_steps: int


class SimulationView(BaseModel):
    """A simulation of a request."""

    name: str
    state: str = Field(description="queued, running, done, failed or cancelled")
    played: float | None = Field(None, description="while it is running: the share that has been played, if known")
    deaths: int = Field(description="how often its worker died; a few times it is played again, after a pause")
    reason: str | None = Field(description="why it failed, or how its worker died last, and when it is played again")
    started_at: datetime | None
    finished_at: datetime | None
    result: ResultView | None


class RequestView(BaseModel):
    """A request. All times are UTC."""

    id: str = Field(description="derived from policy, suite and program: the same question has the same id")
    number: int = Field(description="grows with every new request")
    state: str = Field(description="queued, running, done, failed (at least one simulation did) or cancelled")
    created_at: datetime
    policy_uri: str
    policy_key: str
    policy_version: int
    policy_checksum: str
    suite: str
    suite_hash: str
    program: str = Field(description="version of metta and hash of the world's rules")
    stats_uri: str = Field(description="the statistics file with every episode")
    progress: dict[str, int] = Field(description="state -> how many simulations")
    waits_for: str | None = Field(None, description="why nothing of it can be played at present, if so")
    simulations: list[SimulationView]


class Asked(BaseModel):
    """The answer to a question."""

    is_new: bool = Field(description="false: it was asked before, and what is done and whole is not played again")
    request: RequestView


class Checked(BaseModel):
    """What asking would find."""

    id: str
    policy_key: str
    policy_version: int
    suite: str
    suite_hash: str
    simulations: list[str]
    known: RequestView | None = Field(description="null: it would be a new request")


class RequestPage(BaseModel):
    """Requests, newest first."""

    requests: list[RequestView]
    next: int | None = Field(description="`before` of the next page; null: this is the last")


class SuiteView(BaseModel):
    """A suite that the service knows by name."""

    name: str
    hash: str
    simulations: list[str]


class Health(BaseModel):
    """That the service answers, and its database does."""

    status: str = "ok"
    program: str
    players: str = Field("ok", description="ok, or why nothing can be played at present")
    proof: str | None = Field(
        None,
        description="HMAC-SHA256 of the challenge in hex; key: scrypt(token, 'metta eval service', 2**14, 8, 1)",
    )


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


def overall_state(states: list[str]) -> str:
    """Return a request's state, from those of its simulations."""
    count = Counter(states)
    if count["queued"] == len(states):
        return "queued"
    if count["queued"] or count["running"]:
        return "running"
    return next((state for state in ("failed", "cancelled") if count[state]), "done")
