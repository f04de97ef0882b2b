"""The keys of each party: what it signs and opens with, and what others need of it.

Both are pairs of which an attacker must break each half: Ed25519 and ML-DSA-65 sign, ML-KEM-1024 and P-384 open
(:mod:`linkage.exchange.opening`).

Party keys of versions 1 and 2 opened with ML-KEM-768 and X25519, and those of version 1 had no ML-DSA key either. They
are refused, with the hint to renew them; what was sealed and signed under them is read only where the caller says that
it is an archive (``archived=True``), and nothing is signed by them or sealed for them any more. Nothing falls back by
itself: :mod:`linkage.exchange.suites` has what each version is made of, and a key takes the signatures and files of its
own version alone.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from linkage.errors import KeyFileError
from linkage.exchange import signatures
from linkage.exchange.archived import ArchivedOpeningKey
from linkage.exchange.canonical import CanonicalError, encode_bytes, load_bytes, pack
from linkage.exchange.custody.protected import Keeper
from linkage.exchange.keyfile import (
    KIND_PARTY,
    KIND_PUBLIC,
    PARTY_NAME,
    load_name,
    make_private_folder,
    malformed_key,
    old_key,
    read_key_file,
    read_protected,
    write_key_file,
)
from linkage.exchange.opening import OpeningKey, PublicOpeningKey
from linkage.exchange.secret import Secret
from linkage.exchange.suites import NEWEST, SUITES

__all__ = ["Party", "PublicParty", "create_party", "load_party", "load_public", "party_of", "renew_party"]


@dataclass(frozen=True)
class PublicParty:
    """What others know of a party: who it is, how to check its signature, how to seal for it.

    Parameters
    ----------
    name
        The party's.
    version
        Of its keys; those before :data:`~linkage.exchange.suites.NEWEST` are archived.
    keys
        Its public keys, in the order and of the sizes of that version's suite.

    Raises
    ------
    CanonicalError
        If one of them is none: told here and not when something is due to be sealed.
    """

    name: str
    version: int
    keys: tuple[bytes, ...]

    def __post_init__(self) -> None:
        """Check the keys one by one."""
        sizes = tuple(SUITES[self.version].public.values())
        if tuple(len(key) for key in self.keys) != sizes:
            raise CanonicalError("not the keys of a party")
        try:
            Ed25519PublicKey.from_public_bytes(self.fields["signing"])
            if "mldsa65" in self.fields:
                MLDSA65PublicKey.from_public_bytes(self.fields["mldsa65"])
        except ValueError:
            raise CanonicalError("not the keys of a party") from None
        if not self.archived:
            _ = self.opening

    def __repr__(self) -> str:
        return f"PublicParty(name={self.name!r}, key_id={self.key_id!r})"

    @classmethod
    def from_text(cls, name: str, version: int, text: Mapping[str, object]) -> PublicParty:
        """Make one of the keys' base64 texts, by field; other entries are not looked at.

        Raises
        ------
        CanonicalError
            If one is missing, not the base64 text of so many bytes, or not a key.
        """
        sizes = SUITES[version].public
        return cls(name, version, tuple(load_bytes(text.get(field), size) for field, size in sizes.items()))

    @cached_property
    def fields(self) -> dict[str, bytes]:
        """The public keys by their field in a file."""
        return dict(zip(SUITES[self.version].public, self.keys, strict=True))

    def to_text(self) -> dict[str, str]:
        """Return what :meth:`from_text` reads."""
        return {field: encode_bytes(key) for field, key in self.fields.items()}

    @cached_property
    def key_id(self) -> str:
        """32 hex characters of the SHA-256 over all public keys."""
        return hashlib.sha256(pack(f"linkage party key v{self.version}", *self.keys)).hexdigest()[:32]

    @property
    def archived(self) -> bool:
        """Whether this is a key of an earlier version, with which archives alone are read."""
        return self.version < NEWEST

    @cached_property
    def opening(self) -> PublicOpeningKey:
        """What is sealed for it with.

        Raises
        ------
        KeyFileError
            ``old-key``: nothing new is sealed for a key of an earlier version.
        """
        if self.archived:
            raise old_key(self.name)
        return PublicOpeningKey(self.fields["mlkem1024"], self.fields["p384"])

    def has_signed(self, signature: bytes, purpose: str, message: bytes) -> bool:
        """Tell whether this party made the signature, for that purpose, over that message: with all its keys."""
        signing, lattice = self.fields["signing"], self.fields.get("mldsa65")
        if lattice is None:
            return signatures.verify_archived(signing, signature, purpose, message)
        return signatures.verify(signing, lattice, self.key_id, signature, purpose, message)

    def wrap(self, content_key: bytes, info: bytes) -> bytes:
        """Encrypt a short key for this party by HPKE (RFC 9180, base mode), bound to ``info``.

        Raises
        ------
        KeyFileError
            ``old-key``: nothing new is sealed for a key of an earlier version.
        """
        return self.opening.wrap(content_key, info)


@dataclass(frozen=True, eq=False, repr=False)
class Party(Secret):
    """A party with its private keys."""

    name: str
    version: int
    _signing: Ed25519PrivateKey
    _mldsa65: MLDSA65PrivateKey | None
    _opening: OpeningKey | ArchivedOpeningKey
    _pseudonym: bytes

    def __repr__(self) -> str:
        return f"Party(name={self.name!r}, key_id={self.key_id!r})"

    @cached_property
    def public(self) -> PublicParty:
        """The part that others may have."""
        keys = [self._signing.public_key().public_bytes_raw()]
        if self._mldsa65 is not None:
            keys.append(self._mldsa65.public_key().public_bytes_raw())
        if isinstance(self._opening, ArchivedOpeningKey):
            keys += self._opening.public_keys
        else:
            keys += self._opening.public.mlkem1024, self._opening.public.p384
        return PublicParty(self.name, self.version, tuple(keys))

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
            ``old-key``: nothing is signed by a key of an earlier version any more.
        """
        if self._mldsa65 is None or self.version < NEWEST:
            raise old_key(self.name)
        return signatures.sign(self._signing, self._mldsa65, self.key_id, purpose, message)

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes:
        """Undo :meth:`PublicParty.wrap`; with an archived key, what was wrapped in the way of its version.

        Raises
        ------
        cryptography.exceptions.InvalidTag
            If the key was wrapped for another party, under other ``info``, or is damaged.
        """
        return self._opening.unwrap(wrapped, info)

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
    The secret behind the pseudonyms stays, so that the hub's persons stay the same from month to month. What a keystore
    or a token keeps of the old file it keeps of the new one: the secrets of a protected key are never written plain.

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
        As :func:`load_party` and :func:`create_party`, and what the keeper of a protected file says; then there is no
        new pair.
    """
    party = load_party(old, archived=True)
    protected = read_protected(old, (KIND_PARTY,))
    keeper = protected.same_keeper() if protected is not None else None
    return _make(Path(folder), party.name, party._pseudonym, keeper)


def _make(folder: Path, name: str, pseudonym: bytes, keeper: Keeper | None = None) -> tuple[Path, Path]:
    make_private_folder(folder)
    private_path, public_path = folder / f"{name}.key", folder / f"{name}.pub"
    party = Party(
        name, NEWEST, Ed25519PrivateKey.generate(), MLDSA65PrivateKey.generate(), OpeningKey.create(), pseudonym
    )
    write_key_file(public_path, _content(KIND_PUBLIC, party) | party.public.to_text())
    try:
        write_key_file(private_path, _content(KIND_PARTY, party) | _private_text(party), keeper)
    except BaseException:
        public_path.unlink()
        raise
    return private_path, public_path


def _content(kind: str, party: Party) -> dict[str, Any]:
    return {"kind": kind, "name": party.name, "key_id": party.key_id}


def _private_text(party: Party) -> dict[str, str]:
    if party._mldsa65 is None or isinstance(party._opening, ArchivedOpeningKey):
        raise old_key(party.name)
    return {
        "signing": encode_bytes(party._signing.private_bytes_raw()),
        "mldsa65": encode_bytes(party._mldsa65.private_bytes_raw()),
        "opening": encode_bytes(party._opening.seed),
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
        Take a key of an earlier version too: to open what was sealed for it. It signs nothing.

    Raises
    ------
    KeyFileError
        If it is missing, malformed, of another kind or an earlier version, or readable by others.
    """
    return party_of(read_key_file(path, (KIND_PARTY,), archived=archived), path)


