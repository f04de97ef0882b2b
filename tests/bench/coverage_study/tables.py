"""How often the range over all families holds the truth on tables of four to six lists, without any linkage.

``python tests/bench/coverage_study/tables.py [RUNS]`` prints a table in Markdown. 1,000 people each; who is on a list
is drawn by the logit of a base of the list and a normal visibility of the person; in some worlds people on one list
come onto another with a chance of .4 besides.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass

import numpy as np

from linkage.lab.coverage import wilson
from linkage.research.estimate import HistoryTable, estimate

PEOPLE = 1000


@dataclass(frozen=True)
class World:
    """Visibility's standard deviation, pairs of lists that lean on each other, ends of the lists' bases."""

    title: str
    spread: float
    leaning: tuple[tuple[int, int], ...] = ()
    bases: tuple[float, float] = (-2.9, -1.6)


WORLDS = (
    World("people alike, two leaning pairs", 0.0, ((0, 1), (2, 3))),
    World("people differ (sd 0.5), one leaning pair", 0.5, ((0, 1),)),
    World("people differ much (sd 1)", 1.0),
    World("people differ much (sd 1.2), two leaning pairs", 1.2, ((0, 1), (2, 3)), (-3.2, -2.0)),
)
LISTS = (4, 5, 6)


def table(world: World, lists: int, seed: int) -> HistoryTable:
    """Draw people, and count who is on which lists."""
    rng = np.random.default_rng([seed, lists])
    logit = np.linspace(*world.bases, lists) + world.spread * rng.standard_normal((PEOPLE, 1))
    on = rng.random((PEOPLE, lists)) < 1 / (1 + np.exp(-logit))
    for one, other in world.leaning:
        on[:, other] |= on[:, one] & (rng.random(PEOPLE) < 0.4)
    counts = np.bincount(on @ (1 << np.arange(lists)), minlength=2**lists)[1:]
    return HistoryTable(tuple("ABCDEF"[:lists]), counts)


def main() -> None:
    """Print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    print("| people and lists | lists | seen | refused | holds the truth | all below | median ends |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for world in WORLDS:
        for lists in LISTS:
            seen, ends = [], []
            for seed in range(runs):
                counted = table(world, lists, seed)
                verdict = estimate(counted, resamples=200).verdict
                seen.append(counted.observed)
                if verdict.low is not None and verdict.high is not None:
                    ends.append((verdict.low, verdict.high))
            held = sum(low <= PEOPLE <= high for low, high in ends)
            share, low, high = wilson(held, len(ends))
            says = "" if share is None else f"{held} of {len(ends)} ({share:.0%}, {low:.0%} to {high:.0%})"
            below = sum(high < PEOPLE for _, high in ends)
            middle = " to ".join(f"{statistics.median(end):,.0f}" for end in zip(*ends, strict=True))
            row = (world.title, lists, f"{np.mean(seen):.0f}", len(seen) - len(ends), says, below, middle)
            print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
