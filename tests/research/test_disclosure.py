"""Nothing below the floor can be seen or worked out: held against programs written another way, and by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from linkage.errors import ReleaseError
from linkage.research.disclosure import (
    Finding,
    ProtectedTable,
    audit,
    compare_releases,
    protect,
    round_estimate,
    shares,
)
from linkage.research.disclosure.attacker import Attacker
from linkage.research.disclosure.cells import collect
from linkage.research.tables import TOTAL, Link, Table

Micro = Mapping[tuple[str, ...], int]

LISTS = ("x", "y", "x+y")
DOMAINS = {"a": ("a0", "a1", "a2"), "b": ("b0", "b1"), "c": ("c0", "c1"), "lists": LISTS}
ON = {"x": {"lists": ("x", "x+y")}, "y": {"lists": ("y", "x+y")}}
MEANINGS = {"on": ON, "and_on": ON}
SHAPES = [
    ("a",),
    ("a", "b"),
    ("b", "c"),
    ("a", "c"),
    ("a", "b", "c"),
    ("on", "a"),
    ("on", "and_on"),
    ("lists",),
    ("on", "b"),
]


def values_of(dimension: str) -> tuple[str, ...]:
    return tuple(MEANINGS[dimension]) if dimension in MEANINGS else DOMAINS[dimension]


def holds(dimension: str, value: str, person: Mapping[str, str]) -> bool:
    if value == TOTAL:
        return True
    if dimension in MEANINGS:
        return value in person["lists"].split("+")
    return person[dimension] == value


def table(dimensions: Sequence[str], people: Micro) -> Table:
    """Count people, given as counts of the full cross, into one table."""
    rows = []
    for cell in product(*[(*values_of(name), TOTAL) for name in dimensions]):
        count = sum(
            number
            for atoms, number in people.items()
            if all(holds(d, v, dict(zip(DOMAINS, atoms, strict=True))) for d, v in zip(dimensions, cell, strict=True))
        )
        rows.append((*cell, count))
    schema = dict.fromkeys(dimensions, pl.String()) | {"count": pl.Int64()}
    meaning = {name: MEANINGS[name] for name in dimensions if name in MEANINGS}
    used = {name for name in dimensions if name in DOMAINS} | ({"lists"} if meaning else set())
    domains = {name: DOMAINS[name] for name in used}
    name = "_".join(dimensions)
    return Table(name, name, tuple(dimensions), pl.DataFrame(rows, schema=schema, orient="row"), meaning, domains)


def plain(name: str, dimensions: Sequence[str], inner: Mapping[tuple[str, ...], int]) -> Table:
    """Make a table with its margins from the inner cells."""
    values = [(*dict.fromkeys(cell[n] for cell in inner), TOTAL) for n in range(len(dimensions))]
    rows = [(*cell, sum(c for i, c in inner.items() if inside(i, cell))) for cell in product(*values)]
    schema = dict.fromkeys(dimensions, pl.String()) | {"count": pl.Int64()}
    return Table(name, name, tuple(dimensions), pl.DataFrame(rows, schema=schema, orient="row"))


def inside(cell: tuple[str, ...], margin: tuple[str, ...]) -> bool:
    return all(v in (TOTAL, w) for v, w in zip(margin, cell, strict=True))


def shown(table: Table | ProtectedTable) -> dict[tuple[str, ...], int | None]:
    return {tuple(cell): count for *cell, count in table.frame.select(*table.dimensions, "count").iter_rows()}


def released(original: Table, hide: Sequence[tuple[str, ...]]) -> ProtectedTable:
    """Release a table with certain cells withheld, safe or not."""
    rows = [(*cell, None if cell in hide else count) for cell, count in shown(original).items()]
    frame = pl.DataFrame(rows, schema=original.frame.schema, orient="row")
    return ProtectedTable(
        original.name,
        original.title,
        original.dimensions,
        frame,
        original.meaning,
        original.domains,
        original.links,
    )


class Outsider:
    """The attacker's program written out over the full cross of all attributes: no cliques, no parts, no tricks."""

    def __init__(self, tables: Sequence[ProtectedTable]) -> None:
        self.people = [dict(zip(DOMAINS, atoms, strict=True)) for atoms in product(*DOMAINS.values())]
        self.cells: dict[tuple[str, tuple[str, ...]], npt.NDArray[np.float64]] = {}
        self.known: dict[tuple[str, tuple[str, ...]], int | None] = {}
        for entry in tables:
            for cell, count in shown(entry).items():
                pairs = list(zip(entry.dimensions, cell, strict=True))
                self.cells[entry.name, cell] = self.persons(
                    lambda p, pairs=pairs: all(holds(d, v, p) for d, v in pairs)
                )
                self.known[entry.name, cell] = count

    def persons(self, within: Callable[[Mapping[str, str]], bool]) -> npt.NDArray[np.float64]:
        """Write a set of persons as a row over the full cross."""
        return np.array([within(person) for person in self.people], dtype=np.float64)

    def bound(self, goal: npt.NDArray[np.float64], sign: int, *, whole: bool, ignore: bool = False) -> float:
        """Least (sign 1) or greatest (sign -1, at most 1000) value; ``ignore`` all that is published but zeros."""
        known = {k: None if ignore and v else v for k, v in self.known.items()}
        rows = np.array([*self.cells.values(), goal])
        lower = np.array([*(1 if v is None else v for v in known.values()), 0])
        upper = np.array([*(np.inf if v is None else v for v in known.values()), 1000])
        found = milp(
            sign * goal,
            integrality=np.full(goal.size, int(whole)),
            bounds=Bounds(0, np.inf),
            constraints=LinearConstraint(rows, lower, upper),
        )
        assert found.status == 0
        return float(sign * found.fun)


