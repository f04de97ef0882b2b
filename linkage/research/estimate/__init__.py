"""Multiple systems estimation: how many people there are, seen and unseen, from who is on which lists.

Every estimator is a small frozen class with its parameters, ``Estimator(params).fit(table) -> Result``.
:func:`estimate` runs several of them and gives a verdict instead of a number; :func:`diagnostics` says how much hangs
on what cannot be tested. Totals over strata, years and populations are made of draws, never of intervals.
"""

from linkage.research.estimate.averaging import Averaged
from linkage.research.estimate.bounds import Chao, PairEstimate, Zelterman, pair_estimates
from linkage.research.estimate.consistency import Consistency, internal_consistency
from linkage.research.estimate.doubly_robust import DoublyRobust
from linkage.research.estimate.graphs import DecomposableGraphs
from linkage.research.estimate.latent import LatentClasses
from linkage.research.estimate.linkage_error import TwoListCorrection, cross_check
from linkage.research.estimate.loglinear import Fit, Independence, LogLinear, fit_model
from linkage.research.estimate.models import AllModels
from linkage.research.estimate.offset import highest_order_curve, odds_ratio_curve
from linkage.research.estimate.omission import leave_one_out, merge_pairs
from linkage.research.estimate.pooled import PooledResult, draw_tables, over_draws
from linkage.research.estimate.prevalence import prevalence, prevalence_of_strata, read_denominators
from linkage.research.estimate.reading import read_histories
from linkage.research.estimate.result import REASONS, Result
from linkage.research.estimate.sensitivity import Diagnostics, assumption_text, diagnostics
from linkage.research.estimate.series import series, series_over_draws
from linkage.research.estimate.stepwise import Stepwise
from linkage.research.estimate.strata import over_strata, over_strata_draws
from linkage.research.estimate.table import Histories, HistoryTable, Stratum, parse_histories
from linkage.research.estimate.thresholding import Thresholding
from linkage.research.estimate.verdict import Report, StratumReport, Verdict, estimate

__all__ = [
    "REASONS",
    "AllModels",
    "Averaged",
    "Chao",
    "Consistency",
    "DecomposableGraphs",
    "Diagnostics",
    "DoublyRobust",
    "Fit",
    "Histories",
    "HistoryTable",
    "Independence",
    "LatentClasses",
    "LogLinear",
    "PairEstimate",
    "PooledResult",
    "Report",
    "Result",
    "Stepwise",
    "Stratum",
    "StratumReport",
    "Thresholding",
    "TwoListCorrection",
    "Verdict",
    "Zelterman",
    "assumption_text",
    "cross_check",
    "diagnostics",
    "draw_tables",
    "estimate",
    "fit_model",
    "highest_order_curve",
    "internal_consistency",
    "leave_one_out",
    "merge_pairs",
    "odds_ratio_curve",
    "over_draws",
    "over_strata",
    "over_strata_draws",
    "pair_estimates",
    "parse_histories",
    "prevalence",
    "prevalence_of_strata",
    "read_denominators",
    "read_histories",
    "series",
    "series_over_draws",
]
