"""The tables of a release, on persons counted by hand and on the figures printed in the 2013-2016 report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from linkage.contract.vocabulary import FACT_SCHEMA, HISTORY_KINDS, RACES, ROLES, SEXES
from linkage.errors import ReleaseError
from linkage.research.disclosure import ProtectedTable, audit, protect
from linkage.research.disclosure.cells import collect
from linkage.research.histories import lists_of, persons, stack
from linkage.research.tables import TOTAL, Table, build_tables


def people_of(rows: list[Mapping[str, Any]]) -> pl.DataFrame:
    """Make persons from facts: ``source`` and ``person`` beside the fact columns."""
    default = {"tier": "believed", "contact": "other", "month": "2014-05", "age": 16, "decoy": False}
    named = [default | {"pseudonym": str(row["person"])} | row for row in rows]
    facts = {
        source: pl.DataFrame(
            [{k: v for k, v in row.items() if k in FACT_SCHEMA} for row in named if row["source"] == source],
            schema=FACT_SCHEMA,
        )
        for source in {row["source"] for row in rows}
    }
    pairs = sorted({(row["source"], row["pseudonym"], row["person"]) for row in named})
    schema = {"source": pl.String, "pseudonym": pl.String, "person": pl.UInt32}
    return persons(stack(facts, pl.DataFrame(pairs, schema=schema, orient="row")))


FIVE = people_of(
    [
        {"source": "mpd", "person": 0, "sex": "female", "race": "black", "age": 13, "month": "2013-02"},
        {"source": "dcf", "person": 0, "sex": "female", "tier": "confirmed", "age": 14, "month": "2014-02"},
        {"source": "mpd", "person": 1, "sex": "female", "tier": "confirmed", "age": 17, "history_drug": "victim"},
        {"source": "mpd", "person": 1, "month": "2014-06", "history_drug": "suspect", "history_other": "witness"},
        {"source": "dcf", "person": 2, "sex": "male", "age": 18, "missing_from_care": True, "out_of_home_care": True},
        {"source": "pohsey", "person": 2, "sex": "male", "age": 18, "missing_as_juvenile": False},
        {"source": "pohsey", "person": 3, "race": "white", "age": None, "history_drug": "none", "missing_ever": False},
        {"source": "pohsey", "person": 4, "sex": "other", "age": 25, "month": "2016-01", "missing_ever": True},
    ]
)
LISTS = ("dcf", "mpd", "pohsey")


@pytest.fixture(scope="module")
def tables() -> dict[str, dict[Any, int]]:
    return {table.name: counts(table) for table in build_tables(FIVE, LISTS)}


def counts(table: Table | ProtectedTable) -> dict[Any, int]:
    """Cell -> count, the key a bare string for one dimension."""
    rows = table.frame.select(*table.dimensions, "count").iter_rows()
    return {cell[0] if len(cell) == 1 else tuple(cell): count for *cell, count in rows}


def test_each_person_once_by_tier_sex_race(tables: dict[str, dict[Any, int]]) -> None:
    assert tables["persons"] == {TOTAL: 5}
    assert tables["tier"] == {"confirmed": 2, "believed": 3, TOTAL: 5}
    sex = tables["sex"]
    assert (sex["female", "confirmed"], sex["male", "believed"], sex["other", TOTAL], sex["unknown", TOTAL]) == (
        2,
        1,
        1,
        1,
    )
    assert sex["transgender_female", TOTAL] == 0
    race = tables["race"]
    assert (race["black", "confirmed"], race["white", "believed"], race["unknown", TOTAL]) == (1, 1, 3)


def test_ages_at_the_first_contact(tables: dict[str, dict[Any, int]]) -> None:
    age = {value: tables["age"][value, TOTAL] for value in ("under 14", "14-17", "18-25", "unknown")}
    assert age == {"under 14": 1, "14-17": 1, "18-25": 2, "unknown": 1}
    assert ("26 and over", TOTAL) not in tables["age"]
    assert [tables["juvenile"][v, TOTAL] for v in ("juvenile", "adult", "unknown")] == [2, 2, 1]
    older = build_tables(people_of([{"source": "mpd", "person": 0, "age": 40}]), ["mpd"])
    assert counts(older[4])["26 and over", "believed"] == 1
    assert counts(older[5])["adult", "believed"] == 1


def test_years_count_a_person_once_in_each(tables: dict[str, dict[Any, int]]) -> None:
    assert tables["years"] == {"2013": 1, "2014": 4, "2015": 0, "2016": 1, TOTAL: 5}
    assert tables["recurrence"] == {"once": 3, "within one year only": 1, "in more than one year": 1, TOTAL: 5}
    assert tables["years_active"] == {"1": 4, "2": 1, "3": 0, "4": 0, TOTAL: 5}


def test_histories_by_kind_and_role(tables: dict[str, dict[Any, int]]) -> None:
    kinds = {kind: tables["history"][kind, "confirmed"] for kind in (*HISTORY_KINDS, "any")}
    assert kinds == dict.fromkeys(HISTORY_KINDS, 0) | {"drug": 1, "other": 1, "any": 1}
    assert tables["history"][TOTAL, "believed"] == 3
    assert tables["history_drug"]["multiple", "confirmed"] == 1
    assert tables["history_drug"]["none", TOTAL] == 1
    assert tables["history_drug"]["unknown", TOTAL] == 3
    assert tables["history_other"]["witness", TOTAL] == 1


def test_missing_and_care(tables: dict[str, dict[Any, int]]) -> None:
    labels = ("ever missing", "missing as a juvenile", "missing from care", "in out-of-home care")
    assert [tables["missing"][label, TOTAL] for label in labels] == [2, 0, 1, 1]


def test_systems_overlaps_and_profiles(tables: dict[str, dict[Any, int]]) -> None:
    assert tables["systems"] == {"1": 3, "2": 2, "3": 0, TOTAL: 5}
    overlaps = tables["overlaps"]
    assert [overlaps[name, TOTAL] for name in LISTS] == [2, 2, 3]
    assert (overlaps["dcf", "mpd"], overlaps["mpd", "dcf"], overlaps["dcf", "pohsey"], overlaps["mpd", "pohsey"]) == (
        1,
        1,
        1,
        0,
    )
    assert overlaps["dcf", "dcf"] == overlaps["dcf", TOTAL]
    assert tables["profile_tier"]["pohsey", "believed"] == 3
    assert tables["profile_tier"][TOTAL, TOTAL] == 5  # not the sum of the lists
    assert tables["profile_sex"]["dcf", "female"] == 1
    assert tables["profile_age"]["mpd", "under 14"] == 1


def test_fewer_lists_leave_their_persons_out() -> None:
    tables = {table.name: counts(table) for table in build_tables(FIVE, ["dcf", "mpd"])}
    assert tables["persons"] == {TOTAL: 3}
    assert tables["systems"] == {"1": 2, "2": 1, TOTAL: 3}
    with pytest.raises(ReleaseError) as caught:
        build_tables(FIVE.head(0), LISTS)
    assert caught.value.reason == "no-persons"


def simulated(people: int, seed: int) -> pl.DataFrame:
    """Draw persons whose attributes hang together as they do in the report."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for person in range(people):
        confirmed = rng.random() < 0.75
        missing, first = rng.random() < 0.5, int(rng.integers(0, 40))
        fixed = {
            "person": person,
            "sex": rng.choice(SEXES, p=[0.9, 0.06, 0.02, 0.01, 0.01]),
            "race": rng.choice([*RACES, None], p=[0.58, 0.22, 0.09, 0.05, 0.02, 0.01, 0.01, 0.02]),
            "tier": "confirmed" if confirmed else "believed",
            "age": int(np.clip(rng.normal(17.5, 3), 11, 25)),
            "missing_ever": bool(missing),
            "missing_from_care": bool(missing and rng.random() < 0.5),
            "missing_as_juvenile": bool(missing and rng.random() < 0.9),
            **{f"history_{kind}": rng.choice(ROLES, p=[0.7, 0.2, 0.04, 0.03, 0.03]) for kind in HISTORY_KINDS},
        }
        chosen = [
            s
            for s, p in zip(("mpd", "dcf", "pohsey", "medical"), (0.6, 0.45, 0.35, 0.2), strict=True)
            if rng.random() < p
        ]
        for source in chosen or ["mpd"]:
            months = {first, min(47, first + int(rng.integers(0, 14)))}
            rows += [{**fixed, "source": source, "month": f"{2013 + m // 12}-{m % 12 + 1:02d}"} for m in months]
    return people_of(rows)


