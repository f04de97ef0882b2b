"""Wait for a run to be approved: write the order, collect the holders' approvals, join the opening key in memory.

The order lies in ``state/orders`` for the operator to send to the holders; approvals come back into the inbox as
``*.approval``. Whoever has this process's memory while it waits, and enough approvals, has the opening key: run it on
a host without swap that nobody else can enter. Nothing that is written opens anything once the process has ended.
"""

from __future__ import annotations

import datetime as dt
import itertools
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from linkage.errors import KeyFileError, LinkError, SealError
from linkage.exchange import Party, PublicParty, atomic_write, ledger
from linkage.exchange.approval.orders import LIFE, GivenShare, Order, OrderedBatch, open_approval, write_order
from linkage.exchange.approval.shared import JoinedOpening, SharedOpening, join_opening
from linkage.exchange.opening import OpeningKey
from linkage.exchange.secret import keep_out_of_dumps
from linkage.hub.state import StateFolder

__all__ = ["Approving", "await_approvals", "order_run"]

ORDERED, APPROVED = "order", "approve"
"""Actions in the ledger."""

_PAUSE = 1.0
"""Seconds between two looks into the inbox."""


@dataclass(frozen=True)
class Approving:
    """By whom and where runs are approved.

    Parameters
    ----------
    opening
        The opening key in shares.
    holders
        Public keys of those who hold them.
    inbox
        Where approvals arrive.
    tell
        Called with a sentence for the operator: where the order is, who has approved.
    life
        Seconds until an order is void.
    """

    opening: SharedOpening
    holders: tuple[PublicParty, ...]
    inbox: Path
    tell: Callable[[str], None]
    life: int = LIFE


def order_run(
    folder: StateFolder,
    approving: Approving,
    *,
    batches: Sequence[OrderedBatch],
    project: str,
    epoch: str,
    month: str,
    spec_digest: str,
    hub: Party,
    analysis: PublicParty,
) -> JoinedOpening:
    """Ask the holders to approve a run, wait, and return the opening key.

    Parameters
    ----------
    folder
        The hub's state folder; not locked, for the wait can be long.
    approving
        By whom.
    batches, project, epoch, month, spec_digest, hub, analysis
        What the order says, see :class:`linkage.exchange.approval.orders.Order`.

    Raises
    ------
    LinkError
        ``not-approved`` if too few holders have approved when the order ends.
    """
    keep_out_of_dumps()
    key = OpeningKey.create()
    path = folder.orders / f"{month}-{key.key_id[:16]}.order"
    order, digest = write_order(
        path,
        project=project,
        epoch=epoch,
        month=month,
        spec_digest=spec_digest,
        opening=approving.opening,
        batches=batches,
        analysis=analysis,
        key=key.public,
        hub=hub,
        life=approving.life,
    )
    extra: dict[str, str | bool | int | None] = {"month": month, "batches": len(order.batches)}
    ledger.append(folder.ledger, actor=hub.name, action=ORDERED, object_digest=digest, extra=extra)
    opening = approving.opening
    names = ", ".join(holder.name for holder in opening.holders)
    ends = dt.datetime.fromtimestamp(order.ends / 1e6, dt.UTC)
    approving.tell(f"waiting: {opening.threshold} of {names} must approve this order: {path}")
    approving.tell(
        f"approvals go into {approving.inbox}, until {ends:%Y-%m-%d %H:%M} UTC; to stop here voids the order"
    )
    joined, given = await_approvals(order, digest, key, approving)
    for name, share in sorted(given.items()):
        # What was read is what is kept: the file in the inbox may be another by now, or on another file system.
        with atomic_write(folder.orders / f"{path.stem}-{name}.approval") as temporary:
            temporary.write_bytes(share.document.data)
        extra = {"holder": name, "order": digest}
        ledger.append(folder.ledger, actor=hub.name, action=APPROVED, object_digest=share.document.digest, extra=extra)
    return joined


def await_approvals(
    order: Order, digest: str, key: OpeningKey, approving: Approving
) -> tuple[JoinedOpening, dict[str, GivenShare]]:
    """Look into the inbox until enough holders have approved an order; what they sent is taken out of it.

    Returns
    -------
    joined
        The opening key.
    given
        Holder's name -> its approval, of those whose shares were joined.

    Raises
    ------
    LinkError
        ``not-approved``.
    """
    opening = approving.opening
    seen: dict[Path, tuple[int, int]] = {}
    given: dict[str, tuple[GivenShare, Path]] = {}
    while True:
        changed = False
        for path in _changed(approving.inbox, seen):
            changed = _take(path, digest, key, approving, given) or changed
        joined = _joined(opening, given) if changed else None
        if joined is not None:
            key_of_run, names = joined
            for name in names:
                with suppress(OSError):
                    given[name][1].unlink()
            return key_of_run, {name: given[name][0] for name in names}
        if changed and len(given) >= opening.threshold:
            approving.tell(f"the shares of {', '.join(sorted(given))} do not fit together; another holder must approve")
        if time.time_ns() // 1000 > order.ends:
            raise _not_approved(opening, len(given))
        time.sleep(_PAUSE)


def _not_approved(opening: SharedOpening, given: int) -> LinkError:
    enough = given >= opening.threshold
    return LinkError(
        "enough holders approved the order before it ended, and their shares do not fit together"
        if enough
        else f"{given} of the {opening.threshold} approvals that are needed came before the order ended",
        reason="not-approved",
        hint="compare the key id of the holders' opening key files, then run again: a new order is made"
        if enough
        else "run again: a new order is made, for the holders to approve",
    )


def _changed(inbox: Path, seen: dict[Path, tuple[int, int]]) -> Iterator[Path]:
    """Give the approvals that are new, or other than at the last look."""
    for path in sorted(inbox.glob("*.approval")):
        try:
            status = path.lstat()
        except OSError:
            continue
        mark = (status.st_mtime_ns, status.st_size)
        if seen.get(path) != mark and stat.S_ISREG(status.st_mode):
            seen[path] = mark
            yield path


def _take(
    path: Path, digest: str, key: OpeningKey, approving: Approving, given: dict[str, tuple[GivenShare, Path]]
) -> bool:
    """Add the share of one approval, and tell what became of it; an approval of another order is passed over."""
    opening = approving.opening
    try:
        share = open_approval(path, digest, opening=opening, holders=approving.holders, key=key)
    except SealError as error:
        approving.tell(f"{path}: refused ({error.reason}); take it away, and ask its holder for another")
        return False
    holder = None if share is None else opening.holder(share.holder)
    if share is None or holder is None:
        approving.tell(f"{path}: for another order; take it away")
        return False
    given[holder.name] = (share, path)
    approving.tell(f"approved by {holder.name}: {len(given)} of {opening.threshold}")
    return True


def _joined(
    opening: SharedOpening, given: Mapping[str, tuple[GivenShare, Path]]
) -> tuple[JoinedOpening, tuple[str, ...]] | None:
    """Join the shares if enough of them fit each other: one holder with a wrong share does not stop the others."""
    for names in itertools.combinations(sorted(given), opening.threshold):
        try:
            return join_opening(opening, [given[name][0].share for name in names]), names
        except KeyFileError:
            continue
    return None
