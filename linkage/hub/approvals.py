"""Wait for a run to be approved: write the order, collect the holders' approvals, join the opening key in memory.

The order lies in ``state/orders`` for the operator to send to the holders; approvals come back into the inbox as
``*.approval``. Whoever has this process's memory while it waits, and enough approvals, has the opening key: run it on
a host without swap that nobody else can enter. Nothing that is written opens anything once the process has ended.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from linkage.errors import KeyFileError, LinkError, SealError
from linkage.exchange import Party, PublicParty, file_digest, ledger
from linkage.exchange.approval.orders import LIFE, Order, OrderedBatch, open_approval, write_order
from linkage.exchange.approval.shared import JoinedOpening, SharedOpening, join_opening
from linkage.exchange.opening import OpeningKey
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
        The hub's state folder, locked.
    approving
        By whom.
    batches, project, epoch, month, spec_digest, hub, analysis
        What the order says, see :class:`linkage.exchange.approval.orders.Order`.

    Raises
    ------
    LinkError
        ``not-approved`` if too few holders have approved when the order ends.
    """
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
    approving.tell(f"waiting: {opening.threshold} of {names} must approve this order: {path}")
    joined, files = await_approvals(order, digest, key, approving)
    for name, approval in sorted(files.items()):
        extra = {"holder": name, "order": digest}
        ledger.append(folder.ledger, actor=hub.name, action=APPROVED, object_digest=file_digest(approval), extra=extra)
        approval.replace(folder.orders / f"{path.stem}-{name}.approval")
    return joined


def await_approvals(
    order: Order,
    digest: str,
    key: OpeningKey,
    approving: Approving,
) -> tuple[JoinedOpening, dict[str, Path]]:
    """Look into the inbox until enough holders have approved an order.

    Returns
    -------
    joined
        The opening key.
    files
        Holder's name -> its approval, of those whose shares were joined.

    Raises
    ------
    LinkError
        ``not-approved``.
    """
    seen: dict[Path, tuple[int, int]] = {}
    shares: dict[str, tuple[str, Path]] = {}
    while True:
        for path in _changed(approving.inbox, seen):
            told = _take(path, digest, key, approving, shares)
            if told:
                approving.tell(told)
        joined = _joined(approving.opening, shares)
        if joined is not None:
            return joined
        if time.time_ns() // 1000 > order.ends:
            raise LinkError(
                f"{len(shares)} of the {approving.opening.threshold} approvals that are needed came before the order"
                " ended",
                reason="not-approved",
                hint="run again: a new order is made, for the holders to approve",
            )
        time.sleep(_PAUSE)


def _changed(inbox: Path, seen: dict[Path, tuple[int, int]]) -> Iterator[Path]:
    """Give the approvals that are new, or other than at the last look."""
    for path in sorted(inbox.glob("*.approval")):
        try:
            status = path.lstat()
        except OSError:
            continue
        mark = (status.st_mtime_ns, status.st_size)
        if seen.get(path) != mark and path.is_file() and not path.is_symlink():
            seen[path] = mark
            yield path


def _take(
    path: Path, digest: str, key: OpeningKey, approving: Approving, shares: dict[str, tuple[str, Path]]
) -> str | None:
    """Add the share of one approval, and say what became of it; an approval of another order is passed over."""
    opening = approving.opening
    try:
        found = open_approval(path, digest, opening=opening, holders=approving.holders, key=key)
    except SealError as error:
        return f"an approval was refused ({error.reason}); ask its holder for another"
    if found is None:
        return None
    holder = opening.holder(found[0])
    if holder is None:
        return None
    shares[holder.name] = (found[1], path)
    return f"approved by {holder.name}: {len(shares)} of {opening.threshold}"


def _joined(
    opening: SharedOpening, shares: Mapping[str, tuple[str, Path]]
) -> tuple[JoinedOpening, dict[str, Path]] | None:
    """Join the shares if enough of them fit each other: one holder with a wrong share does not stop the others."""
    for names in itertools.combinations(sorted(shares), opening.threshold):
        try:
            joined = join_opening(opening, [shares[name][0] for name in names])
        except KeyFileError:
            continue
        return joined, {name: shares[name][1] for name in names}
    return None
