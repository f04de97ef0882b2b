"""The sealed file: a signed manifest, then compartments, each encrypted for one recipient.

::

    linkage-batch/4 LF                      which kind, which version
    manifest length                         4 bytes, big-endian
    manifest                                canonical JSON
    signature                               Ed25519 and ML-DSA-65, 3373 bytes, over the first line and the manifest
    compartment, compartment, ...           in the manifest's order, sizes and SHA-256 in the manifest

Each compartment has its own random content key. HPKE (ML-KEM-1024 with P-384) wraps it for the recipient; Cobblestone
(chunked AES-256-GCM) encrypts the content under it, padded (:mod:`linkage.exchange.padding`), so that its size tells
only roughly how much there is. Both are bound to kind, file id, compartment, sender and recipient, so that no part of
one file is of use in another. HPKE does not say who sealed: the signature does, and it is checked before anything else
is believed. ``schemas/batch.md`` has every byte.

Older files stay readable: a later format has another number in its first line and the earlier ones are kept beside it.
A version belongs to one version of party keys (:data:`KEYS`): those before the newest are read with archived keys, and
under a later key refused as ``downgraded``. Versions before 4 were not padded. What a kind's compartments hold differs
from version to version too.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag

from linkage.exchange.canonical import encode_bytes, load_bytes
from linkage.exchange.files import atomic_write
from linkage.exchange.keys import Party, PublicParty
from linkage.exchange.manifest import (
    LARGEST_MANIFEST,
    Manifest,
    compartment_info,
    dump_manifest,
    parse_manifest,
)
from linkage.exchange.padding import Unpadded, padded, padded_size
from linkage.exchange.reasons import refuse
from linkage.exchange.signatures import SIZE
from linkage.exchange.suites import CONTENT_KEY_SIZE, NEWEST, SUITES, Suite

__all__ = [
    "KEYS",
    "KINDS",
    "Compartment",
    "Opener",
    "Recipient",
    "file_digest",
    "inspect",
    "open_compartment",
    "read_compartments",
    "seal",
    "verify",
]

KINDS = {"batch": 4, "bridge": 4, "person-map": 4}
"""What is sealed -> the version that is written; every version from 1 on is read."""

KEYS = {1: 1, 2: 1, 3: 2, 4: NEWEST}
"""Version of a sealed file -> version of the party keys that sign it and that it is sealed for."""

_CHUNK = 1 << 20
_LONGEST_LINE = 64
_FIRST_PADDED = 4
_PURPOSE = "envelope"
_FIRST_LINE = re.compile(rb"linkage-(batch|bridge|person-map)/([1-9])\n")


class Recipient(Protocol):
    """Whoever a compartment can be sealed for: a party, or the public part of an opening key alone."""

    @property
    def key_id(self) -> str:
        """The id of its public keys."""

    def wrap(self, content_key: bytes, info: bytes) -> bytes:
        """Encrypt a content key for it."""


class Opener(Protocol):
    """Whoever can open a compartment: a party, or an opening key alone."""

    @property
    def key_id(self) -> str:
        """The id of its public keys."""

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes:
        """Decrypt a content key."""


@dataclass(frozen=True)
class Compartment:
    """What goes into one compartment, and for whom.

    Parameters
    ----------
    name
        Lower-case letters and hyphens; once per file.
    recipient
        The only one that can open it.
    source
        A file, or the content itself, so that it need not touch the disk unencrypted.
    """

    name: str
    recipient: Recipient
    source: Path | bytes


@dataclass(frozen=True)
class _Envelope:
    """A parsed file. Nothing in it is to be believed until :func:`_verify` has passed."""

    file: BinaryIO
    first_line: bytes
    raw: bytes
    manifest: Manifest
    signature: bytes
    start: int
    surplus: int

    @property
    def kind(self) -> str:
        return self.first_line[len(b"linkage-") : -len(b"/1\n")].decode()

    @property
    def version(self) -> int:
        return _version(self.first_line)

    @property
    def suite(self) -> Suite:
        return SUITES[KEYS[self.version]]

    def offset(self, name: str) -> int:
        position = self.start
        for entry in self.manifest.compartments:
            if entry.name == name:
                break
            position += entry.size
        return position


def _chunks(file: BinaryIO, size: int | None = None) -> Iterator[bytes]:
    """Read ``size`` bytes, or all of them, a piece at a time; a file that ends early is truncated."""
    left = size
    while left is None or left > 0:
        piece = file.read(_CHUNK if left is None else min(_CHUNK, left))
        if not piece:
            if left:
                raise refuse("truncated")
            return
        if left is not None:
            left -= len(piece)
        yield piece


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a whole file, hex: what ``sha256sum`` prints, and what receipts call the batch by."""
    with Path(path).open("rb") as file:
        return _whole_digest(file)


def _whole_digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    for piece in _chunks(file):
        digest.update(piece)
    return digest.hexdigest()


# --- sealing


