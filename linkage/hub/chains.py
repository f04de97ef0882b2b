"""Chains of the sampler: as many as tell whether they agree, and as long as it takes them to."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray

from linkage.hub.sampling import Model, sample

__all__ = ["Chains", "convergence", "first_of", "run_chains", "warm"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CHAINS = 2
_WARM_SWEEPS = 8  # sweeps between two estimates of the expected numbers of persons; the second half is observed
_WARM_UP, _SWEEPS = 16, 80  # sweeps before and while a chain is observed
_APART = 1.05  # split R-hat above which chains are not taken to agree
_LONGEST = 4  # times as long as at first that chains may be observed until they agree


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
        ``r_hat`` and ``effective_draws``, see :func:`convergence`.
    """

    pairs: Floats
    label: NDArray[np.int32]
    diagnostics: dict[str, float | None]


def warm(model: Model, active: NDArray[np.bool_], label: Ints, seed: int) -> tuple[Ints, Floats]:
    """Go on with one chain for a while; return its state and the mean number of persons by lists."""
    half = _WARM_SWEEPS // 2
    kept, _, lists, _ = sample(model, active, label, half, half, half, seed)
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
        Chains that did not agree are gone on with, twice as long each time; what came before is left out.
    """
    each = -(-draws // _CHAINS)
    states = [starts[chain % len(starts)] for chain in range(_CHAINS)]
    sweeps, most = max(_SWEEPS, each), _LONGEST * max(_SWEEPS, each)
    warm_up = _WARM_UP
    while True:
        keep = sweeps // each
        with ThreadPoolExecutor(min(_CHAINS, get_num_threads())) as pool:
            tasks = [
                pool.submit(sample, model, active, state, warm_up, sweeps, keep, _seed(seed, sweeps, chain))
                for chain, state in enumerate(states)
            ]
            found = [task.result() for task in tasks]
        diagnostics = convergence(np.array([links for _, links, _, _ in found]))
        agreed = diagnostics["r_hat"] is not None and diagnostics["r_hat"] <= _APART
        if agreed or 2 * sweeps > most:
            break
        states = [kept[-1].astype(np.int64) for kept, _, _, _ in found]
        sweeps, warm_up = 2 * sweeps, 0
    label = np.concatenate([kept[len(kept) - each :] for kept, _, _, _ in found])[:draws]
    for draw in label:
        draw[:] = first_of(draw)
    pairs = np.add.reduce([pairs for _, _, _, pairs in found]) / (len(found) * sweeps)
    return Chains(pairs, label, diagnostics)


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def first_of(label: NDArray[np.int32]) -> NDArray[np.int32]:
    """Name every person by the first of its records, given any numbers from 0 below the number of records."""
    first = np.empty(len(label), np.int32)
    first[label[::-1]] = np.arange(len(label), dtype=np.int32)[::-1]  # of several records the last written stays
    return first[label]


def convergence(links: Floats) -> dict[str, float | None]:
    """Return split R-hat and effective sample size of a number that chains are observed by.

    Parameters
    ----------
    links
        float64, shape (chains, sweeps): pairs of records that are one person after each sweep.

    Returns
    -------
    dict
        ``r_hat``, next to 1 where chains agree, None where they stand still apart; ``effective_draws``
        (Gelman et al. 2013, section 11.4-5).
    """
    half = links.shape[1] // 2
    chains = np.concatenate([links[:, :half], links[:, half : 2 * half]])
    within = float(chains.var(axis=1, ddof=1).mean())
    between = float(chains.mean(axis=1).var(ddof=1))
    total = within * (half - 1) / half + between
    if total <= 0:
        return {"r_hat": 1.0, "effective_draws": float(chains.size)}
    if within <= 0:
        return {"r_hat": None, "effective_draws": float(len(links))}
    correlation = 0.0
    for lag in range(1, half):
        gap = chains[:, lag:] - chains[:, :-lag]
        at_lag = 1 - float((gap**2).mean()) / (2 * total)
        if at_lag < 0.05:
            break
        correlation += at_lag
    effective = chains.size / (1 + 2 * correlation)
    return {"r_hat": round(float(np.sqrt(total / within)), 4), "effective_draws": round(effective, 1)}
