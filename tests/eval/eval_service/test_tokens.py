"""Tokens: the user's own, or one that only the user can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from metta.errors import ConfigError, ServiceError
from metta.eval.eval_service.client import find_token
from metta.eval.eval_service.config import EvalServiceConfig, is_loopback
from metta.eval.eval_service.serve import serve
from metta.eval.eval_service.tokens import given_token, is_token, made_token, read_made_token, token_path

TOKEN = "a-token-of-mine-1234"


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("METTA_EVAL_TOKEN", raising=False)


def test_a_made_token_is_secret_stays_and_differs_from_port_to_port() -> None:
    before = os.umask(0)  # whatever the user's mask is
    try:
        token = made_token(1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(token_path(1).stat().st_mode) == 0o600
    assert len(token) >= 40
    assert made_token(1) == token == read_made_token(1)
    assert made_token(2) != token
    assert read_made_token(3) is None


def test_a_token_file_that_others_can_read_is_refused() -> None:
    made_token(1)
    token_path(1).chmod(0o644)
    with pytest.raises(ServiceError, match="others can read"):
        made_token(1)


def test_a_token_is_found_in_its_file_then_in_the_environment_then_where_the_service_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://127.0.0.1:1"
    with pytest.raises(ServiceError, match="there is no token for http"):
        find_token(url, None)
    made = made_token(1)
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
