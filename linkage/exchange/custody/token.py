"""Keys of protected files under a hardware token, through PKCS#11 and the library ``python-pkcs11`` (extra ``token``).

The token encrypts the file's key and decrypts it again, with a key of its own that is marked sensitive and not
extractable; one that is not is refused. An AES key of 256 bits is used with GCM (SP 800-38D). A token that has RSA keys
alone, as most cards do, encrypts by RSA-OAEP (SP 800-56B) with SHA-1, the one hash that all tokens have there: OAEP
does not rest on its resistance to collisions. RSA falls to a quantum computer, for whoever has the file: prefer AES.

The PIN is asked for at the terminal, or on the token's own keys, and comes from nowhere else. A file names the library
that speaks with its token, and a library is a program: it must be named by its full path on this machine and be nobody
else's to write than this account's and the system's (POSIX; Windows is not asked). Take a protected key file from
nobody; it is of use to nobody else.
"""

from __future__ import annotations

import getpass
import re
import secrets
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linkage.errors import KeyFileError
from linkage.exchange.canonical import CanonicalError, encode_bytes, load_bytes
from linkage.exchange.custody.files import others_can_write

if TYPE_CHECKING:
    import pkcs11

__all__ = ["TokenKeeper", "fits", "release"]

_LABEL = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
_FIELDS = {"by", "module", "token", "key", "mechanism", "wrapped"}
_AES, _RSA = "aes-256-gcm", "rsa-oaep"
_AAD = b"linkage-protected-key/1"
_NONCE, _TAG, _KEY = 12, 16, 32
_SMALLEST_RSA = 2048
_RSA_SIZES = (256, 384, 512)


@dataclass(frozen=True)
class TokenKeeper:
    """Keeps keys under a token.

    Parameters
    ----------
    module
        Full path of the PKCS#11 library that came with the token.
    token, key
        Labels of the token, and of the AES or RSA key on it.
    new
        Make an AES key under that label first; there must be none.

    Raises
    ------
    KeyFileError
        ``missing-package``, ``bad-module``, ``bad-name``, ``no-token``, ``no-terminal``, ``bad-pin``,
        ``token-failed``, ``no-token-key``, ``weak-token-key`` or ``exists``, all from :meth:`keep`.
    """

    module: Path
    token: str
    key: str
    new: bool = False

    def keep(self, key: bytes) -> dict[str, str]:
        """Have the token encrypt a key, and see that it decrypts it again."""
        if not _LABEL.fullmatch(self.token) or not _LABEL.fullmatch(self.key):
            raise KeyFileError("not a label of a token or key", reason="bad-name", hint="1 to 64 characters")
        header = {"by": "token", "module": str(self.module), "token": self.token, "key": self.key}
        with _session(self.module, self.token, rw=self.new) as session:
            if self.new:
                _make_key(session, self.key)
            found = _find_key(session, self.key)
            header["mechanism"] = _AES if _is_aes(found) else _RSA
            wrapped = _encrypt(session, self.key, found, key)
            if not secrets.compare_digest(_decrypt(found, wrapped), key):
                raise _failed()
        return header | {"wrapped": encode_bytes(wrapped)}

    def forget(self, header: Mapping[str, str]) -> None:
        """Nothing to give up: what the token encrypted is in the file alone."""


def fits(header: Mapping[str, str]) -> bool:
    """Tell whether this is what a file says of a key under a token."""
    if header.keys() != _FIELDS or not all(_LABEL.fullmatch(header[name]) for name in ("token", "key")):
        return False
    if header["mechanism"] not in (_AES, _RSA) or not header["module"].isprintable():
        return False
    try:
        _unwritten(header)
    except CanonicalError:
        return False
    return True


def release(path: Path, header: Mapping[str, str]) -> bytes:
    """Have the token decrypt a file's key.

    Raises
    ------
    KeyFileError
        As :class:`TokenKeeper`.
    """
    with _session(Path(header["module"]), header["token"], told=f" for {path.name}") as session:
        found = _find_key(session, header["key"])
        if _is_aes(found) is not (header["mechanism"] == _AES):
            raise _no_key()
        key = _decrypt(found, _unwritten(header))
    if len(key) != _KEY:
        raise _failed()
    return key


