"""Keys: the linkage key that agencies share, and the keys of each party.

There is no default key, no key ring and no default path: every key is a file that somebody names. Three kinds:

linkage key
    256 random bits for one project and one epoch, held by the agencies and the key custodian, never by the hub.
    All keys of the encoding derive from it.
party key
    One per party and role: an Ed25519 key to sign with, an ML-KEM-768 and an X25519 key to open with (hybrid: an
    attacker must break both), and 256 random bits for pseudonyms. Stays on one machine.
public key
    What the others need of a party key. Compare the key id by voice before you trust one.

Python cannot wipe memory: secrets stay in a process until it ends. Hold keys in short-lived processes.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from linkage.errors import KeyFileError
from linkage.exchange.canonical import CanonicalError, encode_bytes, load_bytes, pack
from linkage.exchange.keyfile import (
    KIND_LINKAGE,
    KIND_PARTY,
    KIND_PUBLIC,
    make_private_folder,
    read_key_file,
    write_key_file,
)

__all__ = [
    "LinkageKey",
    "Party",
    "PublicParty",
    "create_linkage_key",
    "create_party",
    "load_linkage_key",
    "load_party",
    "load_public",
]

_SALT = b"linkage key tree v1"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_PROJECT = re.compile(r"[a-z][a-z0-9_]{0,39}")
_EPOCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_HPKE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class _Secret:
    """What holds a secret shows none and is never pickled."""

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("keys are not pickled: name the key file instead")


@dataclass(frozen=True, eq=False, repr=False)
class LinkageKey(_Secret):
    """The secret that the agencies of a project share for one epoch. Load it; there is no default."""

    project: str
    epoch: str
    _secret: bytes

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


@dataclass(frozen=True)
class PublicParty:
    """What others know of a party: who it is, how to check its signature, how to seal for it."""

    name: str
    signing: bytes
    mlkem768: bytes
    x25519: bytes

    def __repr__(self) -> str:
        return f"PublicParty(name={self.name!r}, key_id={self.key_id!r})"

    @cached_property
    def key_id(self) -> str:
        """32 hex characters of the SHA-256 over the three public keys."""
        keys = pack("linkage party key v1", self.signing, self.mlkem768, self.x25519)
        return hashlib.sha256(keys).hexdigest()[:32]

    def has_signed(self, signature: bytes, purpose: str, message: bytes) -> bool:
        """Tell whether this party made the signature, for that purpose, over that message."""
        try:
            key = Ed25519PublicKey.from_public_bytes(self.signing)
            key.verify(signature, pack("linkage signature v1", purpose, message))
        except InvalidSignature:
            return False
        return True

    def wrap(self, content_key: bytes, info: bytes) -> bytes:
        """Encrypt a short key for this party by HPKE (RFC 9180, base mode), bound to ``info``."""
        key = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(self.mlkem768), X25519PublicKey.from_public_bytes(self.x25519)
        )
        return _HPKE.encrypt(content_key, key, info=info)


@dataclass(frozen=True, eq=False, repr=False)
class Party(_Secret):
    """A party with its private keys."""

    name: str
    _signing: Ed25519PrivateKey
    _mlkem768: MLKEM768PrivateKey
    _x25519: X25519PrivateKey
    _pseudonym: bytes

    def __repr__(self) -> str:
        return f"Party(name={self.name!r}, key_id={self.key_id!r})"

    @cached_property
    def public(self) -> PublicParty:
        """The part that others may have."""
        return PublicParty(
            self.name,
            self._signing.public_key().public_bytes_raw(),
            self._mlkem768.public_key().public_bytes_raw(),
            self._x25519.public_key().public_bytes_raw(),
        )

    @property
    def key_id(self) -> str:
        """The id of the public part."""
        return self.public.key_id

    def sign(self, purpose: str, message: bytes) -> bytes:
        """Sign a message (Ed25519, 64 bytes) for one purpose; it is no signature for another."""
        return self._signing.sign(pack("linkage signature v1", purpose, message))

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes:
        """Undo :meth:`PublicParty.wrap`.

        Raises
        ------
        cryptography.exceptions.InvalidTag
            If the key was wrapped for another party, under other ``info``, or is damaged.
        """
        return _HPKE.decrypt(wrapped, MLKEM768X25519PrivateKey(self._mlkem768, self._x25519), info=info)

    def derive(self, purpose: str) -> bytes:
        """Derive 32 secret bytes that only this party can make, such as for the padding of empty filters."""
        return HKDF(SHA256(), 32, salt=b"party secret v1", info=pack(purpose)).derive(self._pseudonym)

    def pseudonym(self, local_id: str) -> str:
        """Return the pseudonym of a local person number: HMAC-SHA-256, the first 128 bits, 32 hex characters."""
        return self.pseudonyms((local_id,))[0]

    def pseudonyms(self, local_ids: Iterable[str]) -> list[str]:
        """Return the pseudonyms of many local person numbers, in their order.

        Stable for this party and meaningless to any other: the key never leaves the party's own file.
        """
        # HMAC with the two key blocks absorbed once (RFC 2104): half the work of a call to hmac for each number.
        key = hmac.new(self._pseudonym, digestmod="sha256")
        pseudonyms = []
        for local_id in local_ids:
            if not local_id:
                raise ValueError("a local person number is empty")
            code = key.copy()
            code.update(local_id.encode("utf-8"))
            pseudonyms.append(code.hexdigest()[:32])
        return pseudonyms


def create_linkage_key(path: Path, project: str, epoch: str) -> LinkageKey:
    """Make a new random linkage key and write it to a new private file.

    Raises
    ------
    KeyFileError
        If the file exists or cannot be written, or a name is not one.
    """
    path = Path(path)
    if not _PROJECT.fullmatch(project) or not _EPOCH.fullmatch(epoch):
        raise KeyFileError(
            "the project or epoch is not a name",
            reason="bad-name",
            hint="project: lower-case letters, digits, underscores; epoch: letters, digits, dots, hyphens; at most 40",
        )
    key = LinkageKey(project, epoch, secrets.token_bytes(32))
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
    """
    content = read_key_file(path, (KIND_LINKAGE,))
    try:
        project, epoch = _text(content["project"], _PROJECT), _text(content["epoch"], _EPOCH)
        key = LinkageKey(project, epoch, load_bytes(content["secret"], 32))
    except CanonicalError:
        raise _malformed(path) from None
    if content["check"] != key.check_value:
        raise _malformed(path)
    return key


