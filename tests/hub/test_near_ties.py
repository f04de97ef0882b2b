"""Near-ties: which pairs are named, and what each agency's own list says."""

from __future__ import annotations

import re

import numpy as np
import polars as pl

from linkage.hub.near_ties import near_ties, ties_by_source


def ties(source: str, pairs: list[tuple[int, int, float]], most: int = 1000) -> list[tuple[str, str, str]]:
    persons = pl.DataFrame({"source": list(source), "pseudonym": [f"{i}" for i in range(len(source))]})
    left, right, chance = (
        (np.array(column) for column in zip(*pairs, strict=True)) if pairs else (np.zeros(0, int),) * 3
    )
    found = near_ties(persons, left, right, chance.astype(float), most=most)
    assert found.columns == ["source", "pseudonym", "other_source", "other_pseudonym", "band"]
    return sorted((row[1], row[3], row[4]) for row in found.iter_rows())


def test_pairs_about_as_likely_as_not_are_named_in_coarse_bands() -> None:
    pairs = [(0, 4, 0.99), (1, 5, 0.52), (2, 6, 0.33), (3, 7, 0.05)]
    assert ties("aaaabbbb", pairs) == [("1", "5", "even"), ("2", "6", "leaning")]
    assert ties("aabb", []) == []


def test_rivals_for_one_record_are_named() -> None:
    # Record 0 has three partners in b, none above .3, two of them alike; in c it has one that is certain.
    pairs = [(0, 1, 0.28), (0, 2, 0.27), (0, 3, 0.06), (0, 4, 0.98)]
    assert ties("abbbc", pairs) == [("0", "1", "even"), ("0", "2", "even")]
    # Two partners that are both certain, as in a source with repeats, are no tie; nor are two that are out of question.
    assert ties("abb", [(0, 1, 0.98), (0, 2, 0.97)]) == []
    assert ties("abb", [(0, 1, 0.05), (0, 2, 0.05)]) == []
    # The tie counts from either side.
    assert ties("aab", [(0, 2, 0.25), (1, 2, 0.24)]) == [("0", "2", "even"), ("1", "2", "even")]


def test_the_list_is_bounded_and_takes_the_nearest() -> None:
    pairs = [(i, 50 + i, 0.3 + i * 0.004) for i in range(50)]
    named = ties("a" * 50 + "b" * 50, pairs, most=10)
    assert {first for first, _, _ in named} == {str(i) for i in range(40, 50)}
    assert {band for _, _, band in named} == {"even"}


PAIRS = pl.DataFrame(
    [
        ("dcf", "d1", "mpd", "m1", "even"),
        ("dcf", "d1", "mpd", "m2", "even"),
        ("dcf", "d2", "pohsey", "p1", "leaning"),
        ("mpd", "m3", "mpd", "m4", "even"),
        ("pohsey", "p2", "mpd", "m5", "leaning"),
    ],
    schema=["source", "pseudonym", "other_source", "other_pseudonym", "band"],
    orient="row",
)
SOURCES = ("dcf", "medical", "mpd", "pohsey")


def test_each_agency_gets_its_own_pseudonyms_alone_under_common_names() -> None:
    lists = ties_by_source(PAIRS, SOURCES, "a run")
    assert tuple(lists) == SOURCES
    assert all(own.columns == ["tie", "pseudonym", "other_source", "band"] for own in lists.values())
    assert lists["medical"].is_empty()
    for source, own in lists.items():
        assert set(own["pseudonym"].str.head(1)) <= {source[0]}
    # Put together by their names, the lists are the pairs again.
    together = pl.concat([own.with_columns(source=pl.lit(source)) for source, own in lists.items()])
    pairs = {frozenset(group["pseudonym"].to_list()) for _, group in together.group_by("tie")}
    assert pairs == {frozenset((row[1], row[3])) for row in PAIRS.iter_rows()}
    names = together["tie"].unique().to_list()
    assert len(names) == len(PAIRS)
    assert all(re.fullmatch("[0-9a-f]{10}", name) for name in names)  # and no number, which would count all ties
    for own in lists.values():
        assert own["tie"].is_sorted()
    assert lists["mpd"].filter(other_source="mpd")["pseudonym"].to_list() == ["m3", "m4"]
    assert dict(lists["pohsey"].select("pseudonym", "other_source").iter_rows()) == {"p1": "dcf", "p2": "mpd"}


def test_the_names_are_the_same_again_and_do_not_follow_the_pseudonyms() -> None:
    many = pl.DataFrame(
        [("dcf", f"d{place:03d}", "mpd", f"m{place:03d}", "even") for place in range(200)],
        schema=PAIRS.columns,
        orient="row",
    )
    lists = ties_by_source(many, ("dcf", "mpd"), "a run")
    for source, letter in (("dcf", "d"), ("mpd", "m")):
        assert lists[source]["tie"].is_sorted() and lists[source]["pseudonym"].str.starts_with(letter).all()
    again = ties_by_source(many.sample(fraction=1, shuffle=True, seed=1), ("dcf", "mpd"), "a run")
    assert all(lists[source].equals(again[source]) for source in lists)
    order = [int(name[1:]) for name in lists["mpd"]["pseudonym"]]
    assert abs(np.corrcoef(order, range(200))[0, 1]) < 0.3
    assert not ties_by_source(many, ("dcf",), "another run")["dcf"].equals(lists["dcf"])