micro = st.dictionaries(
    st.tuples(*[st.sampled_from(atoms) for atoms in DOMAINS.values()]), st.integers(1, 9), min_size=1, max_size=14
)
shapes = st.lists(st.sampled_from(SHAPES), min_size=1, max_size=4, unique=True)
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(micro, shapes, st.integers(2, 7))
def test_protected_tables_hold_against_the_full_cross(people: Micro, chosen: list[tuple[str, ...]], floor: int) -> None:
    tables = [table(dimensions, people) for dimensions in chosen]
    protected = protect(tables, floor=floor)
    outsider = Outsider(protected)
    for before, after in zip(tables, protected, strict=True):
        assert (after.name, after.dimensions) == (before.name, before.dimensions)
        for cell, count in shown(before).items():
            printed = shown(after)[cell]
            assert printed in (count, None)
            assert count is not None
            if count == 0:
                assert printed == 0
            if not 0 < count < floor:
                continue
            assert printed is None
            goal = outsider.cells[before.name, cell]
            assert outsider.bound(goal, -1, whole=True) >= floor
            low = outsider.bound(goal, 1, whole=True)
            assert low <= 1 or low <= outsider.bound(goal, 1, whole=True, ignore=True)
    assert [finding for finding in audit(protected, floor=floor) if finding.blocking] == []
    # capture histories, alone and by what the lists are crossed with, are in no table and must not come out of any
    crossed = {name for shape in chosen if "on" in shape for name in shape if name in ("a", "b")}
    overlapping = any("on" in shape for shape in chosen)
    for history, (name, atoms) in product(
        LISTS, [("a", DOMAINS["a"]), *((n, (v,)) for n in crossed for v in DOMAINS[n])]
    ):
        goal = outsider.persons(lambda p, h=history, n=name, s=atoms: p["lists"] == h and p[n] in s)
        if overlapping:
            low, high = (outsider.bound(goal, sign, whole=False) for sign in (1, -1))
            assert low < 0.5 or low > floor - 1 + 1e-6 or high - low >= floor - 1 - 1e-6


