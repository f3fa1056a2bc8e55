"""The bearer token: given by the user, or made once and kept in a file that only the user can read."""

from __future__ import annotations

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


def made_token(port: int) -> str:
    """Return the token of the service on `port`: the one in its file, or a new one that is written there.

    Raises ServiceError if others could have read or written the file.
    """
    path = token_path(port)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_made_token(port) or ""
    token = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
    return token


def read_made_token(port: int) -> str | None:
    """Return what `made_token` wrote; None if there is no file.

    Raises ServiceError if others could have read or written it, or if it holds no token.
    """
    path = token_path(port)
    try:
        status = path.stat()
        token = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise ServiceError(f"others can read the token in {path}: remove it, and start the service again")
    if len(token) < MIN_LENGTH:
        raise ServiceError(f"{path} holds no token: remove it, and start the service again")
    return token


def is_token(given: str, expected: str) -> bool:
    """Compare in a time that does not depend on how much is right."""
    return hmac.compare_digest(given.encode(), expected.encode())
