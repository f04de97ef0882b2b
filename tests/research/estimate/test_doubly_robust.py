"""Doubly robust estimation: the numbers of the reference, own nuisance models near the truth, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize

from linkage.errors import EstimateError
from linkage.research.estimate.doubly_robust import (
    MARGIN,
    DoublyRobust,
    _chances,
    _design,
    fit_logistic,
    kept_possible,
    seen_share,
)
from linkage.research.estimate.targeting import _moved, targeted


@pytest.fixture(scope="module")
def simulated(shared: Path) -> pl.DataFrame:
    return pl.read_csv(shared / "data" / "mse" / "drpop_simulated.csv")


@pytest.fixture(scope="module")
def target(shared: Path) -> dict[str, dict[str, Any]]:
    told = json.loads((shared / "reference" / "mse.json").read_text(encoding="utf-8"))["drpop"]
    return {row["method"]: row for row in told["result"]}


def people(number: int, seed: int, *, bend: float = 0.0) -> tuple[pl.DataFrame, int]:
    """People of whom x decides how likely either list is: lists are independent given x and not without it."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=number)
    group = rng.choice(["a", "b", "c"], number)
    lean = 0.8 * x + bend * (x**2 - 1) + 0.5 * (group == "a")
    on = [rng.random(number) < 1 / (1 + np.exp(-(lean + level))) for level in (-0.3, -0.8)]
    frame = pl.DataFrame({"A": on[0].astype(int), "B": on[1].astype(int), "x": x, "group": group})
    return frame.filter((pl.col("A") == 1) | (pl.col("B") == 1)), number


def test_given_chances_give_the_reference_estimate(simulated: pl.DataFrame, target: dict[str, dict[str, Any]]) -> None:
    q = simulated.select("q1_logit", "q2_logit", "q12_logit").to_numpy()
    found = seen_share(simulated.select("L1", "L2").to_numpy().astype(float), q, simulated["fold"].to_numpy())
    assert found.psi == pytest.approx(target["DR"]["psi"], rel=1e-9)
    assert found.se == pytest.approx(target["DR"]["sigman"], rel=1e-9)
    assert round(found.n_hat) == target["DR"]["n"] == 5844
    assert round(found.plug_in) == target["PI"]["n"] == 5761
    assert len(simulated) / found.plug_in == pytest.approx(target["PI"]["psi"], rel=1e-9)


def test_targeted_rounds_give_the_reference_estimate(
    simulated: pl.DataFrame, target: dict[str, dict[str, Any]]
) -> None:
    q = kept_possible(simulated.select("q1_logit", "q2_logit", "q12_logit").to_numpy())
    y = simulated.select("L1", "L2").to_numpy().astype(float)
    found = targeted(y, q, simulated["fold"].to_numpy(), margin=MARGIN)
    assert found.psi == pytest.approx(target["TMLE"]["psi"], rel=1e-6)
    assert found.se == pytest.approx(target["TMLE"]["sigman"], rel=1e-6)
    assert round(found.n_hat) == target["TMLE"]["n"] == 5804
    assert not found.settled  # the reference stops after 250 rounds, and does not say so


def test_a_step_is_the_one_that_makes_the_outcomes_most_likely() -> None:
    rng = np.random.default_rng(4)
    q, direction = rng.uniform(0.1, 0.9, 400), rng.uniform(0.5, 3, 400)
    y = (rng.random(400) < np.minimum(q + 0.05, 1)).astype(float)
    step, moved = _moved(y, q, direction)
    start = np.log(q / (1 - q))

    def minus_log_likelihood(at: Any) -> float:
        eta = start + float(at[0]) * direction
        return float(np.logaddexp(0, eta).sum() - y @ eta)

    best = minimize(minus_log_likelihood, [0.0], tol=1e-12)
    assert step == pytest.approx(best.x[0], abs=1e-5)
    assert direction @ (y - moved) == pytest.approx(0, abs=1e-9)


def test_lists_that_leave_room_for_the_unseen_come_to_rest() -> None:
    """Where exactly one list, or both, leave room below one, the rounds settle, and solve their three equations."""
    rng = np.random.default_rng(8)
    cell = rng.choice(4, 3000, p=[0.1, 0.3, 0.3, 0.3])  # a third list has those on neither of the two
    y = np.column_stack([cell & 1, cell >> 1]).astype(float)
    q = np.tile([0.55, 0.65, 0.28], (3000, 1))
    found = targeted(y, q, rng.integers(0, 3, 3000), margin=MARGIN)
    assert found.settled
    sizes = y.mean(axis=0)
    assert found.psi == pytest.approx((y[:, 0] * y[:, 1]).mean() / (sizes[0] * sizes[1]), rel=0.01)


def test_own_logistic_models_give_the_reference_chances(simulated: pl.DataFrame) -> None:
    y = simulated.select("L1", "L2").to_numpy().astype(float)
    x = _design(simulated, ("x1", "x2"), degree=1)
    q = _chances(y, x, simulated["fold"].to_numpy(), 0.0)
    assert np.abs(q - simulated.select("q1_logit", "q2_logit", "q12_logit").to_numpy()).max() < 1e-9


def test_the_whole_estimator_gives_the_reference_interval(
    simulated: pl.DataFrame, target: dict[str, dict[str, Any]]
) -> None:
    result = DoublyRobust(("L1", "L2"), ("x1", "x2"), folds="fold", degree=1, penalty=0.0).fit(simulated)
    assert (round(result.n_hat), round(result.lower), round(result.upper)) == (5844, 5656, 6032)
    assert result.details["psi"] == pytest.approx(target["DR"]["psi"], rel=1e-9)
    assert result.details["lincoln_petersen"] == pytest.approx(6805.4111969112)
    assert round(result.details["targeted"]) == 5804 and result.details["targeted_settled"] == 0
    assert np.quantile(result.draws, [0.025, 0.975]) == pytest.approx([5656, 6032], rel=1e-3)


