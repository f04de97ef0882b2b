"""Rates with intervals over trials, and whether a control counts as passed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from linkage.lab.attacks.scene import Outcome

__all__ = ["Rate", "interval", "rate_of"]

_Z = 1.959963984540054
_TIMES_CHANCE = 5.0


@dataclass(frozen=True)
class Rate:
    """What an attack achieved over all trials of one size and overlap.

    Attributes
    ----------
    rate, low, high
        Share re-identified of the records that are on both lists, and a 95% interval, see :func:`interval`.
    baseline
        The same attack in the same trials on the unprotected encoding ``control``.
    chance
        Rate of guessing.
    control_passed
        Whether ``baseline`` shows that the attack works. If not, ``rate`` says nothing in the encoding's favour.
    """

    name: str
    overlap: float
    n: int
    rate: float
    low: float
    high: float
    baseline: float
    chance: float
    control: str
    control_passed: bool
    assumes: str
    trials: int

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON, rounded to a hundredth of a percent point."""
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}


def interval(outcomes: Sequence[Outcome]) -> tuple[float, float, float]:
    """Return the pooled rate and its 95% interval: Wilson (1927), with as many records as they are worth.

    Records of one trial stand or fall together. The number of records is divided by the variance between trials over
    that of independent records (Kish's design effect) where that is above 1. One trial alone cannot show it: its
    interval speaks of records only, not of keys and lists.
    """
    tries = sum(outcome.tries for outcome in outcomes)
    if not tries:
        return 0.0, 0.0, 1.0
    rate = sum(outcome.hits for outcome in outcomes) / tries
    worth = float(tries)
    if len(outcomes) > 1 and 0 < rate < 1:
        between = float(np.var([outcome.hits / max(outcome.tries, 1) for outcome in outcomes], ddof=1))
        worth /= max(1.0, between / (rate * (1 - rate) / (tries / len(outcomes))))
    spread = _Z**2 / worth
    middle = (rate + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(rate * (1 - rate) / worth + spread / (4 * worth))
    return rate, max(0.0, middle - half), min(1.0, middle + half)


def rate_of(
    name: str,
    n: int,
    overlap: float,
    outcomes: Sequence[Outcome],
    controls: Sequence[Outcome],
    *,
    control: str,
    least: float,
    assumes: str,
) -> Rate:
    """Sum trials up.

    Parameters
    ----------
    outcomes, controls
        The attack on the encoding, and on the unprotected one, by trial.
    control
        What the unprotected encoding is.
    least
        Rate on it from which on the control is passed; it must besides lie five times above chance, its interval too.
    assumes
        What the attacker has beyond encodings, spec and a list.
    """
    rate, low, high = interval(outcomes)
    baseline, surely, _ = interval(controls)
    chance = float(np.mean([outcome.chance for outcome in outcomes]))
    guessed = float(np.mean([outcome.chance for outcome in controls]))
    passed = baseline >= least and surely > min(_TIMES_CHANCE * guessed, (1 + guessed) / 2)
    return Rate(
        name, overlap, n, rate, low, high, baseline, chance, control, bool(passed), assumes, trials=len(outcomes)
    )
