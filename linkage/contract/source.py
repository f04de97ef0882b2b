"""Source schema: how one agency's extract maps to the shared vocabulary. A new source is a new YAML file.

An extract is read as text; the schema says which column holds what, which date formats are meant, which codes
stand for which values, which entries stand for "nothing", and how the tier follows from columns.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, Tag, ValidationInfo, field_validator, model_validator
from pydantic.types import Discriminator

from linkage.contract.vocabulary import FACT_SCHEMA, FACT_VALUES, IDENTIFIER_KINDS, Name, Tier

__all__ = [
    "Aliases",
    "AllOf",
    "AnyOf",
    "BirthYear",
    "Condition",
    "Consent",
    "CountOf",
    "EventDate",
    "Fact",
    "FlagFact",
    "Identifier",
    "IsAmong",
    "IsFilled",
    "SourceSchema",
    "StartsWith",
    "TierRule",
]


class Strict(BaseModel):
    """Base of all contract models: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Identifier(Strict):
    """One identifier of the person vocabulary, from one raw column.

    ``split`` cuts a multi-valued column; ``formats`` are strict strptime formats, tried in order, for dates;
    ``missing`` adds entries that mean "nothing" in this column; ``required`` makes a row without it fail.
    """

    column: str
    split: str | None = Field(default=None, min_length=1)
    formats: tuple[str, ...] = ()
    codes: dict[str, str] | None = None
    missing: tuple[str, ...] = ()
    required: bool = False


class Aliases(Strict):
    """A column of other names a person goes by, cut at ``split``; ``order`` says how each is written."""

    column: str
    split: str = Field(min_length=1)
    order: Literal["given family", "family, given"]


class BirthYear(Strict):
    """A column with the year of birth, used where the birth date is missing."""

    column: str
    missing: tuple[str, ...] = ()


class EventDate(Strict):
    """The date of the contact. Only its month leaves the agency."""

    column: str
    formats: tuple[str, ...] = Field(min_length=1)


class Fact(Strict):
    """A coded fact: a column with a code list, or one constant for the whole source."""

    column: str | None = None
    codes: dict[str, str] | None = None
    constant: str | None = None
    missing: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.column is None) == (self.constant is None):
            raise ValueError("give either a column with its codes or a constant")
        if self.column is not None and not self.codes:
            raise ValueError("a column needs its code list")
        return self


class FlagFact(Strict):
    """A yes-or-no fact; an entry that is in neither list makes the row fail, an empty one is unknown."""

    column: str
    yes: tuple[str, ...] = Field(min_length=1)
    no: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if {entry.casefold() for entry in self.yes} & {entry.casefold() for entry in self.no}:
            raise ValueError("an entry means both yes and no")
        return self


class IsAmong(Strict):
    """The column holds one of the entries (compared without case)."""

    column: str
    among: tuple[str, ...] = Field(min_length=1)


class StartsWith(Strict):
    """One of the codes in the column (cut at ``split``) starts with one of the prefixes (without case and dots)."""

    column: str
    starts_with: tuple[str, ...] = Field(min_length=1)
    split: str | None = Field(default=None, min_length=1)


class IsFilled(Strict):
    """The column is filled, or with ``false`` is not, after placeholders are taken for nothing."""

    column: str
    filled: bool


class CountOf(Strict):
    """At least so many of the columns hold one of the entries: the count of indicators."""

    columns: tuple[str, ...] = Field(min_length=1)
    among: tuple[str, ...] = Field(min_length=1)
    at_least: int = Field(ge=1)


class AgeBelow(Strict):
    """The person was younger than so many years at the contact."""

    age_below: int = Field(ge=1, le=120)


class AllOf(Strict):
    """Every condition holds."""

    all: tuple[Condition, ...] = Field(min_length=1)


class AnyOf(Strict):
    """At least one condition holds."""

    any: tuple[Condition, ...] = Field(min_length=1)


_CONDITION_KEYS = ("among", "starts_with", "filled", "at_least", "age_below", "all", "any")


def _condition_tag(value: object) -> str | None:
    keys = (
        set(value)
        if isinstance(value, dict)
        else set(type(value).model_fields)
        if isinstance(value, BaseModel)
        else set()
    )
    if "at_least" in keys:
        return "at_least"
    return next((key for key in _CONDITION_KEYS if key in keys), None)


Condition = Annotated[
    Annotated[IsAmong, Tag("among")]
    | Annotated[StartsWith, Tag("starts_with")]
    | Annotated[IsFilled, Tag("filled")]
    | Annotated[CountOf, Tag("at_least")]
    | Annotated[AgeBelow, Tag("age_below")]
    | Annotated[AllOf, Tag("all")]
    | Annotated[AnyOf, Tag("any")],
    Discriminator(
        _condition_tag,
        custom_error_type="condition",
        custom_error_message="a condition holds one of: among, starts_with, filled, at_least, age_below, all, any",
    ),
]


