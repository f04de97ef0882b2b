from __future__ import annotations

import datetime as dt
import re
import unicodedata

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.contract.vocabulary import IDENTIFIER_KINDS, IdentifierKind
from linkage.steward import rules, standardise
from linkage.steward.names import WholeName, name_suffix, parse_whole_name
from linkage.steward.standardise import rules_digest, standardise_identifier, standardise_series, standardise_value

ALPHABETS = {
    "name": "[A-Z]+",
    "text": "[A-Z0-9]+( [A-Z0-9]+)*",
    "date": "[0-9]{4}([0-9]{2}([0-9]{2})?)?",
    "digits": "[0-9]+",
    "code": "[A-Z0-9]+",
}
# Text as people and systems write it, beside text of any kind: plain random text never meets a rule.
PIECES = [
    *("Mr", "JR", "sr.", "III", "O'", "’", "-", " ", ", ", "(aka Bo)", '"', "Muñoz", "ß", "ø", "ﬁ", "Łu", "DOE", "UN"),
    *("KNOWN", "BABY", "de la", "North", "STREET", "Apt", "#", "4", "27th", "Avenue", "PO Box", "HOMELESS", "Upper"),
    *(
        "1998",
        "05",
        "00",
        "/",
        ".",
        "414",
        "272",
        "5550123",
        "ext",
        "x",
        "1",
        "000",
        "٣",
        "é",
        "T",
        "bob",
        "II",
        "saint",
    ),
]
TEXT = st.one_of(st.text(max_size=20), st.lists(st.sampled_from(PIECES), max_size=7).map("".join))


def one(identifier: str, text: str) -> str | None:
    return standardise_identifier(identifier, pl.Series([text])).to_list()[0]


@settings(deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=5), kind=st.sampled_from(list(ALPHABETS)))
def test_every_kind_keeps_its_alphabet_and_is_idempotent(texts: list[str], kind: IdentifierKind) -> None:
    once = standardise_series(kind, pl.Series("x", texts))
    assert (len(once), once.name, once.dtype) == (len(texts), "x", pl.String)
    assert all(value is None or re.fullmatch(ALPHABETS[kind], value) for value in once.to_list())
    assert standardise_series(kind, once).to_list() == once.to_list()
    assert once.to_list() == [standardise_value(kind, text) for text in texts]


@settings(deadline=None, max_examples=300)
@given(texts=st.lists(TEXT, min_size=1, max_size=5), identifier=st.sampled_from(list(IDENTIFIER_KINDS)))
def test_every_identifier_keeps_its_alphabet_and_is_idempotent(texts: list[str], identifier: str) -> None:
    once = standardise_identifier(identifier, pl.Series("x", texts))
    alphabet = ALPHABETS[IDENTIFIER_KINDS[identifier]]
    assert (len(once), once.name, once.dtype) == (len(texts), "x", pl.String)
    assert all(value is None or re.fullmatch(alphabet, value) for value in once.to_list())
    assert standardise_identifier(identifier, once).to_list() == once.to_list()


@given(text=TEXT)
def test_composed_and_decomposed_letters_are_one_name(text: str) -> None:
    forms = {standardise_value("name", unicodedata.normalize(form, text)) for form in ("NFC", "NFD")}
    assert len(forms) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("O'Brien", "OBRIEN"),
        ("O’Brien", "OBRIEN"),
        ("O´Brien", "OBRIEN"),
        ("García-López", "GARCIALOPEZ"),
        ("de la Cruz", "DELACRUZ"),
        ("Straße", "STRASSE"),
        ("Sørensen", "SORENSEN"),
        ("Łukasz", "LUKASZ"),
        ("Ægir", "AEGIR"),
        ("ﬁsher", "FISHER"),
        ("Smith, Jr.", "SMITH"),
        ("Smith III", "SMITH"),
        ("Dr. Smith", "SMITH"),
        ("II", "II"),
        ("Smith (maiden: Jones)", "SMITH"),
        ("(Jones)", "JONES"),
        ("NULL", "NULL"),
        ("Na", "NA"),
        ("Doe", "DOE"),
        ("Unknown", None),
        ("un known", None),
        ("LNU", None),
        ("baby boy", None),
        ("TEST", None),
        ("Иванов", None),
        ("42", None),
        ("", None),
    ],
)
def test_names(text: str, expected: str | None) -> None:
    assert one("family_name", text) == expected
    assert standardise_value("name", text) == expected


