"""Signed documents: three lines of text that say one thing, such as a receipt, an order, an approval.

::

    linkage-receipt/3         what it is, and of which version
    {"batch_digest":...}      canonical JSON
    <signature>               base64, over the first line and the second without its line end

Nothing in them is secret; what is to be secret in one is sealed before it is written. A document is read in two steps:
:func:`read_document` parses it and believes nothing, :meth:`Document.verify` holds it to the key of its author.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linkage.exchange.canonical import dump, encode_bytes, load
from linkage.exchange.files import atomic_write
from linkage.exchange.keys import Party, PublicParty
from linkage.exchange.reasons import refuse
from linkage.exchange.signatures import load_signature

__all__ = ["LARGEST", "Document", "inspect_document", "read_document", "write_document"]

LARGEST = 64 * 1024
"""Bytes of a document, unless its kind has another bound."""

_FIRST_LINE = re.compile(rb"linkage-([a-z][a-z-]{0,31})/([1-9])\n")


@dataclass(frozen=True)
class Document:
    """A parsed document. Nothing in it is to be believed until :meth:`verify` has passed.

    Attributes
    ----------
    kind, version
        What the first line says.
    content
        The second line.
    data
        The whole file.
    """

    kind: str
    version: int
    content: dict[str, Any]
    data: bytes
    _message: bytes
    _signature: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the whole file, hex."""
        return hashlib.sha256(self.data).hexdigest()

    def verify(self, author: PublicParty) -> None:
        """Check that this party has signed the document as one of its kind.

        Raises
        ------
        SealError
            ``bad-signature``.
        """
        if not author.has_signed(self._signature, self.kind, self._message):
            raise refuse("bad-signature")


def write_document(path: Path, kind: str, version: int, content: dict[str, Any], author: Party) -> str:
    """Sign and write a document, whole or not at all.

    Parameters
    ----------
    path
        The file to write.
    kind, version
        What it is: they are signed with it, so that no document passes for one of another kind.
    content
        In the canonical subset of JSON.
    author
        Signs.

    Returns
    -------
    str
        SHA-256 of the file, hex.

    Raises
    ------
    SealError
        ``malformed`` if the content is not in that subset.
    """
    first_line = f"linkage-{kind}/{version}\n".encode()
    try:
        message = first_line + dump(content)
    except ValueError:
        raise refuse("malformed") from None
    data = message + b"\n" + encode_bytes(author.sign(kind, message)).encode() + b"\n"
    with atomic_write(Path(path)) as temporary:
        temporary.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def inspect_document(path: Path) -> Document:
    """Parse a document of whatever kind and version, to show it. Not verified.

    Raises
    ------
    SealError
        As :func:`read_document`.
    """
    return _parse(path, LARGEST)


def read_document(path: Path, kind: str, versions: Collection[int], *, largest: int = LARGEST) -> Document:
    """Parse a document of a kind, strictly. Not verified.

    Raises
    ------
    SealError
        ``unreadable``, ``bad-version`` or ``malformed``.
    """
    return _parse(path, largest, kind, versions)


def _parse(path: Path, largest: int, kind: str | None = None, versions: Collection[int] = range(1, 10)) -> Document:
    try:
        with Path(path).open("rb") as file:
            data = file.read(largest + 1)
    except OSError:
        raise refuse("unreadable") from None
    first_line = _FIRST_LINE.match(data)
    if not first_line or kind not in (None, first_line[1].decode()) or int(first_line[2]) not in versions:
        raise refuse("bad-version")
    lines = data[first_line.end() :].split(b"\n")
    if len(data) > largest or len(lines) != 3 or lines[2]:
        raise refuse("malformed")
    try:
        content, signature = load(lines[0]), load_signature(lines[1].decode("ascii"))
    except ValueError:
        raise refuse("malformed") from None
    message = first_line[0] + lines[0]
    return Document(first_line[1].decode(), int(first_line[2]), content, data, message, signature)
