"""Bayesian thresholding of pairs (Silverman 2020).

Silverman (2020), Multiple-systems analysis for the quantification of modern slavery: classical and Bayesian
approaches, J. R. Statist. Soc. A 183:691-736. First all pairs are in, each with prior N(0, 1) on its interaction;
those whose posterior mean is at least two posterior standard deviations from 0 are kept, and the model with only these
is fitted again. The priors are proper, so there is an answer on any table, overlaps empty or not; how much of it is the
prior shows when ``prior_sd`` is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linkage.errors import EstimateError
from linkage.research.estimate.chains import RHAT_LIMIT, effective_size, split_rhat, table_seed, unfit
from linkage.research.estimate.hamiltonian import Target, sample_posterior
from linkage.research.estimate.lattice import Floats, design, name_model, name_term, pairs, terms_from_names
from linkage.research.estimate.result import Result, refused
from linkage.research.estimate.table import HistoryTable

__all__ = ["MOST_LISTS", "Thresholding"]

MOST_LISTS = 10
_FLAT = 1e-4  # precision of intercept and main effects
_DRAWS_KEPT = 4000
_LEVELS = (0.025, 0.5, 0.975)


@dataclass(frozen=True)
class Thresholding:
    """Bayesian log-linear estimate with the pairs that stand out (Silverman 2020).

    Parameters
    ----------
    threshold
        A pair is kept where |posterior mean| / posterior standard deviation is at least this.
    prior_sd
        Standard deviation of the normal prior of each interaction.
    referrals
        Pairs of list names that are kept whatever the data say, where both lists have people on them.
    chains, draws
        Number of chains, at least four, and draws of each after a warm-up of a quarter as many.
    seed
        Seed of the draws. Without it the seed comes from the table.

    Assumptions
    -----------
    Lists depend on each other only in pairs, only in the pairs kept, and before the data an odds ratio between e^-2
    and e^2 is all that is expected of a pair.

    Attributes
    ----------
    The estimate is the posterior median of n + exp(b_0), the interval its equal-tailed 95% posterior interval given the
    pairs kept: that the data chose them is not in its width. One pair in or out can move the estimate by a third, so
    ``details`` name the pair closest to the threshold and the median with the decision on it turned round. Refused with
    ``chains-not-agreed`` where R-hat of b_0 or of an interaction is above 1.05.
    """

    threshold: float = 2.0
    prior_sd: float = 1.0
    referrals: tuple[tuple[str, str], ...] = ()
    chains: int = 16
    draws: int = 1000
    seed: int | None = None

    def fit(self, table: HistoryTable) -> Result:
        """Estimate from a table of three to ten lists.

        Raises
        ------
        EstimateError
            A parameter is out of its range, or a referral names no pair of lists.
        """
        self._check()
        forced = terms_from_names(self.referrals, table.lists)
        if any(term.bit_count() != 2 for term in forced):
            raise EstimateError("a referral must name a pair of lists", reason="unknown-list")
        reason = unfit(table, MOST_LISTS)
        if reason:
            assumption = "lists depend on each other only in the pairs that stand out"
            return refused("thresholding", "pairs that stand out", reason, assumption=assumption)
        rng = np.random.default_rng(table_seed(table, self.seed))
        every = _open_pairs(table)
        first = self._sample(table, every, rng)
        effects = first[:, :, first.shape[2] - len(every) :].reshape(-1, len(every))
        ratios = np.abs(effects.mean(axis=0)) / effects.std(axis=0, ddof=1)
        statistics = dict(zip(every, ratios.tolist(), strict=True))
        free = [pair for pair in every if pair not in forced]
        kept = tuple(p for p in every if p in forced or statistics[p] >= self.threshold)
        second = self._sample(table, kept, rng)
        details = self._describe(table, statistics, first, second)
        if free:
            closest = min(free, key=lambda pair: abs(statistics[pair] - self.threshold))
            turned = tuple(p for p in every if (p in kept) != (p == closest))
            other = self._sample(table, turned, rng)[:, :, 0]
            details["closest_to_threshold"] = f"{name_term(closest, table.lists)} {statistics[closest]:.2f}"
            details["median_with_closest_turned"] = table.observed + float(np.median(np.exp(other)))
        return self._result(table, kept, second, details)

    def _sample(self, table: HistoryTable, interactions: Sequence[int], rng: np.random.Generator) -> Floats:
        """Draws of intercept, main effects of lists with people on them, and interactions."""
        kept = np.append(True, table.totals > 0)
        matrix = design(table.t, interactions)[:, np.append(kept, np.ones(len(interactions), dtype=bool))]
        cells = np.arange(1, 2**table.t)
        # A list with nobody on it tells nothing: its cells and its effect are left out.
        nobody = sum(1 << j for j in range(table.t) if table.totals[j] == 0)
        inside = cells & nobody == 0
        flat = np.full(int(kept.sum()), _FLAT)
        precision = np.append(flat, np.full(len(interactions), self.prior_sd**-2))
        target = Target(matrix[inside], table.counts[inside].astype(np.float64), precision)
        return sample_posterior(target, chains=self.chains, draws=self.draws, warm_up=self.draws // 4, rng=rng)

    def _describe(
        self, table: HistoryTable, statistics: dict[int, float], first: Floats, second: Floats
    ) -> dict[str, float | int | str | None]:
        """Figures beside the estimate."""
        interactions = first[:, :, first.shape[2] - len(statistics) :]
        rhat = max(split_rhat(part[:, :, i]) for part in (interactions, second) for i in range(part.shape[2]))
        shown = [f"{name_term(pair, table.lists)} {value:.2f}" for pair, value in statistics.items()]
        people = table.observed + np.exp(second[:, :, 0])
        return {
            "mean": float(people.mean()),
            "rhat": rhat,
            "effective_draws": effective_size(people),
            "chains": self.chains,
            "prior_sd": self.prior_sd,
            "mean_over_sd": "; ".join(shown),
        }

    def _result(
        self,
        table: HistoryTable,
        kept: tuple[int, ...],
        second: Floats,
        details: dict[str, float | int | str | None],
    ) -> Result:
        model = name_model(kept, table.lists)
        assumption = f"lists depend on each other only in pairs and only so: {model if kept else 'not at all'}"
        rhat = details["rhat"]
        if not (isinstance(rhat, float) and rhat <= RHAT_LIMIT):
            reason = "chains-not-agreed"
            return refused("thresholding", model, reason, assumption=assumption, details=details, terms=kept)
        people = table.observed + np.exp(second[:, :, 0])
        lower, median, upper = np.quantile(people, _LEVELS).tolist()
        draws = people.ravel(order="F")
        return Result(
            "thresholding",
            model,
            median,
            lower,
            upper,
            interval="equal-tailed posterior interval given the pairs kept",
            assumption=assumption,
            details=details,
            terms=kept,
            draws=draws[:: -(-draws.size // _DRAWS_KEPT)],
        )

    def _check(self) -> None:
        if not (self.threshold >= 0 and 0 < self.prior_sd < np.inf):
            raise EstimateError("the threshold must not be negative and prior_sd positive", reason="bad-parameter")
        if self.chains < 4 or self.draws < 100:
            raise EstimateError("at least 4 chains of at least 100 draws are needed", reason="bad-parameter")


def _open_pairs(table: HistoryTable) -> tuple[int, ...]:
    """Pairs of lists that both have people on them."""
    held = sum(1 << j for j in range(table.t) if table.totals[j] > 0)
    return tuple(pair for pair in pairs(table.t) if pair & held == pair)
