"""The hub's opening key in shares: what agencies seal encodings for, and what no single party can open.

One file, with nothing in it that is secret from the parties::

    linkage-key/1
    {"kind":"opening",...}    public key, project, epoch, threshold, and each holder's share, sealed for that holder

It is made once an epoch, on a machine on which no batch is, by anybody but the hub: the whole key is in that process's
memory for a moment, and never in a file. From then on it exists as shares alone (SLIP-39 words, see
:mod:`linkage.exchange.custody.shares`), each of which opens with its holder's party key. Any ``threshold`` of the
holders can have the hub open what a run order names (:mod:`linkage.exchange.approval.orders`).

Its key id is over the whole content: who compares it by voice has compared the public key, the holders and their
shares. A holder whose party key is renewed can no longer open its share: make a new opening key then.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag

from linkage.errors import KeyFileError
from linkage.exchange.canonical import CanonicalError, dump, encode_bytes, load_bytes, pack
from linkage.exchange.custody import shares
from linkage.exchange.keyfile import (
    EPOCH_NAME,
    KIND_OPENING,
    PARTY_NAME,
    PROJECT_NAME,
    load_name,
    make_private_folder,
    malformed_key,
    read_key_file,
    write_key_file,
)
from linkage.exchange.keys import Party, PublicParty, require_names
from linkage.exchange.manifest import HEX32
from linkage.exchange.opening import MLKEM1024_SIZE, OVERHEAD, P384_SIZE, OpeningKey, PublicOpeningKey
from linkage.exchange.secret import Secret, keep_out_of_dumps

__all__ = [
    "WRAPPED_SHARE",
    "Holder",
    "JoinedOpening",
    "SharedOpening",
    "create_opening",
    "join_opening",
    "load_opening",
    "open_share",
    "wrap_share",
]

_SHARE = 320
"""Bytes of a share as it is sealed: 33 words of at most eight letters, filled up with spaces, so that all are alike."""

WRAPPED_SHARE = _SHARE + OVERHEAD
"""Bytes of a sealed share."""

_ID = re.compile(HEX32)


@dataclass(frozen=True)
class Holder:
    """Who holds a share: its name, the id of its party key, and the share, sealed for it."""

    name: str
    key_id: str
    share: bytes


@dataclass(frozen=True)
class SharedOpening:
    """The public side of an opening key that exists in shares alone.

    Parameters
    ----------
    project, epoch
        What it is for.
    public
        Seals.
    threshold
        How many holders it takes.
    holders
        All of them, by name.
    """

    project: str
    epoch: str
    public: PublicOpeningKey
    threshold: int
    holders: tuple[Holder, ...]

    def __repr__(self) -> str:
        return f"SharedOpening(key_id={self.key_id!r}, {self.threshold} of {len(self.holders)})"

    @property
    def key_id(self) -> str:
        """32 hex characters of the SHA-256 over all that the file says."""
        return hashlib.sha256(b"linkage shared opening v1\n" + dump(_content(self))).hexdigest()[:32]

    def wrap(self, content_key: bytes, info: bytes) -> bytes:
        """Seal a short key for a run that enough holders approve; see :meth:`PublicOpeningKey.wrap`."""
        return self.public.wrap(content_key, info)

    def holder(self, key_id: str) -> Holder | None:
        """Return the holder with this party key."""
        return next((holder for holder in self.holders if holder.key_id == key_id), None)


class JoinedOpening(Secret):
    """The opening key, joined for one run. It is never written anywhere."""

    def __init__(self, key_id: str, key: OpeningKey) -> None:
        self.key_id = key_id
        self._key = key

    def __repr__(self) -> str:
        return f"JoinedOpening(key_id={self.key_id!r})"

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes:
        """Undo :meth:`SharedOpening.wrap`; see :meth:`OpeningKey.unwrap`."""
        return self._key.unwrap(wrapped, info)


def create_opening(
    path: Path, project: str, epoch: str, holders: Sequence[PublicParty], threshold: int
) -> SharedOpening:
    """Make an opening key, split it for its holders, write the one file, and forget the key.

    Parameters
    ----------
    path
        The file to write; never overwritten.
    project, epoch
        What it is for.
    holders
        Who shall hold a share, 2 to 16; their names and keys differ.
    threshold
        How many of them it takes to open, at least 2.

    Raises
    ------
    KeyFileError
        ``bad-name``, ``bad-threshold``, ``bad-holders`` if two are the same, ``exists`` or ``unwritable``.
    """
    require_names(project, epoch)
    holders = sorted(holders, key=lambda holder: holder.name)
    if len({holder.name for holder in holders}) < len(holders) or len({h.key_id for h in holders}) < len(holders):
        raise KeyFileError(
            "two of the holders have the same name or key",
            reason="bad-holders",
            hint="each holder is a party of its own, with its own public key file",
        )
    keep_out_of_dumps()
    key = OpeningKey.create()
    words = shares.split(key.seed, threshold, len(holders))
    held = []
    for holder, share in zip(holders, words, strict=True):
        info = _share_info(project, epoch, key.key_id, holder.key_id)
        held.append(Holder(holder.name, holder.key_id, holder.wrap(_filled(share), info)))
    opening = SharedOpening(project, epoch, key.public, threshold, tuple(held))
    make_private_folder(Path(path).parent)
    write_key_file(Path(path), {"kind": KIND_OPENING, "key_id": opening.key_id, **_content(opening)})
    return opening


def _share_info(project: str, epoch: str, opening: str, holder: str) -> bytes:
    return pack("linkage opening share v1", project, epoch, opening, holder)


def _filled(share: str) -> bytes:
    return share.encode("ascii").ljust(_SHARE)


def _content(opening: SharedOpening) -> dict[str, Any]:
    return {
        "project": opening.project,
        "epoch": opening.epoch,
        "mlkem1024": encode_bytes(opening.public.mlkem1024),
        "p384": encode_bytes(opening.public.p384),
        "threshold": opening.threshold,
        "holders": [
            {"name": holder.name, "key_id": holder.key_id, "share": encode_bytes(holder.share)}
            for holder in opening.holders
        ],
    }


def load_opening(path: Path) -> SharedOpening:
    """Read an opening key file. That it is the one that was agreed, compare its key id by voice.

    Raises
    ------
    KeyFileError
        If it is missing, malformed or of another kind.
    """
    content = read_key_file(path, (KIND_OPENING,))
    try:
        opening = SharedOpening(
            load_name(content["project"], PROJECT_NAME),
            load_name(content["epoch"], EPOCH_NAME),
            PublicOpeningKey(load_bytes(content["mlkem1024"], MLKEM1024_SIZE), load_bytes(content["p384"], P384_SIZE)),
            _threshold(content),
            tuple(_holder(entry) for entry in content["holders"]),
        )
    except CanonicalError:
        raise malformed_key(path) from None
    names = [holder.name for holder in opening.holders]
    distinct = sorted(set(names)) == names and len({holder.key_id for holder in opening.holders}) == len(names)
    found = content["key_id"]
    if not distinct or not isinstance(found, str) or not hmac.compare_digest(found.encode(), opening.key_id.encode()):
        raise malformed_key(path)
    return opening


def _threshold(content: dict[str, Any]) -> int:
    threshold, holders = content["threshold"], content["holders"]
    if type(threshold) is not int or not isinstance(holders, list):
        raise CanonicalError("not a number and a list")
    if not 2 <= threshold <= len(holders) <= shares.MOST_SHARES:
        raise CanonicalError("not a threshold")
    return threshold


def _holder(entry: object) -> Holder:
    if not isinstance(entry, dict) or entry.keys() != {"name", "key_id", "share"}:
        raise CanonicalError("not a holder")
    key_id = load_name(entry["key_id"], _ID)
    return Holder(load_name(entry["name"], PARTY_NAME), key_id, load_bytes(entry["share"], WRAPPED_SHARE))


# --- shares


def open_share(opening: SharedOpening, party: Party) -> str:
    """Open the share that a party holds.

    Returns
    -------
    str
        SLIP-39 words: a secret.

    Raises
    ------
    KeyFileError
        ``no-share`` if the party, by its key, is none of the holders, or its share does not open.
    """
    holder = opening.holder(party.key_id)
    problem = KeyFileError(
        f"{party.name}: holds no share of this opening key",
        reason="no-share",
        hint="shares are held under the party key of the day they were made; a renewed key needs a new opening key",
    )
    if holder is None:
        raise problem
    info = _share_info(opening.project, opening.epoch, opening.public.key_id, party.key_id)
    try:
        return party.unwrap(holder.share, info).decode("ascii").rstrip(" ")
    except (InvalidTag, ValueError):
        raise problem from None


def wrap_share(share: str, key: PublicOpeningKey, info: bytes) -> bytes:
    """Seal a share for a run's one-time key; :data:`WRAPPED_SHARE` bytes."""
    return key.wrap(_filled(share), info)


def join_opening(opening: SharedOpening, words: Sequence[str]) -> JoinedOpening:
    """Join shares into the key, and hold it to the public one.

    Raises
    ------
    KeyFileError
        ``too-few-shares``; ``bad-shares`` if they do not fit each other, or make another key.
    """
    try:
        key = OpeningKey(shares.join(words))
    except CanonicalError:  # shares of something else, that join to another length
        raise _other_key() from None
    if not hmac.compare_digest(key.key_id.encode(), opening.public.key_id.encode()):
        raise _other_key()
    return JoinedOpening(opening.key_id, key)


def _other_key() -> KeyFileError:
    return KeyFileError(
        "the shares make another key than this one",
        reason="bad-shares",
        hint="all holders must use the same opening key file; compare its key id",
    )
