"""`metta request-eval` and `metta local`: their words, their tables, and a service that is away."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("httpx", reason="the extra metta[service] is not installed")

import metta
from metta.cli.main import main
from metta.cli.service import with_values
from metta.errors import ConfigError, ServiceError, UnreachableError
from metta.eval.eval_service.schemas import (
    Ask,
    Asked,
    Checked,
    IntervalView,
    RequestPage,
    RequestView,
    ResultView,
    ScoreView,
    SimulationView,
)
from metta.tools import request_progress
from metta.tools.request_eval import RequestEvalTool
from metta.tools.request_progress import follow

NOWHERE = "url=http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("METTA_EVAL_TOKEN", raising=False)


def interval(value: float, low: float | None = None, high: float | None = None) -> IntervalView:
    return IntervalView(value=value, low=low, high=high)


def a_result(mean: float, *, missing: int = 0) -> ResultView:
    score = ScoreView(
        metric="hearts",
        mean=interval(mean, mean - 1, mean + 1),
        interquartile_mean=interval(mean + 0.5),
        episodes=8 - missing,
        seeds=8 - missing,
    )
    return ResultView(score=score, missing_episodes=missing, replay_urls=["r.json.z"], seconds=1.0, agent_steps=9)


def a_simulation(name: str, state: str, **values: Any) -> SimulationView:
    fixed = {"deaths": 0, "reason": None, "started_at": None, "finished_at": None, "result": None}
    return SimulationView(name=name, state=state, **fixed | values)


def a_request(name: str, state: str, *simulations: SimulationView) -> RequestView:
    return RequestView(
        id=name,
        number=1,
        state=state,
        created_at="2026-01-01T00:00:00",
        policy_uri="mock://random",
        policy_key="random",
        policy_version=0,
        policy_checksum="x",
        suite="arena",
        suite_hash="h",
        program="p",
        stats_uri="stats.duckdb",
        progress={"done": sum(one.state == "done" for one in simulations)},
        simulations=list(simulations),
    )


class FakeClient:
    """A service that has an answer for each policy, and remembers what it was asked."""

    def __init__(self, **answers: RequestView | str) -> None:
        self.answers_by_policy, self.asked, self.cancelled = answers, [], []

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def answers(self) -> bool:
        return True

    def _answer(self, ask: Ask) -> RequestView:
        self.asked.append(ask)
        answer = self.answers_by_policy[ask.policy_uri.rpartition("/")[2]]
        if isinstance(answer, str):
            raise ServiceError(answer)
        return answer

    def ask(self, ask: Ask) -> Asked:
        return Asked(is_new=True, request=self._answer(ask))

    def check(self, ask: Ask) -> Checked:
        known = self._answer(ask)
        names = [one.name for one in known.simulations]
        fixed = {"policy_key": "random", "policy_version": 0, "suite": "arena", "suite_hash": "h", "known": None}
        return Checked(id=known.id, simulations=names, **fixed)

    def _requests(self) -> list[RequestView]:
        return [one for one in self.answers_by_policy.values() if isinstance(one, RequestView)]

    def get(self, request_id: str) -> RequestView:
        for one in self._requests():
            if one.id == request_id:
                return one
        raise ServiceError(f"there is no request {request_id!r}")

    def cancel(self, request_id: str) -> RequestView:
        found = self.get(request_id)
        self.cancelled.append(request_id)
        return found.model_copy(update={"state": "cancelled"})

    def page(self, *, limit: int, before: int | None = None, state: str | None = None) -> RequestPage:
        """Two at a time at most, whatever is asked for."""
        start, found = before or 0, [one for one in self._requests() if state in (None, one.state)]
        end = start + min(limit, 2)
        return RequestPage(requests=found[start:end], next=end if end < len(found) else None)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClient]:
    done = a_request("aa", "done", a_simulation("a/1", "done", result=a_result(2.0, missing=3)))
    reason = "the policy does not fit"
    failed = a_request(
        "bb", "failed", a_simulation("a/1", "failed", reason=reason), a_simulation("a/2", "done", result=a_result(4.0))
    )
    client = FakeClient(good=done, bad=failed, nobody="no policy at 'nobody'")
    monkeypatch.setattr(RequestEvalTool, "_client", lambda _: client)
    yield client


def test_the_scores_are_a_table_and_whoever_failed_costs_only_its_own_rows(
    service: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["request-eval", "--policy", "good", "--policy", "bad", "policy=nobody", "--eval", "arena", "--wait"]) == 1
    )
    told = capsys.readouterr()
    rows = [line.split() for line in told.out.splitlines()[2:]]
    assert rows == [
        ["random:v0", "a/1", "hearts", "2.0", "[1.0,", "3.0]", "2.5", "5", "3"],
        ["random:v0", "a/1", "failed"],
        ["random:v0", "a/2", "hearts", "4.0", "[3.0,", "5.0]", "4.5", "8", "0"],
        ["nobody", "arena", "refused"],
    ]
    assert "bad in a/1: the policy does not fit" in told.err and "nobody in arena: no policy" in told.err
    assert main(["request-eval", "--policy", "good", "--eval", "arena", "--wait"]) == 0


def test_without_waiting_the_requests_are_a_table(service: FakeClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["request_eval", "policy=good", "eval=arena"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["aa", "random:v0", "arena", "1/1", "done", "done"]


def test_every_policy_is_asked_for_in_every_suite_once(service: FakeClient) -> None:
    words = ["--policy", "good", "--policy", "bad", "--policy", "good", "--eval", "arena", "--eval", "navigation"]
    main(["request-eval", *words, "episodes=7"])
    asked = [(ask.policy_uri, ask.suite, ask.episodes) for ask in service.asked]
    assert asked == [(policy, suite, 7) for policy in ("good", "bad") for suite in ("arena", "navigation")]


def test_a_path_is_sent_in_full_and_a_suite_of_ones_own_as_data(service: FakeClient) -> None:
    Path("good").touch()
    Path("sent_suites.py").write_text("from metta.eval import named_suite\ndef mine(): return named_suite('arena')\n")
    try:
        assert main(["request-eval", "--policy", "good", "--eval", "sent_suites.mine"]) == 0
    finally:
        sys.modules.pop("sent_suites", None)
        sys.path.remove(str(Path.cwd()))
    (ask,) = service.asked
    assert ask.policy_uri == str(Path("good").resolve())
    assert not isinstance(ask.suite, str)
    assert [one.name for one in ask.suite.simulations] == [
        "arena/basic",
        "arena/combat",
    ]


def test_json_holds_everything(service: FakeClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["request-eval", "--policy", "good", "--policy", "nobody", "--eval", "arena", "--wait", "--json"]) == 1
    good, nobody = json.loads(capsys.readouterr().out)
    result = good["request"]["simulations"][0]["result"]
    assert result["score"]["mean"] == {"value": 2.0, "low": 1.0, "high": 3.0}
    assert (result["missing_episodes"], result["replay_urls"]) == (3, ["r.json.z"])
    assert nobody == {"policy": "nobody", "eval": "arena", "error": "no policy at 'nobody'"}


def test_a_dry_run_asks_nothing_with_a_service_and_without_one(
    service: FakeClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeClient, "ask", lambda *_: pytest.fail("it asked"))
    words = ["request-eval", "--policy", "good", "--eval", "arena", "--dry-run"]
    assert main([*words, "--wait"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["aa", "random:v0", "arena", "1", "would", "be", "asked"]
    monkeypatch.undo()
    assert main([*words, NOWHERE]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[-1].split() == ["good", "arena", "would", "be", "asked"]
    assert "no service answers at http://127.0.0.1:9" in told.err


def test_requests_are_listed_newest_first_and_a_few_at_a_time(
    service: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    queued = a_simulation("a/1", "queued")
    service.answers_by_policy |= {name: a_request(name, "queued", queued) for name in ("p0", "p1", "p2")}
    assert main(["request-eval", "--requests"]) == 0
    told = capsys.readouterr()
    assert [line.split()[0] for line in told.out.splitlines()[2:]] == ["aa", "bb", "p0", "p1", "p2"]
    assert " ".join(told.out.splitlines()[2].split()) == "aa random:v0 arena 1/1 done done 2026-01-01 00:00:00"
    assert not told.err
    assert main(["request-eval", "--requests", "limit=3"]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 5 and "there are older ones: limit=6" in told.err
    assert main(["request-eval", "--requests", "state=queued", "--json"]) == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)] == ["p0", "p1", "p2"]
    assert not service.asked


def test_requests_are_cancelled_by_their_ids_and_one_that_is_not_there_costs_the_others_nothing(
    service: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["request-eval", "--cancel", "aa", "--cancel", "zz", "--cancel", "bb", "--cancel", "aa"]
    assert main([*words, "--dry-run"]) == 1 and not service.cancelled
    told = capsys.readouterr()
    assert [line.split()[-1] for line in told.out.splitlines()[2:]] == ["done", "failed"]
    assert "nothing was cancelled" in told.err and "there is no request 'zz'" in told.err
    assert main(words) == 1 and service.cancelled == ["aa", "bb"]
    told = capsys.readouterr()
    assert [line.split()[-1] for line in told.out.splitlines()[2:]] == ["cancelled", "cancelled"]
    assert main([*words, "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert [one["id"] for one in shown] == ["aa", "zz", "bb"]
    assert shown[0]["request"]["state"] == "cancelled" and "there is no" in shown[1]["error"]
    assert main(["request-eval", "--cancel", "aa"]) == 0


def test_who_plays_against_the_policy_is_sent_in_full_too(service: FakeClient) -> None:
    Path("other.pt").touch()
    Path("shared_suites.py").write_text(
        "from metta.eval.suites import shared_suite, named_suite\n"
        "def mine():\n"
        "    suite = named_suite('arena')\n"
        "    for one in suite.simulations:\n"
        "        one.__dict__.update(policy_agents_pct=0.5, npc_policy_uri=['./other.pt', 'mock://noop', 'a_run:3'])\n"
        "    return suite\n"
    )
    try:
        assert main(["request-eval", "--policy", "good", "--eval", "shared_suites.mine"]) == 0
    finally:
        sys.modules.pop("shared_suites", None)
        sys.path.remove(str(Path.cwd()))
    assert not isinstance(service.asked[0].suite, str)
    expected = [str(Path("other.pt").resolve()), "mock://noop", "a_run:3"]
    assert [one.npc_policy_uris for one in service.asked[0].suite.simulations] == [expected, expected]


def test_following_says_why_nothing_is_played(capsys: pytest.CaptureFixture[str]) -> None:
    queued = a_request("aa", "running", a_simulation("a/1", "done"), a_simulation("a/2", "queued"))
    waiting = queued.model_copy(update={"waits_for": "the Ray cluster at x is away: refused"})
    done = a_request("aa", "done", a_simulation("a/1", "done"), a_simulation("a/2", "done"))
    answers = iter([waiting, waiting, queued, done])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request_progress, "POLL_SECONDS", 0.0)
        assert follow(SimpleNamespace(get=lambda _: next(answers)), ["aa"]) == {"aa": done}
    assert capsys.readouterr().err.splitlines() == [
        "1/2 simulations, waiting: the Ray cluster at x is away: refused",
        "1/2 simulations",
        "2/2 simulations",
    ]


@pytest.mark.parametrize(
    ("words", "told", "code"),
    [
        (["request-eval"], "say which policy", 2),
        (["request-eval", "--policy", "x"], "say which suite", 2),
        (["request-eval", "--policy"], "--policy needs a value", 2),
        (["request-eval", "--policy", "--eval", "arena"], "--policy needs a value", 2),
        (["request-eval", "--polic", "x"], "unknown option --polic (did you mean --policy", 2),
        (["request-eval", "x"], "unexpected 'x'", 2),
        (["request-eval", "polcy=x"], "did you mean policy", 2),
        (["request-eval", "--policy", "x", "--eval", "arena", "episodes=0"], "episodes", 2),
        (["request-eval", "--policy", "x", "--eval", "no.such.module"], "cannot be imported", 2),
        (["request-eval", "--policy", "x", "--eval", "arena", NOWHERE], "answers at http://127.0.0.1:9", 1),
        (["request-eval", "--policy", "x", "--eval", "arena", "url=nonsense"], "is no address", 2),
        (["request-eval", "--policy", "", "--eval", "arena"], "--policy is empty", 2),
        (["request-eval", "--policy", " ", "--policy", "x", "--eval", "arena", "--dry-run"], "--policy is empty", 2),
        (["request-eval", "--policy", "x", "--eval", ""], "--eval is empty", 2),
        (["request-eval", "--policy", "x", "--eval", "areena", "--dry-run", NOWHERE], "did you mean arena", 2),
        (["request-eval", "--cancel", ""], "--cancel is empty", 2),
        (["request-eval", "--cancel"], "--cancel needs a value", 2),
        (["request-eval", "--requests", "--cancel", "aa"], "one thing at a time", 2),
        (["request-eval", "--requests", "--policy", "x"], "one thing at a time", 2),
        (["request-eval", "--requests", "state=dne"], "state: given 'dne'", 2),
        (["request-eval", "--policy", "x", "--eval", "arena", "state=done"], "go with --requests", 2),
        (["request-eval", "--cancel", "x", "limit=3"], "go with --requests", 2),
        (["request-eval", "--requests", NOWHERE], "answers at http://127.0.0.1:9", 1),
        (["request-eval", "--cancel", "aa", NOWHERE], "answers at http://127.0.0.1:9", 1),
        (["local"], "say what to start: metta local eval-service", 2),
        (["local", "eval-servce"], "did you mean eval-service", 2),
        (["local", "eval-service", "--json"], "prints no JSON", 2),
        (["local", "eval-service", "port=many"], "port: given 'many'", 2),
    ],
)
def test_a_mistake_is_one_line(words: list[str], told: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == code
    captured = capsys.readouterr()
    assert told in captured.err and len(captured.err.splitlines()) == 1 and not captured.out


def test_nobody_at_the_address_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("METTA_EVAL_TOKEN", "a-token-of-mine-1234")
    assert main(["request-eval", "--policy", "x", "--eval", "arena", NOWHERE]) == 1
    assert "`metta local eval-service` starts one" in capsys.readouterr().err


def test_a_flag_with_a_value_is_a_setting() -> None:
    flags = {"--policy": "policy", "--eval": "eval"}
    words = ["--policy", "a=b", "x=1", "--policy=c", "--eval", "arena", "--wait"]
    assert with_values(words, flags) == ["policy=a=b", "x=1", "--policy=c", "eval=arena", "--wait"]
    with pytest.raises(ConfigError):
        with_values(["--eval"], flags)


def test_the_pages_show_flags_and_settings_and_a_dry_run_shows_no_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["request-eval", "--help"]) == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "[--policy POLICY ...] [--eval EVAL ...]" in page and "--wait = wait=on" in page and "episodes" in page
    assert main(["local", "eval-service", "-h"]) == 0
    assert "ray_address" in capsys.readouterr().out
    assert main(["local", "-h"]) == 0
    assert main(["local", "eval-service", "workers=3", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed[printed.index("{") :])["workers"] == 3


def test_following_waits_through_a_restart_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(request_progress, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    half = a_request("aa", "running", a_simulation("a/1", "done"), a_simulation("a/2", "running", played=0.5))
    done = a_request("aa", "done", a_simulation("a/1", "done"), a_simulation("a/2", "done"))

    class Away:
        def __init__(self, *answers: RequestView | None) -> None:
            self._answers = list(answers)

        def get(self, _: str) -> RequestView:
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            if answer is None:
                raise UnreachableError("nobody")
            return answer

    assert follow(Away(half, None, None, half, done), ["aa"]) == {"aa": done}
    assert capsys.readouterr().err.splitlines() == [
        "1/2 simulations, playing a/2",
        "1/2 simulations, the service does not answer; waiting",
        "1/2 simulations, playing a/2",
        "2/2 simulations",
    ]
    with pytest.raises(UnreachableError):
        follow(Away(half, None), ["aa"])
    assert request_progress.PATIENCE_SECONDS < now[0] < request_progress.PATIENCE_SECONDS + 30


def test_only_its_verbs_know_the_service() -> None:
    """The door, the room and all else stay free of the extra's libraries."""
    root = Path(metta.__file__).parent
    verbs = ("local", "request_eval", "request_list", "request_progress", "request_tables")
    own = {root / "tools" / f"{name}.py" for name in verbs}
    sources = [path for path in root.rglob("*.py") if path.parent.name != "eval_service" and path not in own]
    libraries = r"^\s*(?:from|import) (?:fastapi|uvicorn|sqlalchemy|httpx|psycopg|ray|metta\.eval\.eval_service)\b"
    found = [str(path) for path in sources if re.search(libraries, path.read_text(), re.MULTILINE)]
    assert not found and len(sources) > 100


def test_without_the_extra_the_verbs_name_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("metta.eval.eval_service.")]:
        monkeypatch.delitem(sys.modules, name)
    for missing, words in (
        ("httpx", ["request-eval", "--policy", "x", "--eval", "arena"]),
        ("sqlalchemy", ["local", "eval-service", "port=0"]),
    ):
        monkeypatch.setitem(sys.modules, missing, None)
        assert main(words) == 1
        told = capsys.readouterr().err
        assert f"needs {missing}" in told and "pip install 'metta[service]'" in told and len(told.splitlines()) == 1