@quick
@given(micro, shapes, st.integers(2, 7))
def test_bounds_of_the_cliques_are_those_of_the_full_cross(
    people: Micro, chosen: list[tuple[str, ...]], floor: int
) -> None:
    protected = [
        released(entry, [cell for cell, count in shown(entry).items() if 0 < (count or 0) < floor])
        for entry in (table(dimensions, people) for dimensions in chosen)
    ]
    outsider = Outsider(protected)
    cells = collect(protected)
    attacker = Attacker(cells)
    numbers = {key: outsider.known[places[0]] for key, places in cells.shown.items()}
    known = {key: float(count) for key, count in numbers.items() if count is not None}
    attacker.know(known | {key: 1.0 for key, count in numbers.items() if count is None}, known)
    assert attacker.consistent()
    for i, key in enumerate(attacker.keys[: len(cells.shown)]):
        goal = outsider.cells[cells.shown[key][0]]
        assert attacker.least(i) == np.ceil(outsider.bound(goal, 1, whole=False) - 1e-6)
        most = attacker.most(i)
        assert (1000 if most is None else most) == np.floor(outsider.bound(goal, -1, whole=False) + 1e-6)


@quick
@given(micro, shapes, st.integers(2, 7))
def test_subtracting_gives_no_small_count_back(people: Micro, chosen: list[tuple[str, ...]], floor: int) -> None:
    protected = protect([table(dimensions, people) for dimensions in chosen], floor=floor)
    known = {
        frozenset((d, v) for d, v in zip(entry.dimensions, cell, strict=True) if v != TOTAL): count
        for entry in protected
        for cell, count in shown(entry).items()
    }
    recovered = {}
    progress = True
    while progress:
        progress = False
        for margin, dimension in product(list(known), [d for d in DOMAINS if d != "lists"]):
            parts = [margin | {(dimension, value)} for value in DOMAINS[dimension]]
            if any(part not in known for part in parts) or dimension in dict(margin):
                continue
            line = {key: sign for key, sign in ((margin, -1), *((part, 1) for part in parts))}
            missing = [key for key in line if known[key] is None]
            if len(missing) == 1:
                rest = sum(sign * (known[key] or 0) for key, sign in line.items() if key != missing[0])
                known[missing[0]] = recovered[missing[0]] = abs(rest)
                progress = True
    assert all(count >= floor for count in recovered.values())


@quick
@given(st.lists(st.integers(0, 6), min_size=4, max_size=4), st.integers(2, 4))
def test_against_every_table_there_is(counts: list[int], floor: int) -> None:
    """Enumerate all two by two tables up to 24 a cell that fit what is published."""
    inner = [("r", "c"), ("r", "d"), ("s", "c"), ("s", "d")]
    original = plain("t", ["x", "y"], dict(zip(inner, counts, strict=True)))
    truth, printed = shown(original), shown(protect([original], floor=floor)[0])
    ranges = [range(1, 25) if printed[cell] is None else [printed[cell]] for cell in inner]
    guesses = np.stack(np.meshgrid(*ranges, indexing="ij")).reshape(4, -1)
    sums = {cell: sum(guesses[n] for n, i in enumerate(inner) if inside(i, cell)) for cell in printed}
    fits = np.ones(guesses.shape[1], dtype=np.bool_)
    for cell, count in printed.items():
        fits &= sums[cell] >= 1 if count is None else sums[cell] == count
    for cell, count in truth.items():
        if 0 < (count or 0) < floor:
            marked = [i for i in inner if inside(i, cell) and truth[i]]
            assert sums[cell][fits].max() >= floor
            assert sums[cell][fits].min() <= len(marked)


# By hand


