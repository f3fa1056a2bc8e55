"""The tables of a statistics file, its version, and the ordered migrations that bring an older file up to date.

Identifiers are 63-bit integers derived from what they name (`derived_id`), so files of many producers merge without a
table of translations, and a repeated episode replaces itself. `text_id` says the same for people.
"""

from __future__ import annotations

import hashlib

import duckdb

from metta.errors import StatsError

TABLES = (
    "simulations",
    "simulation_metrics",
    "episodes",
    "episode_attributes",
    "agent_groups",
    "agent_policies",
    "agent_metrics",
)

_TABLES_1 = """
CREATE TABLE simulations (
    id BIGINT PRIMARY KEY,
    name VARCHAR NOT NULL,           -- category/short name
    env VARCHAR NOT NULL,            -- the world's label and content hash: another world is another env
    policy_key VARCHAR NOT NULL,
    policy_version INTEGER NOT NULL,
    created_at TIMESTAMP NOT NULL,   -- UTC, like all times
    finished_at TIMESTAMP
);
-- What was counted, also what stayed 0 and has no row in agent_metrics.
CREATE TABLE simulation_metrics (simulation_id BIGINT NOT NULL, metric VARCHAR NOT NULL);
CREATE TABLE episodes (
    id BIGINT PRIMARY KEY,
    simulation_id BIGINT NOT NULL,
    step_count INTEGER NOT NULL,     -- ticks played
    seed BIGINT NOT NULL,
    created_at TIMESTAMP NOT NULL,
    completed_at TIMESTAMP,
    replay_url VARCHAR,
    text_id VARCHAR NOT NULL         -- <policy key>:v<version>/<simulation>/<seed>
);
CREATE TABLE episode_attributes (episode_id BIGINT NOT NULL, attribute VARCHAR NOT NULL, value VARCHAR);
CREATE TABLE agent_groups (episode_id BIGINT NOT NULL, group_id INTEGER NOT NULL, agent_id INTEGER NOT NULL);
CREATE TABLE agent_policies (
    episode_id BIGINT NOT NULL, agent_id INTEGER NOT NULL, policy_key VARCHAR NOT NULL, policy_version INTEGER NOT NULL
);
-- No primary keys on the wide tables: an index over ten million rows costs more than every query it would speed up.
-- Episodes are replaced as a whole, which keeps (episode, agent, metric) unique. Metrics that are 0 have no row.
CREATE TABLE agent_metrics (
    episode_id BIGINT NOT NULL, agent_id INTEGER NOT NULL, metric VARCHAR NOT NULL, value DOUBLE NOT NULL
);
"""

_VIEWS_1 = """
-- Every agent-episode pair that recorded anything: the denominator of every average.
CREATE VIEW policy_simulation_agent_samples AS
SELECT p.policy_key, p.policy_version, s.name AS sim_name, s.env AS sim_env, e.simulation_id, p.episode_id, e.seed,
       p.agent_id
FROM agent_policies p
JOIN episodes e ON e.id = p.episode_id
JOIN simulations s ON s.id = e.simulation_id
WHERE EXISTS (SELECT 1 FROM agent_metrics m WHERE m.episode_id = p.episode_id AND m.agent_id = p.agent_id);

-- Every recorded metric of every pair; what is 0 has no row.
CREATE VIEW policy_simulation_agent_metrics AS
SELECT p.policy_key, p.policy_version, s.name AS sim_name, s.env AS sim_env, e.simulation_id, p.episode_id, e.seed,
       p.agent_id, m.metric, m.value
FROM agent_metrics m
JOIN agent_policies p ON p.episode_id = m.episode_id AND p.agent_id = m.agent_id
JOIN episodes e ON e.id = p.episode_id
JOIN simulations s ON s.id = e.simulation_id;
"""

# MIGRATIONS[i] brings a file from version i to version i + 1. Released entries are never edited, only added to.
MIGRATIONS: tuple[str, ...] = (_TABLES_1 + _VIEWS_1,)


def schema_version() -> int:
    """Return the version that this program writes."""
    return len(MIGRATIONS)


def file_version(connection: duckdb.DuckDBPyConnection) -> int | None:
    """Return the version of an open database: 0 if it is empty, None if it is no statistics database."""
    tables = {row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if "schema_version" not in tables:
        return None if tables else 0
    # fetchall, here and elsewhere: a result that is not read to its end keeps DuckDB's connection busy
    ((version,),) = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchall()
    return int(version)


def migrate(connection: duckdb.DuckDBPyConnection, *, name: str) -> None:
    """Bring an open, writable database up to `schema_version()`, all or nothing; `name` is for messages."""
    version = check_version(connection, name=name)
    if version == schema_version():
        return
    connection.execute("BEGIN")
    connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL, migrated_at TIMESTAMP)")
    for number in range(version, schema_version()):
        connection.execute(MIGRATIONS[number])
        connection.execute("INSERT INTO schema_version VALUES (?, now()::TIMESTAMP)", [number + 1])
    connection.execute("COMMIT")


def check_version(connection: duckdb.DuckDBPyConnection, *, name: str) -> int:
    """Return the version of an open database. Raises StatsError if it is newer than this program, or something else."""
    version = file_version(connection)
    if version is None:
        raise StatsError(f"{name} is a DuckDB database, but not one of metta's statistics")
    if version > schema_version():
        raise StatsError(
            f"{name} is newer than this program: version {version} of the statistics tables, "
            f"this program knows up to {schema_version()}; update metta to read it"
        )
    return version


def derived_id(*parts: str | int) -> int:
    """Return a 63-bit integer derived from `parts`: the same parts always give the same id.

    With a million ids in one file two are equal with a probability of one in twenty million.
    """
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
