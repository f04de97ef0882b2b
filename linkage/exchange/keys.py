"""Keys: the linkage key that agencies share, the keys of each party, and what others need of them.

There is no default key, no key ring and no default path: every key is a file that somebody names. Four kinds:

linkage key
    256 random bits for one project and one epoch, held by the agencies and the key custodian, never by the hub.
    All keys of the encoding derive from it.
party key
    One per party and role: an Ed25519 and an ML-DSA-65 key to sign with, an ML-KEM-1024 and a P-384 key to open with
    (pairs: an attacker must break both), and 256 random bits for pseudonyms. Stays on one machine. They are in
    :mod:`linkage.exchange.parties` and used from here.
public key
    What the others need of a party key. Compare the key id by voice before you trust one.
opening key in shares
    ``opening.pub``: the public key that batches are sealed for where the agreement says so, with its private key in
    shares, each sealed for one holder's party key; no file has any of them in the open. It is in
    :mod:`linkage.exchange.approval.shared`.

A linkage or party key file is plain or *protected*: its secrets then open with the account's keystore or a hardware
token alone (:mod:`linkage.exchange.custody.protected`). Whoever loads one need not know which it is.

Python cannot wipe memory: secrets stay in a process until it ends. Hold keys in short-lived processes.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from linkage.errors import KeyFileError
from linkage.exchange.canonical import CanonicalError, encode_bytes, load_bytes, pack
from linkage.exchange.keyfile import (
    EPOCH_NAME,
    KIND_LINKAGE,
    PROJECT_NAME,
    load_name,
    make_private_folder,
    malformed_key,
    read_key_file,
    write_key_file,
)
from linkage.exchange.parties import (
    Party,
    PublicParty,
    create_party,
    load_party,
    load_public,
    renew_party,
)
from linkage.exchange.roles import Holding, take_up
from linkage.exchange.secret import Secret

__all__ = [
    "LinkageKey",
    "Party",
    "PublicParty",
    "create_linkage_key",
    "create_party",
    "load_linkage_key",
    "load_party",
    "load_public",
    "renew_party",
    "require_names",
    "write_linkage_key",
]

_SALT = b"linkage key tree v1"


@dataclass(frozen=True, eq=False, repr=False)
class LinkageKey(Secret):
    """The secret that the agencies of a project share for one epoch. Load it; there is no default."""

    project: str
    epoch: str
    _secret: bytes

    def __post_init__(self) -> None:
        take_up(Holding.LINKAGE_KEY)

    def __repr__(self) -> str:
        return f"LinkageKey(project={self.project!r}, epoch={self.epoch!r}, check_value={self.check_value!r})"

    def _expand(self, *parts: str) -> bytes:
        return HKDF(SHA256(), 32, salt=_SALT, info=pack(*parts)).derive(self._secret)

    def derive(self, *, spec_digest: str, purpose: str, field: str = "") -> bytes:
        """Derive 32 bytes for one use, by HKDF-SHA-256 (RFC 5869).

        Parameters
        ----------
        spec_digest
            Digest of the linkage spec, so that two specs never share a key.
        purpose
            What the bytes are for, such as ``"positions"`` or ``"diffusion"``.
        field
            The field or filter they are for; empty where the purpose needs none.

        Returns
        -------
        bytes
            32 bytes; ``info`` is the length-prefixed list of "derive", project, epoch, digest, purpose, field.
        """
        if not spec_digest or not purpose:
            raise ValueError("a key is derived for a spec and a purpose")
        return self._expand("derive", self.project, self.epoch, spec_digest, purpose, field)

    @cached_property
    def check_value(self) -> str:
        """16 hex characters by which custodians see that they hold the same key; reveals nothing of it."""
        return self._expand("check value", self.project, self.epoch)[:8].hex()


def require_names(project: str, epoch: str) -> None:
    """Refuse what is no name of a project or an epoch.

    Raises
    ------
    KeyFileError
        ``bad-name``.
    """
    if not PROJECT_NAME.fullmatch(project) or not EPOCH_NAME.fullmatch(epoch):
        raise KeyFileError(
            "the project or epoch is not a name",
            reason="bad-name",
            hint="project: lower-case letters, digits, underscores; epoch: letters, digits, dots, hyphens; at most 40",
        )


def create_linkage_key(path: Path, project: str, epoch: str) -> LinkageKey:
    """Make a new random linkage key and write it to a new private file: for made-up studies and tests.

    For real data nobody makes it alone: :mod:`linkage.exchange.ceremony.steps`.

    Raises
    ------
    KeyFileError
        As :func:`write_linkage_key`.
    """
    return write_linkage_key(path, project, epoch, secrets.token_bytes(32))


def write_linkage_key(path: Path, project: str, epoch: str, secret: bytes) -> LinkageKey:
    """Write a linkage key to a new private file.

    Parameters
    ----------
    path
        The file; one that exists is never overwritten.
    project, epoch
        What it is for.
    secret
        32 bytes, out of a key ceremony or a backup.

    Raises
    ------
    KeyFileError
        If the file exists or cannot be written, or a name is not one.
    """
    path = Path(path)
    require_names(project, epoch)
    if len(secret) != 32:
        raise ValueError("a linkage key has 32 bytes")
    key = LinkageKey(project, epoch, secret)
    make_private_folder(path.parent)
    write_key_file(
        path,
        {
            "kind": KIND_LINKAGE,
            "project": project,
            "epoch": epoch,
            "secret": encode_bytes(key._secret),
            "check": key.check_value,
        },
    )
    return key


def load_linkage_key(path: Path) -> LinkageKey:
    """Read a linkage key file.

    Raises
    ------
    KeyFileError
        If it is missing, malformed, of another kind, or readable by others.
    NotPermittedError
        ``two-roles`` if this process has opened encodings or facts.
    """
    take_up(Holding.LINKAGE_KEY)
    content = read_key_file(path, (KIND_LINKAGE,))
    try:
        project, epoch = load_name(content["project"], PROJECT_NAME), load_name(content["epoch"], EPOCH_NAME)
        key = LinkageKey(project, epoch, load_bytes(content["secret"], 32))
    except CanonicalError:
        raise malformed_key(path) from None
    check = content["check"]
    if not isinstance(check, str) or not hmac.compare_digest(check.encode(), key.check_value.encode()):
        raise malformed_key(path)
    return key
