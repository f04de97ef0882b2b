"""A printed range leaves every withheld count open: held against all tables of whole persons that there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import polars as pl
import pytest

from linkage.research.coarsen import outwards, printed_range
from linkage.research.disclosure import ProtectedTable, protect
from linkage.research.disclosure.cells import Key, collect
from linkage.research.estimate import HistoryTable, Report, Verdict, estimate
from linkage.research.estimate.families import families
from linkage.research.estimate.result import refused
from linkage.research.headline import Ends, Headline, quick
from linkage.research.release import _protect
from linkage.research.statement import estimate_entry, everything_known
from linkage.research.tables import TOTAL, Table

LISTS = ("a", "b", "c")
FLOOR = 3
ATOMS = tuple("+".join(name for place, name in enumerate(LISTS) if cell >> place & 1) for cell in range(1, 8))


def headline(table: HistoryTable) -> Ends:
    """Make a range that depends on every history."""
    once, twice = table.frequencies[:2].tolist()
    unseen = once**2 / (2 * twice + 1) + 0.3 * table.counts[0] + 0.17 * table.counts[4]
    return table.observed + unseen / 2, table.observed + 2 * unseen


def two_tables(counts: np.ndarray) -> list[Table]:
    """Write the number of lists and the overlaps of lists as tables."""
    by_name = {name: tuple(atom for atom in ATOMS if name in atom) for name in LISTS}
    sizes = {str(size): tuple(atom for atom in ATOMS if atom.count("+") == size - 1) for size in (1, 2, 3)}
    meaning = {name: {"lists": atoms} for name, atoms in by_name.items()}
    found = []
    for name, dimensions in (
        ("systems", {"systems": {size: {"lists": atoms} for size, atoms in sizes.items()}}),
        ("overlaps", {"list": meaning, "and_list": meaning}),
    ):
        rows = []
        for values in product(*[(*options, TOTAL) for options in dimensions.values()]):
            kept = set(ATOMS)
            for value, options in zip(values, dimensions.values(), strict=True):
                kept &= set(ATOMS) if value == TOTAL else set(options[value]["lists"])
            rows.append((*values, sum(int(counts[ATOMS.index(atom)]) for atom in kept)))
        schema = dict.fromkeys(dimensions, pl.String()) | {"count": pl.Int64()}
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        found.append(Table(name, name, tuple(dimensions), frame, dimensions, {"lists": ATOMS}))
    return found


def everything(total: int) -> np.ndarray:
    """Return all tables of so many persons, shape (tables, 7)."""
    bars = np.array(list(product(range(total + 1), repeat=3)), dtype=np.int64)
    bars = bars[bars.sum(axis=1) <= total]
    both = [np.hstack([np.repeat(one[None], len(bars), 0), bars]) for one in bars]
    joined = np.concatenate(both)
    joined = joined[joined.sum(axis=1) <= total]
    return np.hstack([joined, total - joined.sum(axis=1, keepdims=True)])


def sums(key: Key, tables: np.ndarray) -> np.ndarray:
    """Count a cell in each table."""
    atoms = dict(key).get("lists", frozenset(ATOMS))
    return np.asarray(tables[:, [ATOMS.index(atom) for atom in sorted(atoms)]].sum(axis=1))


def printed(counts: np.ndarray, bases: tuple[int, int]) -> tuple[int | None, int | None]:
    """Print the range of some histories."""
    return outwards(*headline(HistoryTable(LISTS, counts)), bases, int(counts.sum()))


def still_open(truth: np.ndarray, protected: list[ProtectedTable], bases: tuple[int, int]) -> bool:
    """Hold the rules of protection for one who knows the range, rounded to the bases, too."""
    tables = everything(int(truth.sum()))
    cells = collect(protected)
    shown = {
        (table.name, tuple(values)): count
        for table in protected
        for *values, count in table.frame.select(*table.dimensions, "count").iter_rows()
    }
    published = {key: shown[places[0]] for key, places in cells.shown.items()}
    for key, count in published.items():
        tables = tables[sums(key, tables) >= 1] if count is None else tables[sums(key, tables) == count]
    depth = {key: int(sums(key, tables).min()) for key in cells.shown}
    wanted, n = printed(truth, bases), int(truth.sum())
    tables = tables[[printed(row, bases) == wanted for row in tables]]
    assert n >= 1 and len(tables)
    for key in [*cells.shown, *cells.implied]:
        values, true = sums(key, tables), int(sums(key, truth[None])[0])
        if published.get(key) is not None:
            continue
        if key in published and 0 < true < FLOOR and (values.max() < FLOOR or values.min() > max(1, depth[key])):
            return False
        if 0 < values.min() < FLOOR and values.max() - values.min() < FLOOR - 1:
            return False
    return True


TRUTHS = [np.random.default_rng(seed).multinomial(18, [0.26, 0.2, 0.08, 0.2, 0.08, 0.1, 0.08]) for seed in range(12)]


def test_of_all_tables_that_print_the_same_some_have_each_withheld_count_at_the_floor_and_some_next_to_none() -> None:
    rounded, told = 0, 0
    for truth in TRUTHS:
        tables = two_tables(truth)
        protected = protect(tables, floor=FLOOR)
        found = printed_range(headline, HistoryTable(LISTS, truth), tables, protected, floor=FLOOR, base=1)
        told += not still_open(truth, protected, (1, 1))
        if found is None:
            continue
        assert (found.low, found.high) == printed(truth, found.bases)
        low, high = headline(HistoryTable(LISTS, truth))
        assert truth.sum() <= found.low <= low and high <= found.high
        assert still_open(truth, protected, found.bases)
        rounded += max(found.bases) > 1
    assert rounded > 2 and told > 2  # the test has something to find


def test_a_range_that_depends_on_published_counts_alone_is_rounded_to_the_base() -> None:
    truth = TRUTHS[0]
    tables = two_tables(truth)
    protected = protect(tables, floor=FLOOR)
    constant = (18.0 + 1.5, 18.0 + 33.5)
    found = printed_range(lambda _: constant, HistoryTable(LISTS, truth), tables, protected, floor=FLOOR, base=5)
    assert found is not None and (found.low, found.high, found.bases) == (18, 55, (5, 5))


def test_a_range_that_says_nothing_but_the_truth_is_refused() -> None:
    truth = TRUTHS[1]
    tables = two_tables(truth)

    def only_here(table: HistoryTable) -> Ends | None:
        return (20.0, 40.0) if (table.counts == truth).all() else None

    protected = protect(tables, floor=FLOOR)
    assert printed_range(only_here, HistoryTable(LISTS, truth), tables, protected, floor=FLOOR, base=1) is None


def test_of_many_lists_quick_families_lead_and_those_not_offered_take_no_part() -> None:
    rng = np.random.default_rng(5)
    for lists in (3, 4, 5, 6, 7):
        names = tuple("abcdefg"[:lists])
        on = rng.random((900, lists)) < np.linspace(0.4, 0.15, lists)
        cells = (on @ (1 << np.arange(lists))).astype(int)
        table = HistoryTable(names, np.bincount(cells, minlength=2**lists)[1:])
        fits = families((), 0, None)
        wanted = [fits[name](table) for name in quick(lists)]
        assert len(wanted) == 3 and all(result.ok for result in wanted)
        report = Report(table, (), (), Verdict("refused", "", "", "", None, None))
        ends = Headline(report).like(table)
        assert ends == (
            max(min(result.lower or 0 for result in wanted), table.observed),
            max(result.upper or 0 for result in wanted),
        )
        ruled_out = refused("averaged-aic", "", "too-many-lists")
        assert Headline(report)._ends(table, [*wanted, ruled_out]) == ends
        assert Headline(report)._ends(table, [*wanted, refused("averaged-aic", "", "unbounded")]) is None
        assert Headline(report)._ends(table, [ruled_out]) is None


def test_what_a_release_waits_for_is_bounded_by_the_number_of_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[HistoryTable] = []

    def counted(table: HistoryTable) -> Ends:
        asked.append(table)
        return headline(table)

    truth = next(t for t in TRUTHS if not still_open(t, protect(two_tables(t), floor=FLOOR), (1, 1)))
    tables = two_tables(truth)
    given = (HistoryTable(LISTS, truth), tables, protect(tables, floor=FLOOR))
    every = printed_range(counted, *given, floor=FLOOR, base=1, like=headline)
    careful = len(asked)
    asked.clear()
    monkeypatch.setattr("linkage.research.coarsen._FEW_LISTS", 2)  # three lists are many now
    quickly = printed_range(counted, *given, floor=FLOOR, base=1, like=headline)
    assert every is not None and quickly is not None and len(asked) < careful
    assert still_open(truth, given[2], quickly.bases)
    monkeypatch.setattr("linkage.research.coarsen._ranges", lambda lists: 0)
    assert printed_range(headline, *given, floor=FLOOR, base=1) is None


def test_what_draws_add_moves_with_the_unseen_number() -> None:
    kosovo = HistoryTable(
        ("ABA", "EXH", "HRW", "OSCE"), np.array([845, 1131, 133, 1217, 181, 106, 17, 1, 32, 58, 104, 55, 9, 124, 177])
    )
    counts = kosovo.counts.copy()
    counts[0] += 400
    draws = [kosovo, HistoryTable(kosovo.lists, counts)] * 10
    report = estimate(kosovo, draws=draws, resamples=40)
    over = Headline(report)(kosovo)
    assert over == pytest.approx((report.verdict.low, report.verdict.high))
    other = HistoryTable(kosovo.lists, kosovo.counts + 3)
    plain, moved = Headline(estimate(kosovo))(other), Headline(report)(other)
    assert plain is not None and moved is not None and moved[1] > plain[1]


@pytest.mark.parametrize("counts", [[10, 16, 7, 6, 7, 4, 2], [22, 9, 3, 16, 10, 5, 2], [12, 24, 5, 12, 3, 8, 2]])
def test_the_stepwise_interval_is_withheld_where_any_overlap_or_number_of_systems_is(counts: list[int]) -> None:
    # With its ends, replaying the resampling on all tables that agree with the rest gave the two on all lists back.
    truth = np.array(counts)
    tables, report = two_tables(truth), estimate(HistoryTable(LISTS, truth))
    protected = _protect(tables, LISTS, [], FLOOR, [])
    assert not everything_known(protected)
    said = estimate_entry(report, tables, protected, floor=FLOOR, base=1)
    entry = next(entry for entry in said.methods if entry.method == "stepwise")
    assert said.status == "estimated"
    assert (entry.status, entry.n_hat, entry.lower, entry.upper) == ("withheld", None, None, None)
    assert entry.model == "pairs of lists that the data choose"


def test_histories_follow_from_whole_tables_of_three_lists() -> None:
    truth = np.array([40, 31, 12, 25, 11, 14, 13])
    tables, report = two_tables(truth), estimate(HistoryTable(LISTS, truth))
    protected = _protect(tables, LISTS, [], FLOOR, [])
    assert everything_known(protected)
    said = estimate_entry(report, tables, protected, floor=FLOOR, base=1)
    stepwise = next(result for result in report.results if result.method == "stepwise")
    entry = next(entry for entry in said.methods if entry.method == "stepwise")
    assert entry.status == "ok" and entry.lower is not None and entry.upper is not None
    assert stepwise.lower is not None and stepwise.upper is not None
    assert stepwise.lower - 1 < entry.lower <= stepwise.lower <= stepwise.upper <= entry.upper < stepwise.upper + 1
