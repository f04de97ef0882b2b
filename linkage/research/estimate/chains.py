"""What estimators with draws share: which tables they take, and whether chains agree.

Diagnostics by Vehtari, Gelman, Simpson, Carpenter & Buerkner (2021, Bayesian Analysis 16:667-718): every chain is cut
in two, draws are replaced by normal scores of their ranks, so that heavy tails do no harm, and R-hat is the larger of
that of the draws and that of their distance to the median.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from scipy.stats import rankdata

from linkage.errors import EstimateError
from linkage.research.estimate.lattice import Floats
from linkage.research.estimate.table import HistoryTable

__all__ = ["RHAT_LIMIT", "effective_size", "split_rhat", "table_seed", "unfit"]

RHAT_LIMIT = 1.05
_LEAST_LISTS = 3
_LARGEST = 10**10  # people; more than live on earth, and beyond it differences of log-gammas lose their digits


def unfit(table: HistoryTable, most_lists: int) -> str | None:
    """Give the reason for which a table cannot be estimated from, or ``None``.

    Fewer than three lists with people on them, nobody on two lists, more lists than the method takes, or counts too
    large. With these priors every other table has an answer; whether it says much is for the reader of several methods.
    """
    if (table.totals > 0).sum() < _LEAST_LISTS:
        return "too-few-lists"
    if table.overlap == 0:
        return "too-little-overlap"
    if table.t > most_lists:
        return "too-many-lists"
    return "beyond-precision" if table.observed > _LARGEST else None


def table_seed(table: HistoryTable, seed: int | None) -> int:
    """Give the seed, or one from the table, so that a table always gets one answer.

    Raises
    ------
    EstimateError
        ``bad-parameter``: the seed is negative.
    """
    if seed is not None and seed < 0:
        raise EstimateError("a seed must be 0 or more", reason="bad-parameter")
    return seed if seed is not None else int(table.digest[:16], 16)


def _halves(draws: Floats) -> Floats:
    """Cut every chain in two: shape ``(chains, draws)`` to ``(2 chains, draws // 2)``."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, -half:]])


def _scores(draws: Floats) -> Floats:
    """Replace draws by normal scores of their ranks among all."""
    ranks = rankdata(draws, method="average").reshape(draws.shape)
    return np.asarray(ndtri((ranks - 0.375) / (draws.size + 0.25)))


def _rhat(chains: Floats) -> float:
    length = chains.shape[1]
    within = chains.var(axis=1, ddof=1).mean()
    between = chains.mean(axis=1).var(ddof=1)
    # Ranks of chains that never move differ by rounding at most.
    if within <= np.finfo(float).eps ** 2 * max(between, 1):
        return 1.0 if between <= np.finfo(float).eps else float("inf")
    return float(np.sqrt((length - 1) / length + between / within))


def split_rhat(draws: npt.NDArray[np.floating]) -> float:
    """Rank-normalised split R-hat, the larger of bulk and folded; 1 where chains agree.

    Parameters
    ----------
    draws
        Shape ``(chains, draws)``, at least four draws a chain.
    """
    values = np.asarray(draws, dtype=np.float64)
    folded = np.abs(values - np.median(values))
    return max(_rhat(_scores(_halves(values))), _rhat(_scores(_halves(folded))))


def _autocovariance(chains: Floats) -> Floats:
    """Autocovariance of every chain at every lag, by the fast Fourier transform."""
    length = chains.shape[1]
    centred = chains - chains.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(centred, 2 ** int(np.ceil(np.log2(2 * length))))
    return np.asarray(np.fft.irfft(np.abs(spectrum) ** 2)[:, :length] / length)


def effective_size(draws: npt.NDArray[np.floating]) -> float:
    """Effective number of draws (bulk, rank-normalised) over all chains, cut by Geyer's initial monotone sequence.

    Parameters
    ----------
    draws
        Shape ``(chains, draws)``, at least four draws a chain.
    """
    chains = _scores(_halves(np.asarray(draws, dtype=np.float64)))
    count, length = chains.shape
    covariance = _autocovariance(chains)
    within = covariance[:, 0].mean() * length / (length - 1)
    whole = within * (length - 1) / length + chains.mean(axis=1).var(ddof=1)
    if whole == 0:
        return float(chains.size)
    rho = 1 - (within - covariance.mean(axis=0) * length / (length - 1)) / whole
    rho[0] = 1.0
    even = length - length % 2
    summed = rho[:even].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(summed <= 0)
    initial = np.minimum.accumulate(summed[: ends[0] if ends.size else summed.size])
    time = max(-1 + 2 * float(initial.sum()), 1 / np.log10(chains.size))
    return float(count * length / time)
