"""How good was that? Suites, scores with intervals, questions to statistics files, reports. Never imports `rl`."""

from typing import TYPE_CHECKING

from metta.lazy import load_when_asked

if TYPE_CHECKING:
    from metta.eval.analysis import AnalysisConfig
    from metta.eval.eval_stats_db import EvalStatsDB
    from metta.eval.policy_evaluator import EvalResults, PolicyEvaluator, SimulationScore
    from metta.eval.report import Report
    from metta.eval.reward_summary import EvalRewardSummary
    from metta.eval.run_analysis import analyze_run
    from metta.eval.statistics import Interval, Summary
    from metta.eval.stored_evaluation import StoredEvaluation, yardsticks
    from metta.eval.suites import SUITES, Suite, named_suite, world_suite
else:  # a question to a statistics file needs none of what plays
    __getattr__, __dir__ = load_when_asked(__name__, {
        "analysis": "AnalysisConfig", "eval_stats_db": "EvalStatsDB", "report": "Report", "run_analysis": "analyze_run",
        "policy_evaluator": "EvalResults PolicyEvaluator SimulationScore", "reward_summary": "EvalRewardSummary",
        "statistics": "Interval Summary", "stored_evaluation": "StoredEvaluation yardsticks",
        "suites": "SUITES Suite named_suite world_suite",
    })  # fmt: skip

__all__ = [
    "SUITES", "AnalysisConfig", "EvalResults", "EvalRewardSummary", "EvalStatsDB", "Interval", "PolicyEvaluator",
    "Report", "SimulationScore", "StoredEvaluation", "Suite", "Summary", "analyze_run", "named_suite", "world_suite",
    "yardsticks",
]  # fmt: skip
