"""Published tables as figures, and the reference numbers where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from linkage.research.estimate import HistoryTable, read_histories

# Killings in Kosovo, March to June 1999: Ball, Betts, Scheuren, Dudukovich & Asher (2002), ABA/AAAS, table of the four
# lists EXH, ABA, OSCE, HRW.
KOSOVO = {
    "EXH": 1131,
    "ABA": 845,
    "OSCE": 936,
    "HRW": 306,
    "EXH:ABA": 177,
    "EXH:OSCE": 228,
    "EXH:HRW": 106,
    "ABA:OSCE": 217,
    "ABA:HRW": 31,
    "OSCE:HRW": 123,
    "EXH:ABA:OSCE": 181,
    "EXH:ABA:HRW": 18,
    "EXH:OSCE:HRW": 42,
    "ABA:OSCE:HRW": 32,
    "EXH:ABA:OSCE:HRW": 27,
}

# Potential victims of trafficking, UK 2013: Silverman (2014), Home Office; Bales, Hesketh & Silverman (2015),
# Significance 12(3); five lists with PF and NCA merged (Silverman 2020, JRSS A 183).
UK_2013 = {
    "LA": 54,
    "NG": 463,
    "PFNCA": 995,
    "GO": 695,
    "GP": 316,
    "LA:NG": 15,
    "LA:PFNCA": 19,
    "LA:GO": 3,
    "NG:PFNCA": 62,
    "NG:GO": 19,
    "NG:GP": 1,
    "PFNCA:GO": 76,
    "PFNCA:GP": 11,
    "GO:GP": 8,
    "LA:NG:PFNCA": 1,
    "LA:NG:GO": 1,
    "NG:PFNCA:GO": 4,
    "LA:NG:PFNCA:GO": 1,
}


def frame_of(lists: tuple[str, ...], counts: dict[str, int]) -> pl.DataFrame:
    """A frame of capture histories from counts by ``A:B``."""
    on = [set(key.split(":")) for key in counts]
    columns = {name: [int(name in members) for members in on] for name in lists}
    return pl.DataFrame({**columns, "count": list(counts.values())})


def table_of(lists: tuple[str, ...], counts: dict[str, int]) -> HistoryTable:
    return HistoryTable.from_frame(frame_of(lists, counts))


@pytest.fixture(scope="session")
def kosovo() -> HistoryTable:
    return table_of(("EXH", "ABA", "OSCE", "HRW"), KOSOVO)


@pytest.fixture(scope="session")
def uk() -> HistoryTable:
    return table_of(("LA", "NG", "PFNCA", "GO", "GP"), UK_2013)


@pytest.fixture(scope="session")
def reference(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "reference" / "mse.json").read_text(encoding="utf-8"))["datasets"]


@pytest.fixture(scope="session")
def tables(shared: Path) -> dict[str, HistoryTable]:
    paths = (shared / "data" / "mse").glob("*.csv")
    return {p.stem: HistoryTable.from_frame(read_histories(p)) for p in paths if p.stem != "drpop_simulated"}
