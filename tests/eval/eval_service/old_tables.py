"""A database as the first version of the service's tables was, with requests in it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import create_engine, text

from metta.eval import Suite

# {serial} and {moment} are what SQLite and PostgreSQL call them differently.
TABLES = """
CREATE TABLE eval_service_schema (version INTEGER NOT NULL, PRIMARY KEY (version));
INSERT INTO eval_service_schema VALUES (1);
CREATE TABLE eval_suites (
    hash VARCHAR(64) NOT NULL, name TEXT NOT NULL, content TEXT NOT NULL, PRIMARY KEY (hash));
CREATE TABLE eval_requests (
    number {serial} NOT NULL, id VARCHAR(64) NOT NULL, created_at {moment} NOT NULL, policy_uri TEXT NOT NULL,
    policy_key TEXT NOT NULL, policy_version BIGINT NOT NULL, policy_checksum VARCHAR(128) NOT NULL, policy_path TEXT,
    opponents JSON NOT NULL, suite_hash VARCHAR(64) NOT NULL, program TEXT NOT NULL, PRIMARY KEY (number), UNIQUE (id),
    FOREIGN KEY(suite_hash) REFERENCES eval_suites (hash));
CREATE TABLE eval_units (
    request INTEGER NOT NULL, simulation TEXT NOT NULL, position INTEGER NOT NULL, state VARCHAR(16) NOT NULL,
    attempt INTEGER NOT NULL, deaths INTEGER NOT NULL, reason TEXT, started_at {moment}, finished_at {moment},
    PRIMARY KEY (request, simulation), FOREIGN KEY(request) REFERENCES eval_requests (number));
CREATE INDEX eval_units_by_state ON eval_units (state, request, position);
CREATE TABLE eval_results (
    request INTEGER NOT NULL, simulation TEXT NOT NULL, score JSON, missing_episodes INTEGER NOT NULL,
    replay_urls JSON NOT NULL, seconds {real} NOT NULL, agent_steps BIGINT NOT NULL,
    PRIMARY KEY (request, simulation),
    FOREIGN KEY(request, simulation) REFERENCES eval_units (request, simulation))
"""
SCORE = {
    "metric": "reward",
    "mean": {"value": 2.0, "low": 1.0, "high": 3.0},
    "interquartile_mean": {"value": 2.0, "low": None, "high": None},
    "episodes": 2,
    "seeds": 2,
}
WORDS = {
    "sqlite": {"serial": "INTEGER", "moment": "DATETIME", "real": "DOUBLE"},
    "postgresql": {"serial": "SERIAL", "moment": "TIMESTAMP WITHOUT TIME ZONE", "real": "DOUBLE PRECISION"},
}


def make_old_database(address: str, suite: Suite, requests: Mapping[str, Mapping[str, str]], *, program: str) -> None:
    """Make one; `requests`: id -> opponents, address -> checksum. Each has a done, a running and a queued simulation.

    The policy of each request has its id for a key and as a checksum.
    """
    engine = create_engine(address)
    done, running, queued = (simulation.name for simulation in suite.simulations)
    with engine.begin() as connection:
        for statement in TABLES.format(**WORDS[engine.dialect.name]).split(";"):
            connection.execute(text(statement))
        connection.execute(
            text("INSERT INTO eval_suites VALUES (:hash, :name, :content)"),
            {"hash": suite.hash, "name": suite.name, "content": suite.model_dump_json()},
        )
        for name, opponents in requests.items():
            number = connection.scalar(
                text(
                    "INSERT INTO eval_requests (id, created_at, policy_uri, policy_key, policy_version, "
                    "policy_checksum, policy_path, opponents, suite_hash, program) VALUES (:id, '2026-01-02 03:04:05', "
                    ":uri, :key, 7, :checksum, '/old/copy.pt', :opponents, :suite, :program) RETURNING number"
                ),
                {
                    **dict.fromkeys(("id", "key", "checksum"), name),
                    "uri": f"file:///{name}.pt",
                    "opponents": json.dumps(opponents),
                    "suite": suite.hash,
                    "program": program,
                },
            )
            for position, (simulation, state) in enumerate(((done, "done"), (running, "running"), (queued, "queued"))):
                connection.execute(
                    text("INSERT INTO eval_units VALUES (:request, :name, :position, :state, 1, 0, NULL, NULL, NULL)"),
                    {"request": number, "name": simulation, "position": position, "state": state},
                )
            connection.execute(
                text("INSERT INTO eval_results VALUES (:request, :name, :score, 0, '[\"r.json.z\"]', 0.5, 12)"),
                {"request": number, "name": done, "score": json.dumps(SCORE)},
            )
    engine.dispose()
