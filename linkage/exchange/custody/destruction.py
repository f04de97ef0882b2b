"""The end of a key: its file is overwritten and removed, and a signed certificate says so.

The certificate is a signed document (:mod:`linkage.exchange.documents`) of the kind ``key-destruction``. It names the
key by its check value or key id, never by a digest of the secret. It says what a program did on one machine, and no
more: see :func:`linkage.exchange.custody.overwriting.overwrite` for what may be left on flash storage, in backups,
snapshots.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, StringConstraints, ValidationError

from linkage.errors import KeyFileError
from linkage.exchange import ledger
from linkage.exchange.ceremony.documents import LEDGER
from linkage.exchange.custody.files import overwrite_leftovers
from linkage.exchange.custody.keystore import KeystoreKeeper
from linkage.exchange.custody.overwriting import METHOD, overwrite
from linkage.exchange.documents import read_document, write_document
from linkage.exchange.envelope import file_digest
from linkage.exchange.keyfile import KIND_LINKAGE, KIND_PARTY, read_key_file, read_protected
from linkage.exchange.keys import Party, PublicParty
from linkage.exchange.manifest import HEX32, Strict
from linkage.exchange.reasons import refuse

__all__ = ["BEGUN", "DONE", "KeyDestruction", "destroy_key", "key_identity", "read_key_destruction"]

BEGUN, DONE = "key-destroy-begun", "key-destroy"
"""Actions in the ledger: a key is to be destroyed; it is, and this is the certificate."""

_KIND = "key-destruction"
_VERSION = 1

Reason = Literal["rotated", "revoked", "suspicion", "retired"]


class _Meant(NamedTuple):
    """Which key is to be destroyed, and its entry in the keystore if it has one."""

    kind: str
    of: str
    identity: str
    entry: str | None


class KeyDestruction(Strict):
    """What a certificate says.

    Parameters
    ----------
    kind
        ``linkage`` or ``party``.
    of
        The key's project and epoch with a slash between, or the party's name.
    identity
        Its check value or key id.
    method, standard
        How; ``clear`` in the words of NIST SP 800-88.
    reason
        Why.
    by, signer
        Name and key id of who did it and signs.
    time
        Microseconds since 1970 UTC.
    """

    kind: Literal["linkage", "party"]
    of: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]{1,81}$")]
    identity: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{16}|[0-9a-f]{32})$")]
    method: Literal["overwrite-once-and-unlink"]
    standard: Literal["nist-sp-800-88-clear"]
    reason: Reason
    by: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
    signer: Annotated[str, StringConstraints(pattern=HEX32)]
    time: Annotated[int, Field(gt=0, lt=2**53)]


def key_identity(path: Path) -> tuple[str, str, str]:
    """Return the kind of a private key file, of what it is the key, and its check value or key id, as the file says.

    Raises
    ------
    KeyFileError
        As :func:`linkage.exchange.keyfile.read_key_file`; a file of an earlier version is read, too.
    """
    kinds = (KIND_LINKAGE, KIND_PARTY)
    protected = read_protected(path, kinds)
    content = read_key_file(path, kinds, archived=True) if protected is None else protected.public
    if content["kind"] == KIND_LINKAGE:
        return KIND_LINKAGE, f"{content['project']}/{content['epoch']}", str(content["check"])
    return KIND_PARTY, str(content["name"]), str(content["key_id"])


def destroy_key(path: Path, *, expected: str, reason: Reason, party: Party, keys: Path) -> Path:
    """Overwrite and remove a private key file, and its entry in the keystore if it has one; sign that it was done.

    Old content that a command which was cut off has left beside the file goes with it. The ledger has it first: if this
    is cut off in turn, the same call finishes it, with what is left of the file or without.

    Parameters
    ----------
    path
        The key file.
    expected
        The check value or key id of the key that is meant, so that no other is destroyed by mistake.
    reason
        Why.
    party
        Who does it and signs. Its own key may be the one: it is loaded already. (If that is cut off after the key is
        gone, the party's new key finishes it.)
    keys
        The party's folder of keys: for the certificate and the ledger.

    Returns
    -------
    Path
        The certificate.

    Raises
    ------
    KeyFileError
        ``another-key`` if the file holds another one than is meant; ``linked`` or ``unwritable`` if it cannot be
        overwritten; ``keystore-failed`` if the keystore has its entry still; or as :func:`key_identity`.
    SealError
        ``ledger-broken``.
    """
    path, keys = Path(path), Path(keys)
    identity = "".join(expected.split()).lower()
    begun, done = _begun(path, identity, keys)
    meant = _meant(path, identity, begun)
    certificate = keys / f"destroyed-{meant.identity}.certificate"
    there = os.path.lexists(path)
    if not there and done is not None and certificate.is_file() and file_digest(certificate) == done:
        return certificate
    content = _certificate(meant, reason, party)
    keystore = KeystoreKeeper() if meant.entry is not None else None
    extra: dict[str, str | bool | int | None] = {
        **{"kind": meant.kind, "of": meant.of, "key": meant.identity, "reason": reason, "method": METHOD},
        **{"place": _place(path), "entry": meant.entry},
    }
    if begun is None or done is not None:
        ledger.append(keys / LEDGER, actor=party.name, action=BEGUN, extra=extra)
    overwrite_leftovers(path)
    if keystore is not None:
        keystore.forget({"by": "keystore", "entry": str(meant.entry)})  # before the file, which names the entry
    if there:
        overwrite(path)
    digest = write_document(certificate, _KIND, _VERSION, content.model_dump(), party)
    ledger.append(keys / LEDGER, actor=party.name, action=DONE, object_digest=digest, extra=extra)
    return certificate


def _meant(path: Path, identity: str, begun: _Meant | None) -> _Meant:
    """Return what is to be destroyed: as the file says, or as the ledger does where that was begun already."""
    try:
        kind, of, found = key_identity(path)
        protected = read_protected(path, (kind,))
    except KeyFileError as error:
        if begun is None or error.reason not in ("missing", "malformed"):  # gone, or overwritten in part
            raise
        return begun
    if not hmac.compare_digest(identity.encode(), found.encode()):
        raise KeyFileError(
            f"{path}: holds another key than the one that was named",
            reason="another-key",
            hint="linkage keys show tells its check value or key id; give the whole of it",
        )
    return _Meant(kind, of, found, protected.keeper.get("entry") if protected is not None else None)


def _begun(path: Path, identity: str, keys: Path) -> tuple[_Meant | None, str | None]:
    """Look in the ledgers of the party and of the file's folder for the last time that this key was destroyed here.

    Returns
    -------
    begun
        What was to be destroyed; None if it was never begun.
    done
        Digest of the certificate; None if it was not finished.
    """
    begun, done = None, None
    for book in dict.fromkeys((path.absolute().parent / LEDGER, keys.absolute() / LEDGER)):
        for entry in ledger.entries(book) if book.exists() else ():
            extra = entry.extra
            if (extra.get("key"), extra.get("place")) != (identity, _place(path)):
                continue
            if entry.action == BEGUN:
                kept = extra["entry"]
                begun = _Meant(str(extra["kind"]), str(extra["of"]), identity, None if kept is None else str(kept))
                done = None
            elif entry.action == DONE:
                done = entry.object
    return begun, done


def _place(path: Path) -> str:
    """SHA-256, hex, of where a file lies: tells it from others of the same key without naming folders."""
    return hashlib.sha256(os.fsencode(path.parent.resolve() / path.name)).hexdigest()


def _certificate(meant: _Meant, reason: str, party: Party) -> KeyDestruction:
    content = {
        "kind": meant.kind,
        "of": meant.of,
        "identity": meant.identity,
        "method": METHOD,
        "standard": "nist-sp-800-88-clear",
        "reason": reason,
        "by": party.name,
        "signer": party.key_id,
        "time": time.time_ns() // 1000,
    }
    try:
        return KeyDestruction.model_validate(content)
    except ValidationError:
        raise KeyFileError("not a key that can be certified as destroyed", reason="malformed") from None


def read_key_destruction(path: Path, party: PublicParty) -> KeyDestruction:
    """Read a certificate and check that this party signed it.

    Raises
    ------
    SealError
        ``unreadable``, ``bad-version``, ``malformed``, ``untrusted-sender`` or ``bad-signature``.
    """
    document = read_document(path, _KIND, {_VERSION})
    try:
        content = KeyDestruction.model_validate(document.content)
    except ValidationError:
        raise refuse("malformed") from None
    if (content.signer, content.by) != (party.key_id, party.name):
        raise refuse("untrusted-sender")
    document.verify(party)
    return content
