"""``linkage ledger``: see whether a ledger is still the one that was written."""

from __future__ import annotations

import hashlib
import json as json_module
from pathlib import Path
from typing import Annotated, NamedTuple

import cyclopts

from linkage.cli.console import print_json, say
from linkage.errors import NO_SUCH_FILE, SealError
from linkage.exchange import PublicParty, file_digest, inspect_receipt, load_public, read_receipt
from linkage.exchange.ledger import Anchor
from linkage.exchange.ledger import head as head_of
from linkage.exchange.ledger import verify as verify_chain

__all__ = ["app"]

app = cyclopts.App(name="ledger", help="See whether a ledger is still the one that was written.")

_RECEIPT = b"linkage-receipt/"
_RELEASE_MANIFEST = "manifest.json"


@app.command
def verify(
    ledger: Path,
    *,
    anchor: Annotated[list[Path] | None, cyclopts.Parameter(name="--anchor", consume_multiple=True)] = None,
    hub: Annotated[Path | None, cyclopts.Parameter(name="--hub")] = None,
    json: Annotated[bool, cyclopts.Parameter(negative=())] = False,
) -> None:
    """Check the chain of a ledger, and that it still holds what is known from outside (exit 6 if not).

    Without an anchor nobody can tell that the last entries were taken away, or that all was written anew.

    Parameters
    ----------
    ledger
        The ledger: state/ledger of a hub, state/releases.ledger of an analysis.
    anchor
        What was kept elsewhere; may be given often. A receipt: the ledger still has the entry that was its last then,
        and names the batch. A folder of a release, or any other file: the ledger names it.
    hub
        The hub's public key file: receipts must be signed with it. Without it their signatures are not checked.
    json
        Write JSON to stdout instead of a line.
    """
    key = None if hub is None else load_public(hub)
    noted = [_noted(path, key) for path in anchor or ()]
    receipts = [note.place for note in noted if note.place is not None]
    found = verify_chain(ledger, receipts, {note.digest for note in noted})
    if not json:
        say(f"ok: the ledger holds: {_entries(found.entries)}, each bound to the one before it")
        for note in noted:
            say(f"ok: {note.words}")
    if not noted:
        say("no anchor was given: entries taken off the end would not be noticed; give receipts with --anchor")
    if receipts and key is None:
        say("the signatures of the receipts were not checked: give the hub's public key with --hub")
    _tell(found, json=json, anchors=len(noted), signed=key is not None)


@app.command
def head(ledger: Path, *, json: Annotated[bool, cyclopts.Parameter(negative=())] = False) -> None:
    """Show how many entries a ledger has and the digest of the last one, to be noted elsewhere.

    Parameters
    ----------
    ledger
        The ledger.
    json
        Write JSON to stdout instead of a line.
    """
    _tell(head_of(ledger), json=json)


def _tell(found: Anchor, *, json: bool, **more: int | bool) -> None:
    facts = {"entries": found.entries, "head": found.head, **more}
    print_json(json_module.dumps(facts, indent=2) if json else f"{found.entries} {found.head}")


def _entries(number: int) -> str:
    return "1 entry" if number == 1 else f"{number:,} entries"


class _Noted(NamedTuple):
    """What a file says of the ledger.

    Attributes
    ----------
    place
        A place in it, if the file is a receipt.
    digest
        The digest that it must name.
    words
        What is known once both are so.
    """

    place: Anchor | None
    digest: str
    words: str


def _noted(path: Path, hub: PublicParty | None) -> _Noted:
    try:
        if path.is_dir():
            digest = hashlib.sha256((path / _RELEASE_MANIFEST).read_bytes()).hexdigest()
            return _Noted(None, digest, f"release {path}: the ledger names it")
        with path.open("rb") as file:
            is_receipt = file.read(len(_RECEIPT)) == _RECEIPT
        if not is_receipt:
            return _Noted(None, file_digest(path), f"file {path}: the ledger names it")
    except OSError:
        raise SealError(f"{path}: no receipt, release or file here", reason="unreadable", hint=NO_SUCH_FILE) from None
    receipt = inspect_receipt(path) if hub is None else read_receipt(path, hub)
    place = receipt.anchor
    then = "" if place is None else f"what it noted, up to {_entries(place.entries)}, is as it was then, and "
    return _Noted(place, receipt.batch_digest, f"receipt {path}: {then}the ledger names its batch")