def test_default_models_come_nearer_to_the_truth_than_lists_alone(simulated: pl.DataFrame) -> None:
    result = DoublyRobust(("L1", "L2"), ("x1", "x2")).fit(simulated)
    assert result.lower < 6000 < result.upper
    assert abs(result.n_hat - 6000) < 150 < abs(result.details["lincoln_petersen"] - 6000)


def test_intervals_cover_the_truth_though_linear_models_are_wrong() -> None:
    covered, errors, naive = 0, [], []
    for seed in range(40):
        frame, truth = people(3000, seed, bend=0.3)
        result = DoublyRobust(("A", "B"), ("x", "group")).fit(frame)
        covered += result.lower <= truth <= result.upper
        errors.append(result.n_hat / truth - 1)
        naive.append(result.details["lincoln_petersen"] / truth - 1)
    assert covered >= 34
    assert abs(np.mean(errors)) < 0.03 < abs(np.mean(naive))


def test_the_order_of_rows_does_not_matter() -> None:
    frame, _ = people(800, 1)
    estimator = DoublyRobust(("A", "B"), ("x", "group"))
    first, second = estimator.fit(frame), estimator.fit(frame.sample(fraction=1.0, shuffle=True, seed=3))
    assert first.n_hat == pytest.approx(second.n_hat, rel=1e-12)
    assert first.details["se"] == pytest.approx(second.details["se"], rel=1e-12)


def test_people_on_other_lists_only_take_no_part() -> None:
    frame, _ = people(800, 1)
    more = pl.concat([frame, frame.head(50).with_columns(A=pl.lit(0, pl.Int64), B=pl.lit(0, pl.Int64))])
    estimator = DoublyRobust(("A", "B"), ("x",))
    assert estimator.fit(more).n_hat == estimator.fit(frame).n_hat


def test_missing_covariates_have_a_value_of_their_own() -> None:
    frame, truth = people(2000, 7)
    gaps = pl.int_range(pl.len()) % 5 == 0
    holed = frame.with_columns(
        x=pl.when(~gaps).then(pl.col("x")), group=pl.when(~gaps).then(pl.col("group")), mark=pl.col("x") > 0
    )
    result = DoublyRobust(("A", "B"), ("x", "group", "mark")).fit(holed)
    assert result.ok and 0.8 * truth < result.n_hat < 1.2 * truth


@pytest.mark.parametrize("penalty", [0.0, 1.0, 20.0])
def test_logistic_regression_agrees_with_a_general_optimiser(penalty: float) -> None:
    rng = np.random.default_rng(4)
    x = np.column_stack([np.ones(300), rng.normal(size=(300, 3))])
    y = (rng.random(300) < 1 / (1 + np.exp(-x @ [0.2, 1.0, -2.0, 0.0]))).astype(float)

    def loss(b: np.ndarray) -> float:
        return float(np.logaddexp(0, x @ b).sum() - y @ (x @ b) + 0.5 * penalty * (b[1:] ** 2).sum())

    assert fit_logistic(x, y, penalty=penalty) == pytest.approx(minimize(loss, np.zeros(4), tol=1e-12).x, abs=1e-4)


def test_separated_data_have_no_fit_without_a_penalty() -> None:
    x = np.column_stack([np.ones(40), np.linspace(-1, 1, 40)])
    y = (x[:, 1] > 0).astype(float)
    assert fit_logistic(x, y) is None
    assert fit_logistic(x, y, penalty=1.0) is not None
    assert fit_logistic(np.column_stack([x, x[:, 1]]), 1 - y * 0) is None


def test_lists_that_hardly_meet_are_refused() -> None:
    frame, _ = people(800, 1)
    both = (pl.col("A") == 1) & (pl.col("B") == 1)
    few = pl.concat([frame.filter(~both), frame.filter(both).head(9)])
    result = DoublyRobust(("A", "B"), ("x",)).fit(few)
    assert result.status == "too-little-overlap" and result.n_hat is None


@pytest.mark.parametrize(
    ("changed", "parameters"),
    [
        ({"A": pl.lit(2)}, {}),
        ({"A": pl.lit(None, pl.Int64)}, {}),
        ({"A": pl.lit("1")}, {}),
        ({"x": pl.lit(float("inf"))}, {}),
        ({"group": pl.int_range(pl.len()).cast(pl.String)}, {}),
        ({}, {"covariates": ()}),
        ({}, {"covariates": ("x", "x")}),
        ({}, {"covariates": ("nowhere",)}),
        ({}, {"pair": ("A", "A")}),
        ({}, {"folds": 1}),
        ({}, {"folds": "nowhere"}),
        ({"fold": pl.lit(1)}, {"folds": "fold"}),
        ({}, {"degree": 3}),
        ({}, {"penalty": -1.0}),
    ],
)
def test_bad_input_is_refused(changed: dict[str, pl.Expr], parameters: dict[str, Any]) -> None:
    frame, _ = people(300, 1)
    with pytest.raises(EstimateError) as caught:
        DoublyRobust(**{"pair": ("A", "B"), "covariates": ("x", "group"), **parameters}).fit(
            frame.with_columns(**changed)
        )
    assert caught.value.reason in ("bad-persons", "bad-parameter")
