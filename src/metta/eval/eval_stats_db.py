"""`EvalStatsDB`: how good was that? Averages over agents and episodes of a statistics file, and any other question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from metta.errors import StatsError
from metta.eval.filters import SAMPLES, Condition, Filter, condition_of
from metta.eval.questions import Answer, Parameters, ask, ask_for_first, ask_for_rows
from metta.eval.reward_summary import EvalRewardSummary
from metta.eval.statistics import Summary, summarize
from metta.sim import SimulationStatsDB, parse_policy_uri

SCORE_METRIC = "score_metric"  # the episode attribute that names a simulation's own score


class EvalStatsDB(SimulationStatsDB):
    """Answers about the policies of a statistics file.

    **How an average is made**: over all agent-episode pairs of the policy that recorded anything. A pair without the
    metric counts 0; episodes that were asked for but never finished are not there and do not count. Without samples the
    answer is None; an unknown metric over existing samples gives 0.0.

    Samples of a policy are those in which it was asked to play (player 0). Those in which it was an opponent, also its
    own, are counted only by a filter that names the `player`: `{"player": [1, 2]}`.

    A policy is named by the path of its checkpoint, or of its run, and its epoch (`key_and_version`).
    """

    @staticmethod
    def key_and_version(checkpoint_path: str | Path, epoch: int | None = None) -> tuple[str, int]:
        """Return (policy key, version) = (run, epoch) of a checkpoint.

        `checkpoint_path`: an agent file (`.../<run>/checkpoints/agent_epoch_<N>.pt`), its folder, a run's folder, a
        run's name, `<run>:<epoch>`, `key:v<version>`, or `mock://<name>`. Raises StatsError if the path and `epoch`
        say different epochs, or neither says one.
        """
        key, version = EvalStatsDB.split_policy(str(checkpoint_path))
        if version is not None and epoch is not None and version != epoch:
            raise StatsError(f"{checkpoint_path} is a checkpoint of epoch {version}, not of epoch {epoch}")
        found = epoch if epoch is not None else version
        if found is None:
            raise StatsError(f"{checkpoint_path} does not say which epoch is meant; give an epoch")
        return key, found

    @staticmethod
    def split_policy(text: str) -> tuple[str, int | None]:
        """Return (run, epoch) as `key_and_version` reads them; the epoch is None where the text says none."""
        if text.startswith("mock://"):
            return text.removeprefix("mock://"), 0
        key, version = parse_policy_uri(text)
        if version is not None:
            return key, version
        path = re.sub(r"^\w+://", "", text)
        if path.endswith(".pt"):
            from metta.agent import checkpoints  # loads torch, which a question does not need

            return checkpoints.key_and_version(path)
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if len(parts) > 1 and parts[-1] == "checkpoints":
            parts.pop()
        if not parts:
            raise StatsError(f"{text!r} names no run")
        run, colon, number = parts[-1].rpartition(":")
        return (run, int(number)) if colon and number.isdigit() else (parts[-1], None)

    def get_average_metric_by_filter(
        self, metric: str, checkpoint_path: str | Path, epoch: int | None = None, filter: Filter = None
    ) -> float | None:
        """Return the mean of `metric` over the policy's samples, 0 where it is missing; None without samples.

        `filter`: `{"sim_name": "arena/basic"}`, with any of sim_name, sim_env, simulation_id, episode_id, seed,
        agent_id, player, or an episode attribute; several values (a list, a range, an array) are alternatives. Or one
        condition in SQL over those columns.
        """
        return self._aggregate("avg(value)", metric, checkpoint_path, epoch, filter)

    def get_std_metric_by_filter(
        self, metric: str, checkpoint_path: str | Path, epoch: int | None = None, filter: Filter = None
    ) -> float | None:
        """Return the population's standard deviation of `metric`, 0 where it is missing; None without samples."""
        return self._aggregate("stddev_pop(value)", metric, checkpoint_path, epoch, filter)

    def get_sum_metric_by_filter(
        self, metric: str, checkpoint_path: str | Path, epoch: int | None = None, filter: Filter = None
    ) -> float | None:
        """Return the sum of `metric` over the policy's samples; None without samples."""
        return self._aggregate("sum(value)", metric, checkpoint_path, epoch, filter)

    def sample_count(self, checkpoint_path: str | Path, epoch: int | None = None, filter: Filter = None) -> int:
        """Return how many agent-episode pairs of the policy recorded anything."""
        where = self._where(checkpoint_path, epoch, filter)
        sql = f"SELECT count(*) FROM {SAMPLES} s WHERE {where.sql}"
        ((count,),) = self._rows(sql, where.parameters)
        return int(count)

    def simulation_scores(
        self, checkpoint_path: str | Path, epoch: int | None = None, metric: str = "reward"
    ) -> dict[str, float]:
        """Return simulation name -> mean of `metric`, as `get_average_metric_by_filter` makes it, sorted by name."""
        where = self._where_by_name(checkpoint_path, epoch, None)
        rows = self._rows(
            f"SELECT sim_name, avg(value) FROM ({_values(where.sql)}) GROUP BY sim_name ORDER BY sim_name",
            [metric, *where.parameters],
        )
        return {str(name): float(value) for name, value in rows}

    def get_scores(self, run: str | Path, epoch: int | None = None) -> EvalRewardSummary:
        """Return the scores of a policy in every simulation that it played, each by the simulation's own metric."""
        scores = {
            name: self.simulation_scores(run, epoch, metric)[name]
            for name, metric in self.score_metrics(run, epoch).items()
        }
        return EvalRewardSummary.from_simulation_scores(scores)

    def score_metrics(self, checkpoint_path: str | Path, epoch: int | None = None) -> dict[str, str]:
        """Return simulation name -> the metric that is its score (`SimulationConfig.score_metric`, else `reward`)."""
        where = self._where_by_name(checkpoint_path, epoch, None)
        rows = self._rows(
            f"""SELECT s.sim_name, coalesce(max(a.value), 'reward') FROM {SAMPLES} s
                LEFT JOIN episode_attributes a ON a.episode_id = s.episode_id AND a.attribute = '{SCORE_METRIC}'
                WHERE {where.sql} GROUP BY s.sim_name ORDER BY s.sim_name""",
            where.parameters,
        )
        return {str(name): str(metric) for name, metric in rows}

    def episode_values(
        self, metric: str, checkpoint_path: str | Path, epoch: int | None = None, filter: Filter = None
    ) -> pd.DataFrame:
        """Return a row an episode: sim_name, seed, value (mean over the policy's agents in it), agents.

        Sorted by simulation and seed, so that two policies' rows can be paired.
        """
        where = self._where_by_name(checkpoint_path, epoch, filter)
        return self.query(
            f"""SELECT sim_name, seed, avg(value) AS value, count(*) AS agents FROM ({_values(where.sql)})
                GROUP BY sim_name, seed ORDER BY sim_name, seed""",
            [metric, *where.parameters],
        )

    def summary(
        self, metric: str, checkpoint_path: str | Path, epoch: int | None = None, filter: Filter = None
    ) -> Summary | None:
        """Return mean and interquartile mean over episodes, stratified by simulation; None without samples."""
        episodes = self.episode_values(metric, checkpoint_path, epoch, filter)
        if episodes.empty:
            return None
        groups = [group for _, group in episodes.groupby("sim_name")]
        seeds = [group["seed"].tolist() for group in groups]
        return summarize([group["value"].to_numpy() for group in groups], seeds=seeds)

    def episode_metrics(
        self, metrics: Sequence[str], checkpoint_path: str | Path, epoch: int | None = None, filter: Filter = None
    ) -> pd.DataFrame:
        """Return `episode_values` of many metrics: indexed by sim_name and seed, a column `agents` and one a metric."""
        where = self._where_by_name(checkpoint_path, epoch, filter)
        values = self.query(
            f"""SELECT s.sim_name, s.seed, m.metric, sum(m.value) AS value
                FROM {_chosen(where.sql)} s
                JOIN agent_metrics m ON m.episode_id = s.episode_id AND m.agent_id = s.agent_id
                WHERE m.metric IN (SELECT unnest(?)) GROUP BY ALL""",
            [*where.parameters, list(metrics)],
        )
        agents = self.query(
            f"SELECT sim_name, seed, count(*) AS agents FROM {SAMPLES} s WHERE {where.sql} GROUP BY ALL ORDER BY ALL",
            where.parameters,
        )
        table = values.pivot_table(index=["sim_name", "seed"], columns="metric", values="value", aggfunc="sum")
        episodes = agents.set_index(["sim_name", "seed"])
        filled = table.reindex(index=episodes.index, columns=list(metrics)).fillna(0.0)
        return pd.concat([episodes, filled.div(episodes["agents"], axis=0)], axis=1)

    def metric_names(self) -> list[str]:
        """Return the names of all metrics that were counted, also of those that stayed 0, sorted."""
        rows = self._rows(
            "SELECT metric FROM simulation_metrics UNION SELECT DISTINCT metric FROM agent_metrics ORDER BY metric"
        )
        return [str(row[0]) for row in rows]

    def query(self, sql: str, parameters: Parameters = None) -> pd.DataFrame:
        """Return the answer to one question in SQL. It can neither change anything nor see any other file.

        `parameters` fill `?` or `$name`. Raises StatsError for anything but one statement that reads, and for mistakes.
        """
        return ask(self.connection, sql, parameters)

    def query_first(self, sql: str, *, rows: int) -> Answer:
        """Return the first `rows` rows of the answer and the number of all. Raises as `query`."""
        return ask_for_first(self.connection, sql, rows=rows)

    def _rows(self, sql: str, parameters: Parameters = None) -> list[Any]:
        return ask_for_rows(self.connection, sql, parameters)

    def _aggregate(
        self, aggregate: str, metric: str, checkpoint_path: str | Path, epoch: int | None, filter: Filter
    ) -> float | None:
        where = self._where(checkpoint_path, epoch, filter)
        sql = f"SELECT {aggregate} FROM ({_values(where.sql)})"
        ((value,),) = self._rows(sql, [metric, *where.parameters])
        return None if value is None else float(value)

    def _where(self, checkpoint_path: str | Path, epoch: int | None, filter: Filter) -> Condition:
        return condition_of(self.connection, self.key_and_version(checkpoint_path, epoch), filter)

    def _where_by_name(self, checkpoint_path: str | Path, epoch: int | None, filter: Filter) -> Condition:
        """Do as `_where`, for what is told by simulations' names. Raises StatsError if one stands for two worlds."""
        where = self._where(checkpoint_path, epoch, filter)
        names = [
            row[0] for row in self._rows("SELECT name FROM simulations GROUP BY name HAVING count(DISTINCT env) > 1")
        ]
        if names:  # of files that were merged
            rows = self._rows(
                f"""SELECT sim_name, list(DISTINCT sim_env ORDER BY sim_env) AS envs FROM {SAMPLES} s
                    WHERE {where.sql} AND sim_name IN (SELECT unnest(?)) GROUP BY sim_name HAVING len(envs) > 1""",
                [*where.parameters, names],
            )
            for name, envs in rows:
                raise StatsError(
                    f"{name} was played in {len(envs)} worlds: filter by sim_env, one of {', '.join(envs)}"
                )
        return where


def _values(where: str) -> str:
    """Return SQL that gives every sample and its value of one metric (the first parameter), 0 where it is missing."""
    return f"""
        WITH recorded AS (SELECT episode_id, agent_id, value FROM agent_metrics WHERE metric = ?)
        SELECT s.sim_name, s.seed, s.episode_id, s.agent_id, coalesce(r.value, 0.0) AS value
        FROM {_chosen(where)} s LEFT JOIN recorded r ON r.episode_id = s.episode_id AND r.agent_id = s.agent_id"""


def _chosen(where: str) -> str:
    """Return SQL for the samples that a condition chooses, in which only their own columns have a name."""
    return f"(SELECT * FROM {SAMPLES} s WHERE {where})"
