"""Two lists with covariates, doubly robust (Das, Kennedy & Jewell 2023, arXiv:2104.14091).

With q1, q2, q12 the chances that a person who was seen, with covariates x, is on the first list, the second, both, the
share of all people who are seen is psi = 1 / E[q1 q2 / q12]. The estimate of 1/psi adds the mean of the influence
function phi to the plug-in, so that errors of the q's enter only as products. Fold by fold (q's are fitted on the other
folds), with g = q1 q2 / q12 and y the lists:

    phi = g (y2/q2 + y1/q1 - y1 y2/q12) - mean g,   1/psi = max(mean g + mean phi, 1), averaged over folds,
    N = n/psi,   var N = n var phi + n (1/psi) (1/psi - 1).

q12 is kept from ``margin`` up, q1 in [q12, 1] and q2 in [q12/q1, 1 + q12 - q1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import expit, ndtri

from linkage.errors import EstimateError
from linkage.research.estimate.lattice import Floats
from linkage.research.estimate.result import Result, refused
from linkage.research.estimate.targeting import targeted

__all__ = ["DoublyRobust", "Seen", "fit_logistic", "kept_possible", "seen_share"]

MARGIN = 0.005
_LEAST_OVERLAP = 10
_MOST_LEVELS = 50
_MOST_STEPS = 100
_TOLERANCE = 1e-10
_Z = 1.959964
_DRAWS = 4000

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Seen:
    """What :func:`seen_share` finds.

    Attributes
    ----------
    psi, n_hat, se
        Share of all people who are seen; number of people; its standard error.
    plug_in
        Number of people without the correction by the influence function.
    at_margin
        Share of people whose q12 had to be raised to the margin.
    """

    psi: float
    n_hat: float
    se: float
    plug_in: float
    at_margin: float


def kept_possible(q: Floats, margin: float = MARGIN) -> Floats:
    """Keep chances, shape ``(n, 3)`` as for :func:`seen_share`, within what chances of two lists can be."""
    q12 = np.maximum(q[:, 2], margin)
    q1 = np.clip(q[:, 0], q12, 1)
    q2 = np.maximum(q12 / q1, np.minimum(q[:, 1], np.minimum(1 + q12 - q1, 1)))
    return np.column_stack([q1, q2, q12])


def seen_share(y: Floats, q: Floats, fold: Ints, *, margin: float = MARGIN) -> Seen:
    """Estimate from the lists, chances fitted on other folds, and the folds.

    Parameters
    ----------
    y
        Shape ``(n, 2)``, 0 or 1: who is on which of the two lists; nobody is on neither.
    q
        Shape ``(n, 3)``: q1, q2, q12 of each person.
    fold
        Shape ``(n,)``: any labels.
    margin
        Least value of q12.
    """
    q1, q2, q12 = kept_possible(q, margin).T
    g = q1 * q2 / q12
    corrected = g * (y[:, 1] / q2 + y[:, 0] / q1 - y[:, 0] * y[:, 1] / q12)
    inverse, plain, variance = [], [], []
    for label in np.unique(fold):
        here = fold == label
        inverse.append(max(float(corrected[here].mean()), 1.0))  # mean g + mean phi
        plain.append(float(g[here].mean()))
        variance.append(float(corrected[here].var(ddof=1)))
    n, mean = len(y), float(np.mean(inverse))
    se = float(np.sqrt(n * np.mean(variance) + n * mean * (mean - 1)))
    return Seen(1 / mean, n * mean, se, n * float(np.mean(plain)), float((q[:, 2] < margin).mean()))


def fit_logistic(x: Floats, y: Floats, *, penalty: float = 0.0) -> Floats | None:
    """Fit a logistic regression by iteratively reweighted least squares, steps halved where the likelihood falls.

    Parameters
    ----------
    x
        Shape ``(n, k)``, the first column ones.
    y
        Shape ``(n,)``, 0 or 1.
    penalty
        Half of it times the squared coefficients, but the first, is taken from the log-likelihood.

    Returns
    -------
    numpy.ndarray or None
        The coefficients; ``None`` where there is no finite maximum.
    """
    ridge = np.full(x.shape[1], penalty)
    ridge[0] = 0.0

    def value(at: Floats) -> float:
        eta = x @ at
        return float(y @ eta - np.logaddexp(0, eta).sum() - 0.5 * ridge @ at**2)

    beta = np.zeros(x.shape[1])
    now = value(beta)
    for _ in range(_MOST_STEPS):
        p = expit(x @ beta)
        score = x.T @ (y - p) - ridge * beta
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(ridge)
        try:
            step = np.linalg.solve(hessian, score)
        except np.linalg.LinAlgError:
            return None
        decrement = float(score @ step)
        after = value(beta + step)
        for _ in range(30):
            if after >= now - 1e-12 * (1 + abs(now)):
                break
            step = step / 2
            after = value(beta + step)
        beta, now = beta + step, after
        if not np.isfinite(now):
            return None
        if decrement < _TOLERANCE:
            # On separated data the likelihood climbs towards 0 while coefficients run away.
            return beta if np.abs(x @ beta).max() < 30 else None
    return None


def _chances(y: Floats, x: Floats, fold: Ints, penalty: float) -> Floats | None:
    """Chances of each person by models fitted without their fold: exactly one list, the other, both."""
    outcomes = (y[:, 0] * (1 - y[:, 1]), y[:, 1] * (1 - y[:, 0]), y[:, 0] * y[:, 1])
    p = np.empty((len(y), 3))
    for label in np.unique(fold):
        here = fold == label
        for place, outcome in enumerate(outcomes):
            beta = fit_logistic(x[~here], outcome[~here], penalty=penalty)
            if beta is None:
                return None
            p[here, place] = expit(x[here] @ beta)
    return np.column_stack([p[:, 0] + p[:, 2], p[:, 1] + p[:, 2], p[:, 2]])


@dataclass(frozen=True)
class DoublyRobust:
    """Doubly robust estimate from two lists and covariates of the people on them.

    Parameters
    ----------
    pair
        Columns of the two lists.
    covariates
        Columns that may explain who is on which list. Numbers are standardised, a missing one is the mean with a flag;
        text and truth values become one 0/1 column a value, a missing one is a value of its own.
    folds
        Number of folds, or the name of a column that holds them.
    degree
        2 adds squares and products of the numbers to the logistic models, 1 does not.
    penalty
        Ridge penalty on standardised coefficients (precision of a normal prior).
    seed
        Deals people to folds. Without it the seed is fixed; the order of rows never matters.

    Assumptions
    -----------
    Among people alike in the covariates, being on one list says nothing about the other; everybody has some chance of
    either; nobody comes or goes; links are right. Of the models for the q's, only the products of their errors matter.

    Attributes
    ----------
    The interval is Wald's by the influence function, cut at the people seen; ``draws`` are normal, cut alike.
    ``details`` hold the plug-in and the targeted estimate (:mod:`linkage.research.estimate.targeting`) beside it.
    People on neither list of the pair take no part, and are among the unseen: other lists may be given as covariates.
    """

    pair: tuple[str, str]
    covariates: tuple[str, ...]
    folds: int | str = 5
    degree: int = 2
    penalty: float = 1.0
    seed: int = 0

    def fit(self, frame: pl.DataFrame) -> Result:
        """Estimate from a frame with a row a person.

        Raises
        ------
        EstimateError
            ``bad-parameter``; ``bad-persons``: a column is missing, a list holds something other than 0 and 1, a
            covariate cannot be used.
        """
        self._check(frame)
        seen = frame.filter(pl.any_horizontal([pl.col(name).cast(pl.Int8) == 1 for name in self.pair]))
        y = seen.select(pl.col(name).cast(pl.Float64) for name in self.pair).to_numpy()
        model = f"{self.pair[0]} and {self.pair[1]} given {', '.join(self.covariates)}"
        assumption = (
            f"among people alike in {', '.join(self.covariates)}, {self.pair[0]} says nothing of {self.pair[1]}"
        )
        both = int((y.sum(axis=1) == 2).sum())
        details: dict[str, float | int | str | None] = {"seen": len(y), "both": both}
        if both < _LEAST_OVERLAP:
            return refused("doubly-robust", model, "too-little-overlap", assumption=assumption, details=details)
        x = _design(seen, self.covariates, self.degree)
        fold = self._folds(seen, y, x)
        q = _chances(y, x, fold, self.penalty)
        if q is None:
            return refused("doubly-robust", model, "not-converged", assumption=assumption, details=details)
        found = seen_share(y, q, fold)
        sizes = y.sum(axis=0)
        details |= {"psi": found.psi, "se": found.se, "plug_in": found.plug_in, "at_margin": found.at_margin}
        moved = targeted(y, kept_possible(q), fold, margin=MARGIN)
        details |= {"targeted": moved.n_hat, "targeted_settled": int(moved.settled)}
        details["lincoln_petersen"] = float(sizes[0] * sizes[1] / both)
        levels = (np.arange(_DRAWS) + 0.5) / _DRAWS
        draws = np.maximum(len(y), found.n_hat + found.se * ndtri(levels))
        return Result(
            "doubly-robust",
            model,
            found.n_hat,
            max(float(len(y)), found.n_hat - _Z * found.se),
            found.n_hat + _Z * found.se,
            interval="Wald by the influence function, cross-fitted",
            assumption=assumption,
            details=details,
            draws=np.random.default_rng(self.seed).permutation(draws),
        )

    def _check(self, frame: pl.DataFrame) -> None:
        numbered = isinstance(self.folds, int)
        if self.degree not in (1, 2) or self.penalty < 0 or (isinstance(self.folds, int) and self.folds < 2):
            raise EstimateError(
                "degree must be 1 or 2, the penalty not negative, folds two or more", reason="bad-parameter"
            )
        wanted = [*self.pair, *self.covariates, *([] if numbered else [str(self.folds)])]
        if not self.covariates or len(set(wanted)) != len(wanted) or not set(wanted) <= set(frame.columns):
            raise EstimateError(
                "lists, covariates or folds are not columns of the persons, or are named twice",
                reason="bad-persons",
                problems=[f"not there: {name}" for name in wanted if name not in frame.columns],
            )
        for name in self.pair:
            column = frame[name]
            whole = column.dtype == pl.Boolean or column.dtype.is_integer()
            if not whole or column.null_count() or not column.cast(pl.Int64).is_in([0, 1]).all():
                raise EstimateError(f"{name}: a list holds something other than 0 and 1", reason="bad-persons")
        if not numbered and (frame[str(self.folds)].null_count() or frame[str(self.folds)].n_unique() < 2):
            raise EstimateError("the column of folds has gaps or only one fold", reason="bad-persons")

    def _folds(self, seen: pl.DataFrame, y: Floats, x: Floats) -> Ints:
        if isinstance(self.folds, str):
            return np.asarray(np.unique(seen[self.folds].to_numpy(), return_inverse=True)[1], dtype=np.int64)
        # People are dealt in the order of what is known of them, so that the order of rows does not matter.
        order = np.lexsort(np.column_stack([y, x]).T)
        fold = np.empty(len(y), dtype=np.int64)
        fold[order] = np.random.default_rng(self.seed).permutation(np.arange(len(y)) % self.folds)
        return fold


def _design(frame: pl.DataFrame, covariates: Sequence[str], degree: int) -> Floats:
    """Design matrix with ones first; columns that say nothing are left out."""
    numbers, others = [], []
    for name in covariates:
        column = frame[name]
        if column.dtype.is_numeric():
            values = column.cast(pl.Float64).fill_nan(None)
            if values.is_infinite().any():
                raise EstimateError(f"{name}: a covariate holds an infinite number", reason="bad-persons")
            missing = values.is_null()
            numbers.append(_standard(values.fill_null(values.mean() or 0.0).to_numpy()))
            others.append(missing.cast(pl.Float64).to_numpy())
            continue
        texts = column.cast(pl.String).fill_null("unknown")
        levels = texts.unique().sort().to_list()
        if len(levels) > _MOST_LEVELS:
            raise EstimateError(f"{name}: a covariate has more than {_MOST_LEVELS} values", reason="bad-persons")
        others.extend((texts == level).cast(pl.Float64).to_numpy() for level in levels[1:])
    products = [_standard(a * b) for i, a in enumerate(numbers) for b in numbers[i:]] if degree == 2 else []
    columns = [c for c in (*numbers, *products, *others) if np.ptp(c) > 0]
    return np.column_stack([np.ones(frame.height), *columns])


def _standard(values: Floats) -> Floats:
    spread = values.std()
    return np.asarray((values - values.mean()) / (spread if spread > 0 else 1.0))
