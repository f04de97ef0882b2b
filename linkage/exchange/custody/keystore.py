"""Keys of protected files in the keystore of the system, through the library ``keyring`` (extra ``keystore``).

That is the Credential Manager on Windows, the Keychain on macOS, the Secret Service or KWallet elsewhere: opened when
the account logs in, closed to other accounts and to whoever has the disk. ``keyring`` also knows keystores that keep
nothing, or keep it in a plain file, and lets the environment and a file of settings choose among all of them. So it is
not asked whether what it chose is good: only the keystores of :data:`TRUSTED` are, and where it chose a chain of
several, each of them.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from linkage.errors import KeyFileError
from linkage.exchange.canonical import CanonicalError, encode_bytes, load_bytes

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

__all__ = ["SERVICE", "TRUSTED", "KeystoreKeeper", "fits", "release"]

SERVICE = "linkage key file"
"""Under which service the entries stand in the keystore."""

TRUSTED = frozenset(
    {
        "keyring.backends.Windows.WinVaultKeyring",
        "keyring.backends.macOS.Keyring",
        "keyring.backends.SecretService.Keyring",
        "keyring.backends.libsecret.Keyring",
        "keyring.backends.kwallet.DBusKeyring",
    }
)
"""Keystores that encrypt what they keep under the account's own secret."""

_ENTRY = re.compile(r"[0-9a-f]{32}")
_CHAIN = "keyring.backends.chainer.ChainerBackend"


class KeystoreKeeper:
    """Keeps keys in the account's keystore, an entry a file.

    Raises
    ------
    KeyFileError
        ``missing-package``; ``no-keystore`` if there is none, or one that cannot be trusted.
    """

    def __init__(self) -> None:
        self._store = _keystore()

    @property
    def name(self) -> str:
        """The keystore's name for itself."""
        return self._store.name

    def keep(self, key: bytes) -> dict[str, str]:
        """Write a key under a new random name, and see that it can be read again."""
        header = {"by": "keystore", "entry": secrets.token_hex(16)}
        try:
            self._store.set_password(SERVICE, header["entry"], encode_bytes(key))
            read = self._store.get_password(SERVICE, header["entry"]) or ""
        except Exception:  # each keystore has errors of its own, and their words may be about what it keeps
            raise _silent() from None
        if not hmac.compare_digest(read.encode(), encode_bytes(key).encode()):
            raise _silent()
        return header

    def forget(self, header: Mapping[str, str]) -> None:
        """Take the entry out, and see that it is gone; one that is not there is as good.

        Raises
        ------
        KeyFileError
            ``keystore-failed`` if it does not answer, or has the entry still.
        """
        try:
            if self._store.get_password(SERVICE, header["entry"]) is not None:
                with suppress(Exception):  # what counts is whether the entry can be read afterwards
                    self._store.delete_password(SERVICE, header["entry"])
            kept = self._store.get_password(SERVICE, header["entry"]) is not None
        except Exception:  # as above
            raise _silent() from None
        if kept:
            raise _silent()


def fits(header: Mapping[str, str]) -> bool:
    """Tell whether this is what a file says of a key in the keystore."""
    return header.keys() == {"by", "entry"} and _ENTRY.fullmatch(header["entry"]) is not None


def release(path: Path, header: Mapping[str, str]) -> bytes:
    """Read a file's key from the keystore.

    Raises
    ------
    KeyFileError
        As :class:`KeystoreKeeper`; ``keystore-failed`` if it does not answer, ``not-kept`` if it has no such entry.
    """
    store = _keystore()
    try:
        kept = store.get_password(SERVICE, header["entry"])
    except Exception:
        raise _silent() from None
    try:
        return load_bytes(kept, 32)
    except CanonicalError:
        raise KeyFileError(
            f"{path}: the keystore of this account does not keep the key of this file",
            reason="not-kept",
            hint="a protected file opens under the account and on the machine where it was protected alone: make a new"
            " key there, or restore it from its backup shares",
        ) from None


def _keystore() -> KeyringBackend:
    try:
        import keyring
    except ImportError:
        raise KeyFileError(
            "keys in the system's keystore need the package keyring, which is not installed",
            reason="missing-package",
            hint="in the project's folder: pip install '.[keystore]'",
        ) from None
    try:
        chosen = keyring.get_keyring()
        stores = getattr(chosen, "backends", []) if _name(chosen) == _CHAIN else [chosen]
        trusted = bool(stores) and all(_name(store) in TRUSTED for store in stores)
    except Exception:  # what the environment or a file of settings names may be anything
        trusted = False
    if not trusted:
        raise KeyFileError(
            "this account has no keystore, or one that does not protect what it keeps",
            reason="no-keystore",
            hint="log in to a desktop with a keystore (python -m keyring diagnose tells which is chosen), or protect"
            " the file with a token",
        )
    return chosen


def _name(store: object) -> str:
    return f"{type(store).__module__}.{type(store).__qualname__}"


def _silent() -> KeyFileError:
    return KeyFileError(
        "the keystore of this account does not answer, or does not keep or give up what it is told to",
        reason="keystore-failed",
        hint="unlock it, and run the command again",
    )
