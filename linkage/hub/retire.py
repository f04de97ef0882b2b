"""Retire an epoch: what is left of its encodings at the hub is destroyed, and a signed certificate says so.

The bridge run has carried the persons' ids across; from then on encodings of the epoch before serve nobody but a
thief, who joins epochs and averages their noise away. Destroyed are all batches of the epoch in the state folder -
taken in, refused, or claimed and not judged - and the copies that runs made of them. Also refused files of which
nobody can tell what they hold, for they may be batches that were cut short. The ledger keeps all that it said.

The certificate speaks of this host alone, and of what a program can reach (:mod:`linkage.hub.destroy`). Copies
elsewhere, at the analysis for one, are sealed, and stay closed for ever once what opens them is gone. That is the hub's
party key, renewed and the old one destroyed. Of an opening key in shares there is nothing to destroy: each share lies
in every copy of ``opening.pub``, sealed for its holder's party key. There the holders renew their party keys after the
epoch and destroy the old ones, all but fewer than the threshold.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from linkage.errors import LinkError, NotPermittedError, SealError
from linkage.exchange import Party, PublicParty, file_digest, ledger, read_manifest
from linkage.exchange.documents import read_document, write_document
from linkage.exchange.manifest import HEX32, Strict
from linkage.exchange.reasons import refuse
from linkage.hub.destroy import destroy
from linkage.hub.state import ACCEPT, StateFolder

__all__ = ["DESTROY", "RETIRE", "Destruction", "Retired", "read_destruction", "refuse_retired", "retire"]

DESTROY, RETIRE = "destroy", "retire"
"""Actions in the ledger: a batch is to be destroyed; all of an epoch is gone, and this is the certificate."""

KIND, _VERSION, _LARGEST = "destruction", 1, 16 << 20

_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Digests = Annotated[list[_Digest], Field(max_length=100_000)]


class Destruction(Strict):
    """What a certificate of destruction says.

    Parameters
    ----------
    project, epoch
        Whose encodings.
    destroyed
        SHA-256 of each batch file that was overwritten and removed, ascending; refused ones among them.
    missing
        Of each batch that was taken in and was not there any more, ascending: nobody knows where it is.
    time
        Microseconds since 1970 UTC.
    sender
        Key id of the hub.
    ledger_entries, ledger_head
        The hub's ledger then, each destruction in it.
    """

    project: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    epoch: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,79}$")]
    destroyed: _Digests
    missing: _Digests
    time: Annotated[int, Field(gt=0, lt=2**53)]
    sender: Annotated[str, StringConstraints(pattern=HEX32)]
    ledger_entries: Annotated[int, Field(ge=1, lt=2**53)]
    ledger_head: _Digest


@dataclass(frozen=True)
class Retired:
    """An epoch that is retired: what its certificate says, where that lies, and how many files are gone just now."""

    certificate: Path
    destruction: Destruction
    files: int


def retire(
    epoch: str, *, folder: StateFolder, hub: Party, project: str, present: str, runs: Sequence[Path] = ()
) -> Retired:
    """Destroy the batches of an epoch. Can be repeated, after a fault or when more has come to light.

    Parameters
    ----------
    epoch
        Which.
    folder, hub
        Where, and who signs.
    project, present
        Project and epoch in the settings.
    runs
        Folders of runs (``--out`` of ``linkage hub link``), besides ``runs`` in the state folder.

    Raises
    ------
    NotPermittedError
        ``present-epoch``.
    LinkError
        ``unknown-epoch`` if no batch of it was ever taken in; ``busy``.
    SealError
        ``ledger-broken``.
    OSError
        A file could not be destroyed. What was destroyed before is on the ledger; repeat it.
    """
    if epoch == present:
        raise NotPermittedError(
            "this is the present epoch of the settings",
            reason="present-epoch",
            hint="first a bridge run: all agencies submit under the next epoch's key, then linkage hub link",
        )
    with folder.locked():
        folder.sweep()
        accepted = _accepted(folder, epoch)
        if not accepted:
            raise LinkError(
                "no batch of this epoch was ever taken in",
                reason="unknown-epoch",
                hint="compare the name of the epoch with: linkage inspect BATCH",
            )
        for place in (*folder.accepted.glob("*"), folder.quarantine):
            for part in place.glob(".*.part"):  # of an intake that was killed
                destroy(part)
        found = _found(folder, accepted, epoch, runs)
        for digest, paths in sorted(found.items()):
            # On the ledger first: whoever is killed in between has its digest, and finds its other names next time.
            extra: dict[str, str | bool | int | None] = {"epoch": epoch, "copies": len(paths)}
            ledger.append(folder.ledger, actor=hub.name, action=DESTROY, object_digest=digest, extra=extra)
            for path in paths:
                destroy(path)
        return _certify(epoch, folder, hub, project, accepted, sum(map(len, found.values())))


def _accepted(folder: StateFolder, epoch: str) -> set[str]:
    """Return the digests of all batches of an epoch that were ever taken in."""
    if not folder.ledger.exists():
        return set()
    entries = ledger.entries(folder.ledger)
    return {entry.object for entry in entries if entry.object and _is(entry, ACCEPT, epoch)}


def _is(entry: ledger.Entry, action: str, epoch: str) -> bool:
    return entry.action == action and entry.extra.get("epoch") == epoch


def _found(folder: StateFolder, accepted: set[str], epoch: str, runs: Sequence[Path]) -> dict[str, list[Path]]:
    """Return digest -> files of all that is to go. By now, for copies may be one file under several names."""
    found: dict[str, list[Path]] = {}
    copies = [path for place in (folder.root / "runs", *map(Path, runs)) for path in place.glob("*/batches/*.batch")]
    refused = {*folder.quarantine.glob("*.batch"), *folder.incoming.glob("*.batch")}
    for path in {path.resolve() for path in (*folder.accepted.glob("*/*.batch"), *copies)} | refused:
        if _emptied(path):
            destroy(path)
            continue
        digest, said = file_digest(path), _epoch(path)
        if digest in accepted or path.stem in accepted or said == epoch or (said is None and path in refused):
            found.setdefault(digest, []).append(path)
    return found


def _emptied(path: Path) -> bool:
    """Tell whether a file was overwritten by a retirement that was killed before it had removed all of its names."""
    with path.open("rb") as file:
        start = file.read(64)
    return bool(start) and not any(start)


def _epoch(path: Path) -> str | None:
    """Return the epoch that a batch says it is of; None if it says nothing that can be read."""
    try:
        return read_manifest(path).epoch
    except SealError:
        return None


def _certify(epoch: str, folder: StateFolder, hub: Party, project: str, accepted: set[str], files: int) -> Retired:
    path = folder.root / "certificates" / f"{epoch}.certificate"
    destroyed, retired = set(), None
    for entry in ledger.entries(folder.ledger):
        if _is(entry, DESTROY, epoch) and entry.object:
            destroyed.add(entry.object)
        elif _is(entry, RETIRE, epoch):
            retired = entry.object
    if not files and retired is not None and path.is_file() and file_digest(path) == retired:
        return Retired(path, read_destruction(path, hub.public), 0)
    anchor = ledger.head(folder.ledger)
    destruction = Destruction(
        project=project,
        epoch=epoch,
        destroyed=sorted(destroyed),
        missing=sorted(accepted - destroyed),
        time=time.time_ns() // 1000,
        sender=hub.key_id,
        ledger_entries=anchor.entries,
        ledger_head=anchor.head,
    )
    digest = write_document(path, KIND, _VERSION, destruction.model_dump(), hub)
    extra: dict[str, str | bool | int | None] = {"epoch": epoch, "batches": len(destroyed)}
    ledger.append(folder.ledger, actor=hub.name, action=RETIRE, object_digest=digest, extra=extra)
    return Retired(path, destruction, files)


def read_destruction(path: Path, hub: PublicParty) -> Destruction:
    """Read a certificate of destruction and check that this hub signed it.

    Raises
    ------
    SealError
        ``unreadable``, ``bad-version``, ``malformed``, ``untrusted-sender`` or ``bad-signature``.
    """
    document = read_document(path, KIND, (_VERSION,), largest=_LARGEST)
    try:
        destruction = Destruction.model_validate(document.content)
    except ValidationError:
        raise refuse("malformed") from None
    if destruction.sender != hub.key_id:
        raise refuse("untrusted-sender")
    document.verify(hub)
    return destruction


def refuse_retired(folder: StateFolder, epoch: str) -> None:
    """Refuse to go on under an epoch that is retired.

    Raises
    ------
    NotPermittedError
        ``epoch-retired``.
    SealError
        ``ledger-broken``.
    """
    entries = ledger.entries(folder.ledger) if folder.ledger.exists() else ()
    if any(_is(entry, RETIRE, epoch) for entry in entries):
        raise NotPermittedError(
            "the epoch in the settings is retired: its encodings were destroyed",
            reason="epoch-retired",
            hint="set the present epoch in the settings; a name of an epoch is never used twice",
        )
