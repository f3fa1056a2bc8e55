"""Starting the service: one database, one folder, one socket, until it is told to stop."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Event
from types import FrameType

import uvicorn

from metta.errors import ConfigError, ServiceError
from metta.eval.eval_service.app import create_app
from metta.eval.eval_service.config import TOKEN_VARIABLE, EvalServiceConfig, is_loopback
from metta.eval.eval_service.copies import PolicyCopies
from metta.eval.eval_service.dispatcher import Dispatcher
from metta.eval.eval_service.engine import OneService, open_database
from metta.eval.eval_service.local_worker import LocalWorker
from metta.eval.eval_service.players import Player, PlayersAwayError
from metta.eval.eval_service.policies import PolicyGate
from metta.eval.eval_service.ray_cluster import RayCluster
from metta.eval.eval_service.ray_player import RayPlayer
from metta.eval.eval_service.service import EvalService
from metta.eval.eval_service.store import RequestStore
from metta.eval.eval_service.tokens import given_token, make_token, remove_token, token_path

PlayerMaker = Callable[[int], Player]


def serve(config: EvalServiceConfig) -> int:
    """Run the service until it is interrupted; return the exit code.

    Raises ConfigError for settings that cannot be, ServiceError if the port, the folder, the database or the Ray
    cluster cannot be had.
    """
    token = given_token(config.token_file)
    if token is None and not is_loopback(config.host):
        raise ConfigError(
            f"host={config.host} is seen from elsewhere: give a token of your own, in {TOKEN_VARIABLE} or token_file="
        )
    make_folders(config)
    with ExitStack() as ending, _also_when_told_to_end(ending):
        engine = open_database(config.database_address())
        ending.callback(engine.dispose)
        place = OneService(engine, config.folder)
        place.take()
        ending.callback(place.give_back)
        listening = _listen(config.host, config.port)
        port = listening.getsockname()[1]
        ending.callback(listening.dup().close)  # nobody else can have the port before its token is gone
        if token is None:
            ending.callback(remove_token, port)
        store = RequestStore(engine, stats_uri=config.stats_uri)
        service = _service(config, store, place, token or make_token(port))
        origin = "" if token else f", token in {token_path(port)}"
        players = f"Ray at {config.ray_address}" if config.ray_address else "worker processes"
        print(f"database {engine.url}, policies below {', '.join(config.root_list())}, {players}", file=sys.stderr)
        print(f"eval service: http://{_shown(config.host)}:{port}{origin}", flush=True)
        settings = uvicorn.Config(create_app(service), log_level="warning", access_log=False)
        uvicorn.Server(settings).run(sockets=[listening])
    return 0


def make_folders(config: EvalServiceConfig) -> None:
    """Make the service's folder, which nobody else may read: policies, requests and replays are in it.

    One that is there is left as it is, but for the copies of policies in it. Raises ServiceError.
    """
    try:
        config.folder.parent.mkdir(parents=True, exist_ok=True)
        config.folder.mkdir(mode=0o700, exist_ok=True)
        config.policies_folder.mkdir(mode=0o700, exist_ok=True)
        config.policies_folder.chmod(0o700)
    except OSError as error:
        raise ServiceError(
            f"cannot use {config.folder}: {error.strerror or error}; service_dir= names another"
        ) from error


@contextmanager
def _also_when_told_to_end(ending: ExitStack) -> Iterator[None]:
    """Have `ending` done before a signal ends the process; uvicorn passes on the one that it has ended for."""

    def end(number: int, _: FrameType | None) -> None:
        ending.close()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _service(config: EvalServiceConfig, store: RequestStore, place: OneService, token: str) -> EvalService:
    make_player, num_players = _players(config)
    dispatcher = Dispatcher(store, config, make_player=make_player, num_players=num_players, one_service=place)
    gate = PolicyGate(config.root_list(), data_dir=config.data_dir)
    max_bytes = config.copy_gigabytes * 1e9
    copies = PolicyCopies(config.policies_folder, max_days=config.copy_days, max_bytes=max_bytes)
    copies.prune_if_due(store.needed_copies)
    return EvalService(config=config, token=token, store=store, gate=gate, copies=copies, dispatcher=dispatcher)


def _players(config: EvalServiceConfig) -> tuple[PlayerMaker, int]:
    """Return what makes the n-th player, and how many there are to be."""
    if config.ray_address is not None:
        cluster = RayCluster(config.ray_address, threads=config.threads, log=config.folder / "ray.log")
        try:
            cluster.connect(Event())
        except PlayersAwayError as error:
            raise ServiceError(str(error)) from error
        num_players = config.workers or max(1, cluster.cpus // config.threads)
        return lambda _: RayPlayer(cluster, timeout_seconds=config.timeout_seconds), num_players
    return lambda number: LocalWorker(
        log=config.folder / f"worker-{number}.log", threads=config.threads, timeout_seconds=config.timeout_seconds
    ), config.num_workers()


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that takes connections already: whoever reads the address may use it."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        raise ServiceError(f"cannot listen on {host}:{port}: {error.strerror or error}; port= names another") from error
    return listening


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
