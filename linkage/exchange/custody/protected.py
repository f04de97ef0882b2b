"""Protected key files: a private key file whose secrets only the system's keystore or a hardware token can open.

::

    linkage-protected-key/1
    {"keeper":{"by":"keystore",...},"public":{"kind":"party",...},"sealed":"...","version":3}

``public`` has the fields of the key file that are no secret, ``version`` is the plain file's. ``sealed`` is the
canonical JSON of the secret fields, encrypted with Cobblestone (chunked AES-256-GCM) under 256 random bits made for
this file, and bound to all that is readable of it. Those bits are with the *keeper*, and nowhere else:

``keystore``
    The keystore of the account (:mod:`linkage.exchange.custody.keystore`); ``entry`` names the entry.
``token``
    A hardware token (:mod:`linkage.exchange.custody.token`): encrypted (``wrapped``) by a key that never leaves it.

A file says by itself how it is protected, so that whoever reads a key file need not know. A thief of the file, of a
backup or of the disk has nothing; who takes over the account while the keystore is open or the token is in has all.
"""

from __future__ import annotations

import secrets
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag

from linkage.errors import KeyFileError
from linkage.exchange.canonical import CanonicalError, dump, encode_bytes, load, load_bytes
from linkage.exchange.custody import keystore, token

__all__ = ["VISIBLE", "Keeper", "Protected", "is_protected", "parse_protected", "protect"]

VISIBLE = frozenset({"kind", "name", "key_id", "project", "epoch", "check"})
"""Fields of private key files that are no secret; every other one is taken for a secret."""

_FIRST_LINE = b"linkage-protected-key/1\n"
_PARTS = {"keeper", "public", "sealed", "version"}


class Keeper(Protocol):
    """Who keeps the 256 bits under which a file is encrypted."""

    def keep(self, key: bytes) -> dict[str, str]:
        """Take a key of 32 bytes into custody; return what a file says of it, without ``by`` secrets in it."""
        ...

    def forget(self, header: Mapping[str, str]) -> None:
        """Give up what :meth:`keep` took; a KeyFileError says that it is there still."""
        ...


@dataclass(frozen=True)
class Protected:
    """A protected key file: all that can be read of it.

    Parameters
    ----------
    version
        The plain file's.
    public
        Its fields that are no secret. Nothing in them is to be believed before :meth:`open` has passed.
    keeper
        Who can open it: ``by``, and what that one needs.
    sealed
        The encrypted rest.
    """

    version: int
    public: dict[str, Any]
    keeper: dict[str, str]
    sealed: bytes

    @property
    def opens_with(self) -> str:
        """What must be there for the file to open, in words."""
        if self.keeper["by"] == "keystore":
            return "the keystore of the account that protected it"
        return f"token {self.keeper['token']}, key {self.keeper['key']}"

    def same_keeper(self) -> Keeper:
        """Return who keeps this file's key, for another file.

        Raises
        ------
        KeyFileError
            As the keepers do.
        """
        if self.keeper["by"] == "keystore":
            return keystore.KeystoreKeeper()
        return token.TokenKeeper(Path(self.keeper["module"]), self.keeper["token"], self.keeper["key"])

    def open(self, path: Path) -> dict[str, Any]:
        """Have the keeper open the file; return all its fields.

        Raises
        ------
        KeyFileError
            As the keepers do; ``malformed`` if the file was changed or the keeper has another key.
        """
        key = _KEEPERS[self.keeper["by"]].release(path, self.keeper)
        try:
            decryptor = Cobblestone256Decryptor(key, _context(self.version, self.public, self.keeper))
            secret = load(decryptor.update(self.sealed) + decryptor.finalize())
        except (InvalidTag, ValueError):
            raise _malformed(path) from None
        if not secret or secret.keys() & VISIBLE:
            raise _malformed(path)
        return self.public | secret


_KEEPERS = {"keystore": keystore, "token": token}


def is_protected(data: bytes) -> bool:
    """Tell whether these are the bytes of a protected key file, of whatever version."""
    return data.startswith(_FIRST_LINE.partition(b"/")[0] + b"/")


def parse_protected(path: Path, data: bytes) -> Protected:
    """Read a protected key file, without its keeper.

    Raises
    ------
    KeyFileError
        ``malformed``.
    """
    if not data.startswith(_FIRST_LINE) or not data.endswith(b"\n"):
        raise _malformed(path)
    try:
        content = load(data[len(_FIRST_LINE) : -1])
        sealed = _load_any(content.get("sealed"))
    except CanonicalError:
        raise _malformed(path) from None
    version, public, keeper = (content.get(name) for name in ("version", "public", "keeper"))
    fits = (
        content.keys() == _PARTS
        and type(version) is int
        and isinstance(public, dict)
        and isinstance(keeper, dict)
        and public.keys() <= VISIBLE
        and all(isinstance(value, str) for value in (*public.values(), *keeper.values()))
        and keeper.get("by") in _KEEPERS
        and _KEEPERS[keeper["by"]].fits(keeper)
    )
    if not fits:
        raise _malformed(path)
    return Protected(content["version"], content["public"], content["keeper"], sealed)


def protect(version: int, content: Mapping[str, Any], keeper: Keeper) -> tuple[bytes, Protected]:
    """Give a key file's content into custody.

    Parameters
    ----------
    version, content
        The plain file's.
    keeper
        Keeps the key that is made for it.

    Returns
    -------
    data
        The bytes of the protected file.
    protected
        What :func:`parse_protected` makes of them.

    Raises
    ------
    KeyFileError
        As the keepers do.
    """
    key = secrets.token_bytes(32)
    public = {name: value for name, value in content.items() if name in VISIBLE}
    secret = {name: value for name, value in content.items() if name not in VISIBLE}
    header = keeper.keep(key)
    encryptor = Cobblestone256Encryptor(key, _context(version, public, header))
    sealed = encryptor.update(dump(secret)) + encryptor.finalize()
    line = dump({"keeper": header, "public": public, "sealed": encode_bytes(sealed), "version": version})
    return _FIRST_LINE + line + b"\n", Protected(version, public, header, sealed)


def _context(version: int, public: dict[str, Any], keeper: dict[str, str]) -> bytes:
    return _FIRST_LINE + dump({"keeper": keeper, "public": public, "version": version})


def _load_any(text: object) -> bytes:
    """Read bytes of any length written by :func:`linkage.exchange.canonical.encode_bytes`."""
    try:
        length = len(b64decode(text, validate=True)) if isinstance(text, str) else 0
    except ValueError:
        raise CanonicalError("not base64") from None
    return load_bytes(text, length)


def _malformed(path: Path) -> KeyFileError:
    return KeyFileError(
        f"{path}: a protected key file of another version, or damaged, or another's than its keeper knows",
        reason="malformed",
        hint="restore the key from its backup shares, or make a new one",
    )