def create_party(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a party's keys and write ``<name>.key`` (private, mode 0600) and ``<name>.pub`` into a folder.

    A folder that does not exist is made for its owner alone (mode 0700).

    Returns
    -------
    tuple of Path
        The private and the public file.

    Raises
    ------
    KeyFileError
        If one of the files exists, or the name is not one.
    """
    if not _NAME.fullmatch(name):
        raise KeyFileError(
            "not a name for a party",
            reason="bad-name",
            hint="lower-case letters, digits, hyphen and underscore, at most 40, a letter first",
        )
    folder = Path(folder)
    make_private_folder(folder)
    private_path, public_path = folder / f"{name}.key", folder / f"{name}.pub"
    party = Party(
        name,
        Ed25519PrivateKey.generate(),
        MLKEM768PrivateKey.generate(),
        X25519PrivateKey.generate(),
        secrets.token_bytes(32),
    )
    write_key_file(public_path, _public_content(party.public))
    try:
        write_key_file(private_path, _private_content(party))
    except BaseException:
        public_path.unlink()
        raise
    return private_path, public_path


def _public_content(public: PublicParty) -> dict[str, Any]:
    return {
        "kind": KIND_PUBLIC,
        "name": public.name,
        "key_id": public.key_id,
        "signing": encode_bytes(public.signing),
        "mlkem768": encode_bytes(public.mlkem768),
        "x25519": encode_bytes(public.x25519),
    }


def _private_content(party: Party) -> dict[str, Any]:
    return {
        "kind": KIND_PARTY,
        "name": party.name,
        "key_id": party.key_id,
        "signing": encode_bytes(party._signing.private_bytes_raw()),
        "mlkem768": encode_bytes(party._mlkem768.private_bytes_raw()),
        "x25519": encode_bytes(party._x25519.private_bytes_raw()),
        "pseudonym": encode_bytes(party._pseudonym),
    }


def load_party(path: Path) -> Party:
    """Read a private party key file.

    Raises
    ------
    KeyFileError
        If it is missing, malformed, of another kind, or readable by others.
    """
    content = read_key_file(path, (KIND_PARTY,))
    try:
        party = Party(
            _text(content["name"], _NAME),
            Ed25519PrivateKey.from_private_bytes(load_bytes(content["signing"], 32)),
            MLKEM768PrivateKey.from_seed_bytes(load_bytes(content["mlkem768"], 64)),
            X25519PrivateKey.from_private_bytes(load_bytes(content["x25519"], 32)),
            load_bytes(content["pseudonym"], 32),
        )
    except ValueError:
        raise _malformed(path) from None
    if content["key_id"] != party.key_id:
        raise _malformed(path)
    return party


def load_public(path: Path) -> PublicParty:
    """Read a public party key file. That it is the party's own, its owner must confirm: compare the key id.

    Raises
    ------
    KeyFileError
        If it is missing, malformed, or of another kind (a private key file among them: that one must not travel).
    """
    content = read_key_file(path, (KIND_PUBLIC,))
    try:
        public = PublicParty(
            _text(content["name"], _NAME),
            load_bytes(content["signing"], 32),
            load_bytes(content["mlkem768"], 1184),
            load_bytes(content["x25519"], 32),
        )
        # A key that cannot be sealed for (a point of low order, say) is told here and not when a batch is due.
        public.wrap(os.urandom(32), b"")
        Ed25519PublicKey.from_public_bytes(public.signing)
    except ValueError:
        raise _malformed(path) from None
    if content["key_id"] != public.key_id:
        raise _malformed(path)
    return public


def _text(value: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise CanonicalError("not a name")
    return value


def _malformed(path: Path) -> KeyFileError:
    return KeyFileError(f"{path}: the key file is damaged", reason="malformed", hint="fetch it again from its owner")