@pytest.fixture(scope="module")
def release() -> tuple[list[Table], list[ProtectedTable]]:
    people = simulated(260, seed=7)
    tables = build_tables(people, lists_of(people))
    return tables, protect(tables, floor=11)


def test_cells_of_one_meaning_have_one_count_and_links_hold() -> None:
    people = simulated(60, seed=3)
    tables = build_tables(people, lists_of(people))
    values = {(t.name, tuple(cell)): count for t in tables for *cell, count in t.frame.iter_rows()}
    cells = collect(tables)
    assert not cells.impossible
    for places in cells.shown.values():
        assert len({values[place] for place in places}) == 1
    # two a kind of history; one for each of once, within one year, 2 years, ... and years_active has 1, 2, ..., total
    assert len(cells.links) == 2 * len(HISTORY_KINDS) + len(counts(tables[8]))
    together = {t.name: counts(t) for t in tables}
    sizes = [together["overlaps"][name, TOTAL] for name in lists_of(people)]
    assert sum(sizes) == sum(int(k) * n for k, n in together["systems"].items() if k != TOTAL)
    yearly = [n for year, n in together["years"].items() if year != TOTAL]
    assert sum(yearly) == sum(int(k) * n for k, n in together["years_active"].items() if k != TOTAL)


def test_a_whole_release_is_safe_and_says_something(release: tuple[list[Table], list[ProtectedTable]]) -> None:
    tables, protected = release
    assert [f for f in audit(protected, floor=11) if f.blocking] == []
    small = complementary = 0
    for before, after in zip(tables, protected, strict=True):
        for count, printed in zip(before.frame["count"], after.frame["count"], strict=True):
            assert printed in (count, None)
            small += 0 < count < 11
            complementary += printed is None and count >= 11
            assert printed is None or not 0 < count < 11
    assert 0 < complementary < small  # far from withholding everything
    assert counts(protected[0]) == {TOTAL: 260}


