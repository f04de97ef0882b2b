"""Decoys: like people in all that the hub sees, nobody's record, the same next month, no other agency's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.contract import load_agreement, load_source, load_spec
from linkage.contract.spec import LinkageSpec
from linkage.contract.vocabulary import FACT_SCHEMA
from linkage.errors import NotPermittedError
from linkage.exchange import LinkageKey, Party, create_linkage_key, create_party, load_party
from linkage.lab.population import MILWAUKEE, draw_population
from linkage.steward.decoys import decoy_facts, decoy_key, decoy_pseudonyms, draw_decoys, number_of_decoys
from linkage.steward.extract import find_failures, read_extract
from linkage.steward.group import identifiers
from linkage.steward.submit import encode_persons
from linkage.steward.tiers import add_tiers

FIELDS = ["given_name", "middle_name", "family_name", "birth_date", "ssn4", "phone", "street", "postal_code"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("decoys")


@pytest.fixture(scope="module")
def persons(folder: Path) -> pl.DataFrame:
    """Identifiers of the police's list of a synthetic population, as they are encoded: about 480 persons."""
    draw_population(MILWAUKEE, 3, folder / "population", 1_500)
    schema, agreement = load_source("mpd"), load_agreement("mpd")
    extract = read_extract(folder / "population" / "extracts" / "mpd" / "mpd.csv", schema)
    tiered = add_tiers(find_failures(extract, schema).good, schema, agreement, today=agreement.starts)
    return identifiers(tiered, schema, agreement.identifiers, 4)


@pytest.fixture(scope="module")
def parties(folder: Path) -> tuple[Party, Party]:
    one, other = (load_party(create_party(folder / name, name)[0]) for name in ("mpd", "dcf"))
    return one, other


@pytest.fixture(scope="module")
def linkage_key(folder: Path) -> LinkageKey:
    return create_linkage_key(folder / "linkage.key", "milwaukee", "2026-1")


