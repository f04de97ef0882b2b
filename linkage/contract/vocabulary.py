"""The words all parties share: identifiers of a person, facts about a contact, months.

The two vocabularies are closed lists on purpose: an identifier or a fact that is not here cannot be sent.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import polars as pl
from pydantic import StringConstraints

__all__ = [
    "CONTACTS",
    "FACT_MARKS",
    "FACT_SCHEMA",
    "FACT_VALUES",
    "HISTORY_KINDS",
    "IDENTIFIER_KINDS",
    "RACES",
    "ROLES",
    "SEXES",
    "TIERS",
    "IdentifierKind",
    "Month",
    "Name",
    "Tier",
]

IdentifierKind = Literal["name", "text", "date", "digits", "code"]
Tier = Literal["confirmed", "believed"]

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
"""A name in a contract file: lower case, digits and underscores, so that it can be a column and a file name."""

Month = Annotated[str, StringConstraints(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
"""A calendar month, ``YYYY-MM``."""

IDENTIFIER_KINDS: dict[str, IdentifierKind] = {
    "given_name": "name",
    "middle_name": "name",
    "family_name": "name",
    "suffix": "code",
    "birth_date": "date",
    "sex": "code",
    "ssn4": "digits",
    "phone": "digits",
    "street": "text",
    "postal_code": "digits",
    "medicaid_id": "code",
}
"""Person vocabulary: identifier -> kind, which fixes the standardising rule. ``aliases`` are whole names and become
further variants of given, middle and family name; ``birth_year`` is a birth date of which only the year is known."""

TIERS: tuple[str, ...] = get_args(Tier)
SEXES = ("female", "male", "transgender_female", "transgender_male", "other")
RACES = ("black", "white", "latino", "multiracial", "asian", "native", "other")
ROLES = ("none", "victim", "suspect", "witness", "multiple")
CONTACTS = ("trafficking_incident", "child_welfare_report", "outreach_contact", "medical_visit", "other")
HISTORY_KINDS = ("sexual_assault", "battery_or_dv", "child_abuse", "drug", "other")

FACT_VALUES: dict[str, tuple[str, ...]] = {
    "sex": SEXES,
    "race": RACES,
    "tier": TIERS,
    "contact": CONTACTS,
    **{f"history_{kind}": ROLES for kind in HISTORY_KINDS},
}
"""Fact vocabulary: the values a coded fact may take; null is unknown."""

FACT_SCHEMA: dict[str, pl.DataType] = {
    "pseudonym": pl.String(),
    "month": pl.String(),
    "age": pl.Int16(),
    "sex": pl.String(),
    "race": pl.String(),
    "tier": pl.String(),
    "contact": pl.String(),
    **{f"history_{kind}": pl.String() for kind in HISTORY_KINDS},
    "missing_ever": pl.Boolean(),
    "missing_from_care": pl.Boolean(),
    "missing_as_juvenile": pl.Boolean(),
    "out_of_home_care": pl.Boolean(),
    "jurisdiction": pl.String(),
    "decoy": pl.Boolean(),
    "test_person": pl.String(),
}
"""Columns of the facts compartment, one row a contact. There is no birth date in it and no day."""

FACT_MARKS = ("pseudonym", "decoy", "test_person")
"""Columns that say whose row it is and not what happened: in every batch, whatever the agreement allows."""
