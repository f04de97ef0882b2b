"""Latent classes: lists are independent inside classes of people, whose number a Dirichlet process leaves open.

Manrique-Vallier (2016), Bayesian population size estimation using Dirichlet process mixtures, Biometrics 72:1246-1254.
Two classes suffice for two very different numbers to fit alike, so chains that look calm on their own may sit in
different places. Many are started far apart, and unless they agree there is no number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linkage.errors import EstimateError
from linkage.research.estimate.chains import RHAT_LIMIT, effective_size, split_rhat, table_seed, unfit
from linkage.research.estimate.gibbs import REACH, Gibbs
from linkage.research.estimate.lattice import Floats
from linkage.research.estimate.result import Result, refused
from linkage.research.estimate.table import MAX_LISTS, HistoryTable

__all__ = ["LatentClasses", "Run", "sample"]

_WARM_UP = 500
_LEAST_EFFECTIVE = 400
_THIN = 10
_KEPT = 4000
_EDGE, _EDGE_MASS = 0.9, 1e-3
_LEVELS = (0.025, 0.5, 0.975)


@dataclass(frozen=True, eq=False)
class Run:
    """Draws of all chains after burn-in.

    Attributes
    ----------
    n0
        People unseen, shape ``(chains, draws)``, one draw in ten sweeps.
    rhat, effective
        Of log(n0 + 1).
    sweeps
        Sweeps of each chain, burn-in counted and warm-up not.
    occupied
        Mean number of classes with people in them.
    """

    n0: Floats
    rhat: float
    effective: float
    sweeps: int
    occupied: float

    @property
    def agreed(self) -> bool:
        """Whether chains agree well enough to stop."""
        return self.rhat <= RHAT_LIMIT and self.effective >= _LEAST_EFFECTIVE


@dataclass(frozen=True)
class LatentClasses:
    """Dirichlet-process latent classes (LCMCR; Manrique-Vallier 2016) by Gibbs sampling with many chains.

    Parameters
    ----------
    classes
        Most classes, K.
    shape, rate
        Gamma prior of the concentration.
    chains
        Number of chains, started far apart; at least four.
    block
        Sweeps of each chain between two looks at whether they agree.
    max_sweeps
        Sweeps of each chain after which the chains are given up.
    seed
        Seed of the chains. Without it the seed comes from the table.

    Assumptions
    -----------
    Inside each class the lists are independent, so lists depend on each other only because people differ; before the
    data the number N has density 1/N, cut at 21 times the people seen.

    Attributes
    ----------
    The estimate is the posterior median, the interval the equal-tailed 95% posterior interval. The first half of each
    chain is burn-in; chains run until rank-normalised split R-hat of log(n0 + 1) is at most 1.05 and 400 draws are
    effective, or to ``max_sweeps``. Refused with ``chains-not-agreed`` where R-hat stays above 1.05, and with
    ``grid-edge`` where one draw in 1,000 or more lies in the last tenth below the cut. ``draws`` are up to 4,000 draws
    of N from all chains.
    """

    classes: int = 10
    shape: float = 0.25
    rate: float = 0.25
    chains: int = 20
    block: int = 4000
    max_sweeps: int = 100_000
    seed: int | None = None

    def fit(self, table: HistoryTable) -> Result:
        """Estimate from a table of three to twelve lists.

        Raises
        ------
        EstimateError
            A parameter is out of its range.
        """
        self._check()
        model = f"at most {self.classes} classes"
        assumption = (
            "lists depend on each other only because people of different classes differ in how visible they are"
        )
        reason = unfit(table, MAX_LISTS)
        if reason:
            return refused("latent-classes", model, reason, assumption=assumption)
        run = sample(table, self)
        n = table.observed
        edge = float((run.n0 > _EDGE * REACH * n).mean())
        details: dict[str, float | int | str | None] = {
            "rhat": run.rhat,
            "effective_draws": run.effective,
            "chains": self.chains,
            "sweeps": run.sweeps,
            "occupied_classes": run.occupied,
            "largest_number": n + REACH * n,
            "mass_at_edge": edge,
            "mean": n + float(run.n0.mean()),
        }
        if not run.rhat <= RHAT_LIMIT or edge >= _EDGE_MASS:
            reason = "grid-edge" if run.rhat <= RHAT_LIMIT else "chains-not-agreed"
            return refused("latent-classes", model, reason, assumption=assumption, details=details)
        lower, median, upper = (n + np.quantile(run.n0, _LEVELS)).tolist()
        draws = n + run.n0.ravel(order="F")
        draws = draws[:: -(-draws.size // _KEPT)]
        return Result(
            "latent-classes",
            model,
            median,
            lower,
            upper,
            interval="equal-tailed posterior interval over all chains",
            assumption=assumption,
            details=details,
            draws=draws,
        )

    def _check(self) -> None:
        whole = {"classes": (self.classes, 1), "chains": (self.chains, 4), "block": (self.block, 8 * _THIN)}
        for name, (value, least) in whole.items():
            if value < least:
                raise EstimateError(f"{name} must be at least {least}", reason="bad-parameter")
        if self.max_sweeps < self.block:
            raise EstimateError("max_sweeps must be at least one block", reason="bad-parameter")
        if not (0 < self.shape < np.inf and 0 < self.rate < np.inf):
            raise EstimateError("shape and rate must be positive numbers", reason="bad-parameter")


def sample(table: HistoryTable, settings: LatentClasses) -> Run:
    """Run the chains block by block until they agree or the most sweeps are done."""
    rng = np.random.default_rng(table_seed(table, settings.seed))
    chains = Gibbs(
        table,
        classes=settings.classes,
        shape=settings.shape,
        rate=settings.rate,
        chains=settings.chains,
        rng=rng,
    )
    for _ in range(_WARM_UP):
        chains.sweep(fixed_alpha=True)
    chains.relabel()
    found: list[Floats] = []
    occupied: list[float] = []
    done = 0
    while True:
        for _ in range(settings.block // _THIN):
            for _ in range(_THIN):
                chains.sweep()
            found.append(chains.n0.astype(np.float64))
            occupied.append(float(chains.occupied.mean()))
        done += settings.block // _THIN * _THIN
        half = len(found) // 2
        n0 = np.array(found[half:]).T
        values = np.log1p(n0)
        run = Run(n0, split_rhat(values), effective_size(values), done, float(np.mean(occupied[half:])))
        if run.agreed or done + settings.block > settings.max_sweeps:
            return run
