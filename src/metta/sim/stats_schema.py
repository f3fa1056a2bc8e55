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

_VIEWS = """
-- Every agent-episode pair that recorded anything: the denominator of every average.
CREATE VIEW policy_simulation_agent_samples AS
SELECT p.policy_key, p.policy_version, s.name AS sim_name, s.env AS sim_env, e.simulation_id, p.episode_id, e.seed,
       p.agent_id{player}
FROM agent_policies p
JOIN episodes e ON e.id = p.episode_id
JOIN simulations s ON s.id = e.simulation_id
WHERE EXISTS (SELECT 1 FROM agent_metrics m WHERE m.episode_id = p.episode_id AND m.agent_id = p.agent_id);

-- Every recorded metric of every pair; what is 0 has no row.
CREATE VIEW policy_simulation_agent_metrics AS
SELECT p.policy_key, p.policy_version, s.name AS sim_name, s.env AS sim_env, e.simulation_id, p.episode_id, e.seed,
       p.agent_id{player}, m.metric, m.value
FROM agent_metrics m
JOIN agent_policies p ON p.episode_id = m.episode_id AND p.agent_id = m.agent_id
JOIN episodes e ON e.id = p.episode_id
JOIN simulations s ON s.id = e.simulation_id;
"""

# An id as `derived_id` makes it.
_DERIVED_ID = "('0x' || substr(sha256(concat_ws(chr(31), {parts})), 1, 16))::UBIGINT >> 1"
_SIMULATION_ID = _DERIVED_ID.format(parts="'simulation', s.policy_key, s.policy_version, s.name, s.env")
_EPISODE_ID = _DERIVED_ID.format(parts="'episode', s.policy_key, s.policy_version, s.name, s.env, e.seed")

# Version 2: agents know which player they were, and ids tell worlds apart: two files of many runs may hold one name in
# two worlds. The others of an old game are numbered by name. A policy among its own copies had no number at all: which
# agents were judged is not known (NULL), so such a game is no sample and is played again. `others` and `weights` are
# attributes that name everybody's network.
_CHANGE_2 = f"""
DROP VIEW policy_simulation_agent_samples;
DROP VIEW policy_simulation_agent_metrics;

CREATE TEMP TABLE changed AS
SELECT e.id AS old_id, {_EPISODE_ID} AS id, e.simulation_id AS old_simulation_id, {_SIMULATION_ID} AS simulation_id,
       s.policy_key, s.policy_version
FROM episodes e JOIN simulations s ON s.id = e.simulation_id;

CREATE TEMP TABLE among_copies AS
SELECT c.old_id FROM changed c
JOIN episode_attributes o ON o.episode_id = c.old_id AND o.attribute = 'others'
LEFT JOIN episode_attributes w ON w.episode_id = c.old_id AND w.attribute = 'weights'
WHERE list_contains(string_split(o.value, ' '), coalesce(w.value, c.policy_key))
  AND len(list_distinct(string_split(o.value, ' '))) >
      (SELECT count(DISTINCT (p.policy_key, p.policy_version)) FROM agent_policies p
       WHERE p.episode_id = c.old_id AND (p.policy_key, p.policy_version) <> (c.policy_key, c.policy_version));

CREATE TEMP TABLE old_policies AS
SELECT p.*, c.id AS new_id, (p.policy_key, p.policy_version) <> (c.policy_key, c.policy_version) AS is_other,
       c.simulation_id, c.old_id IN (FROM among_copies) AS is_among_copies
FROM agent_policies p JOIN changed c ON c.old_id = p.episode_id;
DROP TABLE agent_policies;
CREATE TABLE agent_policies (
    episode_id BIGINT NOT NULL, agent_id INTEGER NOT NULL, policy_key VARCHAR NOT NULL, policy_version INTEGER NOT NULL,
    player INTEGER                   -- 0 the policy that the simulation is about, 1.. the others; NULL: not known
);
INSERT INTO agent_policies
SELECT new_id, agent_id, policy_key, policy_version,
       CASE WHEN is_among_copies THEN NULL WHEN NOT is_other THEN 0
            ELSE dense_rank() OVER (PARTITION BY simulation_id, is_other ORDER BY policy_key, policy_version) END
FROM old_policies;

UPDATE episode_attributes SET episode_id = c.id FROM changed c WHERE c.old_id = episode_id;
UPDATE agent_groups SET episode_id = c.id FROM changed c WHERE c.old_id = episode_id;
UPDATE agent_metrics SET episode_id = c.id FROM changed c WHERE c.old_id = episode_id;
UPDATE episodes SET id = c.id, simulation_id = c.simulation_id FROM changed c WHERE c.old_id = episodes.id;
UPDATE simulation_metrics SET simulation_id = {_SIMULATION_ID} FROM simulations s WHERE s.id = simulation_id;
UPDATE simulations s SET id = {_SIMULATION_ID};
DROP TABLE changed;
DROP TABLE among_copies;
DROP TABLE old_policies;
"""

# MIGRATIONS[i] brings a file from version i to version i + 1. Released entries are never edited, only added to.
MIGRATIONS: tuple[str, ...] = (
    _TABLES_1 + _VIEWS.format(player=""),
    _CHANGE_2 + _VIEWS.format(player=", p.player"),
)


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
