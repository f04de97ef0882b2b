"""Run orders: which batches the hub asks to open in one run, and the holders' approvals of just that.

::

    order        the hub, signed: month, batches by digest, a one-time public key, until when it may be approved
    approval     a holder, signed: the digest of the order, its share of the opening key, sealed for that one-time key

The one-time key's private half is in the memory of the process that wrote the order and nowhere else. Approvals that
are kept open nothing once that process has ended; an order that is not approved in time is void, and so is one whose
process has ended.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryptography.exceptions import InvalidTag
from pydantic import Field, StringConstraints, ValidationError, model_validator

from linkage.contract.vocabulary import Month, Name
from linkage.errors import NotPermittedError
from linkage.exchange.approval.shared import WRAPPED_SHARE, SharedOpening, open_share, wrap_share
from linkage.exchange.canonical import encode_bytes, load_bytes, pack
from linkage.exchange.documents import Document, read_document, write_document
from linkage.exchange.keys import Party, PublicParty
from linkage.exchange.manifest import HEX32, Strict
from linkage.exchange.opening import MLKEM1024_SIZE, P384_SIZE, OpeningKey, PublicOpeningKey
from linkage.exchange.reasons import refuse
from linkage.exchange.secret import Secret

__all__ = [
    "LIFE",
    "Approval",
    "GivenShare",
    "Order",
    "OrderedBatch",
    "approve",
    "open_approval",
    "read_order",
    "require_agreed",
    "write_order",
]

LIFE = 7 * 24 * 3600
"""Seconds for which an order can be approved, at most."""

_ORDER, _APPROVAL = "order", "approval"
_VERSION = 1
_CLOCKS = 24 * 3600 * 1_000_000
"""Microseconds by which two parties' clocks may differ."""

_Id = Annotated[str, StringConstraints(pattern=HEX32)]
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,39}$")]
_Time = Annotated[int, Field(gt=0, lt=2**53)]


class OrderedBatch(Strict):
    """A batch that is to be opened: whose, which file."""

    source: Name
    digest: _Digest


class Order(Strict):
    """What the hub asks the holders for.

    Parameters
    ----------
    order_id
        128 random bits, hex.
    project, epoch, month, spec_digest
        What is linked, and by which spec.
    opening
        Key id of the opening key that the batches are sealed for.
    batches
        By source; nothing else is opened.
    analysis
        Key id of the party that the person map will be sealed for.
    mlkem1024, p384
        The one-time key, in base64.
    sender
        Key id of the hub.
    time, ends
        Microseconds since 1970 UTC: when it was made, until when it may be approved.
    """

    order_id: _Id
    project: Name
    epoch: _Label
    month: Month
    spec_digest: _Digest
    opening: _Id
    batches: Annotated[list[OrderedBatch], Field(min_length=1, max_length=64)]
    analysis: _Id
    mlkem1024: str
    p384: str
    sender: _Id
    time: _Time
    ends: _Time

    @model_validator(mode="after")
    def _consistent(self) -> Order:
        sources = [batch.source for batch in self.batches]
        if sorted(set(sources)) != sources:
            raise ValueError("each source once, in order")
        if not self.time < self.ends <= self.time + LIFE * 1_000_000:
            raise ValueError("an order ends after it was made, and within its longest life")
        return self

    @property
    def key(self) -> PublicOpeningKey:
        """The one-time key."""
        return PublicOpeningKey(load_bytes(self.mlkem1024, MLKEM1024_SIZE), load_bytes(self.p384, P384_SIZE))


@dataclass(frozen=True, repr=False)
class GivenShare(Secret):
    """What a verified approval gives: who approved, the share (a secret), and the approval as it was read."""

    holder: str
    share: str
    document: Document


class Approval(Strict):
    """What a holder answers: to which order, as whom, and its share, sealed for that order's one-time key."""

    order: _Digest
    opening: _Id
    holder: _Id
    share: str


def write_order(
    path: Path,
    *,
    project: str,
    epoch: str,
    month: str,
    spec_digest: str,
    opening: SharedOpening,
    batches: Sequence[OrderedBatch],
    analysis: PublicParty,
    key: PublicOpeningKey,
    hub: Party,
    life: int = LIFE,
) -> tuple[Order, str]:
    """Sign and write an order.

    Parameters
    ----------
    life
        Seconds until it is void.

    Returns
    -------
    order, digest
        What was written, and the SHA-256 of the file: what approvals name.

    Raises
    ------
    SealError
        ``malformed`` if a value does not fit (see :class:`Order`).
    """
    now = time.time_ns() // 1000
    content = {
        "order_id": secrets.token_hex(16),
        "project": project,
        "epoch": epoch,
        "month": month,
        "spec_digest": spec_digest,
        "opening": opening.key_id,
        "batches": [batch.model_dump() for batch in sorted(batches, key=lambda batch: batch.source)],
        "analysis": analysis.key_id,
        "mlkem1024": encode_bytes(key.mlkem1024),
        "p384": encode_bytes(key.p384),
        "sender": hub.key_id,
        "time": now,
        "ends": now + life * 1_000_000,
    }
    order = _order(content)
    return order, write_document(path, _ORDER, _VERSION, content, hub)


