"""Tokens: the user's own, or one that only the user can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from metta.errors import ConfigError, ServiceError
from metta.eval.eval_service.client import address_of, find_token
from metta.eval.eval_service.config import EvalServiceConfig, is_loopback
from metta.eval.eval_service.serve import serve
from metta.eval.eval_service.tokens import (
    Proof,
    given_token,
    is_token,
    make_token,
    read_made_token,
    remove_token,
    token_path,
)

TOKEN = "a-token-of-mine-1234"


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("METTA_EVAL_TOKEN", raising=False)


def test_a_made_token_is_secret_and_another_one_at_every_start_and_port() -> None:
    before = os.umask(0)  # whatever the user's mask is
    try:
        token = make_token(1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(token_path(1).stat().st_mode) == 0o600
    assert len(token) >= 40 and read_made_token(1) == token
    assert make_token(1) != token != make_token(2)
    assert read_made_token(3) is None
    remove_token(1)
    remove_token(3)  # which is not there
    assert read_made_token(1) is None and read_made_token(2) is not None


def test_a_token_file_that_others_can_read_is_refused_and_replaced() -> None:
    token = make_token(1)
    token_path(1).chmod(0o644)
    with pytest.raises(ServiceError, match="others can read"):
        read_made_token(1)
    assert make_token(1) != token and stat.S_IMODE(token_path(1).stat().st_mode) == 0o600


def test_a_token_is_found_in_its_file_then_in_the_environment_then_where_the_service_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://127.0.0.1:1"
    with pytest.raises(ServiceError, match="there is no token for http"):
        find_token(url, None)
    made = make_token(1)
    assert find_token(url, None) == made
    with pytest.raises(ServiceError, match="no token"):  # what was made here is not sent elsewhere
        find_token("http://10.0.0.1:1", None)
    monkeypatch.setenv("METTA_EVAL_TOKEN", TOKEN)
    assert find_token(url, None) == find_token("http://10.0.0.1:1", None) == TOKEN
    (tmp_path / "mine").write_text("another-token-of-mine\n")
    assert find_token(url, str(tmp_path / "mine")) == "another-token-of-mine"


@pytest.mark.parametrize(
    "token", ["", "short", "with spaces in the middle", "ünïcödé-token-of-mine", "a-line\nand-another-one"]
)
def test_a_token_that_cannot_be_sent_or_is_guessed_is_refused(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METTA_EVAL_TOKEN", token)
    with pytest.raises(ConfigError, match="at least 16 ASCII"):
        given_token(None)
    with pytest.raises(ConfigError, match="cannot be read"):
        given_token("/nothing/there")


def test_tokens_are_compared_as_a_whole() -> None:
    assert is_token(TOKEN, TOKEN)
    assert not any(is_token(given, TOKEN) for given in ("", TOKEN[:-1], TOKEN + "x", "ü", TOKEN.upper()))


def test_another_host_needs_a_token_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give a token of your own"):
        serve(EvalServiceConfig(host="0.0.0.0", port=0, data_dir=str(tmp_path)))


def test_loopback_is_every_address_of_this_machine_alone() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "", "localhost.example.org")))


def test_a_proof_is_right_for_its_token_and_its_challenge_alone_and_does_not_hold_the_token() -> None:
    proof = Proof(TOKEN)
    given = proof.of("challenge")
    assert proof.is_right(given, "challenge") and Proof(TOKEN).of("challenge") == given
    assert not any(proof.is_right(other, "challenge") for other in ("", given[:-1], proof.of("another"), "ü"))
    assert not Proof(TOKEN + "x").is_right(given, "challenge")
    assert TOKEN not in given and len(given) == 64


@pytest.mark.parametrize("url", ["nonsense", "http://", "ftp://x", "http://x:many", "http://[::1", ""])
def test_what_is_no_address_is_a_mistake(url: str) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        address_of(url)


def test_a_port_need_not_be_given() -> None:
    assert [address_of(url) for url in ("http://x", "https://x/", "http://[::1]:8377")] == [
        ("x", 80),
        ("x", 443),
        ("::1", 8377),
    ]
