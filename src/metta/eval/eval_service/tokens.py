"""The bearer token: given by the user, or made by a service for as long as it runs.

The token that a service makes is in a file that only the user can read. Before a client sends a token over plain HTTP
it asks for a proof that the other side knows it (`Proof`): a program that has taken the service's port has none.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from metta.errors import ConfigError, ServiceError
from metta.eval.eval_service.config import TOKEN_VARIABLE

MIN_LENGTH = 16  # characters; a made one has 43


def given_token(token_file: str | None) -> str | None:
    """Return the token in `token_file`, else in the environment, else None.

    There is no setting with the token itself: a command line can be read by every user of the machine.
    Raises ConfigError for a file that cannot be read, and for a token that is too short or holds white space.
    """
    if token_file is not None:
        try:
            return _checked(Path(token_file).expanduser().read_text(encoding="utf-8").strip(), f"in {token_file}")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"token_file={token_file} cannot be read: {error}") from error
    token = os.environ.get(TOKEN_VARIABLE)
    return _checked(token, f"in {TOKEN_VARIABLE}") if token is not None else None


def _checked(token: str, where: str) -> str:
    if len(token) < MIN_LENGTH or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"the token {where} must be at least {MIN_LENGTH} ASCII characters without spaces")
    return token


def token_path(port: int) -> Path:
    """Return where the token that the service made is kept, for the client on the same machine."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "metta" / f"eval-service-{port}.token"


def make_token(port: int) -> str:
    """Write a new token for the service on `port`, instead of one that a killed service has left; return it."""
    path, token = token_path(port), secrets.token_urlsafe(32)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token + "\n")
    return token


def remove_token(port: int) -> None:
    """Remove what `make_token` wrote: the service ends."""
    token_path(port).unlink(missing_ok=True)


def read_made_token(port: int) -> str | None:
    """Return what `make_token` wrote; None if there is no file.

    Raises ServiceError if others could have read or written it, or if it holds no token.
    """
    path = token_path(port)
    try:
        status = path.stat()
        token = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise ServiceError(f"others can read the token in {path}: start the service again, which makes another one")
    if len(token) < MIN_LENGTH:
        raise ServiceError(f"{path} holds no token: start the service again")
    return token


def is_token(given: str, expected: str) -> bool:
    """Compare in a time that does not depend on how much is right."""
    return hmac.compare_digest(given.encode(), expected.encode())


class Proof:
    """That somebody knows a token, without telling it: HMAC-SHA256 of a challenge that the asker draws each time.

    The key is stretched by scrypt (RFC 7914, 16 MiB, some 50 ms): guessing a token from its proofs is slow, also one
    that a person has made up.
    """

    def __init__(self, token: str) -> None:
        self._key = hashlib.scrypt(token.encode(), salt=b"metta eval service", n=2**14, r=8, p=1)

    def of(self, challenge: str) -> str:
        """Return the proof for a challenge, in hex."""
        return hmac.new(self._key, challenge.encode(), hashlib.sha256).hexdigest()

    def is_right(self, given: str, challenge: str) -> bool:
        """Whether `given` is the proof for `challenge`."""
        return hmac.compare_digest(given.encode(), self.of(challenge).encode())
