"""Intervals over trials, and when a control counts as passed."""

from __future__ import annotations

import pytest

from linkage.lab.attacks.rates import interval, rate_of
from linkage.lab.attacks.scene import Outcome


def outcomes(*rates: float, tries: int = 1000) -> list[Outcome]:
    return [Outcome(rate * tries, tries, 1 / tries) for rate in rates]


def test_wilson_of_one_trial() -> None:
    rate, low, high = interval(outcomes(0.05, tries=100))
    # Wilson score interval of 5 in 100, as tabled by Newcombe (1998) to three places: .022 to .112.
    assert (rate, round(low, 3), round(high, 3)) == (0.05, 0.022, 0.112)


def test_no_hits_have_an_upper_end_above_zero() -> None:
    rate, low, high = interval(outcomes(0.0, 0.0, 0.0))
    assert (rate, low) == (0.0, 0.0)
    assert 0.001 < high < 0.002


def test_trials_that_differ_widen_the_interval() -> None:
    even, uneven = interval(outcomes(0.05, 0.05, 0.05)), interval(outcomes(0.0, 0.0, 0.15))
    assert even[0] == pytest.approx(uneven[0])
    assert uneven[2] - uneven[1] > 3 * (even[2] - even[1])


def test_nobody_on_both_lists_says_nothing() -> None:
    assert interval([Outcome(0.0, 0, 0.1)]) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("baseline", "chance", "passed"),
    [(0.9, 0.001, True), (0.4, 0.001, False), (0.004, 0.001, False), (0.6, 0.5, False), (0.9, 0.5, True)],
)
def test_a_control_has_to_reach_its_least_and_be_far_from_chance(baseline: float, chance: float, passed: bool) -> None:
    controls = [Outcome(baseline * 1000, 1000, chance)]
    rate = rate_of("x", 1000, 1.0, outcomes(0.01), controls, control="c", least=0.5, assumes="list")
    assert rate.control_passed is passed
    assert rate.as_dict()["baseline"] == baseline
