"""What travels in a key ceremony, and what comes off paper: a reader of each, and one good file."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from linkage.exchange import PublicParty, create_linkage_key, create_party, load_party
from linkage.exchange.ceremony import documents
from linkage.exchange.ceremony.documents import (
    COMMITMENT,
    CONFIRMATION,
    CONTRIBUTION,
    INVITATION,
    Commitment,
    Confirmation,
    Contribution,
    Invitation,
)
from linkage.exchange.ceremony.invitation import invite
from linkage.exchange.ceremony.steps import confirm, join
from linkage.exchange.custody.backup import backup, read_page
from linkage.exchange.custody.destruction import destroy_key, read_key_destruction
from linkage.exchange.custody.shares import join as join_shares
from linkage.exchange.documents import read_document

__all__ = ["READERS", "files"]

PAGE, DESTRUCTION = "backup-page", "key-destruction"
NAMES = ("dcf", "mpd")


def read_share(path: Path) -> None:
    path.chmod(0o600)
    join_shares([read_page(path).words, GOOD[0]])


def parse(path: Path, kind: str) -> None:
    """Read one document of a ceremony, without the others and without its author's key."""
    documents._validated(MODELS[kind], documents._read(path, kind), path)


def read_certificate(path: Path) -> None:
    read_key_destruction(path, SIGNER[0])


GOOD: list[str] = []
"""The other share of the page that is a seed."""

SIGNER: list[PublicParty] = []
"""Who signed the certificate that is a seed."""

MODELS = {INVITATION: Invitation, COMMITMENT: Commitment, CONTRIBUTION: Contribution, CONFIRMATION: Confirmation}

PARTS = (COMMITMENT, CONTRIBUTION, CONFIRMATION)

READERS: dict[str, Callable[[Path], object]] = {
    PAGE: read_share,
    INVITATION: lambda path: parse(path, INVITATION),
    COMMITMENT: lambda path: parse(path, COMMITMENT),
    CONTRIBUTION: lambda path: parse(path, CONTRIBUTION),
    CONFIRMATION: lambda path: parse(path, CONFIRMATION),
    DESTRUCTION: read_certificate,
}


@cache
def files(root: Path) -> dict[str, list[bytes]]:
    """Hold a ceremony of two, back a key up and destroy it; return what came of it, by the name of its reader."""
    home = root / "ceremony-keys"
    publics = [create_party(home / name, name)[1] for name in NAMES]
    parties = {name: load_party(home / name / f"{name}.key") for name in NAMES}
    folder, mpd = root / "ceremony", parties["mpd"]
    invite(
        folder,
        project="milwaukee",
        epoch="2026-1",
        participants=publics,
        inviter=mpd,
        public_file=publics[1],
        keys=home / "mpd",
    )
    told = read_document(folder / "invitation", INVITATION, {1}).digest
    for _ in range(2):
        for name in NAMES:
            join(folder, parties[name], home / name, told=told)
    for name in NAMES:
        confirm(folder, parties[name], home / name, home / name / "linkage.key")
    made = {kind: [(folder / f"mpd.{kind.removeprefix('ceremony-')}").read_bytes()] for kind in PARTS}
    made[INVITATION] = [(folder / "invitation").read_bytes()]
    key = create_linkage_key(home / "spare.key", "milwaukee", "2026-2")
    pages = backup(home / "spare.key", root / "pages", threshold=2, count=2)
    GOOD.append(read_page(pages[1]).words)
    made[PAGE] = [pages[0].read_bytes(), read_page(pages[0]).text().encode()]
    spare = destroy_key(home / "spare.key", expected=key.check_value, reason="retired", party=mpd, keys=home / "mpd")
    made[DESTRUCTION] = [spare.read_bytes()]
    SIGNER.append(mpd.public)
    return made
