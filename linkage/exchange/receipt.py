"""The receipt: the hub's signed word to an agency on what became of its batch.

A signed document (:mod:`linkage.exchange.documents`) of the kind ``receipt``.

A receipt says nothing about links: what the hub found in a batch never flows back to an agency. It says how long the
hub's ledger was and what stood last in it, so that whoever keeps the receipt can tell when the ledger was shortened or
rewritten (:func:`linkage.exchange.ledger.verify`). Nor does it say how many records there were: it travels in the
clear, and from month to month that number tells of one person's coming. Version 2 said it; version 1 did too, and had
no anchor. Both are still read.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from linkage.contract.vocabulary import Name
from linkage.exchange.documents import Document, read_document, write_document
from linkage.exchange.keys import Party, PublicParty
from linkage.exchange.ledger import Anchor
from linkage.exchange.manifest import HEX32, Strict
from linkage.exchange.reasons import refuse

__all__ = ["Receipt", "inspect_receipt", "read_receipt", "write_receipt"]

_KIND = "receipt"
_NEWEST = 3
_FIRST_WITHOUT_RECORDS = 3
_LARGEST = 8 * 1024


class Receipt(Strict):
    """What a receipt says.

    Parameters
    ----------
    batch_digest
        SHA-256 of the whole batch file, hex.
    source
        The agency's source name.
    status, reason
        ``accepted`` without a reason, or ``quarantined`` with a reason code.
    records
        Records taken in, 0 if quarantined, in versions 1 and 2; None in a later one.
    time
        Microseconds since 1970 UTC.
    sender
        Key id of the hub.
    ledger_entries, ledger_head
        The hub's ledger when the receipt was written, the entry on this batch included: how many entries, and the
        SHA-256 of the last. None in version 1.
    """

    batch_digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    source: Name
    status: Literal["accepted", "quarantined"]
    reason: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")] | None
    time: Annotated[int, Field(gt=0, lt=2**53)]
    sender: Annotated[str, StringConstraints(pattern=HEX32)]
    records: Annotated[int, Field(ge=0, le=1 << 31)] | None = None
    ledger_entries: Annotated[int, Field(ge=1, lt=2**53)] | None = None
    ledger_head: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.status == "accepted") == (self.reason is not None):
            raise ValueError("a reason belongs to a quarantined batch, and only there")
        if (self.ledger_entries is None) != (self.ledger_head is None):
            raise ValueError("an anchor is a number of entries and a head")
        return self

    @property
    def version(self) -> int:
        """Version of the format."""
        if self.ledger_head is None:
            return 1
        return _NEWEST if self.records is None else 2

    @property
    def anchor(self) -> Anchor | None:
        """The place in the hub's ledger that the receipt vouches for; none in version 1."""
        if self.ledger_entries is None or self.ledger_head is None:
            return None
        return Anchor(self.ledger_entries, self.ledger_head)


def write_receipt(
    path: Path,
    *,
    batch_digest: str,
    source: str,
    status: Literal["accepted", "quarantined"],
    reason: str | None,
    anchor: Anchor,
    sender: Party,
) -> Receipt:
    """Sign and write a receipt, with the hub's ledger as it is then (``anchor``).

    Raises
    ------
    SealError
        ``malformed`` if a value does not fit (see :class:`Receipt`).
    """
    receipt = _validated(
        {
            "batch_digest": batch_digest,
            "source": source,
            "status": status,
            "reason": reason,
            "time": time.time_ns() // 1000,
            "sender": sender.key_id,
            "ledger_entries": anchor.entries,
            "ledger_head": anchor.head,
        },
        _NEWEST,
    )
    write_document(path, _KIND, _NEWEST, receipt.model_dump(exclude_unset=True), sender)
    return receipt


def _validated(content: dict[str, Any], version: int) -> Receipt:
    if ("ledger_entries" in content or "ledger_head" in content) != (version > 1):
        raise refuse("malformed")
    if ("records" in content) != (version < _FIRST_WITHOUT_RECORDS):
        raise refuse("malformed")
    try:
        receipt = Receipt.model_validate(content)
    except ValidationError:
        raise refuse("malformed") from None
    if receipt.version != version or (receipt.records is None) != (version >= _FIRST_WITHOUT_RECORDS):
        raise refuse("malformed")
    return receipt


def _parse(path: Path) -> tuple[Document, Receipt]:
    document = read_document(path, _KIND, range(1, _NEWEST + 1), largest=_LARGEST)
    return document, _validated(document.content, document.version)


def inspect_receipt(path: Path) -> Receipt:
    """Read a receipt without any key. Not verified."""
    return _parse(path)[1]


def read_receipt(path: Path, sender: PublicParty) -> Receipt:
    """Read a receipt and check that this hub signed it.

    Raises
    ------
    SealError
        ``unreadable``, ``bad-version``, ``malformed``, ``untrusted-sender`` or ``bad-signature``.
    """
    document, receipt = _parse(path)
    if receipt.sender != sender.key_id:
        raise refuse("untrusted-sender")
    document.verify(sender)
    return receipt
