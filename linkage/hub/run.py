"""One run of the hub: the current batches in, a sealed person map for the analysis out.

::

    <out>/<month>-<digest of the inputs>/
      person-map.sealed         for the analysis alone
      batches/<source>.batch    what it was made from; the analysis opens the facts in them
      near-ties-<source>.csv    records, by pseudonym, that can hardly be told from strangers or from a rival: one
                                list for each agency, with its own pseudonyms alone
      quality.json              aggregates on how good the links are; written last: a run with it is done

Map and batches are all that the analysis needs, and are sealed: they can be copied to another host. ``quality.json``
is not sealed and holds exact numbers of links, which are overlaps; a list of near-ties says of single records that they
may be on another agency's list. Both are confidential, readable by their owner alone. The first stays here, a list
goes to none but the agency whose pseudonyms are in it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from linkage import __version__
from linkage.contract.agreement import Agreement
from linkage.contract.spec import LinkageSpec
from linkage.errors import LinkError, NotPermittedError, SealError
from linkage.exchange import (
    BatchManifest,
    Party,
    PublicParty,
    atomic_write,
    file_digest,
    ledger,
    seal_person_map,
    verify_batch,
)
from linkage.exchange.approval.orders import OrderedBatch
from linkage.exchange.canonical import dump
from linkage.exchange.envelope import Opener
from linkage.exchange.site import refuse_future
from linkage.hub.approvals import Approving, order_run
from linkage.hub.caution import link_warnings, month_warnings
from linkage.hub.compare import Candidates
from linkage.hub.encoded import Encoded
from linkage.hub.link import Linked, link
from linkage.hub.near_ties import near_ties, ties_by_source
from linkage.hub.opened import needs_approval, open_batches
from linkage.hub.register import register
from linkage.hub.retire import refuse_retired
from linkage.hub.state import LINK, StateFolder, current_batches, place_copy

__all__ = ["HubRun", "run"]

MAP, QUALITY, BATCHES, TIES = "person-map.sealed", "quality.json", "batches", "near-ties-{}.csv"


@dataclass(frozen=True)
class HubRun:
    """A finished run.

    Attributes
    ----------
    run_id
        Month and digest of the inputs.
    folder, person_map, batches
        The run's folder, the sealed person map, and source -> batch in that folder.
    quality
        Aggregates, see :func:`linkage.hub.quality.assess`; ``cost`` of a false link; ``registry``, how many persons
        were carried, split, merged and are new (:class:`linkage.hub.register.Registered`); and ``warnings``, sentences
        for the operator (:func:`linkage.hub.caution.link_warnings`).
    fresh
        Whether it was made just now; an identical run is found finished and not made again.
    """

    run_id: str
    folder: Path
    person_map: Path
    batches: dict[str, Path]
    quality: dict[str, Any]
    fresh: bool

    def to_json(self) -> str:
        """Return the run as JSON: paths and aggregates."""
        content = {
            "run_id": self.run_id,
            "folder": str(self.folder),
            "person_map": str(self.person_map),
            "batches": {source: str(path) for source, path in self.batches.items()},
            "fresh": self.fresh,
            "quality": self.quality,
        }
        return json.dumps(content, indent=2)


def run(
    month: str,
    *,
    state: Path,
    hub: Party,
    analysis: PublicParty,
    spec: LinkageSpec,
    senders: Mapping[str, PublicParty],
    agreements: Mapping[str, Agreement],
    project: str,
    epoch: str,
    out: Path,
    today: dt.date,
    approving: Approving | None = None,
    cost: float | None = None,
    comparer: Callable[[Encoded, int], Candidates] | None = None,
    progress: Callable[[str], None] | None = None,
) -> HubRun:
    """Link the current batches of all sources and seal the person map.

    Parameters
    ----------
    month
        The reporting month, ``YYYY-MM``; not after that of ``today``. Where a trusted source's newest batch is of
        another month, or there is none, ``warnings`` say so.
    state, out
        The hub's state folder, and where the run's folder shall stand.
    hub, analysis
        Who signs the map, and opens the encodings where agreements have the hub do that by itself; who can open the
        map.
    spec, project, epoch
        What is linked by.
    senders, agreements
        Source -> signing key and agreement. A source that is in neither is not linked.
    today
        The day on which the agreements must be in force.
    approving
        By whom the run is approved, where agreements ask for it: an order is written and waited for.
    cost
        Cost of a false link in missed ones, see :func:`linkage.hub.link.link`.
    comparer
        Who compares the records, see :func:`linkage.hub.link.link`; it changes nothing in what comes out.
    progress
        Called with a word on what is done now.

    Raises
    ------
    ContractError
        ``future-month``.
    LinkError
        ``no-batches``, ``wrong-project``, ``fingerprint-differs``, ``not-approved``; ``batches-changed`` while the run
        waited to be approved; ``pseudonyms-changed``
        (:func:`linkage.hub.register.register`) or what :func:`linkage.hub.link.link` raises.
    ContractError, SealError
        What :func:`linkage.hub.opened.needs_approval` and :func:`linkage.hub.opened.open_batches` raise.
    NotPermittedError
        The agreement of a source has ended, or is of another mode now; ``epoch-retired``.
    SealError
        A batch in the state folder is damaged or not the one taken in, or the ledger is broken.
    """
    refuse_future(month, today)
    folder, started = StateFolder(Path(state)), time.monotonic()

    def ready() -> _Ready:
        """Look at what is there, and hold it to what is agreed on the day that it is by now."""
        day = today + dt.timedelta(seconds=time.monotonic() - started)
        return _look(folder, senders, agreements, spec=spec, project=project, epoch=epoch, day=day)

    with folder.locked():
        folder.sweep()
        first = ready()
        run_id = _run_id(month, project, epoch, spec, hub, analysis, first.digests, cost)
        target = Path(out) / run_id
        done = _finished(target, run_id, list(first.current))
        if done is not None:
            return done
        shared = needs_approval(first.current, agreements, hub, None if approving is None else approving.opening)
    joined = None
    if shared and approving is not None:
        _say(progress, "waiting for approvals")
        listed = [OrderedBatch(source=source, digest=first.digests[source]) for source in shared]
        said = {"project": project, "epoch": epoch, "month": month, "spec_digest": spec.digest}
        joined = order_run(folder, approving, batches=listed, hub=hub, analysis=analysis, **said)
    with folder.locked():
        now = ready() if shared else first
        if now.digests != first.digests:
            raise LinkError(
                "batches were taken in or refused while the run waited to be approved",
                reason="batches-changed",
                hint="run again: a new order names the batches that are current now",
            )
        keys: dict[str, Opener] = {source: joined if joined and source in shared else hub for source in now.current}
        encodings = open_batches(
            now.current, keys, folder=folder, hub=hub, senders=senders, spec=spec, progress=progress
        )
        _say(progress, "linking")
        repeats = frozenset(source for source, manifest in now.manifests.items() if not manifest.deduplicated)
        linked = link(encodings, spec, repeats=repeats, cost=cost, comparer=comparer)
        _say(progress, "registering")
        registered = register(linked.persons, folder=folder, hub=hub, run_id=run_id, month=month, epoch=epoch)
        trusted = [source for source in senders if source in agreements and agreements[source].mode != "aggregate"]
        quality = {
            **linked.quality,
            "cost": cost,
            "registry": registered.summary,
            "warnings": _warnings(linked.quality, month, now.manifests, trusted),
        }
        _say(progress, "sealing")
        files = _files(target, list(now.current))
        with folder.writing(files):
            content = _write(target, linked, quality, now, hub, analysis, project=project, epoch=epoch, month=month)
            extra: dict[str, str | bool | int | None] = {"run_id": run_id, "month": month, "sources": len(keys)}
            ledger.append(folder.ledger, actor=hub.name, action=LINK, object_digest=content["person_map"], extra=extra)
            with atomic_write(target / QUALITY, private=True) as temporary:
                temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return _run(target, run_id, list(now.current), content, fresh=True)


class _Ready(NamedTuple):
    """Source -> current batch, what it says of itself, and its digest."""

    current: dict[str, Path]
    manifests: dict[str, BatchManifest]
    digests: dict[str, str]


def _look(
    folder: StateFolder,
    senders: Mapping[str, PublicParty],
    agreements: Mapping[str, Agreement],
    *,
    spec: LinkageSpec,
    project: str,
    epoch: str,
    day: dt.date,
) -> _Ready:
    """Find the current batches of trusted sources, verify them, and hold them to the agreements of the day."""
    refuse_retired(folder, epoch)
    current = {
        source: path
        for source, path in current_batches(folder.root, epoch=epoch, spec=spec).items()
        if source in senders and source in agreements
    }
    for source in current:
        agreements[source].check_in_force(day)
    manifests = {source: _verified(path, senders[source], agreements[source]) for source, path in current.items()}
    _require_one_project(manifests, project)
    _require_one_fingerprint(manifests)
    return _Ready(current, manifests, {source: path.stem for source, path in current.items()})


def _say(progress: Callable[[str], None] | None, word: str) -> None:
    if progress is not None:
        progress(word)


def _warnings(
    quality: Mapping[str, Any], month: str, manifests: Mapping[str, BatchManifest], trusted: Iterable[str]
) -> list[str]:
    reported = month_warnings(month, {source: manifest.month for source, manifest in manifests.items()}, trusted)
    expected = quality.get("expected_matches", 0.0)
    return reported + link_warnings(quality["records"], quality.get("by_sources", ()), expected, sources=manifests)


def _files(target: Path, sources: list[str]) -> list[Path]:
    """Return what a run writes."""
    own = [path for source in sources for path in (_copy(target, source), target / TIES.format(source))]
    return [*own, target / MAP, target / QUALITY]


def _copy(target: Path, source: str) -> Path:
    return target / BATCHES / f"{source}.batch"


def _write(
    target: Path,
    linked: Linked,
    quality: dict[str, Any],
    ready: _Ready,
    hub: Party,
    analysis: PublicParty,
    *,
    project: str,
    epoch: str,
    month: str,
) -> dict[str, Any]:
    """Write all of a run but what says that it is done, and return what that shall say."""
    for source, path in ready.current.items():
        place_copy(path, _copy(target, source))
    seal_person_map(
        target / MAP,
        linked.persons,
        quality,
        list(ready.digests.values()),
        hub,
        analysis,
        project=project,
        epoch=epoch,
        month=month,
        run_id=target.name,
        draws=(linked.draws.record, linked.draws.person),
    )
    _write_ties(target, linked, list(ready.current))
    sealed = file_digest(target / MAP)
    months = {source: manifest.month for source, manifest in ready.manifests.items()}
    return {"run_id": target.name, "person_map": sealed, "batches": ready.digests, "months": months, **quality}


def _write_ties(folder: Path, linked: Linked, sources: list[str]) -> None:
    """Write a list for each agency's follow-up: its own pseudonyms, names of ties, a coarse band, never a score."""
    ties = near_ties(linked.persons, linked.left, linked.right, linked.probability)
    for source, own in ties_by_source(ties, sources, folder.name).items():
        with atomic_write(folder / TIES.format(source), private=True) as temporary:
            own.write_csv(temporary)


