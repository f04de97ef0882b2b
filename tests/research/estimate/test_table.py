"""The reader of capture histories: what it takes, what it refuses, and that order and splitting do not matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.errors import EstimateError
from linkage.research.estimate import HistoryTable, parse_histories, read_histories


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@st.composite
def rows(draw):
    t = draw(st.integers(1, 5))
    history = st.tuples(*[st.integers(0, 1)] * t).filter(any)
    return t, draw(st.lists(st.tuples(history, st.integers(0, 2**33)), min_size=1, max_size=30))


def frame_of(t: int, entries) -> pl.DataFrame:
    names = [f"L{j}" for j in range(t)]
    data = {name: [history[j] for history, _ in entries] for j, name in enumerate(names)}
    return pl.DataFrame({**data, "count": [count for _, count in entries]}, schema_overrides={"count": pl.Int64})


@given(rows(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_of_rows_does_not_matter(drawn, random):
    t, entries = drawn
    shuffled = list(entries)
    random.shuffle(shuffled)
    one, other = (HistoryTable.from_frame(frame_of(t, e)) for e in (entries, shuffled))
    np.testing.assert_array_equal(one.counts, other.counts)
    assert one.digest == other.digest


@given(rows(), st.data())
@settings(deadline=None)
def test_split_counts_are_summed(drawn, data):
    t, entries = drawn
    parts = []
    for history, count in entries:
        first = data.draw(st.integers(0, count))
        parts += [(history, first), (history, count - first)]
    one, other = (HistoryTable.from_frame(frame_of(t, e)) for e in (entries, parts))
    np.testing.assert_array_equal(one.counts, other.counts)


@given(rows())
@settings(max_examples=30, deadline=None)
def test_csv_gives_the_same_table_as_the_frame(tmp_path_factory, drawn):
    t, entries = drawn
    frame = frame_of(t, entries)
    path = tmp_path_factory.mktemp("csv") / "histories.csv"
    frame.write_csv(path)
    lists = [f"L{j}" for j in range(t)]
    one = HistoryTable.from_frame(frame, lists=lists)
    other = HistoryTable.from_frame(read_histories(path), lists=lists)
    np.testing.assert_array_equal(one.counts, other.counts)


@given(rows())
@settings(deadline=None)
def test_sizes_and_frequencies_agree_with_the_rows(drawn):
    t, entries = drawn
    table = HistoryTable.from_frame(frame_of(t, entries))
    assert table.observed == sum(count for _, count in entries)
    assert table.totals.tolist() == [sum(c for h, c in entries if h[j]) for j in range(t)]
    assert table.frequencies.tolist() == [sum(c for h, c in entries if sum(h) == k) for k in range(1, t + 1)]
    if t > 1:
        assert table.together(0, 1) == sum(c for h, c in entries if h[0] and h[1])
        assert (
            table.without(0).counts.tolist()
            == HistoryTable.from_frame(
                frame_of(t - 1, [(h[1:], c) for h, c in entries if any(h[1:])] or [((1,) + (0,) * (t - 2), 0)])
            ).counts.tolist()
        )
        assert table.given(0).observed == sum(c for h, c in entries if h[0] and any(h[1:]))


def test_cells_are_in_the_stated_order():
    frame = pl.DataFrame({"A": [1, 0, 1, 0, 1], "B": [0, 1, 1, 0, 1], "C": [0, 0, 0, 1, 1], "count": [1, 2, 3, 4, 7]})
    assert HistoryTable.from_frame(frame).counts.tolist() == [1, 2, 3, 4, 0, 0, 7]


def test_strata_are_the_other_columns():
    frame = pl.DataFrame(
        {
            "A": [1, 0, 1, 1],
            "B": [0, 1, 1, 1],
            "year": [2013, 2013, 2014, 2014],
            "sex": ["f", "f", None, None],
            "count": [1, 2, 3, 4],
        }
    )
    histories = parse_histories(frame)
    assert histories.pooled.counts.tolist() == [1, 2, 7]
    assert [dict(s.values) for s in histories.strata] == [{"year": "2013", "sex": "f"}, {"year": "2014", "sex": None}]
    assert [s.table.counts.tolist() for s in histories.strata] == [[1, 2, 0], [0, 0, 7]]


def test_a_stratum_of_zeros_and_ones_needs_the_lists_named():
    frame = pl.DataFrame({"A": [1, 0], "B": [1, 1], "minor": [0, 1], "count": [1, 2]})
    assert HistoryTable.from_frame(frame).lists == ("A", "B", "minor")
    histories = parse_histories(frame, lists=["B", "A"])
    assert histories.pooled.lists == ("B", "A")
    assert [dict(s.values) for s in histories.strata] == [{"minor": "0"}, {"minor": "1"}]


def test_boolean_lists_and_whole_floats():
    frame = pl.DataFrame({"A": [True, False], "B": [True, True], "count": [1.0, 2.0]})
    assert HistoryTable.from_frame(frame).counts.tolist() == [0, 2, 1]


def test_bits_that_other_software_made_floats_are_lists_still(tmp_path):
    frame = pl.DataFrame({"A": [1.0, 0.0, 1.0], "B": [1, 1, 1], "count": [1, 2, 3]})
    assert HistoryTable.from_frame(frame).counts.tolist() == [0, 2, 4]
    path = write(tmp_path / "h.csv", "A,B,count\n1.0,1,1\n0.0,1,2\n1.0,1,3\n")
    assert HistoryTable.from_frame(read_histories(path)).counts.tolist() == [0, 2, 4]


@pytest.mark.parametrize(
    "counts",
    [
        [1.5, 2.0, 3.0],
        [float("nan"), 2.0, 3.0],
        [float("inf"), 2.0, 3.0],
        [1e300, 1.0, 1.0],
        [-1, 2, 3],
        [2**60, 1, 1],
        ["1", "2", "3"],
        [True, True, False],
    ],
)
def test_an_array_of_counts_is_never_rounded_or_cut_off(counts):
    with pytest.raises(EstimateError) as caught:
        HistoryTable(("A", "B"), np.array(counts))
    assert caught.value.reason == "bad-count"
    assert HistoryTable(("A", "B"), np.array([2.0, 0.0, 1.0])).counts.tolist() == [2, 0, 1]


def test_two_lists_of_one_name_are_refused():
    with pytest.raises(EstimateError):
        HistoryTable(("A", "A"), np.array([1, 2, 3]))


@given(rows(), st.data())
@settings(max_examples=40, deadline=None)
def test_a_merge_keeps_everybody(drawn, data):
    t, entries = drawn
    if t < 2:
        return
    table = HistoryTable.from_frame(frame_of(t, entries), lists=[f"L{j}" for j in range(t)])
    first, second = data.draw(st.permutations(range(t)))[:2]
    merged = table.merged(first, second)
    assert merged.observed == table.observed and merged.t == t - 1
    name = f"L{first}+L{second}"
    both = table.totals[first] + table.totals[second] - table.together(first, second)
    assert merged.totals[merged.lists.index(name)] == both
    for other in set(range(t)) - {first, second}:
        assert merged.totals[merged.lists.index(f"L{other}")] == table.totals[other]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"A": [1], "B": [1], "count": [-1]}, "bad-count"),
        ({"A": [1], "B": [1], "count": [1.5]}, "bad-count"),
        ({"A": [1], "B": [1], "count": [float("nan")]}, "bad-count"),
        ({"A": [1], "B": [1], "count": [float("inf")]}, "bad-count"),
        ({"A": [1, 1], "B": [1, 0], "count": [1, None]}, "bad-count"),
        ({"A": [1], "B": [1], "count": ["7"]}, "bad-count"),
        ({"A": [1], "B": [1], "count": [2**60]}, "bad-count"),
        ({"A": [0, 1], "B": [0, 1], "count": [731, 1]}, "all-zero-row"),
        ({"A": [1, None], "B": [1, 1], "count": [1, 1]}, "missing-value"),
        ({"A": [1.0, float("nan")], "B": [1, 1], "count": [1, 1]}, "missing-value"),
        ({"A": [1, 1], "B": [1, 0], "C": [None, None], "count": [1, 1]}, "missing-value"),
        ({"A": [1, 1], "B": [1, 0], "count": [True, True]}, "bad-count"),
        ({"year": [2013], "count": [1]}, "no-lists"),
        ({"A": [1], "B": [1]}, "no-count"),
        ({"A": [], "B": [], "count": []}, "no-rows"),
        ({**{f"L{j}": [1] for j in range(13)}, "count": [5]}, "too-many-lists"),
    ],
)
def test_what_is_no_table_is_refused_without_its_values(columns, reason):
    with pytest.raises(EstimateError) as caught:
        HistoryTable.from_frame(pl.DataFrame(columns))
    assert caught.value.reason == reason
    assert not any(value in str(caught.value) for value in ("731", "2013", "1.5", str(2**60)))


@pytest.mark.parametrize(
    ("lists", "reason"), [(["A", "A"], "unknown-list"), (["Z"], "unknown-list"), (["year"], "bad-list")]
)
def test_wrongly_named_lists_are_refused(lists, reason):
    frame = pl.DataFrame({"A": [1], "B": [1], "year": [2013], "count": [3]})
    with pytest.raises(EstimateError) as caught:
        parse_histories(frame, lists=lists)
    assert caught.value.reason == reason
    assert ("once" if lists == ["A", "A"] else "columns of only 0 and 1 are: A, B") in str(caught.value.hint)
    assert "2013" not in str(caught.value)


def test_whoever_names_some_of_the_lists_alone_is_told_the_others():
    frame = pl.DataFrame({"A": [1, 0, 0], "B": [1, 1, 0], "C": [0, 0, 1], "place": ["x"] * 3, "count": [3, 2, 4]})
    with pytest.raises(EstimateError) as caught:
        parse_histories(frame, lists=["A", "B"])
    assert caught.value.reason == "all-zero-row"
    assert str(caught.value.hint).startswith("if these are lists, name them as well: C; ")
    # A stratum that is coded 0 and 1 is what naming the lists is for.
    assert len(parse_histories(frame.head(2), lists=["A", "B"]).strata) == 1
    with pytest.raises(EstimateError) as caught:
        parse_histories(frame.with_columns(A=0, B=0), lists=["A", "B", "C"])
    assert "name them" not in str(caught.value.hint)


def test_an_all_zero_row_without_people_is_harmless():
    frame = pl.DataFrame({"A": [0, 1], "B": [0, 1], "count": [0, 4]})
    assert HistoryTable.from_frame(frame).observed == 4


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv_with_and_without_byte_order_mark(tmp_path, mark):
    path = write(tmp_path / "h.csv", mark + "A,B,place,count\n1,0,Kraków,3\n\n0,1,Oslo,4000000000\n")
    histories = parse_histories(read_histories(path))
    assert histories.pooled.counts.tolist() == [3, 4_000_000_000, 0]
    assert histories.strata[0].values == {"place": "Kraków"}


@pytest.mark.parametrize(
    ("text", "encoding", "reason"),
    [
        ("A,B,place,count\n1,0,Málaga,3\n", "latin-1", "bad-encoding"),
        ("A,B,count\n1,0,3\n", "utf-16", "bad-encoding"),
        ("A,B,count\n1,0\n", "utf-8", "bad-csv"),
        ('A,B,count\n1,0,"3\n', "utf-8", "bad-csv"),
        ("A,A,count\n1,0,3\n", "utf-8", "bad-header"),
        ("A;B;count\n1;0;3\n", "utf-8", "no-count"),
        ("A,B,count\n1,0,3.5\n", "utf-8", "bad-count"),
        ("A,B,count\n1,0,1e3\n", "utf-8", "bad-count"),
        ("A,B,count\n1,0,-731\n", "utf-8", "bad-count"),
        ("A,B,count\n1,0,\n", "utf-8", "bad-count"),
        ("A,B,count\n1,0,99999999999999999999999\n", "utf-8", "bad-count"),
        (f"A,B,count\n1,0,{'9' * 5000}\n", "utf-8", "bad-count"),
        (f"A,B,count\n1,0,{'9' * 200_000}\n", "utf-8", "bad-csv"),
        ('A,B,count\n1,0,"3,000"\n', "utf-8", "bad-count"),
        ("A,B,count\n1,0,NA\n", "utf-8", "bad-count"),
        ("A,B,count\n1,0,\n1,1,2\n", "utf-8", "bad-count"),
        ("A,B,count\n1,,3\n1,0,3\n", "utf-8", "missing-value"),
        ("A,B,count\n1,,3\n", "utf-8", "missing-value"),
        ("A,B,count\n1,0,3\n0,0,731\n0,1,1\n", "utf-8", "all-zero-row"),
        ("A,B,count\n1,0,3\nO,1,2\n", "utf-8", "all-zero-row"),
        ("A\tB\tcount\n1\t0\t3\n", "utf-8", "no-count"),
        ("A,B,count\n1,0,3\n", "utf-16-le", "bad-encoding"),
        ("A,B,count\n1,0,3\n", "utf-32", "bad-encoding"),
        ("Añ,B,count\n1,0,3\n", "cp1252", "bad-encoding"),
        ("A,B,count\n", "utf-8", "no-rows"),
        ("", "utf-8", "no-rows"),
    ],
)
def test_files_that_are_no_table(tmp_path, text, encoding, reason):
    path = write(tmp_path / "h.csv", text, encoding)
    with pytest.raises(EstimateError) as caught:
        parse_histories(read_histories(path))
    assert caught.value.reason == reason
    assert "731" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(EstimateError, match=r"none\.csv: no such file") as caught:
        read_histories(tmp_path / "none.csv")
    assert caught.value.reason == "not-found" and "spelling" in str(caught.value.hint)
    with pytest.raises(EstimateError, match="no such file"):
        read_histories(tmp_path)
