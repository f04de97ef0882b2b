"""The posterior over partitions as a whole: components, sums and chains together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from linkage.errors import LinkError
from linkage.hub import chains
from linkage.hub.chains import convergence, first_of
from linkage.hub.partitions import Posterior, Question, posterior

Floats = NDArray[np.float64]


def question(
    rng: np.random.Generator, *, persons: int, noise: float, single: tuple[bool, ...] = (True, True, True)
) -> tuple[Question, NDArray[np.int64]]:
    """Draw persons, records of them in sources, and weights that are as good as they say; return who is who, too."""
    on = rng.random((persons, len(single))) < 0.6
    entity, source = np.nonzero(on)
    again = np.flatnonzero(~np.array(single)[source] & (rng.random(len(source)) < 0.3))
    entity, source = np.append(entity, entity[again]), np.append(source, source[again])
    records = len(entity)
    left, right = np.triu_indices(records, 1)
    asked = ~((source[left] == source[right]) & np.array(single)[source[left]])
    left, right = left[asked], right[asked]
    match = entity[left] == entity[right]
    # Normal with equal variance: the log likelihood ratio at x is linear in x.
    gap = 12.0 / noise
    measure = rng.normal(np.where(match, gap, 0.0), 1.0)
    weight = gap * measure - gap**2 / 2
    keep = match | (weight > -12) | (rng.random(len(left)) < 0.2)
    left, right, weight, match = left[keep], right[keep], weight[keep], match[keep]
    prior = np.log(match.sum() / asked.sum())
    matches = np.zeros((len(single), len(single)))
    low, high = np.minimum(source[left], source[right]), np.maximum(source[left], source[right])
    np.add.at(matches, (low[match], high[match]), 1.0)
    probability = 1 / (1 + np.exp(-(weight + prior)))
    far = np.full((len(single), len(single)), -12.0)
    return Question(source, np.array(single), left, right, weight, probability, far, matches), entity


def full(answer: Posterior, draws: int) -> NDArray[np.int64]:
    label = np.tile(answer.label.astype(np.int64), (draws, 1))
    label[:, answer.open] = answer.drawn
    return label


EASY = question(np.random.default_rng(1), persons=150, noise=2.0)[0]
NOISY = question(np.random.default_rng(2), persons=120, noise=3.6)[0]
REPEATS = question(np.random.default_rng(3), persons=80, noise=3.0, single=(True, False))[0]


@pytest.mark.parametrize("asked", [EASY, NOISY, REPEATS], ids=["easy", "noisy", "repeats"])
def test_the_mean_of_the_draws_agrees_with_the_probabilities(asked: Question) -> None:
    draws = 400
    answer = posterior(asked, draws=draws, seed=1)
    label = full(answer, draws)
    mean = (label[:, asked.left] == label[:, asked.right]).mean(axis=0)
    assert abs(mean.sum() - answer.probability.sum()) < 0.03 * answer.probability.sum() + 1
    likely = asked.probability > 0.01
    spread = np.sqrt(answer.probability * (1 - answer.probability) / draws)
    assert (np.abs(mean - answer.probability)[likely] < 6 * spread[likely] + 0.05).all()
    assert ((answer.probability >= 0) & (answer.probability <= 1)).all()


@pytest.mark.parametrize("asked", [EASY, NOISY, REPEATS], ids=["easy", "noisy", "repeats"])
def test_every_draw_keeps_the_rules_of_the_sources(asked: Question) -> None:
    answer = posterior(asked, draws=20, seed=2)
    records = np.arange(len(asked.source))
    for label in full(answer, 20):
        assert (label <= records).all() and (label[label] == label).all()
        held = np.column_stack([label, asked.source])[asked.single[asked.source]]
        assert len(np.unique(held, axis=0)) == len(held)
    assert (answer.label[answer.open] == answer.drawn[0]).all()
    assert (answer.drawn != answer.drawn[0]).any(axis=0).all() and (np.diff(answer.open) > 0).all()


def test_probabilities_are_calibrated_where_the_weights_are() -> None:
    expected = found = 0.0
    for seed in range(6):
        asked, entity = question(np.random.default_rng(100 + seed), persons=150, noise=3.2)
        expected += posterior(asked, draws=1, seed=seed).probability.sum()
        found += float((entity[asked.left] == entity[asked.right]).sum())
    assert abs(expected / found - 1) < 0.05


def test_diagnostics_say_what_was_summed_and_what_was_sampled() -> None:
    easy, noisy = posterior(EASY, draws=5, seed=1).diagnostics, posterior(NOISY, draws=5, seed=1).diagnostics
    assert easy["summed_records"] > 0 and noisy["sampled_records"] > 10
    assert noisy["largest_component"] > 10
    assert noisy["r_hat"] < 1.1 and 1 < noisy["effective_draws"] <= 2000
    assert noisy["summed_records"] + noisy["sampled_records"] <= len(NOISY.source)
    for diagnostics in (easy, noisy):
        assert {"r_hat", "effective_draws"} <= set(diagnostics) or not diagnostics["sampled_records"]


def test_small_components_alone_have_nothing_to_converge() -> None:
    pairs = np.array([0, 2]), np.array([1, 3])
    asked = Question(
        np.array([0, 1, 0, 1, 0]), np.array([True, True]), *pairs, np.array([9.0, 6.0]), np.array([0.9, 0.4]),
        np.full((2, 2), -9.0), np.array([[0, 1.3], [0, 0]]),
    )  # fmt: skip
    answer = posterior(asked, draws=30, seed=0)
    assert answer.diagnostics == {"summed_records": 4, "sampled_records": 0, "largest_component": 2}
    assert answer.probability[0] > answer.probability[1] > 0


@pytest.mark.parametrize("asked", [EASY, NOISY], ids=["easy", "noisy"])
def test_a_seed_gives_the_same_answer(asked: Question) -> None:
    one, same, other = (posterior(asked, draws=10, seed=seed) for seed in (7, 7, 8))
    assert (one.probability == same.probability).all() and (one.label == same.label).all()
    assert (one.open == same.open).all() and (one.drawn == same.drawn).all()
    assert one.diagnostics == same.diagnostics
    assert full(one, 10).tolist() != full(other, 10).tolist()


def test_the_answer_does_not_depend_on_how_many_threads_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    many = posterior(NOISY, draws=6, seed=3)
    for module in ("linkage.hub.chains", "linkage.hub.partitions"):
        monkeypatch.setattr(f"{module}.get_num_threads", lambda: 1)
    alone = posterior(NOISY, draws=6, seed=3)
    assert (many.probability == alone.probability).all() and (many.drawn == alone.drawn).all()


def test_components_summed_a_few_at_a_time_give_the_same_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = posterior(EASY, draws=4, seed=3)
    monkeypatch.setattr("linkage.hub.partitions._CHUNK", 7)
    parts = posterior(EASY, draws=4, seed=3)
    summed = np.abs(whole.probability - parts.probability)
    assert summed.max() < (1e-9 if not whole.diagnostics["sampled_records"] else 0.25)
    assert abs(whole.probability.sum() - parts.probability.sum()) < 0.01 * whole.probability.sum()


@pytest.mark.parametrize("draws", [0, 1, 3])
def test_as_many_draws_as_are_asked_for(draws: int) -> None:
    answer = posterior(NOISY, draws=draws, seed=0)
    assert answer.drawn.shape == (draws, len(answer.open))


def test_nothing_is_asked() -> None:
    none = np.zeros(0, np.int64)
    asked = Question(
        np.array([0, 1]),
        np.array([True, True]),
        none,
        none,
        np.zeros(0),
        np.zeros(0),
        np.zeros((2, 2)),
        np.zeros((2, 2)),
    )
    answer = posterior(asked, draws=3)
    assert answer.label.tolist() == [0, 1] and answer.drawn.shape == (3, 0)


def test_more_than_sixteen_sources_are_refused() -> None:
    many = replace(EASY, single=np.ones(17, np.bool_))
    with pytest.raises(LinkError) as error:
        posterior(many)
    assert error.value.reason == "too-many-sources"


@pytest.mark.parametrize("name", ["weight", "probability", "far", "matches"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused(name: str, value: float) -> None:
    spoilt = getattr(EASY, name).copy()
    spoilt.flat[-1] = value
    with pytest.raises(LinkError) as error:
        posterior(replace(EASY, **{name: spoilt}))
    assert error.value.reason == "bad-weights"


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_probabilities_that_are_none_are_refused(value: float) -> None:
    with pytest.raises(LinkError) as error:
        posterior(replace(EASY, probability=np.full(len(EASY.left), value)))
    assert error.value.reason == "bad-weights"


@pytest.mark.parametrize(("r_hat", "effective"), [(1.2, 400.0), (1.0, 3.0)])
def test_chains_that_do_not_agree_or_say_little_are_gone_on_with_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch, r_hat: float, effective: float
) -> None:
    lengths = []

    def told(traces: Floats) -> tuple[float, float]:
        lengths.append(traces.shape[2])
        return r_hat, effective

    monkeypatch.setattr(chains, "convergence", told)
    answer = posterior(NOISY, draws=6, seed=0)
    assert lengths == [lengths[0] * times for times in (1, 2, 4, 8)]
    said = answer.diagnostics  # and that is what is reported
    assert (said["r_hat"], said["effective_draws"]) == (r_hat, min(effective, 6.0))
    assert said["sweeps"] == lengths[-1] and said["converged"] == (r_hat < 1.1)
    assert answer.drawn.shape[0] == 6 and (answer.probability <= 1).all()


def test_chains_that_agree_and_say_enough_end_at_once() -> None:
    assert (
        posterior(NOISY, draws=4, seed=0).diagnostics["sweeps"]
        < posterior(NOISY, draws=150, seed=0).diagnostics["sweeps"]
    )


def test_chains_that_are_alike_agree_and_others_do_not() -> None:
    rng = np.random.default_rng(0)
    alike = rng.normal(100, 5, (2, 1, 200))
    assert convergence(alike)[0] == pytest.approx(1, abs=0.05) and convergence(alike)[1] > 200
    apart = rng.normal([[[100]], [[130]]], 5, (2, 1, 200))
    assert convergence(apart)[0] > 2 and convergence(apart)[1] < 20
    slow = np.cumsum(rng.normal(0, 1, (2, 1, 200)), axis=2)
    assert convergence(slow)[1] < 40
    # Of several numbers the worst counts, wherever it stands.
    assert convergence(np.concatenate([alike, apart], axis=1)) == convergence(apart)
    assert convergence(np.concatenate([slow, alike], axis=1))[1] == convergence(slow)[1]


def test_chains_that_stand_still_disagree_by_how_far_they_are_apart() -> None:
    still = np.full((2, 1, 10), 3.0)
    assert convergence(still) == (1.0, 20.0)
    assert convergence(still + np.array([[[0.0]], [[0.1]]]))[0] < 1.05
    assert convergence(still + np.array([[[0.0]], [[5.0]]]))[0] > 3


def crowd(records: int, seed: int) -> tuple[Question, NDArray[np.int64]]:
    """Draw many records of three persons in two sources with repeats; no pair says much."""
    rng = np.random.default_rng(seed)
    entity, source = rng.integers(0, 3, records), rng.integers(0, 2, records)
    left, right = np.triu_indices(records, 1)
    match = entity[left] == entity[right]
    weight = 2.5 * rng.normal(np.where(match, 2.5, 0.0), 1.0) - 2.5**2 / 2
    probability = 1 / (1 + np.exp(-(weight + np.log(match.sum() / (~match).sum()))))
    matches = np.zeros((2, 2))
    np.add.at(matches, (np.minimum(source[left], source[right]), np.maximum(source[left], source[right])), probability)
    far = np.full((2, 2), -6.0)
    return Question(source, np.zeros(2, np.bool_), left, right, weight, probability, far, matches), entity


@pytest.mark.parametrize("records", [40, 100, 300])
def test_a_crowd_of_records_of_few_persons_is_told_apart(records: int) -> None:
    asked, entity = crowd(records, records)
    answer = posterior(asked, draws=20, seed=1)
    truth = entity[asked.left] == entity[asked.right]
    assert np.mean((answer.probability - truth) ** 2) < 0.01
    assert answer.diagnostics["converged"]


def test_persons_are_named_by_the_first_of_their_records() -> None:
    assert first_of(np.array([4, 2, 4, 0, 2], np.int32)).tolist() == [0, 1, 0, 3, 1]


@pytest.mark.parametrize("weight", [15.0, 25.0, 60.0])
def test_ten_records_that_are_surely_one_person_stay_together(weight: float) -> None:
    number = 10
    left, right = np.triu_indices(number, 1)
    question = Question(
        source=np.arange(number),
        single=np.ones(number, np.bool_),
        left=left,
        right=right,
        weight=np.full(len(left), weight),
        probability=np.full(len(left), 0.99),
        far=np.full((number, number), -5.0),
        matches=np.triu(np.full((number, number), 1.0), 1),
    )
    answer = posterior(question, draws=20)
    assert (answer.probability > 0.999).all()
    assert not len(answer.open)