ECONOMY = plain(
    "economy",
    ["activity", "region"],
    {
        ("I", "A"): 20, ("I", "B"): 50, ("I", "C"): 10,
        ("II", "A"): 8, ("II", "B"): 19, ("II", "C"): 22,
        ("III", "A"): 17, ("III", "B"): 32, ("III", "C"): 12,
    },
)  # fmt: skip


def test_bounds_of_the_textbook_table() -> None:
    """Fischetti and Salazar (2001), figure 1: four cells withheld, and the one at stake lies between 5 and 30."""
    hidden = {("II", "A"), ("II", "C"), ("III", "A"), ("III", "C")}
    cells = collect([ECONOMY])
    numbers = {key: float(shown(ECONOMY)[p[0][1]] or 0) for key, p in cells.shown.items() if p[0][1] not in hidden}
    attacker = Attacker(cells)
    attacker.know(numbers, numbers)
    at = next(i for i, key in enumerate(attacker.keys) if cells.shown[key][0][1] == ("II", "C"))
    assert (attacker.least(at), attacker.most(at)) == (5, 30)


def test_the_textbook_table_needs_a_block_of_four() -> None:
    printed = shown(protect([ECONOMY], floor=9)[0])
    withheld = [cell for cell, count in printed.items() if count is None]
    assert ("II", "A") in withheld
    assert len(withheld) == 4
    assert len({cell[0] for cell in withheld}) == len({cell[1] for cell in withheld}) == 2
    assert TOTAL not in {value for cell in withheld for value in cell}


def test_one_cell_withheld_alone_is_found_out() -> None:
    found = audit([released(ECONOMY, [("II", "A")])], floor=9)
    assert [(f.rule, f.table, f.cell, f.lower, f.upper) for f in found] == [
        ("bounded", "economy", "activity=II, region=A", 8, 8)
    ]
    assert found[0].blocking
    assert "8" not in str(found[0]) + repr(found[0])


def test_two_in_each_line_are_not_enough_where_the_block_is_narrow() -> None:
    """The classic slip: every row and column has two withheld cells, yet each lies within a few persons."""
    inner = {("r", "c"): 5, ("r", "d"): 6, ("s", "c"): 7, ("s", "d"): 8, ("r", "e"): 40, ("s", "e"): 40}
    narrow = plain("t", ["r", "c"], inner)
    hide = [(r, c) for r in "rs" for c in "cd"]
    assert {f.rule for f in audit([released(narrow, hide)], floor=11)} == {"bounded"}
    assert not audit(protect([narrow], floor=11), floor=11)


def test_a_shown_small_count_and_a_contradiction_are_found() -> None:
    assert [f.rule for f in audit([released(ECONOMY, [])], floor=9)] == ["shown"]
    one = plain("one", ["r"], {("x",): 20, ("y",): 30})
    other = plain("other", ["r"], {("x",): 21, ("y",): 29})
    assert "inconsistent" in {f.rule for f in audit([released(one, []), released(other, [])], floor=5)}
    wrong = ProtectedTable("w", "w", ("r",), one.frame.with_columns(pl.Series("count", [20, 31, 50])))
    assert [f.rule for f in audit([wrong], floor=5)] == ["inconsistent"]


def test_a_total_in_another_table_counts() -> None:
    """Linked tables: each alone is safe, the margin that they share is not."""
    first = plain("first", ["r"], {("x",): 5, ("y",): 30})
    second = plain("second", ["r", "s"], {("x", "u"): 3, ("x", "v"): 2, ("y", "u"): 12, ("y", "v"): 18})
    alone = released(first, [("x",), ("y",)])
    assert not audit([alone], floor=11)
    leak = released(second, [("x", "u"), ("x", "v"), ("x", TOTAL)])
    rules = {(f.rule, f.cell) for f in audit([alone, leak], floor=11)}
    assert ("inconsistent", "r=y") in rules  # withheld in one table, shown in the other
    together = protect([first, second], floor=11)
    assert not audit(together, floor=11)
    assert shown(together[0])[("y",)] == shown(together[1])[("y", TOTAL)]


