"""The analysis' one job: facts and person map in, a signed release out that anybody may read.

Facts, persons and capture histories stay here. What leaves is made from protected tables and from estimates that are
functions of published counts (:mod:`linkage.research.statement`); the report and its figures are made from the public
document alone.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from linkage import __version__
from linkage.contract.agreement import Agreement, ReleasePolicy, Scope
from linkage.contract.vocabulary import FACT_MARKS, FACT_SCHEMA
from linkage.errors import NotPermittedError, ReleaseError
from linkage.exchange import BatchManifest, Party
from linkage.research import bundle, histories, linkage_quality, statement
from linkage.research.bundle import Document, EstimateEntry, GroupEntry, LinkageEntry
from linkage.research.disclosure import ProtectedTable, protect
from linkage.research.draws import (
    by_record,
    draw_histories,
    effective_draws,
    number_of_draws,
    spread,
    take,
    usable,
)
from linkage.research.estimate import HistoryTable, draw_tables, estimate
from linkage.research.report import render_report
from linkage.research.tables import TOTAL, Table, build_tables
from linkage.research.verify import read_release, verify_release

__all__ = [
    "ReleaseSummary",
    "check_permitted",
    "earlier_releases",
    "earlier_tables",
    "in_scope",
    "referrals",
    "release",
    "scoped_persons",
]


@dataclass(frozen=True)
class ReleaseSummary:
    """What was released, all of it public.

    Attributes
    ----------
    folder
        The release.
    document
        What its ``release.json`` says.
    withheld, cells
        Number of cells without a count, of how many.
    """

    folder: Path
    document: Document
    withheld: int
    cells: int

    def count(self, table: str, *values: str) -> int | None:
        """Return one published count, or None."""
        entry = next(entry for entry in self.document.tables if entry.name == table)
        return next(cell.count for cell in entry.cells if cell.values == values)

    def text(self) -> str:
        """Return the summary for a terminal: list sizes, overlaps, deduplicated persons, estimate."""
        document, verdict = self.document, self.document.estimate
        lists = document.lists
        width = max(9, *(len(name) for name in lists))
        lines = [f"{document.title}: {document.month}", "", "persons on both lists (diagonal: on the list)"]
        lines.append(" " * width + "".join(f"  {name:>{width}}" for name in lists))
        for one in lists:
            cells = [self.count("overlaps", one, other if other != one else TOTAL) for other in lists]
            lines.append(f"{one:<{width}}" + "".join(f"  {_shown(count):>{width}}" for count in cells))
        lines += ["", f"deduplicated persons: {_shown(document.persons)}"]
        if verdict.status == "estimated":
            lines.append(f"estimated persons, seen and unseen: {_shown(verdict.low)} to {_shown(verdict.high)}")
        else:
            lines.append("estimated persons, seen and unseen: no number is defensible")
        lines.append(f"  ({verdict.words})")
        lines.append(f"[c] withheld: {self.withheld} of {self.cells} cells, floor {document.floor}")
        return "\n".join(lines)


def _shown(count: int | None) -> str:
    return "[c]" if count is None else f"{count:,}"


def release(
    facts: Mapping[str, pl.DataFrame],
    person_map: pl.DataFrame,
    *,
    month: str,
    quality: Mapping[str, Any],
    policy: ReleasePolicy,
    agreements: Sequence[Agreement],
    manifests: Mapping[str, BatchManifest],
    party: Party,
    out: Path,
    draws: pl.DataFrame | None = None,
    previous: Sequence[Path] = (),
    today: dt.date | None = None,
) -> ReleaseSummary:
    """Count, estimate, protect, and write one release.

    Parameters
    ----------
    facts, person_map, quality, manifests
        As :func:`linkage.research.inputs.open_inputs` opens them.
    month
        The month of the run, ``YYYY-MM``.
    policy, agreements
        What may be published; one agreement a list.
    party
        The analysis, which signs.
    out
        The folder to write; it appears whole or not at all, and must not exist.
    draws
        Partitions drawn from the posterior, by row of ``person_map``; without them no group's quality is said, and
        the range holds nothing of the linkage's uncertainty. Nor does it where they are not usable
        (:func:`linkage.research.draws.usable`); where the chains did not agree, no expected quality is said at all.
    previous
        All earlier releases of the project. Those of the same scope are protected against differences; one of an
        overlapping but other scope forbids the release.
    today
        The day on which all agreements must be in force; default: today.

    Returns
    -------
    ReleaseSummary

    Raises
    ------
    NotPermittedError
        An agreement is absent or not in force, sources and policy differ, or a fact is not agreed.
    ReleaseError
        ``exists``, ``overlapping-scope``, ``lists-differ``, ``cannot-protect``, ``no-persons``, or an earlier release
        does not verify.
    EstimateError
        Facts and person map are not of the same records.
    """
    agreed = check_permitted(facts, policy, agreements, manifests, today or dt.datetime.now(dt.UTC).date())
    with bundle.new_folder(out) as folder:
        earlier = earlier_tables(previous, policy, party)
        people = scoped_persons(facts, person_map, policy)
        tables = build_tables(people, policy.lists)
        counted = histories.capture_histories(people, policy.lists)
        drawn = _drawn(facts, person_map, draws, policy, quality)
        estimated = estimate(
            counted,
            lists=list(policy.lists),
            referrals=referrals(agreed),
            draws=drawn,
            effective=effective_draws(quality, number_of_draws(draws)) if draws is not None else None,
        )
        floor = policy.effective_floor(list(agreements))
        protected = _protect(tables, policy.lists, referrals(agreed), floor, earlier)
        base = policy.round_estimates_to
        said = statement.estimate_entry(estimated, tables, protected, floor=floor, base=base)
        linked = statement.linkage_entry(
            quality,
            manifests,
            protected,
            agreed,
            statement.records_base(floor),
            groups=_groups(facts, person_map, draws, people, policy, protected, quality),
            measured=linkage_quality.measured(facts, person_map),
        )
        document = _document(month, policy, agreed, manifests, facts, linked, floor, protected, said)
        files = {bundle.DOCUMENT: bundle.document_bytes(document), bundle.REPORT: render_report(document).encode()}
        files |= {bundle.table_path(entry.name): bundle.table_bytes(entry) for entry in document.tables}
        bundle.seal_folder(folder, files, document, party)
        report = verify_release(folder, party.public)
        if not report.ok:
            raise ReleaseError("the release does not pass its own audit", reason="audit", problems=report.problems)
    counts = [cell.count for entry in document.tables for cell in entry.cells]
    return ReleaseSummary(Path(out), document, counts.count(None), len(counts))


# --- permission


def check_permitted(
    sources: Mapping[str, pl.DataFrame],
    policy: ReleasePolicy,
    agreements: Sequence[Agreement],
    manifests: Mapping[str, BatchManifest],
    day: dt.date,
) -> dict[str, Agreement]:
    """Return source -> agreement, if the facts may be used on this day.

    Raises
    ------
    NotPermittedError
        With all problems: ``no-agreement`` or ``not-agreed``.
    """
    agreed = {agreement.source: agreement for agreement in agreements}
    problems = [f"list {name}: no agreement" for name in policy.lists if name not in agreed]
    problems += [f"list {name}: no batch" for name in policy.lists if name not in sources]
    problems += [f"source {name}: not a list of the policy" for name in sources if name not in policy.lists]
    problems += [f"source {name}: two agreements" for name in agreed if sum(a.source == name for a in agreements) > 1]
    problems += [f"source {a.source}: agreement of another project" for a in agreements if a.project != policy.project]
    if problems:
        raise NotPermittedError(
            "sources, agreements and the lists of the release policy do not match",
            reason="no-agreement",
            hint="a release needs one batch and one agreement for each list of the policy, and nothing else",
            problems=problems,
        )
    for name in policy.lists:
        agreed[name].check_in_force(day)
        problems += _not_agreed(sources[name], agreed[name], manifests.get(name), policy.project)
    if problems:
        raise NotPermittedError(
            "a source holds what its agreement does not allow", reason="not-agreed", problems=problems
        )
    return {name: agreed[name] for name in policy.lists}


def _not_agreed(frame: pl.DataFrame, agreement: Agreement, manifest: BatchManifest | None, project: str) -> list[str]:
    source = agreement.source
    problems = [f"source {source}: the agreement allows counts only"] if agreement.mode == "aggregate" else []
    if manifest is None or manifest.source != source or manifest.project != project:
        problems.append(f"source {source}: no manifest of this source and project")
    elif manifest.mode != agreement.mode:
        problems.append(f"source {source}: sent under another mode than the agreement's")
    allowed = {*agreement.facts, *FACT_MARKS}
    problems += [
        f"source {source}: '{name}' is not an agreed fact"
        for name in FACT_SCHEMA
        if name not in allowed and name in frame.columns and frame.get_column(name).count()
    ]
    return problems


# --- counting


def in_scope(events: pl.DataFrame, scope: Scope) -> pl.DataFrame:
    """Keep the contacts of the period, the ages and the jurisdiction; one of unknown age or jurisdiction stays."""
    place = pl.col("jurisdiction").is_null() | (pl.col("jurisdiction") == scope.jurisdiction)
    return histories.scope(events, scope).filter(place)


def scoped_persons(facts: Mapping[str, pl.DataFrame], person_map: pl.DataFrame, policy: ReleasePolicy) -> pl.DataFrame:
    """Return one row a person in scope (:func:`linkage.research.histories.persons`). Stays in the enclave."""
    events = in_scope(histories.stack(facts, person_map), policy.scope)
    return histories.persons(events, policy.lists)


def _drawn(
    facts: Mapping[str, pl.DataFrame],
    person_map: pl.DataFrame,
    draws: pl.DataFrame | None,
    policy: ReleasePolicy,
    quality: Mapping[str, Any],
) -> tuple[HistoryTable, ...]:
    """Count the capture histories of the partition draws that are used; those that are not usable are none."""
    places = spread(number_of_draws(draws), len(policy.lists)) if draws is not None else []
    if draws is None or not usable(quality, len(places)):
        return ()
    used = take(draws, places)
    events = in_scope(histories.stack(facts, by_record(person_map)), policy.scope)
    counted = draw_histories(events, person_map, used, policy.lists)
    return draw_tables(counted, policy.lists, number=number_of_draws(used))[()]


def _groups(
    facts: Mapping[str, pl.DataFrame],
    person_map: pl.DataFrame,
    draws: pl.DataFrame | None,
    people: pl.DataFrame,
    policy: ReleasePolicy,
    protected: Sequence[ProtectedTable],
    quality: Mapping[str, Any],
) -> tuple[GroupEntry, ...]:
    if draws is None:
        return ()
    events = in_scope(histories.stack(facts, by_record(person_map)), policy.scope)
    return linkage_quality.by_group(events, people, person_map, draws, protected, quality)


def referrals(agreements: Mapping[str, Agreement]) -> list[tuple[str, str]]:
    """Return the pairs of lists that depend on each other because one refers people to the other."""
    pairs = {
        (min(source, other), max(source, other))
        for source, agreement in agreements.items()
        for other in agreement.refers_to
        if other in agreements and other != source
    }
    return sorted(pairs)


def _protect(
    tables: Sequence[Table],
    lists: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    floor: int,
    earlier: Sequence[ProtectedTable],
) -> list[ProtectedTable]:
    """Protect the tables; spare the counts that the estimates are made of, as far as that is possible."""
    for spare in statement.worth_sparing(tables, lists, pairs, floor):
        spared = [statement.known(tables, spare, floor)] if spare else []
        try:
            return protect(tables, floor=floor, previous=[*earlier, *spared])
        except ReleaseError as error:
            if error.reason != "cannot-protect" or not spare:
                raise
    raise AssertionError("the last attempt returns or raises")


def _document(
    month: str,
    policy: ReleasePolicy,
    agreements: Mapping[str, Agreement],
    manifests: Mapping[str, BatchManifest],
    facts: Mapping[str, pl.DataFrame],
    linked: LinkageEntry,
    floor: int,
    protected: Sequence[ProtectedTable],
    said: EstimateEntry,
) -> Document:
    persons = next(table for table in protected if table.name == "persons")
    return Document(
        release=bundle.DOCUMENT_VERSION,
        project=policy.project,
        title=policy.title,
        month=month,
        scope=policy.scope.model_dump(),
        floor=floor,
        lists=policy.lists,
        contact=policy.contact,
        tool_version=__version__,
        persons=persons.frame.filter(pl.col("persons") == TOTAL).get_column("count").item(),
        estimate=said,
        linkage=linked,
        sources=statement.source_entries(policy, agreements, manifests, facts, protected, floor),
        tables=tuple(bundle.table_entry(table) for table in protected),
    )


# --- earlier releases


def earlier_releases(folder: Path, project: str) -> list[Path]:
    """Return the releases of a project in a folder, by name; what is no release folder is passed over.

    A folder that holds only part of a release is one all the same, so that it is found not to verify.

    Raises
    ------
    ReleaseError
        ``malformed`` where one has no document that can be read.
    """
    parts = (bundle.DOCUMENT, bundle.MANIFEST, bundle.SIGNATURE)
    found = []
    for entry in sorted(Path(folder).iterdir()) if Path(folder).is_dir() else ():
        if not entry.name.startswith(".") and any((entry / part).is_file() for part in parts):
            found.append(entry)
    return [entry for entry in found if read_release(entry).project == project]


def earlier_tables(previous: Sequence[Path], policy: ReleasePolicy, party: Party) -> list[ProtectedTable]:
    """Read earlier releases of the project and hold them to the present scope.

    Releases of other periods that do not overlap say nothing about the present persons and are left out.

    Raises
    ------
    ReleaseError
        ``earlier-release``: one does not verify, so that nobody knows what was said. ``overlapping-scope``.
        ``lists-differ``: the cells of other lists cannot be compared, so that differences would not be found.
    """
    found: list[ProtectedTable] = []
    for folder in previous:
        report = verify_release(folder, party.public, audit_tables=False)
        if not report.ok:
            raise ReleaseError(
                f"{folder}: an earlier release does not verify",
                reason="earlier-release",
                hint="restore it: what was published before decides what may be published now",
                problems=report.problems,
            )
        document = read_release(folder)
        scope = Scope.model_validate(document.scope)
        if document.project != policy.project:
            continue
        if scope == policy.scope:
            if document.lists != policy.lists:
                raise ReleaseError(
                    f"{folder}: an earlier release of the same scope is of other lists",
                    reason="lists-differ",
                    hint="keep the lists of the policy, in their order, or release a period that has none yet",
                )
            found += bundle.protected_tables(document)
        elif scope.first_month <= policy.scope.last_month and policy.scope.first_month <= scope.last_month:
            raise ReleaseError(
                f"{folder}: an earlier release covers part of the same period in another scope",
                reason="overlapping-scope",
                hint="releases are for fixed periods, so that one cannot be subtracted from another",
            )
    return found
