"""Where an agency's pseudonyms must change: tell the hub which became which, so that its persons stay the same."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl

from linkage.contract.agreement import Agreement
from linkage.contract.source import SourceSchema
from linkage.errors import ContractError, ExtractError, NotPermittedError
from linkage.exchange import Party, PublicParty
from linkage.exchange.batch import SMALLEST_BATCH
from linkage.exchange.bridge import BridgeManifest, seal_bridge
from linkage.steward.extract import find_failures, read_extract, require_tolerance
from linkage.steward.group import identifiers
from linkage.steward.tiers import add_tiers

__all__ = ["bridge"]


def bridge(
    extract: Path,
    *,
    schema: SourceSchema,
    agreement: Agreement,
    old: Party,
    new: Party,
    hub: PublicParty,
    outbox: Path,
    project: str,
    epoch: str,
    today: dt.date,
) -> tuple[Path, BridgeManifest]:
    """Seal the old and the new pseudonyms of all that this extract would submit.

    Nobody else is in it: those who were never sent the hub does not know, and need not.

    Parameters
    ----------
    extract
        The extract of the next batch, in the layout of the source schema.
    schema, agreement
        The source's contract files.
    old, new
        The agency's party before and now. The new one signs.
    hub
        Who alone can open it.
    outbox
        Folder for the file, named ``<source>-<epoch>.bridge``.
    project, epoch
        Of the settings: the epoch from which the new pseudonyms hold.
    today
        The day on which the agreement must be in force.

    Returns
    -------
    path, manifest

    Raises
    ------
    ContractError
        ``same-pseudonyms`` if the new key is the old one renewed; ``no-person-number`` if the source has none by which
        to tell who became whom.
    ExtractError
        The extract cannot be read, more rows break a rule than the schema tolerates, or there are too few persons.
    NotPermittedError
        The agreement is not in force, or allows no records.
    """
    agreement.check_in_force(today)
    if agreement.mode == "aggregate":
        raise NotPermittedError(
            f"the agreement of source {agreement.source} allows counts only, no records",
            reason="aggregate-only",
            hint="no record of this source was ever sent: there is nothing to bridge",
        )
    if schema.person_number is None:
        raise ContractError(
            f"source {schema.source} has no person numbers, so its pseudonyms name rows, not persons",
            reason="no-person-number",
            hint="there is nothing to bridge",
        )
    checked = find_failures(read_extract(extract, schema), schema, today=today)
    require_tolerance(checked, schema)
    people = identifiers(add_tiers(checked.good, schema, agreement, today=today), schema, agreement.identifiers, 1)
    numbers = people["local_id"].unique().sort().to_list()
    if len(numbers) < SMALLEST_BATCH:
        raise ExtractError(
            "fewer than two persons of the extract are confirmed or believed; so few are never sent",
            reason="too-few-records",
            hint="look at what 'linkage steward check' counts",
        )
    pairs = pl.DataFrame({"before": old.pseudonyms(numbers), "after": new.pseudonyms(numbers)})
    if pairs["before"][0] == pairs["after"][0]:
        raise ContractError(
            "both keys make the same pseudonyms, so there is nothing to bridge",
            reason="same-pseudonyms",
            hint="a renewed key keeps them (linkage keys renew); new ones come with a new key (linkage keys party)",
        )
    path = outbox / f"{schema.source}-{epoch}.bridge"
    return path, seal_bridge(path, pairs, new, hub, project=project, epoch=epoch, source=schema.source)
