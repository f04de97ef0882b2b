"""Multiple systems estimation: how many people there are, seen and unseen, from who is on which lists.

Every estimator is a small frozen class with its parameters, ``Estimator(params).fit(table) -> Result``.
:func:`estimate` runs several of them and gives a verdict instead of a number.
"""

from linkage.research.estimate.bounds import Chao, PairEstimate, Zelterman, pair_estimates
from linkage.research.estimate.loglinear import Fit, Independence, LogLinear, fit_model
from linkage.research.estimate.result import REASONS, Result
from linkage.research.estimate.stepwise import Stepwise
from linkage.research.estimate.table import Histories, HistoryTable, Stratum, parse_histories, read_histories
from linkage.research.estimate.verdict import Report, StratumReport, Verdict, estimate

__all__ = [
    "REASONS",
    "Chao",
    "Fit",
    "Histories",
    "HistoryTable",
    "Independence",
    "LogLinear",
    "PairEstimate",
    "Report",
    "Result",
    "Stepwise",
    "Stratum",
    "StratumReport",
    "Verdict",
    "Zelterman",
    "estimate",
    "fit_model",
    "pair_estimates",
    "parse_histories",
    "read_histories",
]
