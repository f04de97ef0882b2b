"""Open the batches of a run: those of agencies that agreed to it with the hub's own key, the others once approved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from linkage.contract.agreement import Agreement
from linkage.contract.spec import LinkageSpec
from linkage.errors import ContractError, SealError
from linkage.exchange import BatchManifest, Party, PublicParty, envelope, ledger, open_encodings, write_receipt
from linkage.exchange.approval.orders import OrderedBatch
from linkage.exchange.approval.shared import JoinedOpening, SharedOpening
from linkage.hub.approvals import Approving, order_run
from linkage.hub.state import REFUSE, StateFolder, place_copy

__all__ = ["fits", "open_batches", "opener_id", "sealed_for"]


def sealed_for(path: Path) -> str:
    """Return the key id that the encodings of a batch are sealed for; verify the batch before you believe it."""
    return str(envelope.inspect(path, "batch")["compartments"][0]["recipient"])


def opener_id(agreement: Agreement, hub: Party, opening: SharedOpening | None) -> str | None:
    """Return the id of the key that a source's encodings must be sealed for; None if the hub has no such key."""
    if agreement.opening == "hub":
        return hub.key_id
    return None if opening is None else opening.key_id


def fits(encodings: pl.DataFrame, spec: LinkageSpec) -> bool:
    """Tell whether the encodings have the spec's filters, all of them, in its length."""
    names = [entry.name for entry in spec.filters]
    masks = [f"{name}_mask" for name in names if spec.presence_masks]
    if set(encodings.columns) != {"pseudonym", "variant", *names, *masks}:
        return False
    widths = pl.concat([encodings[name].bin.size().unique() for name in names])
    variants = int(encodings["variant"].to_numpy().max()) + 1
    return bool((widths == spec.diffusion.bits // 8).all()) and variants <= spec.variants


def open_batches(
    batches: Mapping[str, Path],
    manifests: Mapping[str, BatchManifest],
    *,
    folder: StateFolder,
    hub: Party,
    analysis: PublicParty,
    senders: Mapping[str, PublicParty],
    agreements: Mapping[str, Agreement],
    spec: LinkageSpec,
    month: str,
    approving: Approving | None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, pl.DataFrame]:
    """Open the encodings of verified batches, after a run order where agreements ask for one.

    Parameters
    ----------
    batches, manifests
        Source -> batch as it was taken in, and what it says of itself, verified.
    folder
        The hub's state folder, locked.
    hub, analysis, senders, agreements, spec, month
        As for :func:`linkage.hub.run.run`.
    approving
        By whom runs are approved; None where all agreements have the hub open by itself.
    progress
        Called with a word on what is done now.

    Returns
    -------
    dict
        Source -> encodings frame.

    Raises
    ------
    ContractError
        ``no-opening-key`` if approval is agreed on and nobody is named who gives it.
    LinkError
        ``not-approved``.
    SealError
        ``opening-differs`` if a batch is sealed for another key than agreed; ``contents-mismatch`` or another code if
        its contents are not what it says: such a batch is put into quarantine, and the next run is without it.
    """
    opening = None if approving is None else approving.opening
    expected = {source: opener_id(agreements[source], hub, opening) for source in batches}
    for source, path in batches.items():
        if expected[source] is None:
            raise ContractError(
                f"the agreement of source {source} has runs approved, and no opening key is given",
                reason="no-opening-key",
                hint="name opening and holders under [hub]",
            )
        if sealed_for(path) != expected[source]:
            raise SealError(
                f"the batch of source {source} is sealed for another key than its agreement has it opened by",
                reason="opening-differs",
                hint="ask the source for a new batch, sealed for the present opening key",
            )
    joined: JoinedOpening | None = None
    shared = [source for source in batches if expected[source] != hub.key_id]
    if shared and approving is not None:
        listed = [OrderedBatch(source=source, digest=batches[source].stem) for source in shared]
        if progress is not None:
            progress("waiting for approvals")
        any_manifest = manifests[shared[0]]
        joined = order_run(
            folder,
            approving,
            batches=listed,
            project=any_manifest.project,
            epoch=any_manifest.epoch,
            month=month,
            spec_digest=spec.digest,
            hub=hub,
            analysis=analysis,
        )
    opened = {}
    for source, path in batches.items():
        if progress is not None:
            progress(f"opening {source}")
        key = joined if joined is not None and source in shared else hub
        opened[source] = _open(source, path, key, senders[source], spec, folder, hub)
    return opened


def _open(
    source: str,
    path: Path,
    key: Party | JoinedOpening,
    sender: PublicParty,
    spec: LinkageSpec,
    folder: StateFolder,
    hub: Party,
) -> pl.DataFrame:
    """Open one batch. Where intake could not look inside, what is wrong there shows now: it is current no more."""
    try:
        frame = open_encodings(path, key, sender)
        reason = None if fits(frame, spec) else "contents-mismatch"
    except SealError as error:
        reason = error.reason
    if reason is None:
        return frame
    _refuse(source, path, reason, folder, hub)
    raise SealError(
        f"the batch of source {source} was opened and is not what it says; it is in quarantine",
        reason=reason,
        hint=f"ask source {source} for a new batch, or run again to link the others",
    )


def _refuse(source: str, path: Path, reason: str, folder: StateFolder, hub: Party) -> None:
    """Take back that a batch was taken in: on the ledger first, then the receipt, then the file."""
    extra: dict[str, str | bool | int | None] = {"source": source, "reason": reason}
    anchor = ledger.append(folder.ledger, actor=hub.name, action=REFUSE, object_digest=path.stem, extra=extra)
    write_receipt(
        folder.receipts / f"{path.stem}.{reason}.receipt",
        batch_digest=path.stem,
        source=source,
        status="quarantined",
        reason=reason,
        anchor=anchor,
        sender=hub,
    )
    place_copy(path, folder.quarantine / path.name)
    path.unlink()