def _unwritten(header: Mapping[str, str]) -> bytes:
    sizes = (_NONCE + _KEY + _TAG,) if header["mechanism"] == _AES else _RSA_SIZES
    for size in sizes:
        if len(header["wrapped"]) == -(-size // 3) * 4:
            return load_bytes(header["wrapped"], size)
    raise CanonicalError("not a wrapped key")


# --- the token


@contextmanager
def _session(module: Path, token: str, *, rw: bool = False, told: str = "") -> Iterator[pkcs11.Session]:
    try:
        import pkcs11
        from pkcs11 import exceptions
    except ImportError:
        raise KeyFileError(
            "keys on a token need the package python-pkcs11, which is not installed",
            reason="missing-package",
            hint="in the project's folder: pip install '.[token]'",
        ) from None
    _check_module(module)
    wrong_pin = (exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLenRange, exceptions.PinExpired)
    try:
        found = pkcs11.lib(str(module)).get_token(token_label=token)
        own_keys = pkcs11.TokenFlag.PROTECTED_AUTHENTICATION_PATH in found.flags
        pin = pkcs11.PROTECTED_AUTH if own_keys else _ask_pin(f"PIN of token {token}{told}: ")
        with found.open(rw=rw, user_pin=pin) as session:
            yield session
    except (exceptions.NoSuchToken, exceptions.MultipleTokensReturned, exceptions.TokenNotPresent):
        raise KeyFileError(
            "there is no token of this label, or more than one", reason="no-token", hint="put it in, and no other"
        ) from None
    except (*wrong_pin, exceptions.PinLocked):
        raise KeyFileError(
            "the token does not take this PIN, or is locked",
            reason="bad-pin",
            hint="a token locks itself after a few wrong ones; its own program shows how many are left",
        ) from None
    except (exceptions.NoSuchKey, exceptions.MultipleObjectsReturned):
        raise _no_key() from None
    except (exceptions.PKCS11Error, OSError, RuntimeError):
        raise _failed() from None


def _check_module(module: Path) -> None:
    """Refuse a library that is not named by its full path on this machine, or that others can exchange."""
    try:
        status = module.stat()
        good = module.is_absolute() and not str(module).startswith(("\\\\", "//")) and stat.S_ISREG(status.st_mode)
        good = good and not others_can_write(status) and not others_can_write(module.resolve().parent.stat())
    except OSError:
        good = False
    if not good:
        raise KeyFileError(
            "the token's library is not there, not named by its full path, or others can write to it",
            reason="bad-module",
            hint="name the PKCS#11 library that came with the token, such as /usr/lib/x86_64-linux-gnu/libykcs11.so",
        )


def _ask_pin(prompt: str) -> str:
    with warnings.catch_warnings():
        # Where there is no terminal, getpass would read standard input, into which anything can write.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            pin = getpass.getpass(prompt)
        except (getpass.GetPassWarning, EOFError, OSError):
            raise KeyFileError(
                "the token's PIN is asked for at a terminal, and there is none",
                reason="no-terminal",
                hint="run the command in a terminal; where nobody can sit, use a token without a PIN of this kind, the"
                " keystore, or a plain key file on an encrypted disk",
            ) from None
    if not pin:
        raise KeyFileError("no PIN was given", reason="bad-pin", hint="run the command again")
    return pin


def _find_key(session: pkcs11.Session, label: str) -> Any:
    """Return the AES or RSA key of a label; one that could be taken out of the token, or a short one, is refused."""
    from pkcs11 import Attribute, KeyType, ObjectClass

    kinds = ((ObjectClass.SECRET_KEY, KeyType.AES), (ObjectClass.PRIVATE_KEY, KeyType.RSA))
    found = [
        key
        for kind, key_type in kinds
        for key in session.get_objects(
            {Attribute.CLASS: kind, Attribute.KEY_TYPE: key_type, Attribute.LABEL: label, Attribute.TOKEN: True}
        )
    ]
    if len(found) != 1:
        raise _no_key()
    key: Any = found[0]
    short = key.key_length < (256 if _is_aes(key) else _SMALLEST_RSA)
    if short or key[Attribute.EXTRACTABLE] or not key[Attribute.SENSITIVE]:
        raise KeyFileError(
            "this key of the token is short, or can be taken out of it",
            reason="weak-token-key",
            hint="use one that is sensitive and not extractable: AES of 256 bits, or RSA of 2048 and more",
        )
    return key


def _make_key(session: pkcs11.Session, label: str) -> None:
    from pkcs11 import Attribute, KeyType

    if any(True for _ in session.get_objects({Attribute.LABEL: label})):
        raise KeyFileError("the token has a key of this label", reason="exists", hint="choose another label")
    session.generate_key(
        KeyType.AES,
        256,
        store=True,
        label=label,
        id=secrets.token_bytes(16),
        template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )


def _is_aes(key: Any) -> bool:
    from pkcs11 import KeyType

    return bool(key.key_type == KeyType.AES)


def _encrypt(session: pkcs11.Session, label: str, key: Any, plain: bytes) -> bytes:
    from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass

    if _is_aes(key):
        nonce = secrets.token_bytes(_NONCE)
        sealed: bytes = key.encrypt(
            plain, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, _AAD, 8 * _TAG)
        )
        return nonce + sealed
    template = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: KeyType.RSA, Attribute.LABEL: label}
    publics: list[Any] = list(session.get_objects(template))
    if len(publics) != 1:
        raise _no_key()
    wrapped: bytes = publics[0].encrypt(plain, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=_oaep())
    return wrapped


def _decrypt(key: Any, wrapped: bytes) -> bytes:
    from pkcs11 import GCMParams, Mechanism

    decrypt: Callable[..., bytes] = key.decrypt
    if _is_aes(key):
        nonce, sealed = wrapped[:_NONCE], wrapped[_NONCE:]
        return decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, _AAD, 8 * _TAG))
    return decrypt(wrapped, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=_oaep())


def _oaep() -> tuple[Any, Any, None]:
    from pkcs11 import MGF, Mechanism

    return Mechanism.SHA_1, MGF.SHA1, None


def _no_key() -> KeyFileError:
    return KeyFileError(
        "the token has no AES or RSA key of this label, or more than one",
        reason="no-token-key",
        hint="its own program lists its keys; linkage keys protect --new makes one",
    )


def _failed() -> KeyFileError:
    return KeyFileError(
        "the token does not do what it is asked",
        reason="token-failed",
        hint="see with its own program whether it works, and whether its key may encrypt and decrypt",
    )
