"""Agreements and the release policy: what may be sent, under which law, until when, and what may be published."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from linkage.contract.vocabulary import FACT_MARKS, FACT_SCHEMA, IDENTIFIER_KINDS, Month, Name
from linkage.errors import NotPermittedError

if TYPE_CHECKING:
    from linkage.contract.spec import LinkageSpec

__all__ = ["Agreement", "ReleasePolicy", "Scope"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Agreement(_Strict):
    """What one source has agreed to.

    Modes: ``full`` sends every person in scope; ``consent`` only persons with a live written release;
    ``aggregate`` sends no record at all (34 USC 12291(b)(2), 28 CFR 94.115: funded victim services).

    Parameters
    ----------
    identifiers, facts
        Fields that may be encoded, and facts that may be sent. A field not listed never leaves, whatever the
        source schema maps.
    floor
        Smallest count that may be published from this source's data.
    opening
        How the hub opens this source's encodings. ``approval``: by a key that exists in shares alone, each run approved
        by enough of their holders. ``hub``: by the hub's own key file, whenever it likes; not for a profile without a
        limit on what resemblance shows (:meth:`check_opening`).
    refers_to
        Sources to which this one refers people as a matter of routine, so that the lists are known to depend.
    """

    agreement: Literal[1]
    project: Name
    source: Name
    title: str
    legal_basis: str = Field(min_length=1)
    authority: str = Field(min_length=1)
    mode: Literal["full", "consent", "aggregate"]
    profile: Name
    identifiers: tuple[str, ...]
    facts: tuple[str, ...]
    floor: Annotated[int, Field(ge=2, le=1000)]
    starts: dt.date
    ends: dt.date
    opening: Literal["approval", "hub"] = "approval"
    refers_to: tuple[Name, ...] = ()

    # Validators of single fields, not of the whole: that one runs only when every field is right, and all faults of a
    # file are to be told at once.

    @field_validator("identifiers")
    @classmethod
    def _identifiers_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = {*IDENTIFIER_KINDS, "aliases"}
        wrong = [f".{at}: not in the person vocabulary" for at, name in enumerate(names) if name not in known]
        if wrong:
            raise ValueError("; ".join(wrong))
        return names

    @field_validator("facts")
    @classmethod
    def _facts_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = set(FACT_SCHEMA) - set(FACT_MARKS)
        wrong = [f".{at}: not in the fact vocabulary" for at, name in enumerate(names) if name not in known]
        if wrong:
            raise ValueError("; ".join(wrong))
        return names

    @field_validator("ends")
    @classmethod
    def _order(cls, ends: dt.date, info: ValidationInfo) -> dt.date:
        if ends < info.data.get("starts", ends):
            raise ValueError("lies before starts")
        return ends

    def check_in_force(self, day: dt.date) -> None:
        """Raise :class:`NotPermittedError` unless the agreement covers ``day``."""
        if not self.starts <= day <= self.ends:
            raise NotPermittedError(
                f"the agreement of source {self.source} is not in force on {day.isoformat()}",
                reason="no-agreement",
                hint="nothing may be sent or used until the agreement is renewed",
            )

    @property
    def needs_opening_key(self) -> bool:
        """Whether records are sent under it that only an approved run opens."""
        return self.opening == "approval" and self.mode != "aggregate"

    def check_opening(self, spec: LinkageSpec) -> None:
        """Raise :class:`NotPermittedError` if the spec shows so much that it needs approved runs, and these are not."""
        if self.opening == "hub" and self.mode != "aggregate" and spec.shows_much:
            raise NotPermittedError(
                f"spec {spec.name} may be opened in approved runs only, and the agreement of source {self.source} has"
                " the hub open by itself",
                reason="needs-approval",
                hint="agree on opening: approval, or on another profile",
            )


class Scope(_Strict):
    """Whom a release speaks of: contacts from ``first_month`` to ``last_month``, age at contact up to ``max_age``."""

    first_month: Month
    last_month: Month
    max_age: Annotated[int, Field(ge=1, le=120)]
    jurisdiction: str

    @field_validator("last_month")
    @classmethod
    def _order(cls, last: str, info: ValidationInfo) -> str:
        if last < info.data.get("first_month", last):
            raise ValueError("lies before first_month")
        return last


class ReleasePolicy(_Strict):
    """What may be published.

    Parameters
    ----------
    floor
        Counts from 1 to ``floor - 1`` are not published; an agreement can raise it, nothing can lower it.
    lists
        Sources in the order in which tables show them.
    round_estimates_to
        Base to which model-based estimates are rounded.
    """

    release_policy: Literal[1]
    project: Name
    title: str
    scope: Scope
    lists: tuple[Name, ...] = Field(min_length=1)
    floor: Annotated[int, Field(ge=2, le=1000)]
    round_estimates_to: Annotated[int, Field(ge=1, le=1000)]
    contact: str

    def effective_floor(self, agreements: list[Agreement]) -> int:
        """Return the strictest floor of the policy and all agreements."""
        return max([self.floor, *(entry.floor for entry in agreements)])