def _verified(path: Path, sender: PublicParty, agreement: Agreement) -> BatchManifest:
    """Return the manifest of a batch that is still the one in the ledger, and still sent under its agreement's mode."""
    manifest = verify_batch(path, sender)
    if file_digest(path) != path.stem:
        raise SealError(
            f"{path}: not the file that was taken in",
            reason="damaged",
            hint=f"bring it back from a copy, or ask source {manifest.source} for a new batch",
        )
    if manifest.mode != agreement.mode:
        raise NotPermittedError(
            f"the batch of source {manifest.source} was sent under another mode than its agreement has now",
            reason="agreement-differs",
            hint="ask the source for a new batch under the present agreement",
        )
    return manifest


def _require_one_project(manifests: Mapping[str, BatchManifest], project: str) -> None:
    """Refuse what was taken in for another project: the state folder may have been named in another's settings."""
    others = [source for source, manifest in sorted(manifests.items()) if manifest.project != project]
    if others:
        raise LinkError(
            f"batches taken in before are another project's than the settings: {', '.join(others)}",
            reason="wrong-project",
            hint="compare 'project' in the settings; give each project a state folder of its own ([hub] state)",
        )


def _require_one_fingerprint(manifests: Mapping[str, BatchManifest]) -> None:
    if not manifests:
        raise LinkError(
            "no batch of this epoch and spec has been taken in",
            reason="no-batches",
            hint="take batches in first: linkage hub link inbox/*.batch --out run",
        )
    sides: dict[str, list[str]] = {}
    for source, manifest in sorted(manifests.items()):
        sides.setdefault(manifest.fingerprint, []).append(source)
    if len(sides) > 1:
        raise LinkError(
            "sources encode differently and cannot be linked: "
            + " | ".join(", ".join(side) for side in sides.values()),
            reason="fingerprint-differs",
            hint="compare the linkage key's check value and the versions; who differs submits again",
        )