def test_nicknames_only_where_the_schema_says_given_name() -> None:
    assert one("given_name", "Bob") == "ROBERT"
    assert one("given_name", "PEPE") == "JOSE"
    assert one("given_name", "Mary Ann J.") == "MARYANN"
    assert one("family_name", "Bob") == "BOB"
    assert one("middle_name", "Bob") == "BOB"
    assert standardise_value("name", "Bob") == "BOB"


def test_ambiguous_nicknames_stay() -> None:
    for text in ("ALEX", "CHRIS", "PAT", "SAM", "TERRY", "JO", "BETO"):
        assert one("given_name", text) == text


@pytest.mark.parametrize(
    ("identifier", "text", "expected"),
    [
        ("suffix", "Jr.", "JR"),
        ("suffix", "3rd", "III"),
        ("suffix", "senior", "SR"),
        ("suffix", "Esq", None),
        ("sex", "F", "F"),
        ("sex", "male", "M"),
        ("sex", "transgender_female", None),
        ("sex", "other", None),
        ("ssn4", "321-54-6780", "6780"),
        ("ssn4", "321546780", "6780"),
        ("ssn4", "6780", "6780"),
        ("ssn4", "XXX-XX-6780", "6780"),
        ("ssn4", "0000", None),
        ("ssn4", "9999", None),
        ("ssn4", "111-11-1111", None),
        ("ssn4", "123-45-6789", None),
        ("ssn4", "000-12-3456", None),
        ("ssn4", "321-00-3456", None),
        ("ssn4", "666-12-3456", None),
        ("ssn4", "12345", None),
        ("ssn4", "780", None),
        ("phone", "(414) 272-1234", "4142721234"),
        ("phone", "+1 414.272.1234", "4142721234"),
        ("phone", "414-272-1234 ext. 55", "4142721234"),
        ("phone", "+52 55 1234 5678", "5512345678"),
        ("phone", "272-1234", None),
        ("phone", "555-555-5555", None),
        ("phone", "414-555-0123", None),
        ("phone", "414-555-1234", "4145551234"),
        ("street", "123 North 27th Street, Apt 4, Milwaukee", "123 N 27TH ST"),
        ("street", "123, North Ave.", "123 N AVE"),
        ("street", "55 W. Main St #4B", "55 W MAIN ST"),
        ("street", "55 W Main St Upper", "55 W MAIN ST"),
        ("street", "Apt 4 55 Martin Luther King Boulevard", "55 MARTIN LUTHER KING BLVD"),
        ("street", "1 Saint Paul Avenue", "1 ST PAUL AVE"),
        ("street", "Twelfth Street", "12TH ST"),
        ("street", "homeless", None),
        ("street", "No fixed address", None),
        ("street", "Apt 4", None),
        ("postal_code", "53208-1234", "53208"),
        ("postal_code", "532081234", "53208"),
        ("postal_code", "2134", "02134"),
        ("postal_code", "00000", None),
        ("postal_code", "5320", "05320"),
        ("postal_code", "S6 6AB", None),
        ("medicaid_id", "ab-12 34", "AB1234"),
        ("birth_date", "19980517", "19980517"),
    ],
)
def test_identifiers(identifier: str, text: str, expected: str | None) -> None:
    assert one(identifier, text) == expected


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("date", "1998-05-17", "19980517"),
        ("date", "19980517", "19980517"),
        ("date", "1998-02-31", "19980231"),
        ("date", "1998-05", "199805"),
        ("date", "199805", "199805"),
        ("date", "1998", "1998"),
        ("date", "1998-00-00", "1998"),
        ("date", "1998-05-17 00:00:00", "19980517"),
        ("date", "05/17/1998", None),
        ("date", "00000000", None),
        ("date", "1998-5-1", None),
        ("text", " 12  O'Hara  Street. ", "12 OHARA STREET"),
        ("text", "--", None),
        ("digits", "0012-34", "001234"),
        ("digits", "000", None),
        ("code", "é.1-b", "E1B"),
        ("code", "?", None),
    ],
)
def test_kinds_of_plain_files(kind: IdentifierKind, text: str, expected: str | None) -> None:
    assert standardise_value(kind, text) == expected


