"""The steward's one job: an extract in, one sealed batch in the outbox. Nothing else leaves the agency."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from linkage import __version__
from linkage.contract.agreement import Agreement
from linkage.contract.source import SourceSchema
from linkage.contract.spec import LinkageSpec, digest
from linkage.errors import ContractError, ExtractError, NotPermittedError
from linkage.exchange import (
    BatchManifest,
    LinkageKey,
    Party,
    PublicParty,
    file_digest,
    new_batch_id,
    new_serial,
    seal_batch,
)
from linkage.exchange.approval.shared import SharedOpening
from linkage.exchange.batch import SMALLEST_BATCH
from linkage.exchange.site import refuse_future
from linkage.steward.decoys import decoy_facts, decoy_key, decoy_pseudonyms, draw_decoys, number_of_decoys
from linkage.steward.edges import ANY, require_few_edges, visible_edges
from linkage.steward.encode import encode
from linkage.steward.extract import find_failures, read_extract, require_tolerance
from linkage.steward.facts import facts
from linkage.steward.fingerprint import fingerprint
from linkage.steward.group import identifiers
from linkage.steward.planted import planted_facts, planted_identifiers, planted_pseudonyms, read_planted
from linkage.steward.presence import share_patterns
from linkage.steward.profile import CheckReport, describe
from linkage.steward.standardise import RULES
from linkage.steward.tiers import add_tiers

__all__ = ["Submission", "encode_persons", "submit"]


@dataclass(frozen=True)
class Submission:
    """What was sealed: the file, its digest, what the manifest says, and what the steward should know of it.

    ``approval`` is how many of how many holders must approve a run; None where the hub opens by itself.
    """

    path: Path
    digest: str
    manifest: BatchManifest
    report: CheckReport
    visible_edges: dict[str, float]
    edges_allowed: float
    records: int
    rows: int
    events: int
    approval: tuple[int, int] | None
    test_persons: int = 0
    decoys: int = 0

    def to_json(self) -> str:
        """Return the submission as JSON: counts and digests only."""
        content = {
            "path": str(self.path),
            "digest": self.digest,
            "manifest": self.manifest.model_dump(),
            "visible_edges": self.visible_edges,
            "visible_edges_allowed": self.edges_allowed,
            "test_persons": self.test_persons,
            "decoys": self.decoys,
            "records": self.records,
            "rows": self.rows,
            "events": self.events,
            "approval": self.approval,
            "report": dataclasses.asdict(self.report),
        }
        return json.dumps(content, indent=2)

    def words(self) -> list[str]:
        """Say in sentences what the batch holds and who can open it."""
        manifest = self.manifest
        planted = [
            f"{self.test_persons} of the persons are agreed test persons; the hub cannot tell which, the analysis can"
            " and leaves them out of every count."
        ]
        made_up = [
            f"{self.decoys} of the records are decoys; the hub cannot tell which, the analysis can and leaves them out"
            " of every count."
        ]
        approved = "" if self.approval is None else ", in a run that {} of {} holders approve".format(*self.approval)
        return [
            f"{self.records} {'records' if self.decoys else 'persons'}, encoded as {self.rows} names by profile"
            f" {manifest.spec_name};"
            f" only the hub can open them{approved}, and it has no key to turn them back into names.",
            *(planted if self.test_persons else []),
            *(made_up if self.decoys else []),
            f"{self.events} contacts as facts, with month and age and without names or dates of birth;"
            " only the analysis can open them.",
            f"{self.report.failed_rows} rows were left out because they break a rule;"
            f" {self.report.contacts_not_counted} contacts are under no tier and were not sent.",
            f"{self.visible_edges[ANY]:.1%} of the persons visibly resemble another one of this file"
            f" ({', '.join(f'{kind} {share:.1%}' for kind, share in self.visible_edges.items() if kind != ANY)};"
            f" profile {manifest.spec_name} allows a file of this size {self.edges_allowed:.1%}).",
            f"Sealed under agreement {manifest.agreement_digest[:16]}, mode {manifest.mode}.",
        ]


def submit(
    extract: Path,
    *,
    schema: SourceSchema,
    agreement: Agreement,
    spec: LinkageSpec,
    linkage_key: LinkageKey,
    party: Party,
    opener: PublicParty | SharedOpening,
    analysis: PublicParty,
    outbox: Path,
    month: str,
    today: dt.date,
    test_persons: Path | None = None,
    decoys: float | None = None,
) -> Submission:
    """Check, standardise, encode and seal an extract.

    Parameters
    ----------
    extract
        CSV, Parquet or Excel file in the layout of the source schema.
    schema, agreement, spec
        The source's contract files. The agreement must name the spec as its profile and be in force ``today``.
    linkage_key
        The agencies' common key; its project must be the agreement's.
    party
        This agency's own keys: signs the batch and makes the pseudonyms.
    opener, analysis
        Whom the two compartments are sealed for. ``opener`` is the opening key in shares, or the hub itself where the
        agreement says so.
    outbox
        Folder for the batch, named ``<source>-<month>.batch``; an earlier one of that month is replaced.
    month
        Reporting month, ``YYYY-MM``.
    test_persons
        File of agreed test persons (:mod:`linkage.steward.planted`), made for this source, project and epoch, who
        are sent along like persons of the extract.

    Returns
    -------
    Submission

    Raises
    ------
    ExtractError
        The extract cannot be read, more rows break a rule than the schema tolerates, or the test persons are
        another's. Nothing is written.
    NotPermittedError
        The agreement does not allow it, too many records visibly resemble each other, or there would be more decoys
        than persons. Nothing is written.
    """
    _require_allowed(schema, agreement, spec, linkage_key, today)
    _require_opener(agreement, spec, opener)
    refuse_future(month, today)
    checked = find_failures(read_extract(extract, schema), schema, today=today)
    require_tolerance(checked, schema)
    tiered = add_tiers(checked.good, schema, agreement, today=today)
    persons = identifiers(tiered, schema, agreement.identifiers, spec.variants)
    if persons["local_id"].n_unique() < SMALLEST_BATCH:
        raise ExtractError(
            "fewer than two persons of the extract are confirmed or believed; a batch of one is never sent",
            reason="too-few-records",
            hint="look at the rules under 'tiers' in the source schema, and at what 'linkage steward check' counts",
        )
    decoyed = number_of_decoys(decoys or 0, persons["local_id"].n_unique())
    key = decoy_key(party, linkage_key.project, linkage_key.epoch, schema.source)
    own_names, planted = len(persons), 0
    pseudonyms = party.pseudonyms(persons["local_id"].to_list())
    contacts = _under_pseudonyms(facts(tiered, schema, agreement), party)
    if test_persons is not None:
        theirs = _test_persons(test_persons, schema, agreement, spec, linkage_key, party)
        planted = theirs.persons["local_id"].n_unique()
        persons, pseudonyms = pl.concat([persons, theirs.persons]), pseudonyms + theirs.pseudonyms
        contacts = pl.concat([contacts, theirs.contacts.select(contacts.columns)])
    persons = share_patterns(persons, spec, pseudonyms, party.derive("company of rare patterns"))
    # Of what is left of them, so that a decoy's pattern is as frequent as that of the person it was drawn from.
    made_up, made_up_codes = draw_decoys(persons.head(own_names), decoyed, key), decoy_pseudonyms(decoyed, key)
    encodings = _encode(persons, pseudonyms, spec, linkage_key, party)
    own = encodings["pseudonym"].n_unique()
    edges = visible_edges(encodings, spec)
    require_few_edges(edges, own, spec)
    codes = [made_up_codes[int(number)] for number in made_up["local_id"]]
    encodings = pl.concat([encodings, _encode(made_up, codes, spec, linkage_key, party)])
    contacts = pl.concat([contacts, decoy_facts(made_up_codes).select(contacts.columns)])
    manifest = _manifest(month, schema, agreement, spec, linkage_key)
    path = outbox / f"{schema.source}-{month}.batch"
    seal_batch(path, manifest, encodings, contacts, party, opener, analysis)
    report = describe(checked, tiered, schema, agreement)
    return Submission(
        path,
        file_digest(path),
        manifest,
        report,
        edges,
        spec.edges_allowed(own),
        own + decoyed,
        len(encodings),
        len(contacts),
        (opener.threshold, len(opener.holders)) if isinstance(opener, SharedOpening) else None,
        planted,
        decoyed,
    )


class _Records(NamedTuple):
    """Names by local number, a pseudonym for each name, and contacts under pseudonyms."""

    persons: pl.DataFrame
    pseudonyms: list[str]
    contacts: pl.DataFrame


def _test_persons(
    path: Path,
    schema: SourceSchema,
    agreement: Agreement,
    spec: LinkageSpec,
    linkage_key: LinkageKey,
    party: Party,
) -> _Records:
    """Read the agreed test persons, made for this source, project and epoch, as records of the source."""
    made_for = {"project": linkage_key.project, "epoch": linkage_key.epoch, "source": schema.source}
    persons = planted_identifiers(read_planted(path, **made_for), schema, agreement.identifiers, spec.variants)
    names = persons["local_id"].to_list()
    codes = planted_pseudonyms(names, schema.source, party)
    return _Records(persons, codes, planted_facts(names, codes))


def _manifest(
    month: str, schema: SourceSchema, agreement: Agreement, spec: LinkageSpec, linkage_key: LinkageKey
) -> BatchManifest:
    return BatchManifest(
        project=linkage_key.project,
        epoch=linkage_key.epoch,
        source=schema.source,
        batch_id=new_batch_id(),
        serial=new_serial(),
        month=month,
        spec_name=spec.name,
        spec_digest=spec.digest,
        rules_version=RULES,
        fingerprint=fingerprint(spec, linkage_key),
        mode="consent" if agreement.mode == "consent" else "full",
        agreement_digest=digest(agreement),
        deduplicated=schema.deduplicated,
        tool_version=__version__,
    )


def encode_persons(persons: pl.DataFrame, spec: LinkageSpec, linkage_key: LinkageKey, party: Party) -> pl.DataFrame:
    """Encode an identifiers frame: ``pseudonym``, ``variant`` and the filters of the spec, one row a name."""
    return _encode(persons, party.pseudonyms(persons["local_id"].to_list()), spec, linkage_key, party)


def _encode(
    persons: pl.DataFrame, pseudonyms: list[str], spec: LinkageSpec, linkage_key: LinkageKey, party: Party
) -> pl.DataFrame:
    keys = persons.select(pseudonym=pl.Series(pseudonyms, dtype=pl.String), variant=pl.col("variant"))
    padding_key = party.derive("padding of empty filters")
    filters = encode(persons, spec, linkage_key, labels=pseudonyms, padding_key=padding_key)
    return pl.concat([keys, filters], how="horizontal")


def _under_pseudonyms(contacts: pl.DataFrame, party: Party) -> pl.DataFrame:
    pseudonyms = pl.Series("pseudonym", party.pseudonyms(contacts["local_id"].to_list()), dtype=pl.String)
    return contacts.drop("local_id").with_columns(pseudonyms)


def _require_allowed(
    schema: SourceSchema, agreement: Agreement, spec: LinkageSpec, linkage_key: LinkageKey, today: dt.date
) -> None:
    agreement.check_in_force(today)
    differing = [
        f"{what}: {rule}"
        for what, rule, holds in (
            ("source", "the agreement is another source's than the schema", agreement.source == schema.source),
            (
                "project",
                "the linkage key is another project's than the agreement",
                agreement.project == linkage_key.project,
            ),
            ("profile", "the agreement names another profile than the spec", agreement.profile == spec.name),
            ("rules", "the spec was made for another version of the standardising rules", spec.rules == RULES),
        )
        if not holds
    ]
    if differing:
        raise ContractError("the contract files do not belong together", reason="contract-differs", problems=differing)
    if agreement.mode == "aggregate":
        raise NotPermittedError(
            f"the agreement of source {agreement.source} allows counts only, no records",
            reason="aggregate-only",
            hint="federal law forbids to disclose records of funded victim services, also encoded ones",
        )


def _require_opener(agreement: Agreement, spec: LinkageSpec, opener: PublicParty | SharedOpening) -> None:
    """Refuse to seal for a key that opens otherwise than was agreed."""
    agreement.check_opening(spec)
    if isinstance(opener, SharedOpening) != (agreement.opening == "approval"):
        raise NotPermittedError(
            "the encodings would be sealed for a key that is opened otherwise than the agreement says",
            reason="opening-differs",
            hint="opening: approval goes with an opening key in shares, opening: hub with the hub's own",
        )
