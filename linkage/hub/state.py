"""The hub's state folder: which batches were taken in, which are current, and what was refused.

::

    state/
      incoming/<digest>.batch               claimed from the inbox, not yet judged
      accepted/<source>/<digest>.batch      taken in
      quarantine/<digest>.batch, .json      refused, with the reason beside it
      receipts/<digest>.<status>.receipt    for the agencies
      orders/                               run orders and their approvals
      registry/, certificates/, runs/       persons and their ids; what was destroyed; finished runs
      lock                                  held by the process that works on the folder
      ledger                                what was done; the only thing that decides what counts
      unfinished                            files that a run is writing now, elsewhere perhaps; gone when it is done

A file counts as taken in when the ledger says so, not when it lies in a folder.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from linkage.contract.spec import LinkageSpec
from linkage.errors import LinkError, SealError
from linkage.exchange import BatchManifest, atomic_write, ledger
from linkage.exchange.files import remove_parts
from linkage.exchange.keyfile import make_private_folder

if sys.platform != "win32":
    import fcntl

__all__ = ["Current", "History", "StateFolder", "current_batches", "place_copy"]

ACCEPT, QUARANTINE, REFUSE, LINK = "accept", "quarantine", "refuse", "link"
"""Actions in the ledger. ``refuse`` takes an ``accept`` back: the batch was opened, and was not what it said."""

_COPY = 1 << 20


@dataclass(frozen=True)
class Current:
    """The newest batch taken in from one source, as the ledger tells it."""

    digest: str
    serial: int
    epoch: str
    spec_digest: str
    fingerprint: str
    refused: bool = False
    """Whether it was opened and was not what it said: it is not linked, and nothing older comes after it."""


@dataclass
class History:
    """What the ledger says about batches.

    Attributes
    ----------
    digests, batch_ids
        Of every batch ever taken in.
    current
        Source -> its newest batch.
    quarantined
        Digest -> reason code given last, for files that were refused.
    """

    digests: set[str] = field(default_factory=set)
    batch_ids: set[str] = field(default_factory=set)
    current: dict[str, Current] = field(default_factory=dict)
    quarantined: dict[str, str] = field(default_factory=dict)

    def accept(self, digest: str, manifest: BatchManifest) -> None:
        """Note a batch as taken in."""
        self.digests.add(digest)
        self.batch_ids.add(manifest.batch_id)
        self.current[manifest.source] = Current(
            digest, manifest.serial, manifest.epoch, manifest.spec_digest, manifest.fingerprint
        )

    def refuse(self, digest: str) -> None:
        """Note that a batch that was taken in is none: its source has none to be linked until a newer one comes."""
        self.current = {
            source: replace(entry, refused=True) if entry.digest == digest else entry
            for source, entry in self.current.items()
        }


@dataclass(frozen=True)
class StateFolder:
    """Places in the state folder."""

    root: Path

    @property
    def incoming(self) -> Path:
        """Claimed and not yet judged."""
        return self.root / "incoming"

    @property
    def accepted(self) -> Path:
        """Taken in, a folder a source."""
        return self.root / "accepted"

    @property
    def quarantine(self) -> Path:
        """Refused."""
        return self.root / "quarantine"

    @property
    def receipts(self) -> Path:
        """Receipts for the agencies."""
        return self.root / "receipts"

    @property
    def orders(self) -> Path:
        """Run orders for the holders of the opening key, and what they approved."""
        return self.root / "orders"

    @property
    def ledger(self) -> Path:
        """The ledger."""
        return self.root / "ledger"

    def batch(self, source: str, digest: str) -> Path:
        """Return where a batch lies once it is taken in."""
        return self.accepted / source / f"{digest}.batch"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the state folder alone on this host; made for its owner alone if it is not there.

        Raises
        ------
        LinkError
            ``busy`` if another process works on it.
        """
        make_private_folder(self.root)
        descriptor = os.open(self.root / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            if sys.platform != "win32":
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise LinkError(
                        f"{self.root}: another run works on this state folder",
                        reason="busy",
                        hint="wait for it to end; the lock goes with its process",
                    ) from None
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def writing(self, files: Sequence[Path]) -> Iterator[None]:
        """Have it on record which files are being written, so that what a killed run leaves of them is found.

        To be used under the lock and after :meth:`sweep`, for an earlier run's note is written over.
        """
        note = self.root / "unfinished"
        with atomic_write(note, private=True) as temporary:
            temporary.write_text(json.dumps([str(path.absolute()) for path in files], indent=2), encoding="utf-8")
        try:
            yield
        finally:
            note.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a run that was killed left half-written, and nobody else's; to be called under the lock.

        A note that cannot be read says nothing, and a folder that cannot be read is passed over: neither stops a run.
        """
        note = self.root / "unfinished"
        remove_parts(note)
        try:
            files = json.loads(note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        for path in files if isinstance(files, list) else ():
            if isinstance(path, str) and "\0" not in path:
                remove_parts(Path(path))
        note.unlink(missing_ok=True)

    def history(self) -> History:
        """Read the ledger, checking its chain."""
        history = History()
        if not self.ledger.exists():
            return history
        for entry in ledger.entries(self.ledger):
            if entry.object is None:
                continue
            extra = entry.extra
            if entry.action == ACCEPT:
                history.digests.add(entry.object)
                history.batch_ids.add(str(extra["batch_id"]))
                history.quarantined.pop(entry.object, None)
                history.current[str(extra["source"])] = Current(
                    entry.object,
                    int(extra["serial"] or 0),
                    str(extra["epoch"]),
                    str(extra["spec_digest"]),
                    str(extra["fingerprint"]),
                )
            elif entry.action == REFUSE:
                history.refuse(entry.object)
                history.quarantined[entry.object] = str(extra["reason"])
            elif entry.action == QUARANTINE:
                history.quarantined[entry.object] = str(extra["reason"])
        return history


def current_batches(state: Path, *, epoch: str, spec: LinkageSpec) -> dict[str, Path]:
    """Return source -> its newest accepted batch, for the batches of this epoch and spec.

    Batches of an earlier epoch or another spec cannot be linked with these and do not count.

    Raises
    ------
    SealError
        ``ledger-broken``; ``lost`` if the ledger knows a batch that is not in its folder.
    """
    folder = StateFolder(Path(state))
    found: dict[str, Path] = {}
    for source, entry in sorted(folder.history().current.items()):
        if not entry.refused and entry.epoch == epoch and entry.spec_digest == spec.digest:
            found[source] = folder.batch(source, entry.digest)
            if not found[source].is_file():
                raise SealError(
                    f"{found[source]}: the ledger knows this batch and it is gone",
                    reason="lost",
                    hint=f"bring it back from a copy, or ask source {source} for a new batch",
                )
    return found


def place_copy(path: Path, target: Path) -> None:
    """Give a file a second name, or a copy where the file system cannot; whole or not at all."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(path)
    except OSError:
        with atomic_write(target) as temporary, path.open("rb") as source, temporary.open("wb") as copy:
            while piece := source.read(_COPY):
                copy.write(piece)
