"""The service's configuration, and where on the disk its things are."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import Field

from metta.config import Config, Folder
from metta.cores import available_cores

DEFAULT_PORT = 8377
TOKEN_VARIABLE = "METTA_EVAL_TOKEN"
MAX_BODY_BYTES = 4_000_000  # of what is asked; a suite of maps that are drawn as text has a tenth of that


class EvalServiceConfig(Config):
    """Where the service listens, what it may read, where it keeps things, and who plays."""

    host: str = Field("127.0.0.1", description="another than this machine's own needs a token of yours")
    port: int = Field(DEFAULT_PORT, ge=0, le=65535, description="0: a free one")
    token_file: str | None = Field(
        None, description=f"a file with the token; none: {TOKEN_VARIABLE}, else one is made that only you can read"
    )
    data_dir: Folder = Field("./train_dir", description="where runs are looked up")
    roots: list[str] = Field(
        default_factory=list, description="folders and address prefixes below which policies may be; none: data_dir"
    )
    service_dir: str | None = Field(None, description="requests, statistics, replays; none: <data_dir>/eval_service")
    database: str | None = Field(
        None, description="SQLAlchemy address, postgresql+psycopg://...; none: SQLite in service_dir"
    )
    replays: bool = Field(True, description="save a replay of each simulation's first episode")
    replay_dir: str | None = Field(None, description="folder or address for replays; none: replays in service_dir")
    stats_dir: str | None = Field(None, description="folder or address for statistics; none: stats in service_dir")
    ray_address: str | None = Field(
        None, description="a Ray cluster that plays; none: worker processes of this machine"
    )
    workers: int = Field(0, ge=0, description="simulations at a time; 0: as many as cores, here or in the cluster")
    threads: int = Field(1, ge=1, description="CPU threads of each simulation")
    max_retries: int = Field(3, ge=0, description="how often a simulation is played again when its worker has died")
    retry_seconds: float = Field(2.0, ge=0, description="the pause before that; each time it is twice as long")
    timeout_seconds: float = Field(3600.0, gt=0, description="a simulation that takes longer counts as a death")
    copy_days: float = Field(30.0, ge=0, description="how long a policy's copy stays that no open request needs")
    copy_gigabytes: float = Field(20.0, ge=0, description="how much copies take; then the least recently used go")

    @property
    def folder(self) -> Path:
        """Where the service keeps its things."""
        return Path(self.service_dir or Path(self.data_dir) / "eval_service").expanduser().resolve()

    @property
    def policies_folder(self) -> Path:
        """Where the copies of policies are."""
        return self.folder / "policies"

    def stats_uri(self, request_id: str) -> str:
        """Return where a request's episodes are kept: a file of its own."""
        return f"{(self.stats_dir or str(self.folder / 'stats')).rstrip('/')}/{request_id}.duckdb"

    def replay_uri(self, request_id: str) -> str | None:
        """Return where a request's replays are kept; None: there are none."""
        if not self.replays:
            return None
        return f"{(self.replay_dir or str(self.folder / 'replays')).rstrip('/')}/{request_id}"

    def database_address(self) -> str:
        """Return the address for SQLAlchemy."""
        return self.database or f"sqlite:///{self.folder / 'requests.sqlite'}"

    def root_list(self) -> list[str]:
        """Return the roots, at least one."""
        return self.roots or [self.data_dir]

    def num_workers(self) -> int:
        """Return how many simulations are played at a time on this machine."""
        return self.workers or max(1, available_cores() // self.threads)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