def seal(path: Path, kind: str, header: dict[str, Any], compartments: list[Compartment], sender: Party) -> None:
    """Seal compartments into one signed file.

    Parameters
    ----------
    path
        The file to write; it appears whole or not at all.
    kind
        One of :data:`KINDS`.
    header
        What anybody may see, in the canonical subset of JSON: signed, not encrypted.
    compartments
        One to eight, each for one recipient; names differ.
    sender
        Signs.

    Raises
    ------
    SealError
        ``malformed`` if the header or a name does not fit the format.
    """
    if kind not in KINDS:
        raise refuse("bad-version")
    file_id = secrets.token_hex(16)
    first_line = f"linkage-{kind}/{KINDS[kind]}\n".encode()
    with ExitStack() as sources:
        plain = [sources.enter_context(_plain(compartment.source)) for compartment in compartments]
        sizes = [_sealed_size(padded_size(file.seek(0, os.SEEK_END))) for file in plain]
        jobs = [_Job(kind, file_id, compartment, sender) for compartment in compartments]
        entries = [job.entry(size, "0" * 64) for job, size in zip(jobs, sizes, strict=True)]
        length = len(dump_manifest(file_id, sender.key_id, header, entries))
        with atomic_write(Path(path)) as target, target.open("wb") as file:
            # The manifest comes first and holds the digests of what follows: leave its place free, then fill it.
            file.seek(len(first_line) + 4 + length + SIZE)
            entries = [job.entry(*job.encrypt(content, file)) for job, content in zip(jobs, plain, strict=True)]
            raw = dump_manifest(file_id, sender.key_id, header, entries)
            if len(raw) != length or [entry["size"] for entry in entries] != sizes:
                raise refuse("malformed")
            file.seek(0)
            file.write(first_line + length.to_bytes(4, "big") + raw)
            file.write(sender.sign(_PURPOSE, first_line + raw))


