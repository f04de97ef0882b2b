"""``linkage research estimate`` from the outside."""

from __future__ import annotations

import json

import pytest

from linkage.cli.research import app
from linkage.errors import EstimateError


def run(*arguments: object) -> None:
    app([str(argument) for argument in arguments], result_action="return_value")


@pytest.fixture
def histories(tmp_path, kosovo):
    path = tmp_path / "histories.csv"
    rows = [
        ",".join([*(str(cell >> j & 1) for j in range(4)), str(count)])
        for cell, count in enumerate(kosovo.counts.tolist(), start=1)
    ]
    path.write_text("\n".join([",".join([*kosovo.lists, "count"]), *rows]) + "\n", encoding="utf-8")
    return path


def test_json_alone_on_stdout(histories, capsys):
    run("estimate", histories, "--json", "--resamples", 100)
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert captured.err.startswith("columns taken for lists: ") and captured.err.count("\n") == 1
    assert result["observed"] == 4400
    assert result["verdict"]["status"] == "estimated"


def test_table_for_people(histories, capsys):
    run("estimate", histories, "--resamples", 100, "--referral", "ABA:HRW")
    shown = capsys.readouterr().out
    assert "estimated: " in shown
    assert "stepwise" in shown


def test_refusal_shows_no_number_and_is_no_error(tmp_path, capsys):
    path = tmp_path / "two.csv"
    path.write_text("A,B,count\n1,0,100\n0,1,120\n1,1,40\n", encoding="utf-8")
    run("estimate", path)
    shown = capsys.readouterr().out
    assert "refused (too-few-lists)" in shown
    assert "remedy: " in shown
    assert "500" not in shown  # what Lincoln and Petersen would say


def test_lists_can_be_named(tmp_path, capsys):
    path = tmp_path / "three.csv"
    path.write_text("A,B,minor,count\n1,0,1,100\n0,1,0,120\n1,1,1,40\n", encoding="utf-8")
    run("estimate", path, "--list", "A", "--list", "B", "--json")
    result = json.loads(capsys.readouterr().out)
    assert result["lists"] == ["A", "B"]
    assert [s["stratum"] for s in result["strata"]] == [{"minor": "0"}, {"minor": "1"}]


@pytest.mark.parametrize("extra", [("--referral", "ABA"), ("--referral", "ABA:NONE"), ("--resamples", "5")])
def test_wrong_arguments(histories, extra):
    with pytest.raises(EstimateError):
        run("estimate", histories, *extra)
