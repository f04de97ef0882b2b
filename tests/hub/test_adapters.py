"""Encoded files in recordlinkage's own classes, with its own classifiers behind them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import recordlinkage
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.contract import load_spec
from linkage.contract.spec import LinkageSpec
from linkage.errors import LinkError
from linkage.hub.adapters.recordlinkage import (
    CandidatePairs,
    FilterAgreement,
    FilterSimilarity,
    ecm_probability,
    records,
)

MASKED = load_spec("precise")
SPEC = LinkageSpec.model_validate({**MASKED.model_dump(), "presence_masks": False})
NAMES = [entry.name for entry in SPEC.filters]
OCTETS = SPEC.diffusion.bits // 8


def people(number: int, seed: int) -> np.ndarray:
    """Draw bits for so many people: (people, filters, bits)."""
    return np.random.default_rng(seed).random((number, len(NAMES), OCTETS * 8)) < 0.5


def noisy(bits: np.ndarray, share: float, seed: int) -> np.ndarray:
    return bits ^ (np.random.default_rng(seed).random(bits.shape) < share)


def encodings(bits: np.ndarray, prefix: str) -> pl.DataFrame:
    octets = np.packbits(bits, axis=2)
    return pl.DataFrame(
        {
            "pseudonym": [f"{prefix}{place:031d}" for place in range(len(bits))],
            "variant": pl.Series([0] * len(bits), dtype=pl.UInt8),
            **{
                name: pl.Series([row.tobytes() for row in octets[:, number]], dtype=pl.Binary)
                for number, name in enumerate(NAMES)
            },
        }
    )


def distance(one: np.ndarray, other: np.ndarray, number: int) -> int:
    return int((one[number] ^ other[number]).sum())


@pytest.fixture(scope="module")
def files() -> tuple[pd.DataFrame, pd.DataFrame, pd.MultiIndex]:
    """Two files that share 120 people, and the pairs that are one person."""
    shared = people(120, 1)
    left = records(encodings(np.concatenate([shared, people(60, 2)]), "a"), SPEC)
    right = records(encodings(np.concatenate([noisy(shared, 0.3, 3), people(90, 4)]), "b"), SPEC)
    return left, right, pd.MultiIndex.from_arrays([left.index[:120], right.index[:120]])


def one_feature(feature: object, pairs: pd.MultiIndex, *frames: pd.DataFrame) -> np.ndarray:
    return recordlinkage.Compare([feature]).compute(pairs, *frames).to_numpy()[:, 0]


def features(
    pairs: pd.MultiIndex, left: pd.DataFrame, *right: pd.DataFrame, agreement: bool, tail: float = 1e-3
) -> pd.DataFrame:
    compare = recordlinkage.Compare()
    for name in NAMES:
        compare.add(FilterAgreement(SPEC, name, left, tails=(tail,)) if agreement else FilterSimilarity(SPEC, name))
    return compare.compute(pairs, left, *right)


def test_its_ecm_links_two_encoded_files(files: tuple[pd.DataFrame, pd.DataFrame, pd.MultiIndex]) -> None:
    left, right, truth = files
    index = recordlinkage.Index()
    index.add(CandidatePairs(SPEC))
    pairs = index.index(left, right)
    assert recordlinkage.recall(truth, pairs) == 1
    vectors = features(pairs, left, right, agreement=True)
    assert list(vectors.columns) == NAMES and set(np.unique(vectors)) == {0.0, 1.0}
    links = recordlinkage.ECMClassifier().fit_predict(vectors)
    assert recordlinkage.fscore(truth, links) > 0.97


@pytest.mark.parametrize("classifier", ["KMeansClassifier", "LogisticRegressionClassifier"])
def test_its_classifiers_of_numbers(
    files: tuple[pd.DataFrame, pd.DataFrame, pd.MultiIndex], classifier: str, recwarn: pytest.WarningsRecorder
) -> None:
    left, right, truth = files
    pairs = CandidatePairs(SPEC).index(left, right)
    vectors = features(pairs, left, right, agreement=False)
    model = getattr(recordlinkage, classifier)()
    known = (truth,) if classifier.startswith("Logistic") else ()
    assert recordlinkage.fscore(truth, model.fit_predict(vectors, *known)) > 0.95
    assert not recwarn.list


def test_one_file_with_repeats() -> None:
    once = people(80, 5)
    frame = records(encodings(np.concatenate([once, noisy(once[:30], 0.25, 6)]), "a"), SPEC)  # 0.5% of pairs match
    pairs = recordlinkage.Index([CandidatePairs(SPEC)]).index(frame)
    full = recordlinkage.Index([recordlinkage.index.Full()]).index(frame)
    assert set(pairs) <= set(full), "the lower triangle, as recordlinkage's own"
    truth = pd.MultiIndex.from_arrays([frame.index[80:], frame.index[:30]])
    assert recordlinkage.recall(truth, pairs) == 1
    links = recordlinkage.ECMClassifier().fit_predict(features(pairs, frame, agreement=True, tail=0.02))
    assert recordlinkage.fscore(truth, links) > 0.95


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 5), (5, 0), (1, 1)])
def test_next_to_nothing_to_pair(first: int, second: int) -> None:
    left = records(encodings(people(first, 1), "a"), SPEC)
    right = records(encodings(people(second, 2), "b"), SPEC)
    pairs = CandidatePairs(SPEC).index(left, right)
    assert len(pairs) == first * second
    assert len(features(pairs, left, right, agreement=False)) == len(pairs)
    assert len(CandidatePairs(SPEC).index(left)) == first * (first - 1) // 2


def test_distances_are_those_of_the_bits() -> None:
    a, b = people(12, 7), people(9, 8)
    left, right = records(encodings(a, "a"), SPEC), records(encodings(b, "b"), SPEC)
    pairs = recordlinkage.Index([recordlinkage.index.Full()]).index(left, right)
    found = features(pairs, left, right, agreement=False).to_numpy().reshape(12, 9, len(NAMES))
    for i in range(12):
        for j in range(9):
            for number in range(len(NAMES)):
                assert found[i, j, number] == 1 - 2 * distance(a[i], b[j], number) / (OCTETS * 8)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=6), st.integers(0, 2**32 - 1))
def test_the_nearest_variants_count_and_empty_ones_do_not(variants: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    bits = people(sum(variants), seed)
    masks = rng.integers(0, 2, (len(bits), len(NAMES)))
    owner = np.repeat(np.arange(len(variants)), variants)
    frame = encodings(bits, "a").with_columns(
        pseudonym=pl.Series([f"{place:032d}" for place in owner]),
        variant=pl.Series([n for count in variants for n in range(count)], dtype=pl.UInt8),
        **{f"{name}_mask": pl.Series(masks[:, k], dtype=pl.UInt16) for k, name in enumerate(NAMES)},
    )
    one = records(frame.sample(fraction=1, shuffle=True, seed=seed % 1000), MASKED)
    assert list(one.index) == [f"{place:032d}" for place in range(len(variants))]
    pairs = recordlinkage.Index([recordlinkage.index.Full()]).index(one)
    for number, name in enumerate(NAMES):
        found = one_feature(FilterSimilarity(MASKED, name, missing_value=-9.0), pairs, one)
        for place, (late, early) in enumerate(pairs):
            both = [
                distance(bits[i], bits[j], number)
                for i in np.flatnonzero(owner == int(late))
                for j in np.flatnonzero(owner == int(early))
                if masks[i, number] and masks[j, number]
            ]
            assert found[place] == (1 - 2 * min(both) / (OCTETS * 8) if both else -9.0)


def test_masks_reach_the_engine_through_the_frame() -> None:
    """A person is found by the filter that both files have, although the other is empty in one of them."""
    shared = people(100, 9)
    left = encodings(np.concatenate([shared, people(100, 10)]), "a")
    right = encodings(np.concatenate([noisy(shared, 0.25, 11), people(100, 12)]), "b")
    right = right.with_columns(pl.Series(NAMES[1], encodings(people(200, 13), "x")[NAMES[1]]))  # padding
    full = {f"{name}_mask": pl.lit(7, pl.UInt16) for name in NAMES}
    one = records(left.with_columns(**full), MASKED)
    other = records(right.with_columns(**full | {f"{NAMES[1]}_mask": pl.lit(0, pl.UInt16)}), MASKED)
    assert other[NAMES[1]].isna().all()
    pairs = CandidatePairs(MASKED).index(one, other)
    assert recordlinkage.recall(pd.MultiIndex.from_arrays([one.index[:100], other.index[:100]]), pairs) == 1


def test_an_agreement_is_as_rare_among_unlike_pairs_as_its_tail() -> None:
    frame = records(encodings(people(300, 14), "a"), SPEC)
    pairs = recordlinkage.Index([recordlinkage.index.Full()]).index(frame)
    tails = (0.5, 0.1, 0.01, 1e-3)
    feature = FilterAgreement(SPEC, NAMES[0], frame, tails=tails)
    reached = one_feature(feature, pairs, frame)
    near = one_feature(FilterSimilarity(SPEC, NAMES[0]), pairs, frame)
    for number, tail in enumerate(tails):
        share = (reached > number).mean()
        assert 0 < share <= tail
        at_next = 1 - 2 * (feature.cuts[number] + 1) / (OCTETS * 8)
        assert (near >= at_next).mean() > tail, "the next distance would be too common"


def test_too_few_records_tell_no_tail() -> None:
    frame = records(encodings(people(3, 15), "a"), SPEC)
    feature = FilterAgreement(SPEC, NAMES[0], frame)
    pairs = recordlinkage.Index([recordlinkage.index.Full()]).index(frame)
    assert one_feature(feature, pairs, frame).tolist() == [0.0, 0.0, 0.0]
    assert len(FilterAgreement(SPEC, NAMES[0], frame.head(1)).cuts) == 1


def test_frames_that_do_not_fit_the_spec() -> None:
    good = encodings(people(5, 16), "a")
    with pytest.raises(LinkError) as error:
        records(good.drop(NAMES[0]), SPEC)
    assert error.value.reason == "wrong-filters"
    with pytest.raises(LinkError) as error:
        records(good.with_columns(pl.lit(b"short").alias(NAMES[0])), SPEC)
    assert error.value.reason == "wrong-length"
    with pytest.raises(LinkError) as error:
        records(good, MASKED)
    assert error.value.reason == "wrong-filters"
    with pytest.raises(LinkError) as error:
        FilterSimilarity(SPEC, "nothing")
    assert error.value.reason == "wrong-filters"
    frame = records(good, SPEC)
    short = frame.assign(**{NAMES[0]: [b"short"] * 5})
    for call in (
        lambda: CandidatePairs(SPEC).index(short),
        lambda: FilterAgreement(SPEC, NAMES[0], short),
    ):
        with pytest.raises(LinkError) as error:
            call()
        assert error.value.reason == "wrong-length"


def test_ecm_refuses_what_it_cannot_estimate() -> None:
    assert len(ecm_probability(np.zeros((0, 2), np.bool_), ["a", "b"])) == 0
    agrees = np.random.default_rng(1).random((500, 3)) < 0.02
    agrees[:50] = True
    probability = ecm_probability(agrees, ["a", "b", "c"])
    assert probability[:50].min() > 0.9 and np.median(probability[50:]) < 0.1


def test_the_hub_alone_does_not_load_recordlinkage() -> None:
    code = "import sys, linkage.hub, linkage.hub.run; print('recordlinkage' in sys.modules, 'pandas' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False"]