def test_putting_back_one_withheld_margin_is_found(release: tuple[list[Table], list[ProtectedTable]]) -> None:
    """The audit has teeth: in each table with complementary cells, printing those gives something away."""
    tables, protected = release
    n = next(n for n, table in enumerate(tables) if table.name == "sex")
    frame = (
        protected[n]
        .frame.with_columns(pl.when(tables[n].frame["count"] >= 11).then(tables[n].frame["count"]).alias("count"))
        .with_columns(pl.when(tables[n].frame["count"] == 0).then(0).otherwise(pl.col("count")).alias("count"))
    )
    leaky = ProtectedTable.restore(protected[n].structure(), frame)
    found = audit([*protected[:n], leaky, *protected[n + 1 :]], floor=11)
    assert any(f.blocking for f in found)


def test_the_report_tables_are_reproduced_and_would_not_pass(shared: Path) -> None:
    """Tier by sex as printed in 2018: right counts, and four men and two transgender women in plain sight."""
    printed = yaml.safe_load((shared / "facts" / "mpd_2013_2016.yaml").read_text())["sex"]
    names = {"female": "female", "male": "male", "transgender_mtf": "transgender_female"}
    rows: list[Mapping[str, Any]] = []
    for tier in ("confirmed", "believed"):
        for sex, count in printed[tier].items():
            rows += [{"source": "mpd", "person": len(rows) + n, "tier": tier, "sex": names[sex]} for n in range(count)]
    table = next(t for t in build_tables(people_of(rows), ["mpd"]) if t.name == "sex")
    assert {sex: counts(table)[names[sex], TOTAL] for sex in names} == printed["overall"]
    bare = ProtectedTable(
        table.name, table.title, table.dimensions, table.frame, table.meaning, table.domains, table.links
    )
    assert "shown" in {f.rule for f in audit([bare], floor=11)}
    safe = protect([table], floor=11)
    assert not [f for f in audit(safe, floor=11) if f.blocking]
    assert counts(safe[0])["male", TOTAL] is None
