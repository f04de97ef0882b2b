"""Chains of the sampler: as many as tell whether they agree, and as long as it takes them to."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray

from linkage.hub.sampling import sample
from linkage.hub.weights import Model

__all__ = ["CONVERGED", "Chains", "convergence", "first_of", "run_chains", "warm"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CHAINS = 2
_WARM_SWEEPS = 8  # sweeps between two estimates of the expected numbers of persons; the second half is observed
_WARM_UP, _SWEEPS = 16, 80  # sweeps before and while a chain is observed
_APART = 1.05  # split R-hat above which chains are gone on with
_LONGEST = 8  # times as long as at first that chains may be observed until they agree
_WATCHED = 64  # sets of lists, those of most persons, that are watched
_ROUNDING = 0.25  # variance of a count that is known to half a person: chains that differ by less do not disagree

CONVERGED = 1.1
"""Split R-hat up to which chains that went on for as long as is worth it are taken to be of one distribution."""


@dataclass(frozen=True)
class Chains:
    """What the chains came to.

    Attributes
    ----------
    pairs
        float64, shape (neighbours,): probability of each pair of neighbours to be one person, at the neighbour of
        higher number.
    label
        int32, shape (draws, records): the first record of each record's person, draws from all chains.
    diagnostics
        ``r_hat``, see :func:`convergence`; ``effective_draws``, how many independent draws those that are kept are
        worth; ``sweeps`` observed in each chain; ``converged``.
    """

    pairs: Floats
    label: NDArray[np.int32]
    diagnostics: dict[str, Any]


def warm(model: Model, active: NDArray[np.bool_], label: Ints, seed: int) -> tuple[Ints, Floats]:
    """Go on with one chain for a while; return its state and the mean number of persons by lists."""
    half = _WARM_SWEEPS // 2
    kept, _, lists, _ = sample(model, active, label, half, half, half, np.zeros(0, np.int64), seed)
    return kept[-1].astype(np.int64), lists


def run_chains(model: Model, active: NDArray[np.bool_], starts: Sequence[Ints], draws: int, seed: int) -> Chains:
    """Sample in several chains until they agree, or for as long as is worth it.

    Parameters
    ----------
    model, active
        See :func:`linkage.hub.sampling.sample`.
    starts
        Partitions, unlike one another, from which chains start in turn.
    draws
        Partitions to draw, at least one.
    seed
        Of the chains.

    Returns
    -------
    Chains
        Chains that do not agree, or whose draws would hang together, are gone on with, twice as long each time and up
        to a bound; what came before is left out. Draws are as many sweeps apart as the chains are long, so that longer
        chains make them nearly independent.
    """
    each = -(-draws // _CHAINS)
    states = [starts[chain % len(starts)] for chain in range(_CHAINS)]
    watch = np.argsort(-model.person, kind="stable")[:_WATCHED]
    sweeps, most = max(_SWEEPS, each), _LONGEST * max(_SWEEPS, each)
    warm_up = _WARM_UP
    while True:
        found = _observe(model, active, states, (warm_up, sweeps, sweeps // each), watch, seed)
        r_hat, effective = convergence(np.array([traces for _, traces, _, _ in found]))
        if (r_hat <= _APART and effective >= draws) or 2 * sweeps > most:
            break
        states = [kept[-1].astype(np.int64) for kept, _, _, _ in found]
        sweeps, warm_up = 2 * sweeps, 0
    label = np.concatenate([kept[len(kept) - each :] for kept, _, _, _ in found])[:draws]
    for draw in label:
        draw[:] = first_of(draw)
    pairs = np.add.reduce([pairs for _, _, _, pairs in found]) / (len(found) * sweeps)
    diagnostics = {
        "r_hat": round(r_hat, 4),
        "effective_draws": round(float(min(effective, draws)), 1),
        "sweeps": sweeps,
        "converged": r_hat <= CONVERGED,
    }
    return Chains(pairs, label, diagnostics)


def _observe(
    model: Model,
    active: NDArray[np.bool_],
    states: Sequence[Ints],
    length: tuple[int, int, int],
    watch: Ints,
    seed: int,
) -> list[tuple[NDArray[np.int32], Floats, Floats, NDArray[np.int32]]]:
    with ThreadPoolExecutor(min(_CHAINS, get_num_threads())) as pool:
        warm_up, sweeps, keep = length
        tasks = [
            pool.submit(sample, model, active, state, warm_up, sweeps, keep, watch, _seed(seed, sweeps, chain))
            for chain, state in enumerate(states)
        ]
        return [task.result() for task in tasks]


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def first_of(label: NDArray[np.int32]) -> NDArray[np.int32]:
    """Name every person by the first of its records, given any numbers from 0 below the number of records."""
    first = np.empty(len(label), np.int32)
    first[label[::-1]] = np.arange(len(label), dtype=np.int32)[::-1]  # of several records the last written stays
    return first[label]


def convergence(traces: Floats) -> tuple[float, float]:
    """Return split R-hat and effective sample size of the numbers that chains are observed by.

    Parameters
    ----------
    traces
        float64, shape (chains, numbers, sweeps): counts after each sweep (:func:`linkage.hub.sampling.sample`).

    Returns
    -------
    r_hat : float
        Of the number about which the chains agree the least, next to 1 where they agree. To all variances that of a
        count known to half a person is added: chains that stand still next to each other do not disagree.
    effective : float
        Of the number that moves the slowest, of those that move (Gelman et al. 2013, section 11.4-5).
    """
    half = traces.shape[2] // 2
    chains = np.concatenate([traces[:, :, :half], traces[:, :, half : 2 * half]])
    within = chains.var(axis=2, ddof=1).mean(axis=0)
    total = within * (half - 1) / half + chains.mean(axis=2).var(axis=0, ddof=1)
    r_hat = np.sqrt((total + _ROUNDING) / (within + _ROUNDING)).max()
    size = float(len(chains) * half)
    sizes = [
        size / (1 + 2 * _correlation(chains[:, number], total[number])) for number in np.flatnonzero(total > _ROUNDING)
    ]
    return max(1.0, float(r_hat)), float(min([size, *sizes]))


def _correlation(chains: Floats, total: float) -> float:
    """Add up the correlations of a number with itself some sweeps later, up to where they fade."""
    correlation = 0.0
    for lag in range(1, chains.shape[1]):
        gap = chains[:, lag:] - chains[:, :-lag]
        at_lag = 1 - float((gap**2).mean()) / (2 * total)
        if at_lag < 0.05:
            break
        correlation += at_lag
    return correlation
