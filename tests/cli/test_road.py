"""An agency's check and submit and the hub's link, by the commands, with what goes wrong on the way."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linkage.exchange import create_linkage_key, create_party, read_manifest

Run = Callable[..., Any]
MONTH = "2026-11"


def submit(linkage: Run, sites: Any, extracts: dict[str, Path], source: str, *words: str) -> Any:
    settings = sites.settings(source)
    return linkage(
        "steward", "submit", extracts[source], "--source", source, "--month", MONTH, "--settings", settings, *words
    )


def link(linkage: Run, sites: Any, *words: str | Path) -> Any:
    batches = sorted(sites.inbox.glob("*.batch"))
    named = ("--out", sites.root / "run", "--month", MONTH, "--settings", sites.settings("hub"))
    return linkage("hub", "link", *batches, *named, *words)


def test_check_needs_no_settings_and_no_key(
    linkage: Run, extracts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = linkage("steward", "check", extracts["mpd"], "--source", "mpd")
    assert told.code == 0
    assert "settings: none" in told.err
    assert "family_name filled" in told.out
    as_json = linkage("steward", "check", extracts["mpd"], "--source", "mpd", "--json")
    assert as_json.json["accepted"] is True
    assert linkage("steward", "check", extracts["mpd"], "--source", "nobody").code == 2
    assert not list(tmp_path.iterdir())


def test_check_names_the_settings_it_used_and_keeps_to_their_source(
    linkage: Run, sites: Any, extracts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sites.settings("mpd").parent)
    assert "settings: linkage.toml" in linkage("steward", "check", extracts["mpd"], "--source", "mpd").err
    told = linkage("steward", "check", extracts["dcf"], "--source", "dcf")
    assert (told.code, "those of source mpd" in told.err) == (2, True)
    assert linkage("steward", "check", extracts["mpd"], "--source", "mpd", "--settings", "gone.toml").code == 2


def test_an_extract_that_breaks_its_schema_is_not_sent(
    linkage: Run, sites: Any, extracts: dict[str, Path], tmp_path: Path
) -> None:
    lines = extracts["mpd"].read_text().splitlines()
    header, rows = lines[0], lines[1:]
    broken = [row.replace("/", "!") for row in rows]
    assert broken != rows
    path = tmp_path / "broken.csv"
    path.write_text("\n".join([header, *broken]) + "\n")
    named = ("--source", "mpd", "--settings", sites.settings("mpd"))
    checked = linkage("steward", "check", path, *named, "--json")
    assert (checked.code, checked.json["accepted"]) == (3, False)
    assert linkage("steward", "check", path, *named).code == 3
    sent = linkage("steward", "submit", path, *named)
    assert sent.code == 3
    assert "date-format" in sent.err
    assert not sites.inbox.exists()


def test_the_road_from_two_extracts_to_a_person_map(linkage: Run, sites: Any, extracts: dict[str, Path]) -> None:
    told = submit(linkage, sites, extracts, "mpd")
    assert told.code == 0, told.err
    assert "sealed: " in told.err and "persons, encoded as" in told.err
    (identifiers,) = (line for line in told.err.splitlines() if "identifiers that leave, only as encodings: " in line)
    (facts,) = (line for line in told.err.splitlines() if "facts that leave, for the analysis alone: " in line)
    assert "family_name" in identifiers and "birth_date" in identifiers
    assert "month, age, tier" in facts
    as_json = submit(linkage, sites, extracts, "dcf", "--json").json
    assert read_manifest(Path(as_json["path"])).month == MONTH

    linked = link(linkage, sites, "--json")
    assert linked.code == 0, linked.err
    assert f"settings: {sites.settings('hub')}" in linked.err
    assert linked.json["fresh"] is True
    assert Path(linked.json["person_map"]).is_file()
    assert not list(sites.inbox.glob("*.batch"))

    again = link(linkage, sites)  # nothing in the inbox: what was taken in is linked, and that has been done
    assert again.code == 0
    assert "linked before" in again.err


def test_a_hub_that_has_linked_nothing_says_so(
    linkage: Run, sites: Any, extracts: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.hub import link_batches

    submit(linkage, sites, extracts, "mpd")
    told = link(linkage, sites, "--json")
    warnings = told.json["quality"]["warnings"]
    (sentence,) = [said for said in warnings if said.startswith("only one source holds records")]
    (other,) = [said for said in warnings if said != sentence]
    assert other.startswith("source dcf: no batch")
    assert all(f"warning: {told_too}" in told.err for told_too in warnings)
    again = link(linkage, sites)  # also when nothing is made again
    assert f"warning: {sentence}" in again.err and "linked before" in again.err
    assert link_batches.fn(MONTH, str(sites.settings("hub")))["warnings"] == warnings
    assert f"warning: {sentence}" in capsys.readouterr().err
    submit(linkage, sites, extracts, "dcf")
    told = link(linkage, sites, "--json")
    assert told.json["quality"]["warnings"] == [] and "warning" not in told.err


def test_the_settings_say_what_a_false_link_costs(linkage: Run, sites: Any, extracts: dict[str, Path]) -> None:
    for source in ("mpd", "dcf"):
        submit(linkage, sites, extracts, source)
    usual = link(linkage, sites, "--json").json
    assert usual["quality"]["cost"] is None
    settings = sites.settings("hub")
    text = settings.read_text()
    settings.write_text(text.replace("[hub]\n", "[hub]\ncost = 9\n"))
    told = link(linkage, sites)
    assert told.code == 0 and "cost of a false link" in told.err
    careful = link(linkage, sites, "--json").json
    assert careful["run_id"] != usual["run_id"] and careful["fresh"] is False
    assert (careful["quality"]["cost"], careful["quality"]["threshold"]) == (9.0, 0.9)
    assert careful["quality"]["links"] <= usual["quality"]["links"]
    for wrong in ("0", "-1", "inf", "nan", '"two"'):
        settings.write_text(text.replace("[hub]\n", f"[hub]\ncost = {wrong}\n"))
        refused = link(linkage, sites)
        assert (refused.code, "hub.cost" in refused.err) == (2, True), wrong


def test_the_flows_tasks_take_the_same_road(linkage: Run, sites: Any, extracts: dict[str, Path]) -> None:
    from flows.hub import link_batches, take_in_batches

    for source in ("mpd", "dcf"):
        submit(linkage, sites, extracts, source)
    settings = sites.settings("hub")
    assert sorted(take_in_batches.fn(str(settings))) == ["dcf", "mpd"]
    made = link_batches.fn(MONTH, str(settings))
    assert set(made["records"]) == {"mpd", "dcf"} and min(made["records"].values()) > 1
    out = Path(made["run"]).parent
    again = linkage("hub", "link", "--out", out, "--month", MONTH, "--settings", settings, "--json")
    assert (again.json["run_id"], again.json["fresh"]) == (made["run_id"], False)


def test_refused_batches_end_in_code_6_and_the_good_ones_are_kept(
    linkage: Run, sites: Any, extracts: dict[str, Path]
) -> None:
    submit(linkage, sites, extracts, "mpd")
    submit(linkage, sites, extracts, "dcf")
    damaged = sites.inbox / f"dcf-{MONTH}.batch"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    told = link(linkage, sites)
    assert told.code == 6
    assert "taken in: mpd" in told.err
    assert f"  - dcf-{MONTH}.batch: truncated: " in told.err
    assert not (sites.root / "run").exists()
    assert len(list((sites.root / "hub" / "state" / "quarantine").glob("*.batch"))) == 1
    assert link(linkage, sites).code == 0


def test_two_agencies_with_different_keys_are_told_at_once(linkage: Run, sites: Any, extracts: dict[str, Path]) -> None:
    (sites.root / "dcf" / "keys" / "linkage.key").unlink()
    create_linkage_key(sites.root / "dcf" / "keys" / "linkage.key", "milwaukee", "2026-1")
    submit(linkage, sites, extracts, "mpd")
    submit(linkage, sites, extracts, "dcf")
    told = link(linkage, sites, "--json")
    assert (told.code, told.json["reason"]) == (6, "fingerprint-differs")
    assert all("mpd" in problem and "dcf" in problem for problem in told.json["problems"])


def test_keys_of_the_wrong_epoch_kind_or_rights(linkage: Run, sites: Any, extracts: dict[str, Path]) -> None:
    key = sites.root / "mpd" / "keys" / "linkage.key"
    key.chmod(0o644)
    assert submit(linkage, sites, extracts, "mpd").code == 5
    key.unlink()
    assert submit(linkage, sites, extracts, "mpd").code == 5
    create_linkage_key(key, "milwaukee", "2099-1")
    told = submit(linkage, sites, extracts, "mpd", "--json")
    assert (told.code, told.json["reason"]) == (2, "contract-differs")
    key.unlink()
    shutil.copy2(sites.root / "mpd" / "keys" / "mpd.key", key)
    assert submit(linkage, sites, extracts, "mpd").code == 5
    assert not sites.inbox.exists()


def test_no_agreement_in_force(linkage: Run, sites: Any, extracts: dict[str, Path]) -> None:
    submit(linkage, sites, extracts, "mpd")
    agreement = sites.root / "mpd" / "agreement.yaml"
    agreement.write_text(agreement.read_text().replace("ends: 2999-12-31", "ends: 2020-12-31"))
    assert submit(linkage, sites, extracts, "mpd").code == 4
    told = link(linkage, sites, "--json")
    assert (told.code, told.json["reason"]) == (6, "no-agreement")


def test_a_sender_whose_key_changed_is_not_trusted(linkage: Run, sites: Any, extracts: dict[str, Path]) -> None:
    submit(linkage, sites, extracts, "mpd")
    public = create_party(sites.root / "new", "mpd")[1]
    shutil.copy(public, sites.root / "mpd" / "keys" / "mpd.pub")
    told = link(linkage, sites, "--json")
    assert (told.code, told.json["reason"]) == (6, "untrusted-sender")


def test_settings_of_another_role_and_months_that_are_none(linkage: Run, sites: Any, extracts: dict[str, Path]) -> None:
    named = ("--out", sites.root / "run")
    assert linkage("hub", "link", *named, "--settings", sites.settings("mpd")).code == 2
    assert linkage("hub", "link", *named, "--settings", sites.settings("hub"), "--month", "2026-13").code == 2
    future = linkage("hub", "link", *named, "--settings", sites.settings("hub"), "--month", "2999-01", "--json")
    assert (future.code, future.json["reason"]) == (2, "future-month")
    assert linkage("hub", "link", *named, "--settings", sites.settings("hub")).code == 7
    gone = linkage("hub", "link", sites.inbox / "*.batch", *named, "--settings", sites.settings("hub"))
    assert (gone.code, "moved out of the inbox" in gone.err) == (6, True)


def test_the_installed_command_submits_and_inspects(command: Run, sites: Any, extracts: dict[str, Path]) -> None:
    folder = sites.settings("mpd").parent
    sent = command("steward", "submit", extracts["mpd"], "--source", "mpd", "--month", MONTH, "--json", cwd=folder)
    assert sent.code == 0, sent.err
    assert "settings: linkage.toml" in sent.err
    shown = command("inspect", sent.json["path"], "--json")
    assert shown.json["digest"] == sent.json["digest"]
    failed = command("steward", "submit", "gone.csv", "--source", "mpd", cwd=folder)
    assert (failed.code, failed.out) == (3, "")
    error, hint = failed.err.splitlines()[-2:]
    assert error == "linkage: error: gone.csv: no such file"
    assert hint.startswith("linkage: hint: check the spelling")