def as_rows(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    return [tuple(map(str, row)) for row in frame.drop("local_id").iter_rows()]


def names_and_births(frame: pl.DataFrame) -> set[tuple[str, ...]]:
    known = frame.filter(pl.col("birth_date").list.len() > 0)
    return {tuple(map(str, row)) for row in known.select("given_name", "family_name", "birth_date").iter_rows()}


def test_the_same_file_in_any_order_has_the_same_decoys_and_a_larger_number_begins_with_them(
    persons: pl.DataFrame,
) -> None:
    drawn = draw_decoys(persons, 60, b"k" * 32)
    assert drawn.schema == persons.schema and drawn["local_id"].n_unique() == 60
    assert draw_decoys(persons.sample(fraction=1.0, shuffle=True, seed=2), 60, b"k" * 32).equals(drawn)
    more = draw_decoys(persons, 90, b"k" * 32)
    assert more.filter(pl.col("local_id").cast(pl.Int64) < 60).equals(drawn)
    assert not set(as_rows(draw_decoys(persons, 60, b"l" * 32))) & set(as_rows(drawn))


def test_next_month_most_decoys_are_as_they_were(persons: pl.DataFrame) -> None:
    """Five of a hundred persons go; a decoy made of some fifteen draws stays, but for those draws that they served."""
    stay = persons["local_id"].unique().sort().gather_every(20)
    before = draw_decoys(persons.filter(~pl.col("local_id").is_in(stay.implode())), 100, b"k" * 32)
    after = draw_decoys(persons, 100, b"k" * 32)
    assert len(set(as_rows(before)) & set(as_rows(after))) > 0.4 * len(before)
    values = [
        set(frame.select("local_id", pl.col(FIELDS).list.join(";")).unpivot(index="local_id").rows())
        for frame in (before.filter(variant=0), after.filter(variant=0))
    ]
    assert len(values[0] & values[1]) > 0.85 * len(values[0])


def test_nothing_that_one_record_alone_has_is_sent_again(persons: pl.DataFrame) -> None:
    drawn = draw_decoys(persons, 480, b"k" * 32)
    for field in FIELDS:
        owners = Counter(persons.select("local_id", value=field).explode("value").drop_nulls().unique()["value"])
        rare = {value for value, count in owners.items() if count == 1}
        sent = Counter(value for values in drawn.filter(variant=0)[field].to_list() for value in values)
        again = {value for value in sent if value in rare}
        # New digits or parts may by chance be somebody's, where next to all values there are already somebody's.
        assert len(again) <= 0.02 * len(sent), field
        assert len(rare) > 20 or field == "postal_code", "the file has something to copy"
    assert not names_and_births(drawn) & names_and_births(persons)


def test_fields_names_and_values_are_as_often_there_as_among_people(persons: pl.DataFrame) -> None:
    drawn = draw_decoys(persons, 480, b"k" * 32)
    for field in FIELDS:
        for at_least in (1, 2):
            shares = [(frame[field].list.len() >= at_least).mean() for frame in (persons, drawn)]
            assert shares[0] == pytest.approx(shares[1], abs=0.08), field
    assert len(drawn) / 480 == pytest.approx(len(persons) / persons["local_id"].n_unique(), abs=0.08)
    assert (
        drawn["birth_date"]
        .explode()
        .drop_nulls()
        .str.contains(r"^(19|20)\d\d((0[1-9]|1[0-2])([0-2]\d|3[01])?)?$")
        .all()
    )
    assert drawn["phone"].explode().drop_nulls().str.contains(r"^\d{10}$").all()
    assert drawn["postal_code"].explode().drop_nulls().str.contains(r"^\d{5}$").all()


def test_two_agencies_that_hold_the_same_file_have_no_decoy_in_common(
    persons: pl.DataFrame, parties: tuple[Party, Party]
) -> None:
    keys = [decoy_key(party, "milwaukee", "2026-1", "mpd") for party in parties]
    keys += [
        decoy_key(parties[0], "milwaukee", epoch, source) for epoch, source in (("2026-2", "mpd"), ("2026-1", "x"))
    ]
    assert len(set(keys)) == 4 and {len(key) for key in keys} == {32}
    assert decoy_key(parties[0], "milwaukee", "2026-1", "mpd") == keys[0]
    drawn = [draw_decoys(persons, 120, key) for key in keys]
    codes = [decoy_pseudonyms(120, key) for key in keys]
    assert len(set().union(*codes)) == 480 and not set(codes[0]) & set(parties[0].pseudonyms(map(str, range(120))))
    for position, one in enumerate(drawn):
        for other in drawn[:position]:
            assert not names_and_births(one) & names_and_births(other)


def near(encodings: list[pl.DataFrame], spec: LinkageSpec) -> np.ndarray:
    """Return, of each record of the first frame, the correlation over all filters with its next in the second."""
    bits = []
    for frame in encodings:
        raw = [b"".join(row) for row in frame.select(entry.name for entry in spec.filters).iter_rows()]
        bits.append(
            1
            - 2 * np.unpackbits(np.frombuffer(b"".join(raw), np.uint8).reshape(len(raw), -1), axis=1).astype(np.float32)
        )
    return np.asarray((bits[0] @ bits[1].T / bits[0].shape[1]).max(axis=1))


def test_decoys_of_two_agencies_match_no_more_than_strangers(
    persons: pl.DataFrame, parties: tuple[Party, Party], linkage_key: LinkageKey
) -> None:
    """Nearest decoys of the other agency are as far as nearest strangers of one list; a person's repeat is near."""
    spec = load_spec("default")
    main = persons.filter(variant=0)
    drawn = [
        draw_decoys(persons, 120, decoy_key(party, "milwaukee", "2026-1", "mpd")).filter(variant=0) for party in parties
    ]
    one, other, people, rest = (
        encode_persons(frame, spec, linkage_key, parties[0]) for frame in (*drawn, main[:120], main[120:240])
    )
    between, strangers = near([one, other], spec), near([people, rest], spec)
    assert np.median(between) < np.median(strangers) + 0.02
    assert (between > 0.3).mean() <= (strangers > 0.3).mean() + 0.03
    assert near([people, people], spec).min() > 0.9


def features(encodings: pl.DataFrame, spec: LinkageSpec) -> np.ndarray:
    """Return what the hub sees of each record: fill, nearness to others, how many names and how they differ."""
    encodings = encodings.sort("pseudonym", "variant")
    first = encodings["variant"].to_numpy() == 0
    person = np.cumsum(first) - 1
    columns = [np.bincount(person).astype(float)]
    total = np.zeros((first.sum(), first.sum()), np.float32)
    for entry in spec.filters:
        raw = np.frombuffer(b"".join(encodings[entry.name].to_list()), np.uint8).reshape(len(encodings), -1)
        bits = 1 - 2 * np.unpackbits(raw, axis=1).astype(np.float32)
        main = bits[first]
        likeness = main @ main.T / bits.shape[1]
        np.fill_diagonal(likeness, 0)
        total += likeness
        own = np.ones(first.sum())
        np.minimum.at(own, person, (bits * main[person]).mean(axis=1))
        columns += [main.sum(axis=1), likeness.std(axis=1), own, *-np.sort(-likeness, axis=1).T[[0, 1, 2, 4, 9]]]
    columns += [*-np.sort(-total, axis=1).T[[0, 1, 4]]]
    return np.stack(columns, axis=1)


def told_apart(made_up: pl.DataFrame, persons: pl.DataFrame, party: Party, key: LinkageKey) -> float:
    """Return the area under the curve of a classifier, cross-validated, that learns decoys from a labelled half."""
    pytest.importorskip("sklearn", reason="the hub's install brings scikit-learn; an agency's has none")
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict

    spec = load_spec("default")
    made_up = made_up.with_columns(local_id="decoy " + pl.col("local_id"))
    encodings = encode_persons(pl.concat([persons, made_up]), spec, key, party)
    decoys = set(party.pseudonyms(made_up["local_id"]))
    labels = np.array([code in decoys for code in encodings["pseudonym"].unique().sort()])
    forest = RandomForestClassifier(80, min_samples_leaf=8, random_state=0, n_jobs=1)
    guessed = cross_val_predict(forest, features(encodings, spec), labels, cv=5, method="predict_proba")[:, 1]
    return float(roc_auc_score(labels, guessed))


def test_the_hub_cannot_tell_decoys_from_people(
    persons: pl.DataFrame, parties: tuple[Party, Party], linkage_key: LinkageKey
) -> None:
    """A classifier that was told most decoys guesses about the others; it finds ones that are made carelessly."""
    count = persons["local_id"].n_unique() // 2
    drawn = draw_decoys(persons, count, b"k" * 32)
    careless = draw_decoys(persons, count, b"k" * 32).filter(variant=0)
    one = [pl.col(field).first() for field in ("street", "postal_code", "phone")]
    assert told_apart(careless.with_columns(one), persons, parties[0], linkage_key) > 0.8
    assert told_apart(drawn, persons, parties[0], linkage_key) < 0.62


@pytest.mark.parametrize(
    ("asked", "people", "count"), [(0.25, 340, 85), (1.0, 10, 10), (50, 340, 50), (1, 340, 1), (0, 5, 0), (0.01, 20, 0)]
)
def test_a_share_or_a_number(asked: float, people: int, count: int) -> None:
    assert number_of_decoys(asked, people) == count


def test_more_decoys_than_people_are_refused() -> None:
    with pytest.raises(NotPermittedError) as caught:
        number_of_decoys(11, 10)
    assert caught.value.reason == "too-many-decoys" and caught.value.hint is not None


def test_facts_of_decoys_say_nothing_but_what_they_are() -> None:
    frame = decoy_facts(["a" * 32, "b" * 32])
    assert frame.schema == pl.Schema(FACT_SCHEMA) and frame["decoy"].to_list() == [True, True]
    assert all(frame[name].null_count() == 2 for name in FACT_SCHEMA if name not in ("pseudonym", "decoy"))


VALUES: dict[str, Callable[[], st.SearchStrategy[str]]] = {
    "given_name": lambda: st.sampled_from(["A", "ANN", "ANNA", "ÉVE"]),
    "family_name": lambda: st.sampled_from(["X", "LEE", "DE LA CRUZ"]),
    "birth_date": lambda: st.sampled_from(["1998", "199805", "19980517", "20000229", "20000228"]),
    "sex": lambda: st.sampled_from(["F", "M"]),
    "ssn4": lambda: st.sampled_from(["0001", "9999"]),
    "street": lambda: st.sampled_from(["12 N 27TH ST", "PO BOX", "7 A", "12"]),
    "postal_code": lambda: st.sampled_from(["53208", "5"]),
    "medicaid_id": lambda: st.sampled_from(["A1", "WI12345"]),
}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_file_however_small_or_empty_has_decoys(data: st.DataObject) -> None:
    rows = []
    for person in range(data.draw(st.integers(1, 5))):
        first = {name: data.draw(st.lists(value(), max_size=2, unique=True)) for name, value in VALUES.items()}
        rows.append({"local_id": str(person), "variant": 0, **first})
        if data.draw(st.booleans()):
            rows.append({"local_id": str(person), "variant": 1, **first, "given_name": ["OTHER"]})
    schema = {"local_id": pl.String, "variant": pl.UInt8, **dict.fromkeys(VALUES, pl.List(pl.String))}
    persons = pl.DataFrame(rows, schema=schema)
    drawn = draw_decoys(persons, 3, b"k" * 32)
    assert drawn.schema == persons.schema
    assert drawn.filter(variant=0)["local_id"].to_list() == ["0", "1", "2"]
    assert not any(value == "" for name in VALUES for value in drawn[name].explode().drop_nulls())
