"""`EvalRewardSummary`: the scores of an evaluation, by simulation and by category."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, field_validator

from metta.config import Config


def category_of(simulation: str) -> str:
    """Return the category of a simulation: its name before the first `/`, or the whole name."""
    return simulation.split("/", 1)[0]


def _short(simulation: str) -> str:
    """The name without its category; the whole name if it has none."""
    return simulation.split("/", 1)[-1]


class EvalRewardSummary(Config):
    """Scores of one policy. A category's score is the mean over its simulations, each counting the same."""

    category_scores: dict[str, float] = Field(default_factory=dict)
    simulation_scores: dict[str, float] = Field(default_factory=dict, description="category/name -> score")

    @field_validator("simulation_scores", mode="before")
    @classmethod
    def _join_names(cls, scores: Mapping[str | tuple[str, str], float]) -> dict[str, float]:
        """Accept (category, name) for category/name."""
        return {"/".join(name) if isinstance(name, tuple) else name: score for name, score in scores.items()}

    @classmethod
    def from_simulation_scores(cls, scores: Mapping[str, float]) -> EvalRewardSummary:
        """Return the summary of simulation name -> score."""
        categories: dict[str, list[float]] = {}
        for name, score in scores.items():
            categories.setdefault(category_of(name), []).append(score)
        means = {category: sum(values) / len(values) for category, values in categories.items()}
        return cls(category_scores=means, simulation_scores=dict(scores))

    @property
    def avg_category_score(self) -> float:
        """The mean over categories; 0 without any."""
        return _mean(self.category_scores)

    @property
    def avg_simulation_score(self) -> float:
        """The mean over simulations; 0 without any."""
        return _mean(self.simulation_scores)

    def to_wandb_metrics_format(self) -> dict[str, float]:
        """Return `<category>/score` and `<category>/<simulation>`; the trainer's metrics put `eval_` before them."""
        return {
            **{f"{category}/score": score for category, score in self.category_scores.items()},
            **{f"{category_of(name)}/{_short(name)}": score for name, score in self.simulation_scores.items()},
        }


def _mean(scores: Mapping[str, float]) -> float:
    return sum(scores.values()) / len(scores) if scores else 0.0