def _run_id(
    month: str,
    project: str,
    epoch: str,
    spec: LinkageSpec,
    hub: Party,
    analysis: PublicParty,
    digests: Mapping[str, str],
    cost: float | None,
) -> str:
    inputs = {
        "month": month,
        "project": project,
        "epoch": epoch,
        "spec": spec.digest,
        "hub": hub.key_id,
        "analysis": analysis.key_id,
        "batches": dict(digests),
        "version": __version__,
    }
    if cost is not None:
        inputs["cost"] = repr(float(cost))  # canonical JSON has no floats
    return f"{month}-{hashlib.sha256(dump(inputs)).hexdigest()[:16]}"


def _finished(target: Path, run_id: str, sources: list[str]) -> HubRun | None:
    """Return the run if its folder is complete and its map is the one that was written."""
    try:
        content = json.loads((target / QUALITY).read_text(encoding="utf-8"))
        whole = content["person_map"] == file_digest(target / MAP)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = whole and all(_copy(target, source).is_file() for source in sources)
    return _run(target, run_id, sources, content, fresh=False) if whole else None


def _run(target: Path, run_id: str, sources: list[str], content: dict[str, Any], *, fresh: bool) -> HubRun:
    known = ("run_id", "person_map", "batches", "months")
    quality = {name: value for name, value in content.items() if name not in known}
    batches = {source: _copy(target, source) for source in sources}
    return HubRun(run_id, target, target / MAP, batches, quality, fresh)
