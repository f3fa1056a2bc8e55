"""How good was that? Suites, scores with intervals, questions to statistics files, reports. Never imports `rl`."""

from metta.eval.analysis import AnalysisConfig
from metta.eval.eval_stats_db import EvalStatsDB
from metta.eval.policy_evaluator import EvalResults, PolicyEvaluator, SimulationScore
from metta.eval.report import Report
from metta.eval.reward_summary import EvalRewardSummary
from metta.eval.run_analysis import analyze_run, yardsticks
from metta.eval.statistics import Comparison, Interval, Summary, compare, summarize
from metta.eval.suites import SUITES, Suite, named_suite, world_suite

__all__ = [
    "SUITES",
    "AnalysisConfig",
    "Comparison",
    "EvalResults",
    "EvalRewardSummary",
    "EvalStatsDB",
    "Interval",
    "PolicyEvaluator",
    "Report",
    "SimulationScore",
    "Suite",
    "Summary",
    "analyze_run",
    "compare",
    "named_suite",
    "summarize",
    "world_suite",
    "yardsticks",
]
