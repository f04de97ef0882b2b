"""Streets, postal codes, phones and social security numbers that look like Milwaukee's and are nobody's."""

from __future__ import annotations

from functools import cache

import numpy as np

from linkage.lab.population.names import fold, name_table
from linkage.lab.population.sampling import Ints, Texts

__all__ = ["Places", "addresses", "group_homes", "phones", "social_security_numbers"]

Places = tuple[Texts, Texts]
"""Street lines (``2712 N 27TH ST``) and five-digit postal codes, ``(n,)`` each."""

_ZIPS = {
    "53202": 20, "53204": 42, "53205": 10, "53206": 26, "53207": 36, "53208": 32, "53209": 47, "53210": 28, "53211": 34,
    "53212": 31, "53214": 35, "53215": 60, "53216": 33, "53218": 42, "53219": 34, "53220": 26, "53221": 38, "53222": 25,
    "53223": 30, "53224": 22, "53225": 26, "53227": 23, "53233": 15,
}  # fmt: skip


@cache
def _streets() -> Texts:
    """Streets that are not numbered: surnames of the US table with the suffixes of the city's grid."""
    names = [fold(name).upper() for name in list(name_table("en_US", "last_names"))[:400]]
    suffixes = ("AVE", "ST", "PL", "BLVD", "DR", "CT")
    return np.array([f"{name} {suffixes[i % len(suffixes)]}" for i, name in enumerate(names)], dtype=object)


def _ordinal(number: int) -> str:
    ending = "TH" if 10 <= number % 100 <= 20 else {1: "ST", 2: "ND", 3: "RD"}.get(number % 10, "TH")
    return f"{number}{ending}"


def addresses(rng: np.random.Generator, size: int) -> Places:
    """Draw street addresses: two fifths on the numbered north-south grid; ``(size,)`` each."""
    codes = np.array(list(_ZIPS), dtype=object)
    weights = np.array(list(_ZIPS.values()), dtype=float)
    zips = codes[rng.choice(len(codes), size, p=weights / weights.sum())]
    house, numbered = rng.integers(100, 9600, size), rng.random(size) < 0.4
    grid, named, side = rng.integers(1, 92, size), rng.integers(0, len(_streets()), size), rng.random(size)
    lines = np.empty(size, dtype=object)
    for i in range(size):
        if numbered[i]:
            lines[i] = f"{house[i]} {'N' if side[i] < 0.65 else 'S'} {_ordinal(int(grid[i]))} ST"
        else:
            lines[i] = f"{house[i]} {'W' if side[i] < 0.75 else 'E'} {_streets()[named[i]]}"
    return lines, zips


def group_homes(rng: np.random.Generator, count: int) -> tuple[Texts, Texts, Texts]:
    """Draw group homes: street lines, postal codes and phones; ``(count,)`` each."""
    lines, zips = addresses(rng, count)
    return lines, zips, phones(rng, count)


def phones(rng: np.random.Generator, size: int) -> Texts:
    """Draw ten-digit numbers of the two area codes, in exchanges that start with 0 or 1 and so cannot be dialled."""
    area = np.where(rng.random(size) < 0.88, "414", "262")
    rest = rng.integers(0, 2_000_000, size)
    return np.array([f"{a}{r:07d}" for a, r in zip(area, rest, strict=True)], dtype=object)


def social_security_numbers(rng: np.random.Generator, size: int) -> Texts:
    """Draw numbers ``9dd-dd-dddd``: the first digit 9 is never issued."""
    middle: Ints = rng.integers(0, 10_000, size)
    last: Ints = rng.integers(1, 10_000, size)
    return np.array(
        [f"9{m // 100:02d}-{m % 100 or 1:02d}-{n:04d}" for m, n in zip(middle, last, strict=True)], dtype=object
    )