def overlap_tables(only_x: int, only_y: int, both: int) -> list[Table]:
    people = {("a0", "b0", "c0", "x"): only_x, ("a0", "b0", "c0", "y"): only_y, ("a0", "b0", "c0", "x+y"): both}
    sizes = Table(
        "systems",
        "systems",
        ("systems",),
        pl.DataFrame(
            {"systems": ["1", "2", TOTAL], "count": [only_x + only_y, both, only_x + only_y + both]},
            schema={"systems": pl.String, "count": pl.Int64},
        ),
        {"systems": {"1": {"lists": ("x", "y")}, "2": {"lists": ("x+y",)}}},
        {"lists": LISTS},
    )
    return [sizes, table(["on", "and_on"], people)]


def test_list_sizes_give_the_overlap_away() -> None:
    """|x| + |y| - persons = on both: published sizes and total give back what the overlap table withholds."""
    systems, overlaps = overlap_tables(60, 40, 5)
    pair = [("x", "y"), ("y", "x")]
    found = audit([released(systems, [("1",), ("2",)]), released(overlaps, pair)], floor=11)
    assert {(f.rule, f.lower, f.upper) for f in found if f.table} >= {("bounded", 5, 5)}
    protected = protect([systems, overlaps], floor=11)
    assert not audit(protected, floor=11)
    sizes = shown(protected[1])
    assert None in (sizes["x", TOTAL], sizes["y", TOTAL], sizes[TOTAL, TOTAL])


def test_persons_on_one_list_alone_are_a_cell_though_no_table_shows_them() -> None:
    systems, overlaps = overlap_tables(60, 5, 40)  # y has 45, of whom 40 are on x too: 5 on y alone
    found = audit([released(overlaps, [])], floor=11)
    assert {(f.rule, f.table, f.lower) for f in found} == {("bounded", "", 5)}
    assert all("lists=y" in f.cell for f in found)
    protected = protect([systems, overlaps], floor=11)
    assert not audit(protected, floor=11)
    assert None in [*shown(protected[1]).values()]


def test_both_lists_by_a_value_come_out_of_each_list_by_that_value() -> None:
    """On both and a0 = on x and a0, and on y and a0, less everybody with a0."""
    people = {
        ("a0", "b0", "c0", "x"): 40,
        ("a0", "b0", "c0", "y"): 30,
        ("a0", "b0", "c0", "x+y"): 4,
        ("a1", "b0", "c0", "x"): 50,
        ("a1", "b0", "c0", "y"): 60,
        ("a1", "b0", "c0", "x+y"): 70,
    }
    profile = table(["on", "a"], people)
    found = {(f.rule, f.table, f.cell, f.lower) for f in audit([released(profile, [])], floor=11) if f.blocking}
    assert found == {("bounded", "", "a=a0, lists=x+y", 4)}
    assert not [f for f in audit(protect([profile], floor=11), floor=11) if f.blocking]


def test_a_declared_link_is_used() -> None:
    """Yearly counts add up to once the persons of one year and twice those of two."""
    years = Table(
        "years",
        "years",
        ("year",),
        pl.DataFrame({"year": ["1", "2", TOTAL], "count": [50, 30, 74]}),
        {"year": {"1": {"y1": ("yes",)}, "2": {"y2": ("yes",)}}},
        {"y1": ("yes", "no"), "y2": ("yes", "no"), "n": ("one", "two")},
        tuple(
            Link(((1, {"y1": ("yes",), "n": (n,)}), (1, {"y2": ("yes",), "n": (n,)}), (-k, {"n": (n,)})))
            for k, n in ((1, "one"), (2, "two"))
        ),
    )
    number = plain("number", ["n"], {("one",): 68, ("two",): 6})
    found = audit([released(years, []), released(number, [("one",), ("two",)])], floor=11)
    assert ("number", "n=two", 6, 6) in {(f.table, f.cell, f.lower, f.upper) for f in found}
    assert not audit(protect([years, number], floor=11), floor=11)


