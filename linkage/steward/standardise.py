"""Standard forms of all identifiers, in versioned rules: what two agencies must do alike before they encode.

Two doors. :func:`standardise_identifier` is for columns that a source schema declares as identifiers of the person
vocabulary, where the meaning is known. :func:`standardise_series` knows only the kind of a field (name, text, date,
digits, code); it serves plain labelled files, maps no nicknames and shortens no street words, since it cannot know that
a column holds given names or streets. Whatever has no standard form is null, never an empty string.

Every rule is idempotent: the standard form of a standard form is itself.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable

import polars as pl

from linkage.contract.vocabulary import IDENTIFIER_KINDS, IdentifierKind
from linkage.steward import names, rules

__all__ = ["RULES", "as_text", "rules_digest", "standardise_identifier", "standardise_series", "standardise_value"]

RULES = 1
"""Version of the rules. A spec names the version it was made for; another version is refused."""

_SEX = {"F": "F", "FEMALE": "F", "WOMAN": "F", "GIRL": "F", "M": "M", "MALE": "M", "MAN": "M", "BOY": "M"}
_SSN_PLACEHOLDERS = ("123456789", "987654321", "078051120", "219099999")
_ONE_DIGIT = "^(" + "|".join(f"{digit}+" for digit in range(10)) + ")$"
_STREET_WORD = re.compile(r"[A-Z0-9]+")


def rules_digest() -> str:
    """Return the SHA-256 over the version and every rule table, hex. It goes into the fingerprint of a batch."""
    content = {
        "rules": RULES,
        "tables": {table: rules.rows(table) for table in rules.TABLES},
        "suffixes": [names.SUFFIXES, names.SUFFIX_COLUMN],
        "letters": names.SPECIAL_LETTERS,
        "sex": _SEX,
        "ssn": _SSN_PLACEHOLDERS,
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def standardise_series(kind: IdentifierKind, series: pl.Series) -> pl.Series:
    """Standardise a column of a plain file by its kind.

    Parameters
    ----------
    kind
        ``name``: A-Z, one word. ``text``: upper-case words separated by one space. ``date``: digits YYYYMMDD, YYYYMM or
        YYYY from ISO-like text, also where the calendar has no such day, for a typing error still tells. ``digits``:
        the digits; only zeros are missing. ``code``: A-Z and 0-9.
    series
        Any scalar type; typed dates are taken as ISO text, whole numbers without a decimal point.

    Returns
    -------
    pl.Series
        String, same length and name, null where there is no standard form.
    """
    return _KIND_RULES[kind](as_text(series))


def standardise_value(kind: IdentifierKind, text: str) -> str | None:
    """Return what :func:`standardise_series` makes of one value."""
    result: str | None = standardise_series(kind, pl.Series([text], dtype=pl.String))[0]
    return result


def standardise_identifier(identifier: str, series: pl.Series) -> pl.Series:
    """Standardise a column that holds an identifier of the person vocabulary.

    Beyond the rule of its kind: nicknames become given names; ``sex`` is F or M and missing for every other entry,
    since agencies disagree about those and a disagreement would count against a person; ``ssn4`` is the last four of
    four or nine digits; ``phone`` ten digits; ``street`` is in postal short form without unit; ``postal_code`` five
    digits.
    """
    rule = _IDENTIFIER_RULES.get(identifier) or _KIND_RULES[IDENTIFIER_KINDS[identifier]]
    return rule(as_text(series))


def as_text(series: pl.Series) -> pl.Series:
    """Return a column as String: dates in ISO form, times of day dropped, whole numbers without a decimal point."""
    if series.dtype == pl.String:
        return series
    if series.dtype.is_temporal():
        return series.dt.date().dt.to_string("%Y-%m-%d") if series.dtype != pl.Date else series.dt.to_string("%Y-%m-%d")
    if series.dtype.is_float():
        whole = series.is_finite() & (series == series.round()) & (series.abs() < 2**53)
        frame = pl.select(
            pl.when(whole)
            .then(series.cast(pl.Int64, strict=False).cast(pl.String))
            .otherwise(series.cast(pl.String))
            .alias(series.name)
        )
        return frame.to_series()
    return series.cast(pl.String)


def on_unique(function: Callable[[str], str | None], series: pl.Series) -> pl.Series:
    """Apply a plain function to each distinct value once; columns of people repeat their values a great deal."""
    distinct = series.drop_nulls().unique()
    results = pl.Series([function(value) for value in distinct.to_list()], dtype=pl.String)
    return series.replace_strict(distinct, results, default=None, return_dtype=pl.String)


def _by(expression: Callable[[pl.Expr], pl.Expr], series: pl.Series) -> pl.Series:
    """Evaluate an expression on a series; an empty result is null."""
    result = pl.select(expression(pl.lit(series))).to_series().alias(series.name)
    return result.set(result == "", None) if result.dtype == pl.String else result


def _plain_letters(series: pl.Series) -> pl.Series:
    """Upper case without marks. Nearly all entries are ASCII already: only the others take the slow way."""
    if series.str.contains(r"[^\x00-\x7F]").any():
        return on_unique(names.letters, series)
    return series.str.to_uppercase()


def _name_with(function: Callable[[str], str | None]) -> Callable[[pl.Series], pl.Series]:
    return lambda series: on_unique(function, series).alias(series.name)


def _text(series: pl.Series) -> pl.Series:
    plain = _plain_letters(series.str.replace_all(names.APOSTROPHES, ""))
    return _by(lambda text: text.str.replace_all(r"[^A-Z0-9]+", " ").str.strip_chars(), plain)


def _code(series: pl.Series) -> pl.Series:
    return _by(lambda text: text.str.replace_all(r"[^A-Z0-9]", ""), _plain_letters(series))


def _digits(series: pl.Series) -> pl.Series:
    def rule(text: pl.Expr) -> pl.Expr:
        kept = text.str.replace_all(r"[^0-9]", "")
        return pl.when(kept.str.contains("[1-9]")).then(kept)

    return _by(rule, series)


_DATE = r"^\s*([0-9]{4})(?:[-/.]?([0-9]{2})(?:[-/.]?([0-9]{2}))?)?(?:[T ].*)?\s*$"


def _date(series: pl.Series) -> pl.Series:
    """Year, month, day as far as they are known: a part of only zeros is unknown, and so is all after it."""

    def rule(text: pl.Expr) -> pl.Expr:
        year, month, day = (text.str.extract(_DATE, group) for group in (1, 2, 3))
        month_known = month.is_not_null() & (month != "00")
        day_known = month_known & day.is_not_null() & (day != "00")
        whole = pl.concat_str(
            year,
            pl.when(month_known).then(month).otherwise(pl.lit("")),
            pl.when(day_known).then(day).otherwise(pl.lit("")),
        )
        return pl.when((year != "0000") & (year != "9999")).then(whole)

    return _by(rule, series)


def _sex(series: pl.Series) -> pl.Series:
    return _code(series).replace_strict(_SEX, default=None, return_dtype=pl.String).alias(series.name)


def _ssn4(series: pl.Series) -> pl.Series:
    """Last four of nine or four digits; the first five may be masked. Numbers never issued are missing."""

    def rule(text: pl.Expr) -> pl.Expr:
        plain = text.str.replace_all(r"[\s-]", "")
        whole = plain.str.extract(r"^([0-9]{9})$")
        four = plain.str.extract(r"^(?:[0-9]{5}|[Xx*#]{5})?([0-9]{4})$")
        never = (
            whole.is_in(list(_SSN_PLACEHOLDERS))
            | whole.str.contains(r"^(000|666)")
            | whole.str.contains(r"^[0-9]{3}00")
            | _one_digit(whole)
        ).fill_null(False)
        return pl.when(~never & ~four.is_in(["0000", "9999"])).then(four)

    return _by(rule, series)


def _phone(series: pl.Series) -> pl.Series:
    """Last ten digits, without extension and country code. Seven digits without an area code are missing."""

    def rule(text: pl.Expr) -> pl.Expr:
        digits = text.str.replace(r"[xX#;].*$", "").str.replace_all(r"[^0-9]", "")
        ten = pl.when(digits.str.len_bytes().is_between(10, 15)).then(digits.str.slice(-10))
        fictitious = ten.str.contains(r"^[0-9]{3}55501[0-9]{2}$") | ten.is_in(["1234567890", "0123456789"])
        return pl.when(~fictitious & ~_one_digit(ten)).then(ten)

    return _by(rule, series)


def _postal_code(series: pl.Series) -> pl.Series:
    """First five digits; a spreadsheet's lost leading zero is put back."""

    def rule(text: pl.Expr) -> pl.Expr:
        plain = text.str.strip_chars()
        five = pl.coalesce(
            plain.str.extract(r"^([0-9]{5})(?:[- ]?[0-9]{4}|-)?$"),
            pl.lit("0") + plain.str.extract(r"^([0-9]{4})(?:-?[0-9]{4})?$"),
        )
        return pl.when(~five.is_in(["00000", "99999"])).then(five)

    return _by(rule, series)


