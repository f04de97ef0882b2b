"""``linkage research estimate`` from the outside."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from linkage.cli.research import app
from linkage.errors import EstimateError
from linkage.research.estimate.families import HEADLINE


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


def test_known_numbers_that_fall_short_raise_the_alarm_and_a_floor_is_what_was_counted(tmp_path, capsys):
    path = tmp_path / "short.csv"
    path.write_text("A,B,C,count\n1,0,0,60\n0,1,0,20\n0,0,1,15\n1,1,0,8\n1,0,1,9\n0,1,1,6\n1,1,1,25\n")
    run("estimate", path, "--resamples", 100)
    shown = capsys.readouterr().out
    assert "A: 102 are on it; the other lists give 45" in shown
    assert "warning: known numbers, by stepwise: estimated from the other lists, 3 of 3 lists" in shown
    assert "the number above is likely to be too low as well" in shown
    assert "95% from" in shown and "95% to" in shown
    # without A it is 83 of the 143
    assert "an estimate below the 143 who were counted is shown as that number" in shown
    assert [cell.strip() for cell in shown.split("a list is left")[1].split("│")[1:3]] == ["143", "without A"]
    run("estimate", path, "--resamples", 100, "--json")
    panel = json.loads(capsys.readouterr().out)["diagnostics"]["estimators"][0]
    assert panel["consistency_summary"]["short"] == 3 and "too low as well" in panel["consistency_alarm"]
    assert panel["left_out"][0]["observed"] == 83


def test_a_list_that_cannot_be_checked_is_named_with_the_reason(tmp_path, capsys):
    path = tmp_path / "sparse.csv"
    path.write_text("A,B,C,count\n1,0,0,40\n0,1,0,30\n0,0,1,25\n1,1,0,8\n1,0,1,6\n0,1,1,5\n")
    run("estimate", path, "--resamples", 100)
    shown = capsys.readouterr().out
    for name in "ABC":
        assert f"  {name}: cannot be checked: among the people on it, " in shown
    assert "warning: known numbers" not in shown


def test_families_that_agree_do_not_reassure(tmp_path, capsys):
    from linkage.cli.research_estimate import AGREEMENT

    told = {}
    for name, count in (("agree", 1), ("differ", 60)):
        path = tmp_path / f"{name}.csv"
        rows = f"1,0,0,80\n0,1,0,80\n0,0,1,80\n1,1,0,40\n1,0,1,40\n0,1,1,40\n1,1,1,{20 * count}\n"
        path.write_text(f"A,B,C,count\n{rows}")
        run("estimate", path, "--resamples", 100)
        told[name] = capsys.readouterr().out
    assert "families-agree" in told["agree"] and AGREEMENT in told["agree"]
    assert "families-differ" in told["differ"] and AGREEMENT not in told["differ"]


def test_what_the_range_is_made_of_is_shown(histories, capsys):
    run("estimate", histories, "--resamples", 100)
    shown = capsys.readouterr().out
    assert f"the range is made of the intervals of: {', '.join(HEADLINE)}" in shown
    assert shown.count("in the range") == len(HEADLINE)
    run("estimate", histories, "--resamples", 100, "--json")
    assert json.loads(capsys.readouterr().out)["verdict"]["families"] == list(HEADLINE)


def test_names_of_lists_are_not_read_as_pictures(tmp_path, capsys):
    path = tmp_path / "h.csv"
    path.write_text("A,B,C,count\n1,0,0,90\n0,1,0,80\n0,0,1,70\n1,1,0,60\n1,0,1,12\n0,1,1,9\n1,1,1,20\n")
    app(["estimate", str(path)], result_action="return_value")
    assert "A:B" in capsys.readouterr().out  # `:B:` is a letter on a coloured ground elsewhere


@pytest.mark.parametrize("row", ["2,1,1,5", "0,0,0,5", ",1,1,5"])
def test_faults_of_a_table_name_its_file(tmp_path, row):
    path = tmp_path / "who.csv"
    path.write_text(f"A,B,C,count\n1,0,0,90\n0,1,0,80\n0,0,1,70\n{row}\n")
    with pytest.raises(EstimateError) as caught:
        app(["estimate", str(path), "--list", "A", "--list", "B", "--list", "C"], result_action="return_value")
    assert caught.value.message.startswith(f"{path}: ") and "row" in str(caught.value)


def test_a_seed_below_nothing_is_refused(histories):
    with pytest.raises(EstimateError) as caught:
        app(["estimate", str(histories), "--seed", "-4"], result_action="return_value")
    assert caught.value.reason == "bad-parameter"


def test_what_the_help_says_of_referrals_is_so(capsys):
    run("estimate", "--help")
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "in every model" not in shown
    assert "Every log-linear model and every graph" in shown and "Chao's bounds" in shown


@pytest.mark.parametrize("extra", [(), ("--json",), ("--slow",)])
def test_one_list_is_refused_with_its_reason(tmp_path, capsys, extra):
    path = tmp_path / "one.csv"
    path.write_text("A,year,count\n1,2013,100\n1,2014,30\n", encoding="utf-8")
    run("estimate", path, "--list", "A", *extra)
    shown = capsys.readouterr().out
    assert shown.count("too-few-lists") >= 3  # of everybody and of each year
    assert "report the deduplicated count alone" in shown


def test_nothing_but_json_is_on_the_stdout_of_a_process(tmp_path):
    """Linear programs are solved behind an empty overlap, and a solver that writes does so past ``sys.stdout``."""
    path = tmp_path / "sparse.csv"
    rows = ["1,0,0,0,40", "0,1,0,0,30", "0,0,1,0,25", "0,0,0,1,12", "1,1,0,0,8", "1,0,1,0,6", "0,1,1,0,5", "0,1,0,1,3"]
    path.write_text("\n".join(["A,B,C,D,count", *rows]) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "linkage", "research", "estimate", str(path), "--json", "--resamples", "100"]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.startswith("{") and found.stdout.endswith("}\n")
    assert json.loads(found.stdout)["observed"] == 129
    assert found.stderr == "columns taken for lists: A, B, C, D\n"


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
