"""Open a site: what its settings file names, read and checked, keys included, for one role.

A process opens one role and holds one role's private key, also where hub and analysis share a host.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path

from linkage.contract.agreement import Agreement, ReleasePolicy
from linkage.contract.files import load_agreement, load_policy, load_source, load_spec
from linkage.contract.settings import Settings
from linkage.contract.source import SourceSchema
from linkage.contract.spec import LinkageSpec
from linkage.errors import ContractError
from linkage.exchange.keys import LinkageKey, Party, PublicParty, load_linkage_key, load_party, load_public

__all__ = [
    "AnalysisSite",
    "HubSite",
    "StewardSite",
    "current_day",
    "open_analysis",
    "open_hub",
    "open_steward",
    "require_month",
    "source_contract",
]

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


@dataclass(frozen=True)
class StewardSite:
    """An agency."""

    schema: SourceSchema
    agreement: Agreement
    spec: LinkageSpec
    linkage_key: LinkageKey
    party: Party
    hub: PublicParty
    analysis: PublicParty
    outbox: Path
    decoys: float | None = None


@dataclass(frozen=True)
class HubSite:
    """The hub."""

    project: str
    epoch: str
    spec: LinkageSpec
    party: Party
    analysis: PublicParty
    senders: dict[str, PublicParty]
    agreements: dict[str, Agreement]
    inbox: Path
    state: Path
    cost: float | None = None


@dataclass(frozen=True)
class AnalysisSite:
    """The analysis enclave."""

    project: str
    epoch: str
    spec: LinkageSpec
    party: Party
    hub: PublicParty
    senders: dict[str, PublicParty]
    agreements: dict[str, Agreement]
    policy: ReleasePolicy
    state: Path
    releases: Path


def current_day() -> dt.date:
    """Return the current day (UTC, so never behind a day at an American agency)."""
    return dt.datetime.now(dt.UTC).date()


def require_month(month: str | None) -> str:
    """Return a month given as ``YYYY-MM``, or the current one.

    Raises
    ------
    ContractError
        ``bad-month``; ``future-month``, for nothing can have been reported for it.
    """
    if month is None:
        return f"{current_day():%Y-%m}"
    if not _MONTH.fullmatch(month):
        raise ContractError("the month is not written YYYY-MM", reason="bad-month")
    refuse_future(month, current_day())
    return month


def refuse_future(month: str, today: dt.date) -> None:
    """Refuse a reporting month after that of a day.

    Raises
    ------
    ContractError
        ``future-month``.
    """
    if month > f"{today:%Y-%m}":
        raise ContractError("the reporting month lies in the future", reason="future-month")


def open_steward(settings: Settings, source: str) -> StewardSite:
    """Open an agency's site for a source.

    Raises
    ------
    ContractError
        ``no-section``, ``other-source`` or ``contract-differs``; or a file that is named is wrong.
    KeyFileError
        A key file is missing, damaged or open to others.
    """
    section = settings.steward
    if section is None:
        raise _no_section("steward")
    schema, agreement = source_contract(settings, source)
    key = load_linkage_key(section.linkage_key)
    if (key.project, key.epoch) != (settings.project, settings.epoch):
        raise ContractError(
            "the linkage key is another project's or epoch's than the settings",
            reason="contract-differs",
            hint="compare project and epoch with: linkage keys show",
        )
    return StewardSite(
        schema=schema,
        agreement=agreement,
        spec=_spec(settings),
        linkage_key=key,
        party=load_party(section.party_key),
        hub=load_public(section.hub),
        analysis=load_public(section.analysis),
        outbox=section.outbox,
        decoys=section.decoys,
    )


def source_contract(settings: Settings, source: str) -> tuple[SourceSchema, Agreement]:
    """Read an agency's source schema and agreement; needs no key.

    Raises
    ------
    ContractError
        ``no-section`` or ``other-source``; or a file that is named is wrong.
    """
    section = settings.steward
    if section is None:
        raise _no_section("steward")
    if section.source != source:
        raise ContractError(
            f"these settings are those of source {section.source}",
            reason="other-source",
            hint="name the settings file of this source with --settings",
        )
    return load_source(section.schema_file or source), load_agreement(section.agreement)


def open_hub(settings: Settings) -> HubSite:
    """Open the hub's site.

    Raises
    ------
    ContractError, KeyFileError
        As :func:`open_steward`.
    """
    section = settings.hub
    if section is None:
        raise _no_section("hub")
    return HubSite(
        project=settings.project,
        epoch=settings.epoch,
        spec=_spec(settings),
        party=load_party(section.party_key),
        analysis=load_public(section.analysis),
        senders={source: load_public(path) for source, path in section.senders.items()},
        agreements={source: load_agreement(path) for source, path in section.agreements.items()},
        inbox=section.inbox,
        state=section.state,
        cost=section.cost,
    )


def open_analysis(settings: Settings) -> AnalysisSite:
    """Open the analysis enclave's site.

    Raises
    ------
    ContractError, KeyFileError
        As :func:`open_steward`.
    """
    section = settings.analysis
    if section is None:
        raise _no_section("analysis")
    return AnalysisSite(
        project=settings.project,
        epoch=settings.epoch,
        spec=_spec(settings),
        party=load_party(section.party_key),
        hub=load_public(section.hub),
        senders={source: load_public(path) for source, path in section.senders.items()},
        agreements={source: load_agreement(path) for source, path in section.agreements.items()},
        policy=load_policy(section.policy),
        state=section.state,
        releases=section.releases,
    )


def _spec(settings: Settings) -> LinkageSpec:
    return load_spec(settings.spec_file or settings.profile)


def _no_section(name: str) -> ContractError:
    return ContractError(
        f"the settings have no section [{name}]",
        reason="no-section",
        hint=f"this is not the settings file of a site with the role {name}",
    )