def _order(content: dict[str, object]) -> Order:
    try:
        order = Order.model_validate(content)
        _ = order.key
    except ValueError:  # pydantic's ValidationError is one
        raise refuse("malformed") from None
    return order


def read_order(path: Path, hub: PublicParty) -> tuple[Order, str]:
    """Read an order and check that this hub signed it.

    Returns
    -------
    order, digest

    Raises
    ------
    SealError
        ``unreadable``, ``bad-version``, ``malformed``, ``untrusted-sender`` or ``bad-signature``.
    """
    document = read_document(path, _ORDER, (_VERSION,))
    order = _order(document.content)
    if order.sender != hub.key_id:
        raise refuse("untrusted-sender")
    document.verify(hub)
    return order, document.digest


def approve(order: Order, digest: str, path: Path, *, opening: SharedOpening, party: Party) -> None:
    """Approve an order: seal the party's share of the opening key for the run's one-time key, sign, write.

    Parameters
    ----------
    order, digest
        As :func:`read_order` has verified them.
    path
        The file to write.
    opening
        The opening key as the holder has it.
    party
        The holder.

    Raises
    ------
    NotPermittedError
        ``order-differs`` if the order is another project's, epoch's or opening key's; ``order-ended`` if it is void.
    KeyFileError
        ``no-share`` if the party holds none.
    """
    if (order.project, order.epoch, order.opening) != (opening.project, opening.epoch, opening.key_id):
        raise NotPermittedError(
            "the order is for another project, epoch or opening key than this holder's",
            reason="order-differs",
            hint="compare the opening key's id with the hub's: linkage keys show",
        )
    now = time.time_ns() // 1000
    if now > order.ends or order.time > now + _CLOCKS:
        raise NotPermittedError(
            "the order is not to be approved today: it has ended, or is dated after today",
            reason="order-ended",
            hint="ask the hub for a new order",
        )
    info = _info(digest, order.opening, party.key_id)
    share = encode_bytes(wrap_share(open_share(opening, party), order.key, info))
    content = {"order": digest, "opening": order.opening, "holder": party.key_id, "share": share}
    write_document(path, _APPROVAL, _VERSION, content, party)


def require_agreed(
    order: Order, *, analysis: PublicParty, spec_digest: str, own: tuple[str, frozenset[str]] | None
) -> None:
    """Hold an order to what its holder has agreed to.

    Parameters
    ----------
    analysis, spec_digest
        Whom the person map may be sealed for, and what may be linked by.
    own
        The holder's source and the digests of batches that it sent, where it knows them.

    Raises
    ------
    NotPermittedError
        ``order-differs``, with all that differs.
    """
    wrong = []
    if order.analysis != analysis.key_id:
        wrong.append("the person map is for another party than the analysis in the settings")
    if order.spec_digest != spec_digest:
        wrong.append("the hub links by another spec than the settings name")
    if own is not None and any(batch.source == own[0] and batch.digest not in own[1] for batch in order.batches):
        wrong.append("the batch of your own source is none that is in the outbox")
    if wrong:
        raise NotPermittedError(
            "the order asks for something else than was agreed",
            reason="order-differs",
            hint="do not approve; ask the hub's operator",
            problems=wrong,
        )


def _info(order: str, opening: str, holder: str) -> bytes:
    return pack("linkage approval v1", order, opening, holder)


def open_approval(
    path: Path, digest: str, *, opening: SharedOpening, holders: Sequence[PublicParty], key: OpeningKey
) -> GivenShare | None:
    """Verify an approval and open the share in it.

    Parameters
    ----------
    path
        The file.
    digest
        Of the order.
    opening
        The opening key that the order names.
    holders
        Public keys of the holders.
    key
        The order's one-time key.

    Returns
    -------
    GivenShare or None
        None if the approval is for another order.

    Raises
    ------
    SealError
        ``unreadable``, ``bad-version``, ``malformed``, ``untrusted-sender`` if it is none of the holders',
        ``bad-signature`` or ``cannot-open``.
    """
    document = read_document(path, _APPROVAL, (_VERSION,))
    approval, sealed = _approval(document)
    author = next((holder for holder in holders if holder.key_id == approval.holder), None)
    if author is None or opening.holder(approval.holder) is None:
        raise refuse("untrusted-sender")
    document.verify(author)
    if approval.order != digest or approval.opening != opening.key_id:
        return None
    try:
        share = key.unwrap(sealed, _info(digest, approval.opening, approval.holder)).decode("ascii")
    except (InvalidTag, ValueError):
        raise refuse("cannot-open") from None
    return GivenShare(approval.holder, share.rstrip(" "), document)


def _approval(document: Document) -> tuple[Approval, bytes]:
    try:
        approval = Approval.model_validate(document.content)
        return approval, load_bytes(approval.share, WRAPPED_SHARE)
    except (ValidationError, ValueError):
        raise refuse("malformed") from None
