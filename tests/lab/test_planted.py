"""Test persons as the laboratory draws them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from linkage.errors import ContractError
from linkage.lab.planted import ON_A_LIST, draw_test_persons
from linkage.steward.planted import read_planted


def test_each_agency_has_a_file_and_the_same_seed_the_same_bytes(tmp_path: Path) -> None:
    made = draw_test_persons(300, 5, tmp_path / "a")
    again = draw_test_persons(300, 5, tmp_path / "b")
    other = draw_test_persons(300, 6, tmp_path / "c")
    assert made == again
    names = [entry["path"] for entry in made["files"]]
    assert names == [f"test-persons-{source}.csv" for source in ("mpd", "dcf", "pohsey", "medical")]
    for entry in made["files"]:
        path = tmp_path / "a" / entry["path"]
        assert path.read_bytes() == (tmp_path / "b" / entry["path"]).read_bytes()
        assert path.read_bytes() != (tmp_path / "c" / entry["path"]).read_bytes()
        planted = read_planted(path)
        assert planted.height == entry["rows"]
        assert abs(planted.height / 300 - ON_A_LIST) < 0.12
    assert other["people"] == 300


def test_the_agencies_know_the_same_people_with_errors(tmp_path: Path) -> None:
    draw_test_persons(400, 1, tmp_path)
    one, two = (read_planted(tmp_path / f"test-persons-{source}.csv") for source in ("mpd", "dcf"))
    both = one.join(two, on="test_person")
    assert both.height > 80
    for name, least, most in (("family_name", 0.02, 0.3), ("birth_date", 0.02, 0.25)):
        known = both.drop_nulls([name, f"{name}_right"])
        differ = (known[name] != known[f"{name}_right"]).mean()
        assert least < differ < most, name  # type: ignore[operator]
    everybody = pl.concat([read_planted(path).select("test_person") for path in sorted(tmp_path.glob("*.csv"))])
    assert everybody["test_person"].n_unique() == 400


def test_sources_of_another_place(tmp_path: Path) -> None:
    made = draw_test_persons(20, 1, tmp_path, sources=("sheriff", "clinic"))
    assert [entry["path"] for entry in made["files"]] == ["test-persons-sheriff.csv", "test-persons-clinic.csv"]


@pytest.mark.parametrize(
    ("people", "sources"),
    [(1, ("a", "b")), (10_001, ("a", "b")), (20, ("a",)), (20, ("a", "a", "b")), (20, ("../a", "b"))],
)
def test_what_makes_no_sense(tmp_path: Path, people: int, sources: tuple[str, ...]) -> None:
    with pytest.raises(ContractError):
        draw_test_persons(people, 1, tmp_path / "out", sources=sources)
    assert not (tmp_path / "out").exists()
