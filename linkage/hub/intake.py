"""Take batches in: each one is verified, judged by what was agreed, and either accepted or put into quarantine.

Once only
---------
Files are first *claimed*: moved from the inbox to ``state/incoming`` under their digest. Then each is judged, put in
its place, entered in the ledger, receipted, and only then taken out of ``incoming``. An intake that was killed leaves
its files there, and the next one finishes them first: such a file whose digest is already the current batch of its
source was accepted by the interrupted intake and is simply finished. A file that arrives in the inbox with a digest
or batch id that the ledger knows is a replay and refused, also if it is the current one; so is one whose serial is
not above the last of its source.

One fingerprint
---------------
Batches whose fingerprints differ were encoded with different keys, specs or rules and would link nobody. The newest
batch of every source has a vote; batches without the majority's fingerprint are refused, and where there is no
majority every new one is. An agency learns of a wrong key at once and never by an empty result.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from linkage.contract.agreement import Agreement
from linkage.contract.spec import LinkageSpec, digest
from linkage.errors import NotPermittedError, SealError
from linkage.exchange import (
    REASONS,
    BatchManifest,
    Party,
    PublicParty,
    envelope,
    file_digest,
    ledger,
    open_encodings,
    read_manifest,
    verify_batch,
    write_receipt,
)
from linkage.exchange.approval.shared import SharedOpening
from linkage.exchange.files import atomic_write
from linkage.hub.opened import fits, opener_id, sealed_for
from linkage.hub.retire import refuse_retired
from linkage.hub.state import ACCEPT, QUARANTINE, Current, History, StateFolder, place_copy

__all__ = ["INTAKE_REASONS", "Accepted", "Intake", "Quarantined", "inbox_batches", "take_in"]

INTAKE_REASONS = {
    **REASONS,
    "unknown-source": "no trusted sender of this source name; check [hub.senders] in the settings",
    "wrong-project": "sealed for another project",
    "wrong-epoch": "made with the linkage key of another epoch",
    "wrong-spec": "encoded by another linkage spec or rule version than this hub links by",
    "no-agreement": "no agreement in force with this source covers it",
    "agreement-differs": "sealed under another agreement or mode than the hub holds; compare the agreement files",
    "opening-differs": "encodings sealed for another key than the agreement has them opened by; compare key ids",
    "replayed": "this batch has been taken in before",
    "stale": "a newer batch of this source has been taken in already",
    "fingerprint-differs": "encoded with another linkage key or rule version than the other sources' batches",
}
"""Why a batch is not taken in: code -> what that means for the hub operator."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_UNKNOWN = "unknown"


class Accepted(NamedTuple):
    """A batch that was taken in."""

    source: str
    path: Path
    digest: str
    manifest: BatchManifest


class Quarantined(NamedTuple):
    """A file that was refused: ``name`` as it came, ``detail`` a line that also names the other sources involved."""

    name: str
    reason: str
    digest: str
    detail: str


@dataclass(frozen=True)
class Intake:
    """What became of the files of one intake."""

    accepted: list[Accepted]
    quarantined: list[Quarantined]

    def require_all(self) -> None:
        """Raise :class:`SealError` if a file was refused; the reason is theirs if they share one."""
        if not self.quarantined:
            return
        reasons = sorted({entry.reason for entry in self.quarantined})
        total = len(self.accepted) + len(self.quarantined)
        raise SealError(
            f"{len(self.quarantined)} of {total} batches refused; they are in quarantine, with receipts",
            reason=reasons[0] if len(reasons) == 1 else "batches-refused",
            hint="ask their senders for new batches, or run again to link what has been taken in",
            problems=[f"{entry.name}: {entry.reason}: {entry.detail}" for entry in self.quarantined],
        )


@dataclass(frozen=True)
class _Judged:
    """One claimed file and the verdict on it; no reason means that it is good."""

    path: Path
    name: str
    digest: str
    source: str | None
    manifest: BatchManifest | None
    reason: str | None
    detail: str = ""
    finished: bool = False