def test_a_whole_row_in_one_cell_is_pointed_out_and_not_withheld() -> None:
    full = plain("t", ["r", "s"], {("x", "u"): 20, ("x", "v"): 0, ("y", "u"): 15, ("y", "v"): 30})
    protected = protect([full], floor=11)
    assert shown(protected[0]) == shown(full)
    found = audit(protected, floor=11)
    assert [(f.rule, f.cell) for f in found] == [("group", "r=x, s=u"), ("group", "r=y, s=v")]
    assert not any(f.blocking for f in found)


def test_a_population_below_the_floor_shows_nothing_but_zeros() -> None:
    tiny = plain("t", ["r"], {("x",): 3, ("y",): 0, ("z",): 2})
    assert shown(protect([tiny], floor=11)[0]) == {("x",): None, ("y",): 0, ("z",): None, (TOTAL,): None}
    nobody = plain("t", ["r"], {("x",): 0})
    assert shown(protect([nobody], floor=11)[0]) == {("x",): 0, (TOTAL,): 0}
    assert protect([], floor=11) == []
    assert audit([], floor=11) == []


# Earlier releases


def test_an_unchanged_table_is_released_in_the_same_pattern() -> None:
    first = protect([ECONOMY], floor=9)
    again = protect([ECONOMY], floor=9, previous=first)
    assert again[0].frame.equals(first[0].frame)


def test_another_pattern_on_the_same_numbers_is_not_offered() -> None:
    """What the first release showed is known: a second that withholds other cells would show the rest."""
    hide = [("II", "A"), ("II", "B"), ("I", "A"), ("I", "B")]
    first = released(ECONOMY, hide)
    again = shown(protect([ECONOMY], floor=9, previous=[first])[0])
    assert sorted(cell for cell, count in again.items() if count is None) == sorted(hide)


def test_a_small_difference_to_an_earlier_release_is_withheld() -> None:
    old = plain("t", ["r"], {("x",): 40, ("y",): 50, ("z",): 60})
    new = plain("t", ["r"], {("x",): 43, ("y",): 90, ("z",): 95})
    first = protect([old], floor=11)
    assert [(f.rule, f.cell) for f in compare_releases(first, [released(new, [])], floor=11)] == [("difference", "r=x")]
    second = protect([new], floor=11, previous=first)
    assert compare_releases(first, second, floor=11) == []
    printed = shown(second[0])
    assert printed["x",] is None
    # x must be able to be what it was, and 11 more
    assert [cell for cell, count in printed.items() if count is None] != [("x",)]


def test_what_history_makes_impossible_is_refused() -> None:
    old = plain("t", ["r"], {("x",): 30, ("y",): 50})
    first = protect([old], floor=11)
    more = plain("t", ["r"], {("x",): 30, ("y",): 50})
    assert shown(protect([more], floor=11, previous=first)[0]) == shown(more)
    # r is known in full; that its part is 8 can be hidden by nothing but its other part, which was published
    finer_old = plain("f", ["r", "s"], {("x", "u"): 12, ("x", "v"): 18, ("y", "u"): 20, ("y", "v"): 30})
    finer = plain("f", ["r", "s"], {("x", "u"): 8, ("x", "v"): 22, ("y", "u"): 24, ("y", "v"): 26})
    published = [*first, *protect([finer_old], floor=11)]
    result = protect([finer], floor=11, previous=published)
    assert compare_releases(published, result, floor=11) == []
    nailed = released(plain("n", ["r"], {("x",): 5, ("y",): 75}), [("x",)])
    with pytest.raises(ReleaseError) as caught:
        protect([plain("n", ["r"], {("x",): 5, ("y",): 75})], floor=11, previous=[nailed])
    assert caught.value.reason == "cannot-protect"