def _plain(source: Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _sealed_size(size: int) -> int:
    """Return how long Cobblestone's output is: 56 bytes of header, 16 a chunk of 16 KiB; the last chunk is short."""
    return size + 56 + 16 * (size // 16384 + 1)


class _Job:
    """The sealing of one compartment under a fresh content key."""

    def __init__(self, kind: str, file_id: str, compartment: Compartment, sender: Party) -> None:
        self._name, self._recipient = compartment.name, compartment.recipient.key_id
        info = compartment_info(kind, file_id, compartment.name, sender.key_id, self._recipient)
        content_key = secrets.token_bytes(CONTENT_KEY_SIZE)
        self._wrapped = encode_bytes(compartment.recipient.wrap(content_key, info))
        self._encryptor = Cobblestone256Encryptor(content_key, info)

    def encrypt(self, plain: BinaryIO, file: BinaryIO) -> tuple[int, str]:
        """Encrypt all of ``plain``, padded, to where ``file`` stands; return size and SHA-256 of what was written."""
        digest, size = hashlib.sha256(), 0
        length = plain.seek(0, os.SEEK_END)
        plain.seek(0)
        for piece in self._pieces(padded(_chunks(plain), length)):
            digest.update(piece)
            size += file.write(piece)
        return size, digest.hexdigest()

    def _pieces(self, plain: Iterator[bytes]) -> Iterator[bytes]:
        for piece in plain:
            yield self._encryptor.update(piece)
        yield self._encryptor.finalize()

    def entry(self, size: int, sha256: str) -> dict[str, Any]:
        """Return the compartment's entry in the manifest."""
        return {
            "name": self._name,
            "recipient": self._recipient,
            "suite": SUITES[NEWEST].name,
            "key": self._wrapped,
            "size": size,
            "sha256": sha256,
        }


# --- reading


@contextmanager
def _opened(path: Path, kind: str | None) -> Iterator[_Envelope]:
    """Open and parse a file: first line, lengths, manifest, sizes. No secret, no trust."""
    try:
        file = Path(path).open("rb")
    except OSError:
        raise refuse("unreadable") from None
    with file:
        size = os.fstat(file.fileno()).st_size
        first_line = file.readline(_LONGEST_LINE)
        _check_first_line(first_line, kind)
        length = int.from_bytes(_exactly(file, 4), "big")
        if not 0 < length <= LARGEST_MANIFEST:
            raise refuse("malformed")
        raw = _exactly(file, length)
        suite = SUITES[KEYS[_version(first_line)]]
        signature = _exactly(file, suite.signature)
        manifest = parse_manifest(raw, suite)
        start = file.tell()
        expected = start + sum(entry.size for entry in manifest.compartments)
        yield _Envelope(file, first_line, raw, manifest, signature, start, size - expected)


def _version(first_line: bytes) -> int:
    return int(first_line[-2:-1])


def _check_first_line(line: bytes, kind: str | None) -> None:
    found = _FIRST_LINE.fullmatch(line)
    if not found or kind not in (None, found[1].decode()) or _version(line) > KINDS[found[1].decode()]:
        raise refuse("bad-version")


def _exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise refuse("truncated")
    return data


def _check_size(envelope: _Envelope) -> None:
    if envelope.surplus:
        raise refuse("truncated" if envelope.surplus < 0 else "malformed")


def _verify(envelope: _Envelope, sender: PublicParty) -> None:
    """Check, in this order: who, the signature, the sizes, the digests."""
    if envelope.manifest.sender != sender.key_id:
        raise refuse("untrusted-sender")
    if sender.version > KEYS[envelope.version]:
        raise refuse("downgraded")
    message = envelope.first_line + envelope.raw
    if sender.version < KEYS[envelope.version] or not sender.has_signed(envelope.signature, _PURPOSE, message):
        raise refuse("bad-signature")
    _check_size(envelope)
    envelope.file.seek(envelope.start)
    for entry in envelope.manifest.compartments:
        digest = hashlib.sha256()
        for piece in _chunks(envelope.file, entry.size):
            digest.update(piece)
        if digest.hexdigest() != entry.sha256:
            raise refuse("damaged")


def _decrypt(envelope: _Envelope, name: str, recipient: Opener, write: Callable[[bytes], object]) -> None:
    """Decrypt one compartment of a verified file. What was written counts only if this returns."""
    entry = next((entry for entry in envelope.manifest.compartments if entry.name == name), None)
    if entry is None:
        raise refuse("malformed")
    if entry.recipient != recipient.key_id:
        raise refuse("not-for-us")
    info = compartment_info(envelope.kind, envelope.manifest.id, name, envelope.manifest.sender, entry.recipient)
    envelope.file.seek(envelope.offset(name))
    content = Unpadded(write) if envelope.version >= _FIRST_PADDED else None
    take = write if content is None else content.update
    try:
        decryptor = Cobblestone256Decryptor(recipient.unwrap(load_bytes(entry.key, envelope.suite.wrapped), info), info)
        for piece in _chunks(envelope.file, entry.size):
            take(decryptor.update(piece))
        take(decryptor.finalize())
    except (InvalidTag, ValueError):
        raise refuse("cannot-open") from None
    if content is not None:
        content.finish()


def inspect(path: Path, kind: str | None = None) -> dict[str, Any]:
    """Read what anybody can see of a sealed file, without any key.

    **Nothing in it is verified.** Use it to route a file or to show it, never to decide on it.

    Returns
    -------
    dict
        ``kind``, ``version``, ``bytes`` (size of the file) and the manifest: ``id``, ``sender`` (key id), ``header``,
        ``compartments`` (``name``, ``recipient`` key id, ``suite``, wrapped ``key``, ``size``, ``sha256``).

    Raises
    ------
    SealError
        ``unreadable``, ``bad-version``, ``malformed`` or ``truncated``.
    """
    with _opened(path, kind) as envelope:
        _check_size(envelope)
        return _public(envelope)


def _public(envelope: _Envelope) -> dict[str, Any]:
    total = envelope.start + sum(entry.size for entry in envelope.manifest.compartments)
    return {"kind": envelope.kind, "version": envelope.version, "bytes": total, **envelope.manifest.model_dump()}


def verify(path: Path, sender: PublicParty, kind: str | None = None) -> dict[str, Any]:
    """Check that a file is whole and signed by this sender; return what :func:`inspect` does, now trustworthy.

    Raises
    ------
    SealError
        With one of the codes of :data:`~linkage.exchange.reasons.REASONS`.
    """
    with _opened(path, kind) as envelope:
        _verify(envelope, sender)
        return _public(envelope)


def open_compartment(
    path: Path, name: str, recipient: Opener, sender: PublicParty, target: Path, kind: str | None = None
) -> dict[str, Any]:
    """Verify a file, then decrypt one compartment into a private file, which appears whole or not at all.

    Returns
    -------
    dict
        As :func:`verify`, from the same reading of the file.

    Raises
    ------
    SealError
        With one of the codes of :data:`~linkage.exchange.reasons.REASONS`; ``target`` is then as it was.
    """
    with _opened(path, kind) as envelope:
        _verify(envelope, sender)
        with atomic_write(Path(target), private=True) as temporary, temporary.open("wb") as file:
            _decrypt(envelope, name, recipient, file.write)
        return _public(envelope)


def read_compartments(
    path: Path,
    names: tuple[str, ...] | None,
    recipient: Opener,
    sender: PublicParty,
    kind: str | None = None,
    *,
    digest: str | None = None,
) -> tuple[dict[str, Any], list[bytes]]:
    """Verify a file, then decrypt compartments (None: all) into memory: nothing unencrypted touches the disk.

    Parameters
    ----------
    digest
        SHA-256 of the whole file, hex, where it must be the one that was named before: the very bytes that are opened
        are held to it.

    Returns
    -------
    manifest
        As :func:`verify`, from the same reading of the file.
    contents
        One byte string a name.

    Raises
    ------
    SealError
        With one of the codes of :data:`~linkage.exchange.reasons.REASONS`.
    """
    with _opened(path, kind) as envelope:
        if digest is not None and _whole_digest(envelope.file) != digest:
            raise refuse("damaged")
        _verify(envelope, sender)
        contents = []
        for name in [entry.name for entry in envelope.manifest.compartments] if names is None else names:
            buffer = io.BytesIO()
            _decrypt(envelope, name, recipient, buffer.write)
            contents.append(buffer.getvalue())
        return _public(envelope), contents
