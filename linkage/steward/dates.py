"""Strict dates: only the formats that a source schema declares, in their order, and ages from them."""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Sequence

import polars as pl

from linkage.errors import ContractError

__all__ = ["EARLIEST", "completed_years", "parse_dates"]

EARLIEST = dt.date(1900, 1, 1)
"""No birth and no contact of these extracts lies before it."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONG = "January February March April May June July August September October November December".split()
_PATTERNS = {
    "Y": "(?P<year>[0-9]{4})",
    "y": "(?P<short>[0-9]{2})",
    "m": "(?P<month>[0-9]{1,2})",
    "d": "(?P<day>[0-9]{1,2})",
    "b": f"(?P<name>{'|'.join(_MONTHS)})",
    "B": f"(?P<name>{'|'.join(_LONG)})",
    "H": "[0-9]{1,2}",
    "I": "[0-9]{1,2}",
    "M": "[0-9]{2}",
    "S": "[0-9]{2}",
    "f": "[0-9]{1,9}",
    "p": "[AaPp][Mm]",
    "%": "%",
}


@functools.cache
def _pattern(form: str) -> str:
    """Turn a strptime format into a pattern; digits that touch the next digits must be written in full."""
    pattern, position = "", 0
    for match in re.finditer("%(.)", form):
        code = match.group(1)
        if code not in _PATTERNS:
            raise ContractError(
                f"date format with %{code}: not known",
                reason="date-format",
                hint="formats may hold %Y %y %m %d %b %B, and %H %I %M %S %f %p for a time of day, which is dropped",
            )
        part = _PATTERNS[code]
        if form[match.end() : match.end() + 1] == "%" or form[: match.start()].endswith(tuple("Yymd")):
            part = part.replace("{1,2}", "{2}")
        pattern += re.escape(form[position : match.start()]) + part
        position = match.end()
    whole = f"(?i)^{pattern}{re.escape(form[position:])}$"
    try:
        groups = re.compile(whole).groupindex
    except re.error:
        groups = {}
    if not groups.keys() & {"year", "short"}:
        raise ContractError(
            "a date format of the source schema is without a year, or has a part twice",
            reason="date-format",
            hint="write %d.%m.%Y for 31.12.2001, %m/%d/%Y for 12/31/2001, %Y-%m-%d for 2001-12-31",
        )
    return whole


def parse_dates(
    values: pl.Series, formats: Sequence[str], *, earliest: dt.date, latest: dt.date, missing: Sequence[str] = ()
) -> pl.DataFrame:
    """Parse text by strict formats.

    Parameters
    ----------
    values
        Trimmed text; null is missing.
    formats
        strptime formats in order: the first under which the text is a day of the calendar counts. A format without
        ``%d``, or without ``%d`` and ``%m``, reads a date of which only that much is known. ``%y`` means the latest
        such year that is not after ``latest``.
    earliest, latest
        Bounds, inclusive.
    missing
        Dates, as digits, that stand for "nothing" however they are written, such as ``19000101``.

    Returns
    -------
    pl.DataFrame
        ``digits`` YYYYMMDD, YYYYMM or YYYY as far as known; ``date`` (null unless the day is known); ``year`` Int32;
        ``rule`` null, ``"date-format"`` (fits no format; none has a 13th month or a 32nd day) or ``"date-range"`` (no
        such day in that month, or outside the bounds).
    """
    distinct = values.drop_nulls().unique().to_frame("text")
    fits = pl.concat([_parts(distinct, form, latest).with_columns(order=order) for order, form in enumerate(formats)])
    # An unknown day or month is taken as the first for the calendar's sake; the lower bound is then that of its year.
    padded = pl.concat_str("year", pl.col("month").fill_null("01"), pl.col("day").fill_null("01"))
    fits = fits.with_columns(start=padded.str.to_date("%Y%m%d", strict=False))
    fits = fits.sort(pl.col("start").is_null(), "order").unique("text", keep="first", maintain_order=True)
    low = pl.when(pl.col("day").is_null()).then(pl.lit(earliest.replace(month=1, day=1))).otherwise(pl.lit(earliest))
    known = fits.select(
        "text",
        digits=pl.concat_str("year", pl.col("month").fill_null(""), pl.col("day").fill_null("")),
        date=pl.when(pl.col("day").is_not_null()).then("start"),
        year=pl.col("year").cast(pl.Int32),
        rule=pl.when(pl.col("start").is_between(low, pl.lit(latest)).fill_null(False))
        .then(None)
        .otherwise(pl.lit("date-range")),
    )
    known = known.with_columns(
        pl.when(~pl.col("digits").is_in(list(missing))).then(column).alias(column)
        for column in ("date", "year", "rule")
    )
    table = distinct.join(known, on="text", how="left").with_columns(
        pl.when(pl.col("digits").is_null()).then(pl.lit("date-format")).otherwise("rule").alias("rule")
    )
    usable = [
        pl.when(pl.col("rule").is_null() & ~pl.col("digits").is_in(list(missing))).then(column).alias(column)
        for column in ("digits", "date", "year")
    ]
    return (
        values.to_frame("text")
        .join(table.select("text", *usable, "rule"), on="text", how="left", maintain_order="left")
        .select("digits", "date", "year", "rule")
    )


def _parts(distinct: pl.DataFrame, form: str, latest: dt.date) -> pl.DataFrame:
    """Cut the texts that have the shape of a format into year, month and day as zero-filled text."""
    groups = re.compile(_pattern(form)).groupindex
    text, pattern = pl.col("text"), _pattern(form)
    absent = pl.lit(None, dtype=pl.String)
    if "year" in groups:
        year = text.str.extract(pattern, groups["year"])
    else:
        two = text.str.extract(pattern, groups["short"]).cast(pl.Int32)
        century = latest.year // 100 * 100
        year = pl.when(two + century <= latest.year).then(two + century).otherwise(two + century - 100).cast(pl.String)
    month = absent
    if "month" in groups:
        month = text.str.extract(pattern, groups["month"]).str.zfill(2)
    elif "name" in groups:
        short = text.str.extract(pattern, groups["name"]).str.to_lowercase().str.slice(0, 3)
        numbers = [f"{number:02d}" for number in range(1, 13)]
        month = short.replace_strict(list(_MONTHS), numbers, return_dtype=pl.String)
    day = text.str.extract(pattern, groups["day"]).str.zfill(2) if "day" in groups else absent
    fits = distinct.filter(text.str.contains(pattern)).select("text", year=year, month=month, day=day)
    # What stands in the month's place and is no month was written in another format, not on a day there never was.
    bounds = (("month", 12), ("day", 31))
    return fits.filter(pl.col(name).cast(pl.Int32).is_between(1, most).fill_null(True) for name, most in bounds)


def completed_years(birth: pl.Expr, birth_year: pl.Expr, event: pl.Expr) -> pl.Expr:
    """Return the age at an event in completed years, Int16.

    From the birth date; where only the year of birth is known, event year minus birth year, which is the true age or
    one more: nobody is made a minor by a missing birthday. An age below 0 or above 120 is unknown.
    """
    years = event.dt.year() - birth.dt.year()
    # Months come as Int8, in which a hundred of them do not fit.
    day_of_event, day_of_birth = (day.dt.month().cast(pl.Int32) * 100 + day.dt.day() for day in (event, birth))
    before_birthday = day_of_event < day_of_birth
    age = pl.coalesce(years - before_birthday.cast(pl.Int32), event.dt.year() - birth_year)
    return pl.when(age.is_between(0, 120)).then(age).cast(pl.Int16)