# Figures beside the counts


def test_shares_come_from_published_counts_only() -> None:
    protected = protect([ECONOMY], floor=9)[0]
    table_of_shares = shares(protected, of="region")
    for row in table_of_shares.to_dicts():
        margin = shown(protected)[row["activity"], TOTAL]
        if row["count"] is None or margin is None:
            assert row["share"] is None
        else:
            assert row["share"] == pytest.approx(row["count"] / margin)
    assert table_of_shares["share"].null_count() == 4
    nobody = protect([plain("t", ["r"], {("x",): 0})], floor=11)[0]
    assert shares(nobody, of="r")["share"].to_list() == [None, None]
    with pytest.raises(ReleaseError):
        shares(protected, of="zoo")


@given(st.floats(0, 1e9), st.sampled_from([1, 5, 10, 50]))
def test_rounded_estimates_are_near_and_on_the_base(estimate: float, base: int) -> None:
    rounded = round_estimate(estimate, base=base)
    assert rounded % base == 0
    assert abs(rounded - estimate) <= base / 2


def test_rounding_by_hand() -> None:
    assert [round_estimate(n) for n in (0, 4.9, 5, 14.9, 15, 343.2)] == [0, 0, 10, 10, 20, 340]
    for number in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ReleaseError):
            round_estimate(number)


# Shapes and faults


def test_a_released_table_goes_through_json_and_back() -> None:
    protected = protect(overlap_tables(60, 40, 5), floor=11)
    for entry in protected:
        back = ProtectedTable.restore(entry.structure(), entry.frame)
        assert back.structure() == entry.structure()
        assert shown(back) == shown(entry)
    broken = {k: v for k, v in protected[0].structure().items() if k != "links"}
    with pytest.raises(ReleaseError, match="malformed"):
        ProtectedTable.restore(broken, protected[0].frame)
    with pytest.raises(ReleaseError):
        ProtectedTable.restore(protected[0].structure(), protected[0].frame.head(1))


SQUARE = {(str(i), str(j)): 9 for i in range(8) for j in range(8)}
FAULTS: list[tuple[str, Callable[[], Any]]] = [
    ("bad-floor", lambda: protect([ECONOMY], floor=1)),
    ("bad-table", lambda: protect([ECONOMY, ECONOMY], floor=9)),
    ("bad-table", lambda: protect([plain("a", ["r"], {("x",): 20}), plain("b", ["r"], {("x",): 21})], floor=9)),
    ("bad-table", lambda: protect([plain("a", ["r"], {("x",): 20}), plain("b", ["r"], {("y",): 20})], floor=9)),
    ("bad-table", lambda: Table("t", "t", ("r",), ECONOMY.frame)),
    ("bad-table", lambda: Table("t", "t", ECONOMY.dimensions, ECONOMY.frame.head(3))),
    ("bad-table", lambda: Table("t", "t", ECONOMY.dimensions, ECONOMY.frame.with_columns(-pl.col("count")))),
    ("bad-table", lambda: Table("t", "t", ECONOMY.dimensions, protect([ECONOMY], floor=9)[0].frame)),
    ("too-dense", lambda: protect([plain(f"{d}{e}", [d, e], SQUARE) for d, e in combinations("uvwxyz", 2)], floor=5)),
]


@pytest.mark.parametrize(("reason", "act"), FAULTS, ids=[f"{n}-{reason}" for n, (reason, _) in enumerate(FAULTS)])
def test_faults_are_refused(reason: str, act: Callable[[], Any]) -> None:
    with pytest.raises(ReleaseError) as caught:
        act()
    assert caught.value.reason == reason


def test_a_finding_prints_no_number() -> None:
    finding = Finding("bounded", "t", "r=x", 3, 4)
    assert str(finding) == "t: r=x: a withheld or implied count is known too closely"
    assert "3" not in repr(finding)
