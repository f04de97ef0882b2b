"""Ugly files: what is right is read, all else is refused by file, row, column and rule, and without its values."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linkage.errors import EstimateError
from linkage.research.estimate import Histories, HistoryTable, parse_histories, read_histories

NAMES = ("EXH", "ABA", "OSCE", "count")
ROWS = ((1, 0, 0, 1131), (0, 1, 0, 845), (0, 0, 1, 936), (1, 1, 0, 177), (1, 0, 1, 228), (0, 1, 1, 217), (1, 1, 1, 181))


def text(names=NAMES, rows=ROWS, separator=",", end="\n", bit=str, number=str) -> str:
    lines = [separator.join([*map(bit, row[:-1]), number(row[-1])]) for row in rows]
    return end.join([separator.join(names), *lines]) + end


def with_last(*row: object) -> str:
    return text(rows=(*ROWS[:-1], row))


def read(path: Path, content: str | bytes, lists=None) -> Histories:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return parse_histories(read_histories(path), lists=lists)


def with_index() -> str:
    lines = text().splitlines()
    return "\n".join(["," + lines[0], *(f"{i},{line}" for i, line in enumerate(lines[1:]))])


def workbook() -> bytes:
    stream = io.BytesIO()
    pl.DataFrame({name: [row[i] for row in ROWS] for i, name in enumerate(NAMES)}).write_parquet(stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        text(),
        text().encode("utf-8-sig"),
        b"\xef\xbb\xbf" + text().encode("utf-8-sig"),  # marked twice, as some spreadsheets do
        text(end="\r\n"),
        text(end="\r"),
        text().rstrip(),
        "\n" + text(end="\n\n"),
        text() + "   \n,,,\n",
        text(names=[f'"{name}"' for name in NAMES], bit=lambda b: f'"{b}"', number=lambda n: f'"{n}"'),
        text(names=[f" {name}  " for name in NAMES], bit=lambda b: f" {b} ", number=lambda n: f"  {n} "),
        text(bit=lambda b: f"{b}.0", number=lambda n: f"{n}.0"),
        text(number=lambda n: f"+00{n}"),
        text(number=lambda n: f"{n}\u00a0"),
        text(bit=lambda b: str(b == 1)),
        text(bit=lambda b: str(b == 1).upper()),
        text(bit=lambda b: str(b == 1).lower()),
        text(rows=(*ROWS, (0, 0, 0, 0))),
        text(rows=ROWS[::-1]),
        text(rows=[*((a, b, c, n // 2) for a, b, c, n in ROWS), *((a, b, c, n - n // 2) for a, b, c, n in ROWS)]),
    ],
)
def test_files_that_say_the_same(tmp_path, content):
    histories = read(tmp_path / "h.csv", content)
    assert histories.pooled.lists == NAMES[:3]
    assert histories.pooled.counts.tolist() == [1131, 845, 177, 936, 228, 217, 181]
    assert not histories.strata


@pytest.mark.parametrize(
    ("content", "reason", "where"),
    [
        (text().encode("utf-16"), "bad-encoding", ""),
        (text(names=("Málaga", *NAMES[1:])).encode("latin-1"), "bad-encoding", ""),
        (workbook(), "bad-encoding", ""),
        (gzip.compress(text().encode(), mtime=0), "bad-encoding", ""),
        (text(separator=";"), "no-count", ""),
        (text(separator="\t"), "no-count", ""),
        (text(names=(*NAMES[:3], "Count")), "no-count", ""),
        ("# from a colleague\n" + text(), "no-count", ""),
        (text(names=("EXH", "EXH", "OSCE", "count")), "bad-header", "row 1, column 2: the same name as column 1"),
        (with_index(), "bad-header", "row 1, column 1: no name"),
        (text().split("\n", 1)[1], "bad-header", "row 1, column 3: the same name as column 2"),
        (text(names=('"E\nX"', *NAMES[1:])), "bad-header", "row 1, column 1"),
        (text(names=("E\x1b[2JX", *NAMES[1:])), "bad-header", "row 1, column 1"),
        (text(number=lambda n: f"{n:,}"), "bad-csv", "row 2: 5 fields where the header has 4"),
        ("\n" + text() + "1,1\n", "bad-csv", "row 10: 2 fields where the header has 4"),
        (text().replace("845", '"845'), "bad-csv", "row 3 is not well-formed CSV"),
        (text(number=lambda n: f'"{n:,}"'), "bad-count", "row 2, column count: not a whole number in digits"),
        (with_last(1, 1, 1, "7e2"), "bad-count", "row 8, column count: not a whole number in digits"),
        (with_last(1, 1, 1, "731.5"), "bad-count", "row 8, column count: not a whole number in digits"),
        (with_last(1, 1, 1, "NA"), "bad-count", "row 8, column count: not a whole number in digits"),
        (with_last(1, 1, 1, "0x731"), "bad-count", "row 8, column count: not a whole number in digits"),
        (with_last(1, 1, 1, "٧٣١"), "bad-count", "row 8, column count: not a whole number in digits"),
        (with_last(1, 1, 1, ""), "bad-count", "row 8, column count: no value"),
        (with_last(1, 1, 1, -731), "bad-count", "row 8, column count: negative"),
        (with_last(1, 1, 1, 731 * 10**15), "bad-count", "row 8, column count: too large"),
        (with_last(1, 1, 1, "731" * 2000), "bad-count", "row 8, column count: too large"),
        (with_last(1, "", 1, 731), "missing-value", "column ABA: row 8"),
        (with_last(1, "NA", 1, 731), "bad-list", "column ABA: row 8"),
        (with_last(1, "2", 1, 731), "bad-list", "column ABA: row 8"),
        (with_last(1, "yes", 1, 731), "bad-list", "column ABA: row 8"),
        (with_last(0, 0, 0, 731), "all-zero-row", "row 8"),
        (text(bit=lambda b: "yes" if b else "no"), "no-lists", ""),
        (",".join([*(f"L{j}" for j in range(30)), "count"]) + "\n" + "1," * 30 + "731\n", "too-many-lists", ""),
        (",".join(NAMES) + "\n", "no-rows", ""),
        ("\n,\n", "no-rows", ""),
        ("", "no-rows", ""),
    ],
)
def test_files_that_are_refused(tmp_path, content, reason, where):
    path = tmp_path / "h.csv"
    with pytest.raises(EstimateError) as caught:
        read(path, content)
    said = str(caught.value)
    assert caught.value.reason == reason
    assert caught.value.hint
    assert where in said
    assert not any(value in said for value in ("731", "1131", "845", "yes", "NA", "7e2", "٧٣١"))


def test_what_the_reader_refuses_has_the_name_of_the_file(tmp_path):
    for content in ("", "a\n1\n", "a,a\n1,2\n", "count\nx\n", "count\n1,2\n", '"\n'):
        with pytest.raises(EstimateError, match=r"h\.csv: "):
            read(tmp_path / "h.csv", content)


def test_all_wrong_counts_are_named_at_once_up_to_a_limit(tmp_path):
    with pytest.raises(EstimateError) as caught:
        read(tmp_path / "h.csv", text(rows=[(1, 1, 0, -1), (1, 0, 1, "x"), (1, 1, 1, 4)]))
    assert caught.value.problems == (
        "row 2, column count: negative",
        "row 3, column count: not a whole number in digits",
    )
    with pytest.raises(EstimateError) as caught:
        read(tmp_path / "h.csv", text(rows=[(1, 1, 0, -1)] * 300))
    assert len(caught.value.problems) == 21 and caught.value.problems[-1] == "and 280 more"


def test_a_stratum_of_small_numbers_needs_the_lists_named(tmp_path):
    content = "A,B,C,reports,count\n1,0,0,0,9\n0,1,0,1,8\n0,0,1,2,7\n"
    with pytest.raises(EstimateError) as caught:
        read(tmp_path / "h.csv", content)
    assert caught.value.reason == "bad-list" and "column reports: row 4" in str(caught.value)
    assert len(read(tmp_path / "h.csv", content, lists=["A", "B", "C"]).strata) == 3
    with pytest.raises(EstimateError) as caught:
        read(tmp_path / "h.csv", content, lists=["A", "B", "C", "reports"])
    assert "column reports: row 4" in str(caught.value)


def test_zeros_and_ones_as_text_in_a_frame_are_not_taken_for_a_stratum():
    frame = pl.DataFrame({"A": [1, 0, 1], "B": [0, 1, 1], "C": ["1", "1", "0"], "count": [3, 4, 5]})
    with pytest.raises(EstimateError) as caught:
        parse_histories(frame)
    assert caught.value.reason == "bad-list" and "column C: text and not numbers" in str(caught.value)


def test_missing_counts_of_arrays_and_frames_are_named():
    with pytest.raises(EstimateError, match="missing"):
        HistoryTable(("A", "B"), np.ma.array([1, 2, 3], mask=[0, 1, 0]))
    frame = pl.DataFrame({"A": [1, 0, 1], "B": [0, 1, 1], "count": [4, None, 6]})
    for wrong, where in ((frame, "row 3"), (frame.with_columns(count=None), "rows 2, 3, 4")):
        with pytest.raises(EstimateError, match=rf"a count is missing: {where}, column count"):
            parse_histories(wrong)


def test_decimals_count_and_mark_as_other_numbers_do():
    frame = pl.DataFrame({"A": [1, 0, 1], "B": [0, 1, 1], "count": [4, 5, 6]})
    assert parse_histories(frame.cast(pl.Decimal(10, 2))).pooled.counts.tolist() == [4, 5, 6]
