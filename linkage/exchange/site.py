"""Open a site: what its settings file names, read and checked, keys included, for one role.

A process opens one role and holds one role's private key, also where hub and analysis share a host.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from linkage.contract.agreement import Agreement, ReleasePolicy
from linkage.contract.files import load_agreement, load_policy, load_source, load_spec
from linkage.contract.settings import Settings, StewardSettings
from linkage.contract.source import SourceSchema
from linkage.contract.spec import LinkageSpec
from linkage.errors import ContractError, NotPermittedError
from linkage.exchange.approval.shared import SharedOpening, load_opening, open_share
from linkage.exchange.keys import LinkageKey, Party, PublicParty, load_linkage_key, load_party, load_public

__all__ = [
    "AnalysisSite",
    "HolderSite",
    "HubSite",
    "StewardSite",
    "current_day",
    "open_analysis",
    "open_holder",
    "open_hub",
    "open_steward",
    "require_month",
    "require_sound",
    "source_contract",
]

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


@dataclass(frozen=True)
class StewardSite:
    """An agency. ``opener`` is whom it seals encodings for: the opening key in shares, or the hub where agreed so."""

    schema: SourceSchema
    agreement: Agreement
    spec: LinkageSpec
    linkage_key: LinkageKey
    party: Party
    opener: PublicParty | SharedOpening
    analysis: PublicParty
    outbox: Path
    decoys: float | None = None


@dataclass(frozen=True)
class HolderSite:
    """Who holds a share of the hub's opening key: an agency, or a custodian beside them. No linkage key is needed.

    ``source`` is the agency's; None for a custodian.
    """

    party: Party
    hub: PublicParty
    analysis: PublicParty
    spec: LinkageSpec
    opening: SharedOpening
    outbox: Path
    source: str | None


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
    opening: SharedOpening | None = None
    holders: tuple[PublicParty, ...] = ()
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
        raise ContractError("the month is not written YYYY-MM", reason="bad-month", hint="such as 2026-11")
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
        hint = "nothing can have been reported for it yet: give the month that is over, or the present one"
        raise ContractError("the reporting month lies in the future", reason="future-month", hint=hint)


def open_steward(settings: Settings, source: str) -> StewardSite:
    """Open an agency's site for a source.

    Raises
    ------
    ContractError
        ``no-section``, ``other-source`` or ``contract-differs``; or a file that is named is wrong.
    KeyFileError
        A key file is missing, damaged or open to others.
    NotPermittedError
        ``needs-approval`` if the agreement has the hub open by itself what the spec does not allow it.
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
    spec = _spec(settings)
    agreement.check_opening(spec)
    opening = _opening(settings, section.opening, [agreement])
    party, hub = load_party(section.party_key), load_public(section.hub)
    if opening is not None:
        require_sound(opening, party, hub)
    return StewardSite(
        schema=schema,
        agreement=agreement,
        spec=spec,
        linkage_key=key,
        party=party,
        opener=hub if opening is None or agreement.opening == "hub" else opening,
        analysis=load_public(section.analysis),
        outbox=section.outbox,
        decoys=section.decoys,
    )


def _opening(settings: Settings, path: Path | None, agreements: Iterable[Agreement] = ()) -> SharedOpening | None:
    """Read the opening key in shares; there must be one where an agreement has runs approved."""
    wanting = sorted(agreement.source for agreement in agreements if agreement.needs_opening_key)
    if path is None and wanting:
        raise _no_opening_key(f"runs are to be approved by agreement ({', '.join(wanting)})")
    if path is None:
        return None
    opening = load_opening(path)
    if (opening.project, opening.epoch) != (settings.project, settings.epoch):
        raise ContractError(
            "the opening key is another project's or epoch's than the settings",
            reason="contract-differs",
            hint="compare project and epoch with: linkage keys show",
        )
    return opening


