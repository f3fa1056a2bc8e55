"""How good was that? Suites, scores with intervals, questions to statistics files, reports. Never imports `rl`."""

from metta.eval.analysis import AnalysisConfig
from metta.eval.eval_stats_db import EvalStatsDB
from metta.eval.policy_evaluator import EvalResults, PolicyEvaluator, SimulationScore
from metta.eval.report import Report
from metta.eval.reward_summary import EvalRewardSummary
from metta.eval.run_analysis import analyze_run
from metta.eval.statistics import Interval, Summary
from metta.eval.stored_evaluation import StoredEvaluation, yardsticks
from metta.eval.suites import SUITES, Suite, named_suite, world_suite

__all__ = [
    "SUITES",
    "AnalysisConfig",
    "EvalResults",
    "EvalRewardSummary",
    "EvalStatsDB",
    "Interval",
    "PolicyEvaluator",
    "Report",
    "SimulationScore",
    "StoredEvaluation",
    "Suite",
    "Summary",
    "analyze_run",
    "named_suite",
    "world_suite",
    "yardsticks",
]