def test_typed_columns_of_plain_files() -> None:
    dates = pl.Series([dt.date(1998, 5, 17), None])
    assert standardise_series("date", dates).to_list() == ["19980517", None]
    assert standardise_series("date", dates.cast(pl.Datetime)).to_list() == ["19980517", None]
    assert standardise_series("date", pl.Series([19980517, None])).to_list() == ["19980517", None]
    assert standardise_series("digits", pl.Series([53208.0, float("nan"), None])).to_list() == ["53208", None, None]
    assert standardise_series("code", pl.Series(["f", "m"], dtype=pl.Categorical)).to_list() == ["F", "M"]
    for kind in ALPHABETS:
        assert standardise_series(kind, pl.Series([None, None], dtype=pl.Null)).to_list() == [None, None]  # type: ignore[arg-type]
        assert standardise_series(kind, pl.Series([], dtype=pl.String)).to_list() == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "order", "expected"),
    [
        ("Bobby Smith", "given family", WholeName("ROBERT", None, "SMITH")),
        ("Bobby Lee Smith Jr", "given family", WholeName("ROBERT", "LEE", "SMITH")),
        ("Maria de la Cruz", "given family", WholeName("MARIA", None, "DELACRUZ")),
        ("Peaches", "given family", WholeName("PEACHES", None, None)),
        ("Smith, Bobby Lee", "family, given", WholeName("ROBERT", "LEE", "SMITH")),
        ("Garcia Lopez, Ana", "family, given", WholeName("ANA", None, "GARCIALOPEZ")),
        ("Peaches", "family, given", WholeName("PEACHES", None, None)),
        ("UNKNOWN", "given family", WholeName(None, None, None)),
        (", ", "family, given", WholeName(None, None, None)),
    ],
)
def test_whole_names(text: str, order: str, expected: WholeName) -> None:
    assert parse_whole_name(text, order) == expected  # type: ignore[arg-type]


def test_suffix_inside_a_name() -> None:
    assert name_suffix("Smith Jr.") == "JR"
    assert name_suffix("Smith, 3rd") == "III"
    assert name_suffix("Smith") is None
    assert name_suffix("IV") is None


def test_tables_are_facts_in_standard_form() -> None:
    nicknames = rules.nicknames()
    assert len(nicknames) >= 300
    assert len(nicknames) == len(rules.rows("nicknames")), "a nickname stands twice"
    assert not set(nicknames) & set(nicknames.values()), "a given name is a nickname of another"
    assert len(rules.streets()) == len(rules.rows("streets"))
    assert not set(rules.streets()) & set(rules.streets().values())
    for word in [*nicknames, *nicknames.values()]:
        assert standardise_value("name", word) == word
    assert not set(nicknames) & rules.words("name_placeholder")


def test_the_digest_follows_version_and_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rules_digest()
    assert re.fullmatch("[0-9a-f]{64}", before)
    assert rules_digest() == before
    with monkeypatch.context() as patch:
        patch.setattr(standardise, "RULES", 2)
        assert rules_digest() != before
    changed = (("BOB", "BOBERT"), *rules.rows("nicknames")[1:])
    with monkeypatch.context() as patch:
        rows = rules.rows
        patch.setattr(rules, "rows", lambda table: changed if table == "nicknames" else rows(table))
        assert rules_digest() != before