def _no_opening_key(why: str) -> ContractError:
    return ContractError(
        f"the settings name no opening key, and {why}",
        reason="no-opening-key",
        hint='name the file: opening = "keys/opening.pub"; it is made once an epoch by: linkage keys opening',
    )


def open_holder(settings: Settings) -> HolderSite:
    """Open the site of a holder of the hub's opening key: section ``[holder]``, or an agency's ``[steward]``.

    Raises
    ------
    ContractError, KeyFileError
        As :func:`open_steward`.
    """
    section = settings.holder or settings.steward
    if section is None:
        raise _no_section("holder")
    opening = _opening(settings, section.opening)
    if opening is None:
        raise _no_opening_key("there is no order to approve without one")
    party, hub = load_party(section.party_key), load_public(section.hub)
    require_sound(opening, party, hub)
    return HolderSite(
        party=party,
        hub=hub,
        analysis=load_public(section.analysis),
        spec=_spec(settings),
        opening=opening,
        outbox=section.outbox,
        source=section.source if isinstance(section, StewardSettings) else None,
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
    ContractError, KeyFileError, NotPermittedError
        As :func:`open_steward`; ``hub-holds-share`` or ``unknown-holders`` if the opening key is not what it is for.
    """
    section = settings.hub
    if section is None:
        raise _no_section("hub")
    spec, party = _spec(settings), load_party(section.party_key)
    agreements = {source: load_agreement(path) for source, path in section.agreements.items()}
    for agreement in agreements.values():
        agreement.check_opening(spec)
    opening = _opening(settings, section.opening, agreements.values())
    holders = tuple(load_public(path) for path in section.holders.values())
    if opening is not None:
        _require_holders(opening, holders, party)
    return HubSite(
        project=settings.project,
        epoch=settings.epoch,
        spec=spec,
        party=party,
        analysis=load_public(section.analysis),
        senders={source: load_public(path) for source, path in section.senders.items()},
        agreements=agreements,
        inbox=section.inbox,
        state=section.state,
        opening=opening,
        holders=holders,
        cost=section.cost,
    )


def _require_holders(opening: SharedOpening, holders: tuple[PublicParty, ...], hub: Party) -> None:
    """Refuse a hub that holds a share itself, or that does not know by key enough of those who do."""
    _refuse_hub_as_holder(opening, hub.public)
    known = sum(opening.holder(holder.key_id) is not None for holder in holders)
    if known < opening.threshold:
        raise ContractError(
            f"{known} holders of the opening key are known by their keys, and {opening.threshold} must approve a run",
            reason="unknown-holders",
            hint="name their public key files under [hub.holders]",
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


def require_sound(opening: SharedOpening, party: Party, hub: PublicParty) -> None:
    """Hold an opening key to what an agency or holder can see of it, before anything is sealed for it.

    Whoever made the file could have written down keys of his own under the holders' names: a party that is among them
    finds its own key there, and opens its own share. That the others' are theirs, they find out in the same way.

    Raises
    ------
    NotPermittedError
        ``hub-holds-share``; ``other-holder`` if a holder has this party's name and another key.
    KeyFileError
        ``no-share`` if this party's own share does not open.
    """
    _refuse_hub_as_holder(opening, hub)
    if any(holder.name == party.name and holder.key_id != party.key_id for holder in opening.holders):
        raise NotPermittedError(
            f"the opening key has a holder named {party.name}, and it is not this party's key",
            reason="other-holder",
            hint="somebody else could approve in this party's name: use no such file, and ask who made it",
        )
    if opening.holder(party.key_id) is not None:
        open_share(opening, party)


def _refuse_hub_as_holder(opening: SharedOpening, hub: PublicParty) -> None:
    if opening.holder(hub.key_id) is not None or any(holder.name == hub.name for holder in opening.holders):
        raise NotPermittedError(
            "the hub itself holds a share of its opening key",
            reason="hub-holds-share",
            hint="make a new opening key whose holders are others than the hub: linkage keys opening",
        )
