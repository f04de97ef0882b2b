"""Person ids that stay: none changes when nothing changed, one a person, the greatest agreement with before."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.errors import LinkError
from linkage.hub.registry import Registry, carry, forget, inherit, rename

RECORDS = [(source, f"{number:032x}") for source in ("dcf", "mpd") for number in range(7)]


@st.composite
def partitions(draw: st.DrawFn) -> pl.DataFrame:
    """Draw persons over some of the records, rows in any order, numbered in any order."""
    records = draw(st.lists(st.sampled_from(RECORDS), min_size=2, unique=True))
    labels = draw(st.lists(st.integers(0, 5), min_size=len(records), max_size=len(records)))
    dense = {label: number for number, label in enumerate(draw(st.permutations(sorted(set(labels)))))}
    return people([(*record, dense[label]) for record, label in zip(records, labels, strict=True)])


def people(rows: list[tuple[str, str, int]]) -> pl.DataFrame:
    schema = {"source": pl.String(), "pseudonym": pl.String(), "person": pl.UInt32()}
    return pl.DataFrame(rows, schema=schema, orient="row")


def named(*groups: str) -> pl.DataFrame:
    """Make persons of words: each letter is a record of one source."""
    return people([("mpd", f"{ord(letter):032x}", number) for number, word in enumerate(groups) for letter in word])


def counting(start: int = 0) -> Callable[[], str]:
    numbers = itertools.count(start)
    return lambda: f"{next(numbers):032x}"


def by_record(persons: pl.DataFrame, ids: list[str]) -> dict[tuple[str, str], str]:
    return {(source, pseudonym): ids[person] for source, pseudonym, person in persons.iter_rows()}


@given(st.lists(partitions(), min_size=1, max_size=5))
def test_one_id_a_person_and_none_twice(months: list[pl.DataFrame]) -> None:
    registry = Registry.empty()
    given_out: set[str] = set()
    for number, persons in enumerate(months):
        before = registry
        carried = carry(persons, before, f"2026-{number + 1:02d}")
        registry = carried.registry
        assert (
            len(set(carried.ids)) == len(carried.ids) == persons["person"].n_unique() == carried.carried + carried.new
        )
        assert {name for name in carried.ids if name not in given_out} == set(carried.ids) - set(before.records["id"])
        given_out |= set(carried.ids)
        assert (
            by_record(persons, carried.ids).items()
            <= {(source, pseudonym): name for source, pseudonym, name, *_ in registry.records.iter_rows()}.items()
        )
        absent = before.records.join(persons, on=["source", "pseudonym"], how="anti")
        assert absent.join(registry.records, on=absent.columns, how="anti").is_empty()


@given(st.lists(partitions(), min_size=1, max_size=3), partitions())
def test_ids_stay_when_nothing_changed(months: list[pl.DataFrame], persons: pl.DataFrame) -> None:
    registry = Registry.empty()
    for number, earlier in enumerate(months):
        registry = carry(earlier, registry, f"2026-0{number + 1}").registry
    once = carry(persons, registry, "2026-08")
    again = carry(persons, once.registry, "2026-09")
    assert again.ids == once.ids
    assert (again.new, again.split, again.merged) == (0, 0, 0)
    assert again.registry.changes.equals(once.registry.changes)


@given(partitions(), partitions(), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_numbers_says_nothing(before: pl.DataFrame, now: pl.DataFrame, chance: object) -> None:
    rows = now.rows()
    chance.shuffle(rows)  # type: ignore[attr-defined]
    numbers = list(range(now["person"].n_unique()))
    chance.shuffle(numbers)  # type: ignore[attr-defined]
    other = people([(source, pseudonym, numbers[person]) for source, pseudonym, person in rows])
    registry = carry(before, Registry.empty(), "2026-01", new_id=counting()).registry
    one, two = (carry(frame, registry, "2026-02", new_id=counting(100)) for frame in (now, other))
    assert by_record(now, one.ids) == by_record(other, two.ids)
    assert one.registry.records.equals(two.registry.records)
    assert one.registry.changes.equals(two.registry.changes)


@given(st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 3)), st.integers(1, 3), min_size=1))
def test_the_choice_is_the_best_of_all_choices(overlaps: dict[tuple[int, int], int]) -> None:
    """The plain twin tries every choice of edges: most records first, then the greatest sum of ranks by age."""
    edges = sorted(overlaps)
    person, age = np.array(edges, np.int64).T
    overlap = np.array([overlaps[edge] for edge in edges], np.int64)
    group = _components(edges)

    def points(old: int) -> int:
        return sum(other >= old for other in {edge[1] for edge in edges} if group[other] == group[old])

    def worth(chosen: tuple[int, ...]) -> tuple[int, int]:
        return sum(int(overlap[edge]) for edge in chosen), sum(points(edges[edge][1]) for edge in chosen)

    possible = [
        chosen
        for size in range(min(4, len(edges)) + 1)
        for chosen in itertools.combinations(range(len(edges)), size)
        if len({edges[edge][0] for edge in chosen}) == len({edges[edge][1] for edge in chosen}) == size
    ]
    found = tuple(int(edge) for edge in np.flatnonzero(inherit(person, age, overlap)))
    assert found in possible
    # Ages count within what hangs together, where they add up to the same order as over all.
    assert worth(found) == max(worth(chosen) for chosen in possible)


def _components(edges: list[tuple[int, int]]) -> dict[int, int]:
    """Return for each earlier id the smallest id that hangs together with it."""
    group = {old: old for _, old in edges}
    for _ in edges:
        for person, old in edges:
            joined = min(group[other] for who, other in edges if who == person)
            group[old] = min(group[old], joined)
    return group


def test_splits_and_merges_are_on_record_by_id_and_month() -> None:
    first = carry(named("abc", "de", "f"), Registry.empty(), "2026-01", new_id=counting())
    abc, de, f = first.ids
    second = carry(named("ab", "c", "def"), first.registry, "2026-02", new_id=counting(10))
    assert second.ids[0] == abc
    assert second.ids[2] == de
    assert (second.carried, second.new, second.split, second.merged) == (2, 1, 1, 1)
    assert set(second.registry.changes.rows()) == {
        ("2026-02", "split", abc, abc),
        ("2026-02", "split", abc, second.ids[1]),
        ("2026-02", "merge", de, de),
        ("2026-02", "merge", f, de),
    }


def test_the_older_id_stays_where_agreement_leaves_a_choice() -> None:
    first = carry(named("b"), Registry.empty(), "2026-01", new_id=lambda: "f" * 32)
    second = carry(named("a"), first.registry, "2026-02", new_id=lambda: "0" * 32)
    assert carry(named("ab"), second.registry, "2026-03").ids == ["f" * 32]


def test_greatest_agreement_is_over_all_persons_not_one_after_the_other() -> None:
    first = carry(named("abcdefghi", "jklm"), Registry.empty(), "2026-01")
    nine, four = first.ids
    # Whoever takes the greatest overlap first (five of nine) ends with five records that keep their id, not eight.
    assert carry(named("abcdejklm", "fghi"), first.registry, "2026-02").ids == [four, nine]


def test_an_id_that_was_merged_away_is_never_given_again() -> None:
    registry = carry(named("a", "b"), Registry.empty(), "2026-01", new_id=counting()).registry
    merged = carry(named("ab"), registry, "2026-02").registry
    apart = carry(named("a", "b"), merged, "2026-03", new_id=counting())
    assert apart.ids[0] == f"{0:032x}"
    assert apart.ids[1] == f"{2:032x}"


def test_months_of_a_record_widen_and_never_shrink() -> None:
    registry = carry(named("a", "b"), Registry.empty(), "2026-03").registry
    registry = carry(named("a", "b"), registry, "2026-02").registry
    registry = carry(named("a"), registry, "2026-05").registry
    assert registry.records.select("first", "last").rows() == [("2026-02", "2026-05"), ("2026-02", "2026-03")]


def test_a_forgotten_record_leaves_nothing() -> None:
    first = carry(named("ab", "c"), Registry.empty(), "2026-01")
    second = carry(named("a", "b", "c"), first.registry, "2026-02")
    gone = forget(second.registry, "mpd", [f"{ord('b'):032x}"])
    text = gone.records.write_csv() + gone.changes.write_csv()
    assert f"{ord('b'):032x}" not in text
    assert second.ids[1] not in text
    assert set(gone.records["id"]) == {second.ids[0], second.ids[2]}
    back = carry(named("a", "b", "c"), gone, "2026-03")
    assert back.ids[1] not in second.ids
    assert forget(gone, "mpd", None).records.is_empty()
    assert forget(gone, "dcf", None).records.equals(gone.records)


def test_new_pseudonyms_carry_the_ids() -> None:
    first = carry(named("ab", "c"), Registry.empty(), "2026-01")
    pairs = pl.DataFrame({"before": [f"{ord(x):032x}" for x in "abcz"], "after": [f"{ord(x):032x}" for x in "ABCZ"]})
    registry, renamed = rename(first.registry, "mpd", pairs)
    assert renamed == 3
    assert carry(named("AB", "C"), registry, "2026-02").ids == first.ids
    assert rename(registry, "mpd", pairs)[1] == 0
    mixed = carry(named("a", "A"), Registry.empty(), "2026-01").registry
    with pytest.raises(LinkError) as refused:
        rename(mixed, "mpd", pairs)
    assert refused.value.reason == "already-known"


def test_it_is_told_how_many_records_were_known() -> None:
    first = carry(named("abcd"), Registry.empty(), "2026-01")
    assert first.known == {}
    assert carry(named("ab", "cx"), first.registry, "2026-02").known == {"mpd": 0.75}
    assert carry(named("wxyz"), first.registry, "2026-02").known == {"mpd": 0.0}
    # Fewer now: of those that could have been known, all are.
    assert carry(named("a"), first.registry, "2026-02").known == {"mpd": 1.0}