def _one_digit(digits: pl.Expr) -> pl.Expr:
    """Whether a number is one digit repeated, as typed to get past a form."""
    return digits.str.contains(_ONE_DIGIT)


def _street_value(text: str) -> str | None:
    street, comma, rest = names.letters(re.sub(names.APOSTROPHES, "", text)).partition(",")
    if comma and not (re.search("[0-9]", street) and re.search("[A-Z]", street)):
        street = f"{street} {rest}"  # the comma stands after the house number, not before the city
    found = _STREET_WORD.findall(street.replace("#", " APT "))
    if " ".join(found) in rules.words("street_placeholder"):
        return None
    kept: list[str] = []
    skip = False
    for word in found:
        if skip or word in rules.words("unit"):
            skip = not skip  # a designator takes the next word with it
        else:
            kept.append(rules.streets().get(word, word))
    while len(kept) > 1 and kept[-1] in rules.words("unit_alone"):
        kept.pop()
    short = " ".join(kept)
    return short if short and short not in _street_placeholders() else None


@functools.cache
def _street_placeholders() -> frozenset[str]:
    table = rules.streets()
    return frozenset(
        " ".join(table.get(word, word) for word in text.split()) for text in rules.words("street_placeholder")
    )


_Rule = Callable[[pl.Series], pl.Series]
_KIND_RULES: dict[str, _Rule] = {
    "name": _name_with(names.name),
    "text": _text,
    "date": _date,
    "digits": _digits,
    "code": _code,
}
_IDENTIFIER_RULES: dict[str, _Rule] = {
    "given_name": _name_with(names.given_name),
    "suffix": _name_with(names.standard_suffix),
    "sex": _sex,
    "ssn4": _ssn4,
    "phone": _phone,
    "street": _name_with(_street_value),
    "postal_code": _postal_code,
}