def inbox_batches(inbox: Path) -> list[Path]:
    """Return the regular files ``*.batch`` of an inbox. Senders write under another name and rename when done."""
    return sorted(path for path in Path(inbox).glob("*.batch") if path.is_file() and not path.is_symlink())


def take_in(
    batches: Sequence[Path],
    *,
    hub: Party,
    senders: Mapping[str, PublicParty],
    agreements: Mapping[str, Agreement],
    state: Path,
    spec: LinkageSpec,
    project: str,
    epoch: str,
    today: dt.date,
    opening: SharedOpening | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Intake:
    """Take batches in. They are moved out of where they are; a refused one is in quarantine, nothing is lost.

    Parameters
    ----------
    batches
        Sealed files. None is needed: what an interrupted intake has left is finished in any case.
    hub
        Opens encodings where agreements have the hub do that by itself, and signs the receipts.
    senders, agreements
        Source -> the key that signs its batches, and what was agreed with it.
    state
        The hub's state folder, see :mod:`linkage.hub.state`.
    spec, project, epoch
        What the hub links by.
    today
        The day on which agreements must be in force.
    opening
        The opening key in shares, for which encodings are sealed where agreements have runs approved. They cannot be
        looked at here: what is wrong inside shows when a run opens them.
    progress
        Called with the number of files judged and the number of all.

    Returns
    -------
    Intake

    Raises
    ------
    SealError
        ``unreadable`` if a file is not there or no regular file (nothing is moved then); ``ledger-broken``.
    LinkError
        ``busy`` if another run works on the state folder.
    NotPermittedError
        ``epoch-retired``: the epoch's encodings were destroyed.
    """
    folder = StateFolder(Path(state))
    for path in batches:
        if path.is_symlink() or not path.is_file():
            raise SealError(
                f"{path}: no such batch",
                reason="unreadable",
                hint="batches are moved out of the inbox when they are taken in; run without them to link those",
            )
    with folder.locked():
        refuse_retired(folder, epoch)
        history = _history(folder, senders)
        folder.incoming.mkdir(exist_ok=True)
        left = {path.stem for path in folder.incoming.glob("*.batch")}
        names = {_claim(path, folder): _plain_name(path) for path in batches}
        judge = _Judge(hub, senders, agreements, spec, project, epoch, today, opening, _history(folder, senders))
        claimed = sorted(folder.incoming.glob("*.batch"), key=_order)
        judged = []
        for number, path in enumerate(claimed):
            name = names.get(path.stem, path.stem[:16])
            judged.append(judge.file(path, name, resumed=path.stem in left))
            if progress is not None:
                progress(number + 1, len(claimed))
        judged = _one_fingerprint(judged, history, epoch, spec)
        return _settle(judged, folder, hub, history)


def _history(folder: StateFolder, senders: Mapping[str, PublicParty]) -> History:
    """Return what the ledger says, but that a batch signed by a key that was replaced since is nobody's newest.

    Whoever stole the key could have sent a serial from the far future, and every batch after it would be stale.
    """
    history = folder.history()
    history.current = {
        source: entry
        for source, entry in history.current.items()
        if source not in senders or _signed_by(_place(folder, source, entry), senders[source])
    }
    return history


def _place(folder: StateFolder, source: str, entry: Current) -> Path:
    return folder.quarantine / f"{entry.digest}.batch" if entry.refused else folder.batch(source, entry.digest)


def _signed_by(path: Path, sender: PublicParty) -> bool:
    """Tell whether a batch that was taken in names this key; one that is gone is taken at the ledger's word."""
    try:
        return bool(envelope.inspect(path, "batch")["sender"] == sender.key_id)
    except SealError:
        return True


def _claim(path: Path, folder: StateFolder) -> str:
    """Move a file into ``incoming`` under its digest and return that."""
    claimed = file_digest(path)
    target = folder.incoming / f"{claimed}.batch"
    try:
        path.replace(target)
    except OSError:  # another file system
        place_copy(path, target)
        path.unlink()
    return claimed


def _plain_name(path: Path) -> str:
    """Return the file's name if it is safe to show; senders choose it."""
    return path.name if _PLAIN_NAME.fullmatch(path.name) else "a file of an unusual name"


def _order(path: Path) -> tuple[str, int, str]:
    """Older batches of a source first, by what their manifests say of themselves; whoever lies is found out later."""
    try:
        manifest = read_manifest(path)
    except SealError:
        return "", 0, path.stem
    return manifest.source, manifest.serial, path.stem


@dataclass(frozen=True)
class _Judge:
    """The rules, and what has been accepted so far."""

    hub: Party
    senders: Mapping[str, PublicParty]
    agreements: Mapping[str, Agreement]
    spec: LinkageSpec
    project: str
    epoch: str
    today: dt.date
    opening: SharedOpening | None
    history: History

    def file(self, path: Path, name: str, *, resumed: bool) -> _Judged:
        """Judge one file: who, the signature, what was agreed, once only, and only then what is inside."""
        judged = _Judged(path, name, path.stem, None, None, None)
        try:
            manifest = read_manifest(path)
            if manifest.source not in self.senders:
                return _refused(judged, "unknown-source")
            judged = replace(judged, source=manifest.source)
            sender = self.senders[manifest.source]
            manifest = verify_batch(path, sender)
            if manifest.source != judged.source:  # another file stands here than was asked for its sender
                return _refused(judged, "untrusted-sender")
            judged = replace(judged, manifest=manifest)
            current = self.history.current.get(manifest.source)
            if resumed and current is not None and current.digest == judged.digest:
                return replace(judged, finished=True)
            reason = self._not_agreed(manifest) or self._not_new(judged.digest, manifest)
            reason = reason or self._not_inside(path, sender, self.agreements[manifest.source])
            # The ledger and the receipt are about this digest, and whoever sent the file may still hold it open.
            if reason is None and file_digest(path) != judged.digest:
                reason = "damaged"
        except SealError as error:
            return _refused(judged, error.reason)
        if reason is not None:
            return _refused(judged, reason)
        self.history.accept(judged.digest, manifest)
        return judged

    def _not_agreed(self, manifest: BatchManifest) -> str | None:
        if manifest.project != self.project:
            return "wrong-project"
        if manifest.epoch != self.epoch:
            return "wrong-epoch"
        if manifest.spec_digest != self.spec.digest or manifest.rules_version != self.spec.rules:
            return "wrong-spec"
        agreement = self.agreements.get(manifest.source)
        if agreement is None or agreement.mode == "aggregate":
            return "no-agreement"
        try:
            agreement.check_in_force(self.today)
        except NotPermittedError:
            return "no-agreement"
        named = (agreement.source, agreement.project, agreement.profile, agreement.mode, digest(agreement))
        found = (manifest.source, manifest.project, manifest.spec_name, manifest.mode, manifest.agreement_digest)
        return None if named == found else "agreement-differs"

    def _not_inside(self, path: Path, sender: PublicParty, agreement: Agreement) -> str | None:
        """Look inside where the hub may; what is sealed for an approved run is looked at when that comes."""
        if sealed_for(path) != opener_id(agreement, self.hub, self.opening):
            return "opening-differs" if agreement.opening == "approval" else "not-for-us"
        if agreement.opening == "approval":
            return None
        return None if fits(open_encodings(path, self.hub, sender), self.spec) else "contents-mismatch"

    def _not_new(self, claimed: str, manifest: BatchManifest) -> str | None:
        if claimed in self.history.digests or manifest.batch_id in self.history.batch_ids:
            return "replayed"
        current = self.history.current.get(manifest.source)
        return "stale" if current is not None and manifest.serial <= current.serial else None


def _refused(judged: _Judged, reason: str, detail: str | None = None) -> _Judged:
    return replace(judged, reason=reason, detail=detail or INTAKE_REASONS[reason])


def _one_fingerprint(judged: list[_Judged], history: History, epoch: str, spec: LinkageSpec) -> list[_Judged]:
    """Refuse the batches that do not have the fingerprint of most sources; without a majority, all new ones."""
    votes = {
        source: entry.fingerprint
        for source, entry in history.current.items()
        if not entry.refused and entry.epoch == epoch and entry.spec_digest == spec.digest
    }
    good = [entry.manifest for entry in judged if entry.reason is None and entry.manifest is not None]
    votes |= {manifest.source: manifest.fingerprint for manifest in good}
    if len({*votes.values(), *(manifest.fingerprint for manifest in good)}) < 2:
        return judged
    counts = Counter(votes.values()).most_common()
    majority = counts[0][0] if len(counts) == 1 or counts[0][1] > counts[1][1] else None
    sides = [sorted(source for source, vote in votes.items() if vote == found) for found, _ in counts]
    detail = f"{INTAKE_REASONS['fingerprint-differs']} ({' | '.join(', '.join(side) for side in sides)})"
    return [
        _refused(entry, "fingerprint-differs", detail)
        if entry.reason is None and not entry.finished and entry.manifest and entry.manifest.fingerprint != majority
        else entry
        for entry in judged
    ]


def _settle(judged: list[_Judged], folder: StateFolder, hub: Party, history: History) -> Intake:
    """Put each file in its place. The entry in the ledger is what counts; everything before and after can be redone."""
    intake = Intake([], [])
    for entry in judged:
        if entry.reason is None and entry.manifest is not None:
            intake.accepted.append(_accept(entry, entry.manifest, folder, hub))
        else:
            intake.quarantined.append(_quarantine(entry, entry.reason or "malformed", folder, hub, history))
        entry.path.unlink()
    return intake


def _accept(entry: _Judged, manifest: BatchManifest, folder: StateFolder, hub: Party) -> Accepted:
    target = folder.batch(manifest.source, entry.digest)
    place_copy(entry.path, target)
    anchor = None
    if not entry.finished:
        told = ("source", "batch_id", "serial", "month", "epoch", "spec_digest", "fingerprint")
        extra = {name: getattr(manifest, name) for name in told}
        anchor = ledger.append(folder.ledger, actor=hub.name, action=ACCEPT, object_digest=entry.digest, extra=extra)
    _receipt(entry, folder, hub, None, anchor)
    for suffix in ("batch", "json"):  # refused earlier, and good now: an agreement was renewed, say
        (folder.quarantine / f"{entry.digest}.{suffix}").unlink(missing_ok=True)
    return Accepted(manifest.source, target, entry.digest, manifest)


def _quarantine(entry: _Judged, reason: str, folder: StateFolder, hub: Party, history: History) -> Quarantined:
    place_copy(entry.path, folder.quarantine / f"{entry.digest}.batch")
    note = {"name": entry.name, "source": entry.source or _UNKNOWN, "reason": reason, "detail": entry.detail}
    with atomic_write(folder.quarantine / f"{entry.digest}.json") as temporary:
        temporary.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    anchor = None
    if history.quarantined.get(entry.digest) != reason:
        extra: dict[str, str | bool | int | None] = {"source": entry.source or _UNKNOWN, "reason": reason}
        anchor = ledger.append(
            folder.ledger, actor=hub.name, action=QUARANTINE, object_digest=entry.digest, extra=extra
        )
    _receipt(entry, folder, hub, reason, anchor)
    return Quarantined(entry.name, reason, entry.digest, entry.detail)


def _receipt(entry: _Judged, folder: StateFolder, hub: Party, reason: str | None, anchor: ledger.Anchor | None) -> None:
    """Write the receipt; where the ledger had the entry already, with the head that it has now."""
    write_receipt(
        folder.receipts / f"{entry.digest}.{reason or 'accepted'}.receipt",
        batch_digest=entry.digest,
        source=entry.source or _UNKNOWN,
        status="quarantined" if reason else "accepted",
        reason=reason,
        anchor=anchor or ledger.head(folder.ledger),
        sender=hub,
    )
