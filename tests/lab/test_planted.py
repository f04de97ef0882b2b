"""Test persons as the laboratory draws them."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from linkage.errors import ContractError, ExtractError
from linkage.lab.planted import ON_A_LIST, draw_test_persons
from linkage.lab.population.scenario import SOURCES
from linkage.steward.planted import read_planted

FOR = {"project": "milwaukee", "epoch": "2026-1"}


def read(folder: Path, source: str) -> pl.DataFrame:
    return read_planted(folder / f"test-persons-{source}.csv", **FOR, source=source)


def test_each_agency_has_a_file_of_its_own(tmp_path: Path) -> None:
    made = draw_test_persons(300, tmp_path, **FOR, seed=5)
    names = [entry["path"] for entry in made["files"]]
    assert names == [f"test-persons-{source}.csv" for source in ("mpd", "dcf", "pohsey", "medical")]
    for entry in made["files"]:
        planted = read(tmp_path, entry["source"])
        assert planted.height == entry["rows"]
        assert abs(planted.height / 300 - ON_A_LIST) < 0.12
        assert (tmp_path / entry["path"]).stat().st_mode & 0o077 == 0 or os.name != "posix"
    with pytest.raises(ExtractError) as caught:
        read_planted(tmp_path / "test-persons-mpd.csv", **FOR, source="dcf")
    assert caught.value.reason == "other-source"


def test_nobody_can_draw_them_again(tmp_path: Path) -> None:
    made = [draw_test_persons(200, tmp_path / name, **FOR) for name in "ab"]
    assert made[0].keys() == {"people", "project", "epoch", "files"}
    assert all(entry.keys() == {"source", "path", "rows"} for entry in made[0]["files"])
    one, other = (read(tmp_path / name, "mpd") for name in "ab")
    assert not set(one["test_person"]) & set(other["test_person"])
    known = ["given_name", "family_name", "birth_date"]
    assert one.join(other, on=known).height < 5


def test_a_seed_repeats_the_people_and_never_their_names_in_the_release(tmp_path: Path) -> None:
    for name in "ab":
        draw_test_persons(50, tmp_path / name, **FOR, seed=2)
    one, other = (read(tmp_path / name, "dcf") for name in "ab")
    assert one.drop("test_person").equals(other.drop("test_person"))
    assert not set(one["test_person"]) & set(other["test_person"])


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    draw_test_persons(20, tmp_path, **FOR)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ContractError) as caught:
        draw_test_persons(20, tmp_path, **FOR, sources=("clinic", "medical"))
    assert caught.value.reason == "exists"
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_agencies_know_the_same_people_with_errors(tmp_path: Path) -> None:
    draw_test_persons(400, tmp_path, **FOR, seed=1)
    one, two = (read(tmp_path, source) for source in ("mpd", "dcf"))
    both = one.join(two, on="test_person")
    assert both.height > 80
    for name, least, most in (("family_name", 0.02, 0.3), ("birth_date", 0.02, 0.25)):
        known = both.drop_nulls([name, f"{name}_right"])
        differ = (known[name] != known[f"{name}_right"]).mean()
        assert least < differ < most, name  # type: ignore[operator]
    everybody = pl.concat([read(tmp_path, source).select("test_person") for source in SOURCES])
    assert everybody["test_person"].n_unique() == 400


def test_sources_of_another_place(tmp_path: Path) -> None:
    made = draw_test_persons(20, tmp_path, **FOR, sources=("sheriff", "clinic"))
    assert [entry["path"] for entry in made["files"]] == ["test-persons-sheriff.csv", "test-persons-clinic.csv"]


@pytest.mark.parametrize("made_for", [{"project": "Mil waukee"}, {"epoch": "2026/1"}, {"epoch": ""}])
def test_a_project_or_epoch_that_no_key_has(tmp_path: Path, made_for: dict[str, str]) -> None:
    with pytest.raises(ContractError) as caught:
        draw_test_persons(20, tmp_path / "out", **(FOR | made_for))
    assert caught.value.reason == "bad-name" and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("people", "sources"),
    [(1, ("a", "b")), (10_001, ("a", "b")), (20, ("a",)), (20, ("a", "a", "b")), (20, ("../a", "b"))],
)
def test_what_makes_no_sense(tmp_path: Path, people: int, sources: tuple[str, ...]) -> None:
    with pytest.raises(ContractError):
        draw_test_persons(people, tmp_path / "out", **FOR, sources=sources)
    assert not (tmp_path / "out").exists()