def party_of(content: Mapping[str, Any], path: Path) -> Party:
    """Return the party whose private keys these are: the content of a key file, whether it is written yet or not.

    Parameters
    ----------
    content
        All fields of a private party key file, and no others.
    path
        Its file, for the message.

    Raises
    ------
    KeyFileError
        ``malformed``, also if the key id is another one's.
    """
    version = _version(content, {number: suite.private.keys() for number, suite in SUITES.items()})
    try:
        keys = {field: load_bytes(content[field], size) for field, size in SUITES[version].private.items()}
        party = Party(
            load_name(content["name"], PARTY_NAME),
            version,
            Ed25519PrivateKey.from_private_bytes(keys["signing"]),
            MLDSA65PrivateKey.from_seed_bytes(keys["mldsa65"]) if "mldsa65" in keys else None,
            OpeningKey(keys["opening"]) if "opening" in keys else ArchivedOpeningKey(keys["mlkem768"], keys["x25519"]),
            load_bytes(content["pseudonym"], 32),
        )
    except ValueError:
        raise malformed_key(path) from None
    if content["key_id"] != party.key_id:
        raise malformed_key(path)
    return party


def _version(content: Mapping[str, Any], fields: Mapping[int, Iterable[str]]) -> int:
    """Return the version of a key file by what stands in it: the reader has held the two to each other."""
    return next(version for version, names in sorted(fields.items(), reverse=True) if content.keys() >= set(names))


def load_public(path: Path, *, archived: bool = False) -> PublicParty:
    """Read a public party key file. That it is the party's own, its owner must confirm: compare the key id.

    Parameters
    ----------
    path
        The file.
    archived
        Take a key of an earlier version too: to check what was signed by it. Nothing is sealed for it.

    Raises
    ------
    KeyFileError
        If it is missing, malformed, or of another kind (a private key file among them: that one must not travel) or
        an earlier version.
    """
    content = read_key_file(path, (KIND_PUBLIC,), archived=archived)
    version = _version(content, {number: suite.public.keys() for number, suite in SUITES.items()})
    try:
        public = PublicParty.from_text(load_name(content["name"], PARTY_NAME), version, content)
    except ValueError:
        raise malformed_key(path) from None
    if content["key_id"] != public.key_id:
        raise malformed_key(path)
    return public
