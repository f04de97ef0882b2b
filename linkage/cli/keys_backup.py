"""``linkage keys backup``, ``restore``, ``destroy``: a key on paper, and the end of a key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cyclopts

from linkage.cli.console import say, spaced
from linkage.exchange.custody.backup import backup as write_backup
from linkage.exchange.custody.backup import restore as restore_key
from linkage.exchange.custody.destruction import Reason, destroy_key, read_key_destruction
from linkage.exchange.keys import load_party

__all__ = ["backup", "destroy", "restore"]


def backup(
    file: Path,
    *,
    threshold: Annotated[int, cyclopts.Parameter(name="--threshold")],
    shares: Annotated[int, cyclopts.Parameter(name="--shares")],
    out: Annotated[Path, cyclopts.Parameter(name="--out")],
) -> None:
    """Write a private key as pages to print, THRESHOLD of which give it back; fewer tell nothing of it.

    Parameters
    ----------
    file
        A linkage key, or a party's private key.
    threshold
        How many pages shall be needed: 2 or more.
    shares
        How many pages there shall be: 16 or fewer.
    out
        A new folder for them, on this machine.
    """
    pages = write_backup(file, out, threshold=threshold, count=shares)
    for page in pages:
        say(f"page written: {page}")
    say("print them where no copy stays, give each to another person or place, then destroy the files")
    say(f"any {threshold} of the {shares} together are the key")


def restore(
    *files: Path,
    out: Annotated[Path, cyclopts.Parameter(name="--out")],
) -> None:
    """Bring a private key back from pages of a backup.

    Parameters
    ----------
    files
        As many as are needed: page files, or text files with what stands on a page, readable by you alone.
    out
        The key file to write. An existing one is never overwritten.
    """
    facts = restore_key(files, out)
    say(f"key written: {out}")
    for label in ("check value", "key id"):
        if label in facts:
            say(f"{label}, to be compared by voice: {spaced(facts[label])}")
    say("destroy the files that the pages were read from")


def destroy(
    file: Path,
    *,
    identity: Annotated[str, cyclopts.Parameter(name="--id")],
    reason: Annotated[Reason, cyclopts.Parameter(name="--reason")],
    key: Annotated[Path, cyclopts.Parameter(name="--key")],
) -> None:
    """Overwrite and remove a private key file, and sign a certificate of it; finish what was cut off.

    Parameters
    ----------
    file
        The key file. It cannot be brought back, but from a backup.
    identity
        The check value or key id of the key that is meant (linkage keys show).
    reason
        rotated, revoked, suspicion or retired.
    key
        Private key of the party that signs the certificate; it may be the one that is destroyed (and where that was
        cut off, the party's new one).
    """
    party = load_party(key)
    certificate = destroy_key(file, expected=identity, reason=reason, party=party, keys=key.parent)
    read_key_destruction(certificate, party.public)
    say(f"overwritten and removed: {file}")
    say(f"certificate: {certificate}")
    say("flash storage, snapshots and backups may keep copies that no program reaches: encrypt whole disks")
    say("printed shares of the key are still the key: destroy them, too")
