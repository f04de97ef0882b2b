"""What a row says that makes a contact confirmed, believed or not counted.

The tier of a row is fixed first; then disclosures, determinations, commercial sex, a caregiver's allegation and the
indicators are drawn so that the source schemas' rules lead back to it: confirmed by disclosure, by determination, or as
a juvenile in commercial sex; believed by a caregiver's allegation with two indicators or more, or by three without;
not counted below that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linkage.lab.population.sampling import Flags, Ints, choose, share

__all__ = ["Evidence", "Paths", "draw_evidence"]

Paths = tuple[float, float, float]


@dataclass(frozen=True)
class Evidence:
    """Per row ``(rows,)``; ``indicators`` is ``(rows, k)``."""

    disclosed: Flags
    determined: Flags
    commercial: Flags
    caregiver: Flags
    indicators: Flags


def draw_evidence(
    tier: Ints, youngest: Ints, oldest: Ints, indicators: int, rng: np.random.Generator, *, paths: Paths
) -> Evidence:
    """Draw evidence for rows of given tiers.

    Parameters
    ----------
    tier
        0 not counted, 1 believed, 2 confirmed; ``(rows,)``.
    youngest, oldest
        Bounds of the age at the contact by any birth date that the agency has written down; -1 where a row has none.
    indicators
        Number of indicators on the agency's form.
    paths
        How often this agency's cases are confirmed by disclosure, by determination, and as juveniles in commercial
        sex; 0 where its schema has no such rule. Juveniles aside, the first two take over.
    """
    n = len(tier)
    confirmed, believed = tier == 2, tier == 1
    juvenile, adult = (youngest >= 0) & (oldest < 18), youngest >= 21
    path = choose(rng, paths, n)
    path = np.where((path == 2) & ~juvenile, choose(rng, paths[:2], n), path)
    disclosed = confirmed & ((path == 0) | share(rng, n, 0.25))
    determined = confirmed & ((path == 1) | share(rng, n, 0.3)) & (paths[1] > 0)
    commercial = confirmed & ((path == 2) | share(rng, n, 0.35)) | ~confirmed & adult & share(rng, n, 0.2)
    caregiver = share(rng, n, np.select([confirmed, believed], [0.25, 0.45], 0.15))
    few = np.where(caregiver, rng.integers(0, 2, n), rng.integers(0, 3, n))
    some = np.where(caregiver, 2, 3) + rng.binomial(indicators - 3, 0.15, n)
    count = np.select([confirmed, believed], [rng.binomial(indicators, 0.35, n), some], few)
    ranks = np.argsort(np.argsort(rng.random((n, indicators)), axis=1), axis=1)
    return Evidence(disclosed, determined, commercial, caregiver, ranks < count[:, None])
