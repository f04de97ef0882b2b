"""From a real file by real keys to a sealed batch, opened again by both recipients; and everything that stops it."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from linkage.contract.agreement import Agreement
from linkage.contract.files import load_spec
from linkage.contract.source import SourceSchema
from linkage.contract.spec import digest
from linkage.errors import ContractError, ExtractError, LinkageError, NotPermittedError
from linkage.exchange import (
    LinkageKey,
    create_linkage_key,
    create_party,
    file_digest,
    load_party,
    load_public,
    open_encodings,
    open_facts,
    verify_batch,
)
from linkage.exchange.approval.shared import create_opening, join_opening, open_share
from linkage.lab.planted import draw_test_persons
from linkage.steward.fingerprint import fingerprint
from linkage.steward.planted import read_planted
from linkage.steward.presence import LEAST
from linkage.steward.standardise import RULES
from linkage.steward.submit import submit

Rows = list[dict[str, str]]
Send = Callable[..., Any]
TODAY = dt.date(2026, 11, 22)
MONTH = "2026-11"
PERSONS = 40
MADE_FOR = {"project": "test", "epoch": "2026-1"}
"""What test persons are drawn for here."""

SENTINEL = {
    "PID": "QX-770077",
    "FIRST": "Zzyzxine",
    "MIDDLE": "Vqvqv",
    "LAST": "Wyzzykowna",
    "DOB": "02/29/1996",
    "SSN": "321-54-9876",
    "PHONES": "(414) 838-7766",
    "ADDRESS": "7766 West Xyloxylo Street",
    "ZIP": "54987-6655",
    "AKA": "Jjqjj Kkxkk",
}
"""One person whose every entry is found again wherever it turns up."""
TRACES = [
    *(value for value in SENTINEL.values()),
    *("ZZYZXINE", "VQVQV", "WYZZYKOWNA", "19960229", "1996-02-29", "4148387766", "XYLOXYLO", "54987", "JJQJJ", "KKXKK"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("shelter", "hub", "analysis"):
        create_party(folder / name, name)
    holders = [load_party(create_party(folder / name, name)[0]) for name in ("board", "court")]
    opening = create_opening(folder / "opening.pub", "test", "2026-1", [holder.public for holder in holders], 2)
    return SimpleNamespace(
        linkage_key=create_linkage_key(folder / "linkage.key", "test", "2026-1"),
        **{name: load_party(folder / name / f"{name}.key") for name in ("shelter", "hub", "analysis")},
        public={name: load_public(folder / name / f"{name}.pub") for name in ("shelter", "hub", "analysis")},
        opening=opening,
        opener=join_opening(opening, [open_share(opening, holder) for holder in holders]),
    )


@pytest.fixture(scope="module")
def people(make_rows: Callable[..., Rows]) -> Callable[..., Rows]:
    """So many unlike people with a row each, the first of them the sentinel."""

    def make(count: int = PERSONS, seed: int = 5) -> Rows:
        rng = np.random.default_rng(seed)

        def word(letters: int) -> str:
            return bytes(rng.integers(97, 123, letters, dtype=np.uint8)).decode().title()

        def number(digits: int) -> str:
            return "".join(map(str, rng.integers(1, 10, digits)))

        rows = make_rows(*({} for _ in range(count)))
        for row in rows:
            day = dt.date(1990, 1, 1) + dt.timedelta(int(rng.integers(0, 4000)))
            row |= {
                "FIRST": word(6),
                "LAST": word(8),
                "DOB": day.strftime("%m/%d/%Y"),
                "SSN": f"3{number(2)}-{number(2)}-{number(4)}",
                "PHONES": f"414{number(7)}",
                "ADDRESS": f"{number(4)} {word(7)} Street",
                "ZIP": f"5{number(4)}",
            }
        rows[0] |= SENTINEL
        return rows

    return make


@pytest.fixture
def send(
    tmp_path: Path,
    site: SimpleNamespace,
    make_schema: Callable[..., SourceSchema],
    make_agreement: Callable[..., Agreement],
    write_csv: Callable[..., Path],
) -> Send:
    """Submit rows, or a file, with anything changed."""

    def run(rows: Rows | Path, **changes: Any) -> Any:
        usual: dict[str, Any] = {
            "schema": make_schema(),
            "agreement": make_agreement(),
            "spec": load_spec("default"),
            "linkage_key": site.linkage_key,
            "party": site.shelter,
            "opener": site.opening,
            "analysis": site.public["analysis"],
            "outbox": tmp_path / "outbox",
            "month": MONTH,
            "today": TODAY,
        }
        return submit(rows if isinstance(rows, Path) else write_csv(rows), **(usual | changes))

    return run


@pytest.fixture
def refused(
    send: Send, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> Callable[..., LinkageError]:
    """Submit what must be refused: nothing is written, and no error, log or output holds a value."""

    def run(kind: type[LinkageError], reason: str, rows: Rows | Path, **changes: Any) -> LinkageError:
        caplog.set_level(logging.DEBUG)
        with pytest.raises(kind) as caught:
            send(rows, **changes)
        error = caught.value
        assert error.reason == reason
        assert not (tmp_path / "outbox").exists()
        spoken = [
            repr(error),
            str(error),
            error.hint or "",
            *map(repr, error.problems),
            caplog.text,
            *capsys.readouterr(),
        ]
        text = " ".join(spoken).replace(str(tmp_path), "").lower()
        assert not [trace for trace in TRACES if trace.lower() in text]
        return error

    return run


def openings(sent: Any, site: SimpleNamespace) -> tuple[pl.DataFrame, pl.DataFrame]:
    sender = site.public["shelter"]
    return open_encodings(sent.path, site.opener, sender), open_facts(sent.path, site.analysis, sender)


MASKED = load_spec("precise").model_copy(update={"name": "default"})
"""A spec that tells which fields are filled, so that a test can see it."""


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_a_batch_is_opened_by_its_two_recipients_and_fits_its_manifest(
    send: Send,
    site: SimpleNamespace,
    people: Callable[..., Rows],
    tmp_path: Path,
    make_agreement: Callable[..., Agreement],
) -> None:
    rows = people()
    rows.append(rows[1] | {"SEEN": "05/06/2015"})  # a second contact
    rows.append(rows[2] | {"TOLD": "N"})  # a contact that does not count, of somebody who does
    rows.append(rows[3] | {"PID": "999", "LAST": "Neverseen", "TOLD": "N"})  # somebody who does not
    sent = send(rows)
    assert sent.path == tmp_path / "outbox" / f"shelter-{MONTH}.batch"
    assert [path.name for path in sent.path.parent.iterdir()] == [sent.path.name]
    assert sent.digest == file_digest(sent.path)

    manifest = verify_batch(sent.path, site.public["shelter"])
    assert manifest == sent.manifest and not {"records", "rows", "events"} & set(manifest.model_dump())
    encodings, facts = openings(sent, site)
    # The sentinel has an alias; every other person has one name.
    assert (sent.records, sent.rows, sent.events) == (PERSONS, PERSONS + 1, PERSONS + 1)
    assert (encodings["pseudonym"].n_unique(), encodings.height, facts.height) == (PERSONS, PERSONS + 1, PERSONS + 1)

    expected = set(site.shelter.pseudonyms(row["PID"] for row in rows if row["PID"] != "999"))
    assert set(encodings["pseudonym"]) == set(facts["pseudonym"]) == expected
    assert facts.filter(pseudonym=site.shelter.pseudonym("2"))["month"].to_list() == ["2014-03", "2015-05"]
    first = facts.row(by_predicate=pl.col("pseudonym") == site.shelter.pseudonym(SENTINEL["PID"]), named=True)
    assert (first["age"], first["tier"], first["race"], first["decoy"]) == (18, "confirmed", "black", False)

    spec = load_spec("default")
    assert manifest.project == "test" and manifest.epoch == "2026-1" and manifest.source == "shelter"
    assert (manifest.spec_name, manifest.spec_digest, manifest.rules_version) == ("default", spec.digest, RULES)
    assert manifest.fingerprint == fingerprint(spec, site.linkage_key)
    assert manifest.agreement_digest == digest(make_agreement())
    assert (manifest.month, manifest.mode, manifest.deduplicated) == (MONTH, "full", False)
    assert encodings.columns == ["pseudonym", "variant", *(entry.name for entry in spec.filters)]


def test_no_value_is_in_the_sealed_file_the_contents_the_report_or_a_log(
    send: Send,
    site: SimpleNamespace,
    people: Callable[..., Rows],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    sent = send(people())
    encodings, facts = openings(sent, site)
    content = sent.path.read_bytes()
    opened = repr(encodings.rows()).encode() + repr(facts.rows()).encode()
    spoken = [sent.to_json(), *sent.words(), repr(sent), caplog.text, *capsys.readouterr()]
    for trace in TRACES:
        for form in {trace, trace.upper(), trace.lower()}:
            assert form.encode() not in content and form.encode("utf-16-le") not in content
            assert form.encode() not in opened
            assert form not in " ".join(spoken)
    assert json.loads(sent.to_json())["records"] == PERSONS
    assert f"{PERSONS} persons" in sent.words()[0]


def test_the_same_extract_again_has_the_same_pseudonyms_and_filters(
    send: Send, site: SimpleNamespace, people: Callable[..., Rows]
) -> None:
    rows = people()
    rows[5] |= dict.fromkeys(("FIRST", "MIDDLE", "PHONES", "SSN"), "")  # with empty filters
    once = send(rows, spec=MASKED)
    frame = openings(once, site)
    again = send(rows[::-1], spec=MASKED)
    assert again.path == once.path
    for one, other in zip(frame, openings(again, site), strict=True):
        assert one.equals(other)
    assert (again.manifest.batch_id != once.manifest.batch_id) and again.manifest.serial > once.manifest.serial
    assert again.manifest.fingerprint == once.manifest.fingerprint


def test_names_of_one_person_are_padded_alike(send: Send, site: SimpleNamespace, people: Callable[..., Rows]) -> None:
    """A full filter without names is the same in all names of a person: an empty one must not show by differing."""
    rows = people()
    for row in rows[:LEAST]:  # enough to be sent as they are
        row |= {"SSN": "", "PHONES": ""}
    encodings, _ = openings(send(rows, spec=MASKED), site)
    names = encodings.filter(pseudonym=site.shelter.pseudonym(SENTINEL["PID"]))
    assert names["variant"].to_list() == [0, 1]
    assert names["numbers_mask"].to_list() == [0, 0]
    assert names["numbers"].n_unique() == names["birth"].n_unique() == 1
    assert names["family"].n_unique() == 2
    assert encodings["numbers"].n_unique() == PERSONS


def test_another_agency_has_other_pseudonyms_and_pads_otherwise_but_encodes_alike(
    send: Send, site: SimpleNamespace, people: Callable[..., Rows], tmp_path: Path
) -> None:
    rows = people()
    for row in rows[1 : LEAST + 1]:
        row |= {"SSN": "", "PHONES": ""}
    own, _ = openings(send(rows, spec=MASKED), site)
    private, public = create_party(tmp_path / "other", "other")
    sent = send(rows, spec=MASKED, party=load_party(private))
    other = open_encodings(sent.path, site.opener, load_public(public))
    assert not set(own["pseudonym"]) & set(other["pseudonym"])
    for name in ("given", "family", "birth", "place"):
        assert set(own[name]) == set(other[name]), name
    assert len(set(own["numbers"]) - set(other["numbers"])) == LEAST


def test_no_presence_masks_single_a_person_out(send: Send, site: SimpleNamespace, people: Callable[..., Rows]) -> None:
    rows = people()
    rows[5] |= {"PHONES": ""}
    sent = send(rows, spec=MASKED, decoys=0.5)
    encodings, facts = openings(sent, site)
    masks = [f"{entry.name}_mask" for entry in MASKED.filters]
    own = encodings.filter(~pl.col("pseudonym").is_in(facts.filter("decoy")["pseudonym"].implode()))
    for frame in (encodings, own):
        patterns = frame.group_by(masks).agg(records=pl.col("pseudonym").n_unique())
        assert len(patterns) > 1 and patterns["records"].min() >= LEAST
        assert frame.select("pseudonym", *masks).n_unique() == frame["pseudonym"].n_unique()


# --- only what is agreed ----------------------------------------------------------------------------------------------


def test_an_identifier_that_is_not_agreed_is_as_if_it_were_not_in_the_extract(
    send: Send, site: SimpleNamespace, people: Callable[..., Rows], make_agreement: Callable[..., Agreement]
) -> None:
    rows = people()
    allowed = [name for name in make_agreement().identifiers if name not in ("phone", "aliases")]
    whole, _ = openings(send(rows, spec=MASKED), site)
    without, _ = openings(send(rows, spec=MASKED, agreement=make_agreement(identifiers=allowed)), site)
    never, _ = openings(send([row | {"PHONES": "", "AKA": ""} for row in rows], spec=MASKED), site)
    assert without.equals(never)
    assert set(whole["numbers_mask"]) == {0b11} and set(without["numbers_mask"]) == {0b01}
    assert whole["variant"].max() == 1 and without["variant"].max() == 0
    assert not set(whole["numbers"]) & set(without["numbers"])
    assert set(without["place"]) == set(whole["place"])


def test_without_masks_nothing_says_what_is_not_agreed(
    send: Send, site: SimpleNamespace, people: Callable[..., Rows], make_agreement: Callable[..., Agreement]
) -> None:
    kept = ["given_name", "family_name", "birth_date"]
    encodings, _ = openings(send(people(), agreement=make_agreement(identifiers=kept)), site)
    assert [name for name in encodings.columns if name.endswith("_mask")] == []
    for entry in load_spec("default").filters:
        bits = np.unpackbits(np.frombuffer(b"".join(encodings[entry.name].to_list()), np.uint8))
        assert abs(bits.mean() - 0.5) < 0.02


def test_a_fact_that_is_not_agreed_is_null(
    send: Send, site: SimpleNamespace, people: Callable[..., Rows], make_agreement: Callable[..., Agreement]
) -> None:
    rows = people()
    allowed = [name for name in make_agreement().facts if name not in ("race", "age", "missing_ever")]
    _, whole = openings(send(rows), site)
    _, facts = openings(send(rows, agreement=make_agreement(facts=allowed)), site)
    assert [whole[name].null_count() for name in ("race", "age", "missing_ever")] == [0, 0, 0]
    assert [facts[name].null_count() for name in ("race", "age", "missing_ever")] == [PERSONS] * 3
    rest = [name for name in whole.columns if name not in ("race", "age", "missing_ever")]
    assert facts.select(rest).equals(whole.select(rest))


def test_in_mode_consent_only_persons_with_a_live_release_leave(
    send: Send, site: SimpleNamespace, people: Callable[..., Rows], make_agreement: Callable[..., Agreement]
) -> None:
    rows = people()
    for row, until in zip(rows, ["11/22/2026", "12/31/2027", "11/21/2026", "12/31/2027"], strict=False):
        row["RELEASE"] = until
    sent = send(rows, agreement=make_agreement(mode="consent"))
    encodings, facts = openings(sent, site)
    expected = set(site.shelter.pseudonyms(rows[number]["PID"] for number in (0, 1, 3)))
    assert set(encodings["pseudonym"]) == set(facts["pseudonym"]) == expected
    assert sent.manifest.mode == "consent" and sent.records == 3


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("today", [dt.date(2025, 12, 31), dt.date(2028, 1, 1)])
def test_no_agreement_in_force(
    refused: Callable[..., LinkageError], people: Callable[..., Rows], today: dt.date
) -> None:
    error = refused(NotPermittedError, "no-agreement", people(), today=today)
    assert error.exit_code == 4 and today.isoformat() in str(error)


@pytest.mark.parametrize("today", [dt.date(2026, 1, 1), dt.date(2027, 12, 31)])
def test_an_agreement_is_in_force_on_its_first_and_last_day(
    send: Send, people: Callable[..., Rows], today: dt.date
) -> None:
    assert send(people(), today=today, month=f"{today:%Y-%m}").records == PERSONS


def test_a_month_that_has_not_begun_is_refused(
    refused: Callable[..., LinkageError], people: Callable[..., Rows]
) -> None:
    refused(ContractError, "future-month", people(), month="2031-02")


def test_contract_files_that_do_not_belong_together_are_all_named(
    refused: Callable[..., LinkageError],
    people: Callable[..., Rows],
    make_agreement: Callable[..., Agreement],
    site: SimpleNamespace,
) -> None:
    rows = people()
    key = LinkageKey("madison", "2026-1", site.linkage_key._secret)
    other = load_spec("default").model_copy(update={"rules": RULES + 1})

    def places(**changes: Any) -> list[str]:
        error = refused(ContractError, "contract-differs", rows, **changes)
        return [problem.partition(":")[0] for problem in error.problems]

    assert places(agreement=make_agreement(profile="guarded")) == ["profile"]
    assert places(spec=load_spec("guarded")) == ["profile"]
    assert places(agreement=make_agreement(project="madison")) == ["project"]
    assert places(linkage_key=key) == ["project"]
    assert places(agreement=make_agreement(source="mpd")) == ["source"]
    assert places(spec=other) == ["rules"]
    assert places(agreement=make_agreement(source="mpd", profile="guarded"), linkage_key=key, spec=other) == [
        "source",
        "project",
        "profile",
        "rules",
    ]


def test_mode_aggregate_sends_no_record(
    refused: Callable[..., LinkageError], people: Callable[..., Rows], make_agreement: Callable[..., Agreement]
) -> None:
    refused(NotPermittedError, "aggregate-only", people(), agreement=make_agreement(mode="aggregate"))


def test_mode_consent_needs_a_column_of_releases(
    refused: Callable[..., LinkageError],
    people: Callable[..., Rows],
    make_agreement: Callable[..., Agreement],
    make_schema: Callable[..., SourceSchema],
) -> None:
    agreement = make_agreement(mode="consent")
    refused(NotPermittedError, "no-consent-column", people(), agreement=agreement, schema=make_schema(consent=None))


def test_a_missing_column(refused: Callable[..., LinkageError], people: Callable[..., Rows]) -> None:
    rows = [{name: value for name, value in row.items() if name not in ("DOB", "RACE")} for row in people()]
    error = refused(ExtractError, "missing-column", rows)
    assert set(error.problems) == {"column DOB is missing", "column RACE is missing"}


@pytest.mark.parametrize("column", ["SEEN", "DOB"])
def test_a_wrong_date_format(refused: Callable[..., LinkageError], people: Callable[..., Rows], column: str) -> None:
    rows = [row | {column: "29.02.1996"} for row in people()]
    error = refused(ExtractError, "too-many-failures", rows)
    assert f"{PERSONS} of {PERSONS} rows" in str(error)
    assert error.problems[0] == f"row 2: {column}: date-format"
    assert "29.02" not in str(error)


def test_mixed_encodings(
    refused: Callable[..., LinkageError], people: Callable[..., Rows], write_csv: Callable[..., Path]
) -> None:
    rows = people()
    rows[7]["LAST"] = "WyzzykownaÑandú"
    path = write_csv(rows)
    content = path.read_bytes()
    path.write_bytes(content.replace("Ñ".encode(), "Ñ".encode("windows-1252")))
    assert refused(ExtractError, "encoding", path).problems == ("row 9: encoding",)


def test_an_extract_without_a_row(
    refused: Callable[..., LinkageError], people: Callable[..., Rows], write_csv: Callable[..., Path]
) -> None:
    path = write_csv(people(1))
    path.write_text(path.read_text().splitlines()[0] + "\n")
    refused(ExtractError, "empty", path)
    path.write_bytes(b"")
    assert refused(ExtractError, "empty", path).exit_code == 3


def test_no_such_extract(refused: Callable[..., LinkageError], tmp_path: Path) -> None:
    refused(ExtractError, "not-found", tmp_path / "gone.csv")


def test_a_tenth_of_broken_rows_is_left_out_where_the_schema_tolerates_it(
    send: Send, site: SimpleNamespace, people: Callable[..., Rows]
) -> None:
    rows = people()
    for row in rows[10:14]:
        row["SEEN"] = "2014-03-04"
    sent = send(rows)
    encodings, facts = openings(sent, site)
    gone = set(site.shelter.pseudonyms(row["PID"] for row in rows[10:14]))
    assert sent.records == PERSONS - 4
    assert not gone & (set(encodings["pseudonym"]) | set(facts["pseudonym"]))
    assert sent.report.failed_rows == 4 and sent.report.failures[0].rows == (12, 13, 14, 15)
    assert any(sentence.startswith("4 rows were left out") for sentence in sent.words())


def test_one_broken_row_more_than_is_tolerated_and_nothing_is_sent(
    refused: Callable[..., LinkageError], people: Callable[..., Rows], make_schema: Callable[..., SourceSchema]
) -> None:
    rows = people()
    for row in rows[:5]:
        row["SEEN"] = row["LAST"]
    error = refused(ExtractError, "too-many-failures", rows)
    assert error.problems == tuple(f"row {number}: SEEN: date-format" for number in range(2, 7))
    refused(ExtractError, "too-many-failures", rows[4:], schema=make_schema(tolerance=0.0))


def test_a_repeat_under_another_number_is_counted_and_told(send: Send, people: Callable[..., Rows]) -> None:
    rows = people()
    sent = send([*rows, rows[0] | {"PID": "again"}])
    assert sent.visible_edges["any"] == pytest.approx(2 / (PERSONS + 1))
    assert f"{2 / (PERSONS + 1):.1%} of the persons visibly resemble" in " ".join(sent.words())


def test_too_many_visible_edges(refused: Callable[..., LinkageError], people: Callable[..., Rows]) -> None:
    rows = people()
    repeats = [row | {"PID": f"again-{row['PID']}"} for row in rows[:5]]
    error = refused(NotPermittedError, "visible-edges", [*rows, *repeats])
    assert f"{10 / 45:.1%}" in str(error)


@pytest.mark.parametrize("count", [0, 1])
def test_a_batch_of_one_person_or_none_is_not_made(
    refused: Callable[..., LinkageError], people: Callable[..., Rows], count: int
) -> None:
    rows = [row | {"TOLD": "Y" if number < count else "N"} for number, row in enumerate(people(5))]
    assert refused(ExtractError, "too-few-records", rows).exit_code == 3


def test_hub_and_analysis_are_two(
    refused: Callable[..., LinkageError],
    people: Callable[..., Rows],
    site: SimpleNamespace,
    make_agreement: Callable[..., Agreement],
) -> None:
    hub = {"opener": site.public["hub"], "agreement": make_agreement(opening="hub")}
    refused(NotPermittedError, "one-key-two-roles", people(), analysis=site.public["hub"], **hub)


def test_encodings_are_sealed_for_the_key_that_was_agreed(
    refused: Callable[..., LinkageError],
    people: Callable[..., Rows],
    site: SimpleNamespace,
    make_agreement: Callable[..., Agreement],
) -> None:
    refused(NotPermittedError, "opening-differs", people(), opener=site.public["hub"])
    refused(NotPermittedError, "opening-differs", people(), agreement=make_agreement(opening="hub"))
    shown = {"spec": MASKED, "opener": site.public["hub"], "agreement": make_agreement(opening="hub")}
    refused(NotPermittedError, "needs-approval", people(), **shown)


def test_a_refused_extract_leaves_the_batch_of_the_month_as_it_is(send: Send, people: Callable[..., Rows]) -> None:
    sent = send(people())
    with pytest.raises(ExtractError):
        send([row | {"SEEN": "never"} for row in people()])
    assert [path.name for path in sent.path.parent.iterdir()] == [sent.path.name]
    assert file_digest(sent.path) == sent.digest


def test_an_extract_in_which_a_field_is_missing_everywhere_is_sent(
    send: Send, site: SimpleNamespace, people: Callable[..., Rows]
) -> None:
    rows = [row | {"SSN": "UNKNOWN", "PHONES": "", "ADDRESS": "n/a"} for row in people()]
    encodings, _ = openings(send(rows, spec=MASKED), site)
    assert set(encodings["numbers_mask"]) == {0}
    assert encodings["numbers"].n_unique() == PERSONS


# --- agreed test persons ----------------------------------------------------------------------------------------------


def test_test_persons_are_sent_like_anybody_and_only_the_analysis_is_told(
    send: Send, site: SimpleNamespace, people: Callable[..., Rows], tmp_path: Path
) -> None:
    draw_test_persons(30, tmp_path / "agreed", **MADE_FOR, sources=("shelter", "other"), seed=3)
    plain = send(people())
    before = openings(plain, site)[0]
    path = tmp_path / "agreed" / "test-persons-shelter.csv"
    names = read_planted(path, **MADE_FOR, source="shelter")["test_person"].to_list()
    sent = send(people(), test_persons=path)
    assert (sent.test_persons, plain.test_persons) == (len(names), 0)
    assert sent.records == PERSONS + len(names)
    assert sent.events == plain.events + len(names)
    assert json.loads(sent.to_json())["test_persons"] == len(names)
    assert any(f"{len(names)} of the persons are agreed test persons" in text for text in sent.words())
    assert not any("test persons" in text for text in plain.words())

    encodings, facts = openings(sent, site)
    planted = facts.filter(pl.col("test_person").is_not_null())
    assert sorted(planted["test_person"]) == sorted(names)
    assert planted["decoy"].all() and not facts.filter(pl.col("test_person").is_null())["decoy"].any()
    # To the hub they are pseudonyms and filters like all others, and the manifest says nothing of them.
    own = set(site.shelter.pseudonyms(row["PID"] for row in people()))
    assert set(encodings["pseudonym"]) == own | set(planted["pseudonym"]) and len(own & set(planted["pseudonym"])) == 0
    assert encodings.schema == before.schema
    assert sent.manifest.model_dump().keys() == plain.manifest.model_dump().keys()
    fill = np.array([sum(byte.bit_count() for byte in raw) for raw in encodings["names"]])
    mine = encodings["pseudonym"].is_in(planted["pseudonym"].implode()).to_numpy()
    # Keys are fresh in every run of the tests: six standard errors never happen by chance.
    error = fill.std() * np.sqrt(1 / mine.sum() + 1 / (~mine).sum())
    assert abs(fill[mine].mean() - fill[~mine].mean()) < 6 * error
    # What is said of the extract does not change.
    assert sent.report == plain.report
    assert encodings.join(before, on=encodings.columns, how="semi").height == plain.rows


def test_test_persons_do_not_make_a_batch_of_one_larger(
    send: Send, refused: Callable[..., LinkageError], people: Callable[..., Rows], tmp_path: Path
) -> None:
    draw_test_persons(30, tmp_path / "agreed", **MADE_FOR, sources=("shelter", "other"), seed=3)
    path = tmp_path / "agreed" / "test-persons-shelter.csv"
    refused(ExtractError, "too-few-records", people()[:1], test_persons=path)
    (tmp_path / "none.csv").write_text("project,epoch,source,test_person,given_name\ntest,2026-1,shelter,t1,\n")
    refused(ExtractError, "malformed", people(), test_persons=tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("made_for", "name", "reason"),
    [
        ({}, "other", "other-source"),
        ({"project": "elsewhere"}, "shelter", "other-project"),
        ({"epoch": "2025-2"}, "shelter", "other-epoch"),
    ],
)
def test_test_persons_of_another_agency_project_or_epoch_are_not_planted(
    send: Send,
    refused: Callable[..., LinkageError],
    people: Callable[..., Rows],
    tmp_path: Path,
    made_for: dict[str, str],
    name: str,
    reason: str,
) -> None:
    draw_test_persons(30, tmp_path / "agreed", **(MADE_FOR | made_for), sources=("shelter", "other"))
    path = tmp_path / "agreed" / f"test-persons-{name}.csv"
    error = refused(ExtractError, reason, people(), test_persons=path)
    assert error.hint is not None and "test" in error.hint
    renamed = path.rename(tmp_path / "test-persons-shelter.csv")  # another name for it does not help
    refused(ExtractError, reason, people(), test_persons=renamed)


# --- decoys -----------------------------------------------------------------------------------------------------------


def test_decoys_are_sent_like_anybody_and_only_the_analysis_is_told(
    send: Send, site: SimpleNamespace, people: Callable[..., Rows]
) -> None:
    plain = [frame.sort(pl.all()) for frame in openings(send(people()), site)]
    sent = send(people(), decoys=0.25)
    encodings, facts = openings(sent, site)
    assert sent.decoys == 10 and json.loads(sent.to_json())["decoys"] == 10
    assert any(sentence.startswith("10 of the records are decoys") for sentence in sent.words())
    assert sent.records == PERSONS + 10 and sent.events == len(facts)
    assert encodings.columns == plain[0].columns
    made_up = facts.filter(pl.col("decoy"))
    assert made_up["pseudonym"].n_unique() == len(made_up) == 10
    of_decoys = pl.col("pseudonym").is_in(made_up["pseudonym"].implode())
    # Not one bit of a person's record, encoding or fact, is another with decoys.
    assert encodings.filter(~of_decoys).sort(pl.all()).equals(plain[0])
    assert facts.filter(~of_decoys).sort(pl.all()).equals(plain[1])
    assert encodings.filter(of_decoys, variant=0).height == 10
    assert sent.visible_edges == send(people()).visible_edges, "the gate measures people"


def test_decoys_are_the_same_next_month_and_others_in_another_epoch(
    send: Send, site: SimpleNamespace, people: Callable[..., Rows], tmp_path: Path
) -> None:
    def decoys(**changes: Any) -> pl.DataFrame:
        encodings, facts = openings(send(people(), decoys=8, **changes), site)
        codes = facts.filter(pl.col("decoy"))["pseudonym"]
        return encodings.filter(pl.col("pseudonym").is_in(codes.implode()))

    first = decoys()
    assert decoys(month="2026-10").equals(first)
    later = decoys(linkage_key=create_linkage_key(tmp_path / "later.key", "test", "2026-2"))
    assert not set(later["pseudonym"]) & set(first["pseudonym"])


def test_decoys_are_made_of_released_persons_alone(
    send: Send, site: SimpleNamespace, people: Callable[..., Rows], make_agreement: Callable[..., Agreement]
) -> None:
    """In mode consent nobody without a live release, not even a part of them, has anything to do with a decoy."""
    rows = people()
    for number, row in enumerate(rows):
        row["RELEASE"] = "12/31/2027" if number < 20 else ""
    agreement = make_agreement(mode="consent")
    alone = openings(send(rows[:20], agreement=agreement, decoys=10), site)
    among = openings(send(rows, agreement=agreement, decoys=10), site)
    assert all(one.equals(other) for one, other in zip(alone, among, strict=True))
    assert alone[1]["decoy"].sum() == 10


def test_more_decoys_than_people_are_not_sent(
    refused: Callable[..., LinkageError], people: Callable[..., Rows]
) -> None:
    refused(NotPermittedError, "too-many-decoys", people(), decoys=PERSONS + 1)
