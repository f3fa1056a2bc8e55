"""Starting the service: one database, one folder, one socket, until it is told to stop."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable

import uvicorn

from metta.errors import ConfigError, ServiceError
from metta.eval.eval_service.app import create_app
from metta.eval.eval_service.config import TOKEN_VARIABLE, EvalServiceConfig, is_loopback
from metta.eval.eval_service.dispatcher import Dispatcher
from metta.eval.eval_service.engine import OneService, open_database
from metta.eval.eval_service.local_worker import LocalWorker
from metta.eval.eval_service.players import Player
from metta.eval.eval_service.policies import PolicyGate
from metta.eval.eval_service.service import EvalService
from metta.eval.eval_service.store import RequestStore
from metta.eval.eval_service.tokens import given_token, made_token, token_path

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
    config.policies_folder.mkdir(parents=True, exist_ok=True)
    engine = open_database(config.database_address())
    place = OneService(engine, config.folder)
    place.take()
    listening = _listen(config.host, config.port)
    port = listening.getsockname()[1]
    service = _service(config, RequestStore(engine, stats_uri=config.stats_uri), place, token or made_token(port))
    origin = "" if token else f", token in {token_path(port)}"
    print(f"eval service: http://{_shown(config.host)}:{port}{origin}", flush=True)
    players = f"Ray at {config.ray_address}" if config.ray_address else "worker processes"
    print(f"database {engine.url}, policies below {', '.join(config.root_list())}, {players}", file=sys.stderr)
    settings = uvicorn.Config(create_app(service), log_level="warning", access_log=False)
    try:
        uvicorn.Server(settings).run(sockets=[listening])
    finally:
        place.give_back()
        engine.dispose()
    return 0


def _service(config: EvalServiceConfig, store: RequestStore, place: OneService, token: str) -> EvalService:
    make_player, num_players = _players(config)
    dispatcher = Dispatcher(store, config, make_player=make_player, num_players=num_players, one_service=place)
    gate = PolicyGate(config.root_list(), data_dir=config.data_dir, copies=config.policies_folder)
    return EvalService(config=config, token=token, store=store, gate=gate, dispatcher=dispatcher)


def _players(config: EvalServiceConfig) -> tuple[PlayerMaker, int]:
    """Return what makes the n-th player, and how many there are to be."""
    if config.ray_address is not None:
        from metta.eval.eval_service.ray_player import RayPlayer, connect

        cpus = connect(config.ray_address)
        num_players = config.workers or max(1, cpus // config.threads)
        return lambda _: RayPlayer(threads=config.threads, timeout_seconds=config.timeout_seconds), num_players
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
