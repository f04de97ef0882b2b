"""The keys of each party: what it signs and opens with, and what others need of it.

Both are pairs of which an attacker must break each half: Ed25519 and ML-DSA-65 sign, X25519 and ML-KEM-768 open.

Party keys of version 1 had no ML-DSA key. They are refused, with the hint to renew them; what was sealed and signed
under them is read only where the caller says that it is an archive (``archived=True``), and nothing is signed by them
or sealed for them any more. Nothing falls back by itself: a key of version 2 takes no signature of version 1.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from linkage.errors import KeyFileError
from linkage.exchange import signatures
from linkage.exchange.canonical import encode_bytes, load_bytes, pack
from linkage.exchange.keyfile import (
    KIND_PARTY,
    KIND_PUBLIC,
    PARTY_NAME,
    load_name,
    make_private_folder,
    malformed_key,
    old_key,
    read_key_file,
    write_key_file,
)
from linkage.exchange.secret import Secret

__all__ = ["Party", "PublicParty", "create_party", "load_party", "load_public", "renew_party"]

_HPKE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True)
class PublicParty:
    """What others know of a party: who it is, how to check its signature, how to seal for it.

    Parameters
    ----------
    name
        The party's.
    signing, mlkem768, x25519
        Public keys: Ed25519 (32 bytes), ML-KEM-768 (1,184), X25519 (32).
    mldsa65
        ML-DSA-65 public key (1,952 bytes); None in an archived key of version 1.
    """

    name: str
    signing: bytes
    mlkem768: bytes
    x25519: bytes
    mldsa65: bytes | None

    def __repr__(self) -> str:
        return f"PublicParty(name={self.name!r}, key_id={self.key_id!r})"

    @cached_property
    def key_id(self) -> str:
        """32 hex characters of the SHA-256 over all public keys."""
        if self.mldsa65 is None:
            keys = pack("linkage party key v1", self.signing, self.mlkem768, self.x25519)
        else:
            keys = pack("linkage party key v2", self.signing, self.mldsa65, self.mlkem768, self.x25519)
        return hashlib.sha256(keys).hexdigest()[:32]

    @property
    def archived(self) -> bool:
        """Whether this is a key of version 1, with which archives alone are read."""
        return self.mldsa65 is None

    def has_signed(self, signature: bytes, purpose: str, message: bytes) -> bool:
        """Tell whether this party made the signature, for that purpose, over that message: with all its keys."""
        if self.mldsa65 is None:
            return signatures.verify_archived(self.signing, signature, purpose, message)
        return signatures.verify(self.signing, self.mldsa65, self.key_id, signature, purpose, message)

    def wrap(self, content_key: bytes, info: bytes) -> bytes:
        """Encrypt a short key for this party by HPKE (RFC 9180, base mode), bound to ``info``.

        Raises
        ------
        KeyFileError
            ``old-key``: nothing new is sealed for a key of version 1.
        """
        if self.mldsa65 is None:
            raise old_key(self.name)
        key = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(self.mlkem768), X25519PublicKey.from_public_bytes(self.x25519)
        )
        return _HPKE.encrypt(content_key, key, info=info)


@dataclass(frozen=True, eq=False, repr=False)
class Party(Secret):
    """A party with its private keys."""

    name: str
    _signing: Ed25519PrivateKey
    _mlkem768: MLKEM768PrivateKey
    _x25519: X25519PrivateKey
    _mldsa65: MLDSA65PrivateKey | None
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
            None if self._mldsa65 is None else self._mldsa65.public_key().public_bytes_raw(),
        )

    @property
    def key_id(self) -> str:
        """The id of the public part."""
        return self.public.key_id

    def sign(self, purpose: str, message: bytes) -> bytes:
        """Sign a message for one purpose, with Ed25519 and ML-DSA-65; it is no signature for another.

        Returns
        -------
        bytes
            :data:`linkage.exchange.signatures.SIZE` bytes.

        Raises
        ------
        KeyFileError
            ``old-key``: nothing is signed by a key of version 1 any more.
        """
        if self._mldsa65 is None:
            raise old_key(self.name)
        return signatures.sign(self._signing, self._mldsa65, self.key_id, purpose, message)

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


# --- making


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
    if not PARTY_NAME.fullmatch(name):
        raise KeyFileError(
            "not a name for a party",
            reason="bad-name",
            hint="lower-case letters, digits, hyphen and underscore, at most 40, a letter first",
        )
    return _make(Path(folder), name, secrets.token_bytes(32))


def renew_party(old: Path, folder: Path) -> tuple[Path, Path]:
    """Make a party's keys anew, of the present version, and keep its pseudonyms.

    All keys that sign and open are new, and so is the key id, which the others compare by voice as for a first key.
    The secret behind the pseudonyms stays, so that the hub's persons stay the same from month to month.

    Parameters
    ----------
    old
        The private key file, of this or an earlier version. It is left as it is: what was sealed for it opens with
        it alone.
    folder
        Where the new pair goes, under the same name.

    Returns
    -------
    tuple of Path
        The private and the public file.

    Raises
    ------
    KeyFileError
        As :func:`load_party` and :func:`create_party`.
    """
    party = load_party(old, archived=True)
    return _make(Path(folder), party.name, party._pseudonym)


def _make(folder: Path, name: str, pseudonym: bytes) -> tuple[Path, Path]:
    make_private_folder(folder)
    private_path, public_path = folder / f"{name}.key", folder / f"{name}.pub"
    party = Party(
        name,
        Ed25519PrivateKey.generate(),
        MLKEM768PrivateKey.generate(),
        X25519PrivateKey.generate(),
        MLDSA65PrivateKey.generate(),
        pseudonym,
    )
    write_key_file(public_path, _public_content(party))
    try:
        write_key_file(private_path, _private_content(party))
    except BaseException:
        public_path.unlink()
        raise
    return private_path, public_path


def _public_content(party: Party) -> dict[str, Any]:
    public = party.public
    if public.mldsa65 is None:
        raise old_key(party.name)
    return {
        "kind": KIND_PUBLIC,
        "name": party.name,
        "key_id": party.key_id,
        "signing": encode_bytes(public.signing),
        "mlkem768": encode_bytes(public.mlkem768),
        "x25519": encode_bytes(public.x25519),
        "mldsa65": encode_bytes(public.mldsa65),
    }


def _private_content(party: Party) -> dict[str, Any]:
    if party._mldsa65 is None:
        raise old_key(party.name)
    return {
        "kind": KIND_PARTY,
        "name": party.name,
        "key_id": party.key_id,
        "signing": encode_bytes(party._signing.private_bytes_raw()),
        "mlkem768": encode_bytes(party._mlkem768.private_bytes_raw()),
        "x25519": encode_bytes(party._x25519.private_bytes_raw()),
        "mldsa65": encode_bytes(party._mldsa65.private_bytes_raw()),
        "pseudonym": encode_bytes(party._pseudonym),
    }


# --- reading


def load_party(path: Path, *, archived: bool = False) -> Party:
    """Read a private party key file.

    Parameters
    ----------
    path
        The file.
    archived
        Take a key of version 1 too: to open what was sealed for it. It signs nothing.

    Raises
    ------
    KeyFileError
        If it is missing, malformed, of another kind or an earlier version, or readable by others.
    """
    content = read_key_file(path, (KIND_PARTY,), archived=archived)
    try:
        party = Party(
            load_name(content["name"], PARTY_NAME),
            Ed25519PrivateKey.from_private_bytes(load_bytes(content["signing"], 32)),
            MLKEM768PrivateKey.from_seed_bytes(load_bytes(content["mlkem768"], 64)),
            X25519PrivateKey.from_private_bytes(load_bytes(content["x25519"], 32)),
            _lattice(content),
            load_bytes(content["pseudonym"], 32),
        )
    except ValueError:
        raise malformed_key(path) from None
    if content["key_id"] != party.key_id:
        raise malformed_key(path)
    return party


def _lattice(content: dict[str, Any]) -> MLDSA65PrivateKey | None:
    if "mldsa65" not in content:
        return None
    return MLDSA65PrivateKey.from_seed_bytes(load_bytes(content["mldsa65"], 32))


def load_public(path: Path, *, archived: bool = False) -> PublicParty:
    """Read a public party key file. That it is the party's own, its owner must confirm: compare the key id.

    Parameters
    ----------
    path
        The file.
    archived
        Take a key of version 1 too: to check what was signed by it. Nothing is sealed for it.

    Raises
    ------
    KeyFileError
        If it is missing, malformed, or of another kind (a private key file among them: that one must not travel) or
        an earlier version.
    """
    content = read_key_file(path, (KIND_PUBLIC,), archived=archived)
    try:
        public = PublicParty(
            load_name(content["name"], PARTY_NAME),
            load_bytes(content["signing"], 32),
            load_bytes(content["mlkem768"], 1184),
            load_bytes(content["x25519"], 32),
            load_bytes(content["mldsa65"], 1952) if "mldsa65" in content else None,
        )
        # A key that cannot be sealed for (a point of low order, say) is told here and not when a batch is due.
        if public.mldsa65 is not None:
            public.wrap(os.urandom(32), b"")
            MLDSA65PublicKey.from_public_bytes(public.mldsa65)
        Ed25519PublicKey.from_public_bytes(public.signing)
    except ValueError:
        raise malformed_key(path) from None
    if content["key_id"] != public.key_id:
        raise malformed_key(path)
    return public