class TierRule(Strict):
    """A tier and the condition under which a contact gets it; of several rules the first that holds counts."""

    tier: Tier
    when: Condition


class Consent(Strict):
    """Where the extract says until when a person's written release lasts (for sources in mode ``consent``)."""

    column: str
    formats: tuple[str, ...] = Field(min_length=1)


class SourceSchema(Strict):
    """One agency's extract.

    Parameters
    ----------
    source
        Short name of the source; list name in capture histories.
    person_number
        Raw column with the agency's own person number. Rows that share it are one local person. Without one,
        every row is a record and the hub finds the repeats.
    deduplicated
        Whether the agency has made its person numbers unique itself: then at most one of its records can belong
        to a person.
    missing
        Entries that mean "nothing" in any column (compared without case, after trimming).
    tolerance
        Share of rows that may fail before nothing at all is sent.
    tiers
        Rules in order. A contact under no rule is not counted and not sent.
    """

    source_schema: Literal[1]
    source: Name
    title: str
    encoding: Literal["utf-8", "windows-1252"] = "utf-8"
    separator: str = Field(default=",", min_length=1, max_length=1)
    sheet: str | None = None
    person_number: str | None = None
    deduplicated: bool
    missing: tuple[str, ...] = ()
    tolerance: float = Field(ge=0, le=0.5)
    identifiers: dict[str, Identifier]
    aliases: Aliases | None = None
    birth_year: BirthYear | None = None
    event_date: EventDate
    facts: dict[str, Fact]
    flags: dict[str, FlagFact] = {}
    tiers: tuple[TierRule, ...] = Field(min_length=1)
    consent: Consent | None = None

    # Validators of single fields, not of the whole: that one runs only when every field is right, and all faults of a
    # file are to be told at once.

    @field_validator("deduplicated")
    @classmethod
    def _numbered(cls, deduplicated: bool, info: ValidationInfo) -> bool:
        if deduplicated and "person_number" in info.data and info.data["person_number"] is None:
            raise ValueError("a source without person numbers cannot be deduplicated")
        return deduplicated

    @field_validator("identifiers")
    @classmethod
    def _identifiers_known(cls, identifiers: dict[str, Identifier]) -> dict[str, Identifier]:
        wrong = [f".{name}: not in the person vocabulary" for name in identifiers if name not in IDENTIFIER_KINDS]
        for name, identifier in identifiers.items():
            if name in IDENTIFIER_KINDS and (IDENTIFIER_KINDS[name] == "date") != bool(identifier.formats):
                wrong.append(f".{name}: formats are for dates, and dates need them")
        if wrong:
            raise ValueError("; ".join(wrong))
        return identifiers

    @field_validator("facts")
    @classmethod
    def _facts_known(cls, facts: dict[str, Fact]) -> dict[str, Fact]:
        coded = set(FACT_VALUES) - {"tier"} | {"jurisdiction"}
        wrong = [f".{name}: not a coded fact of the fact vocabulary" for name in facts if name not in coded]
        for name, fact in facts.items():
            allowed = FACT_VALUES.get(name)
            given = set((fact.codes or {}).values()) | ({fact.constant} if fact.constant else set())
            if name in coded and allowed and not given <= set(allowed):
                wrong.append(f".{name}: code list maps to a value outside the vocabulary ({', '.join(allowed)})")
        if wrong:
            raise ValueError("; ".join(wrong))
        return facts

    @field_validator("flags")
    @classmethod
    def _flags_known(cls, flags: dict[str, FlagFact]) -> dict[str, FlagFact]:
        known = {name for name, kind in FACT_SCHEMA.items() if str(kind) == "Boolean"} - {"decoy"}
        wrong = [f".{name}: not a yes-or-no fact of the fact vocabulary" for name in flags if name not in known]
        if wrong:
            raise ValueError("; ".join(wrong))
        return flags

    def columns(self) -> list[str]:
        """Return every raw column that the schema reads, in order of first mention, each once."""
        found = [self.person_number] if self.person_number else []
        found += [entry.column for entry in self.identifiers.values()]
        found += [entry.column for entry in (self.aliases, self.birth_year, self.event_date, self.consent) if entry]
        found += [fact.column for fact in self.facts.values() if fact.column]
        found += [flag.column for flag in self.flags.values()]
        for rule in self.tiers:
            found += condition_columns(rule.when)
        return list(dict.fromkeys(found))


def condition_columns(condition: object) -> list[str]:
    """Return the raw columns a condition reads."""
    match condition:
        case AllOf(all=parts) | AnyOf(any=parts):
            return [column for part in parts for column in condition_columns(part)]
        case CountOf(columns=columns):
            return list(columns)
        case IsAmong(column=column) | StartsWith(column=column) | IsFilled(column=column):
            return [column]
        case _:
            return []


AllOf.model_rebuild()
AnyOf.model_rebuild()
TierRule.model_rebuild()
SourceSchema.model_rebuild()
