"""Open the batches of a run: those of agencies that agreed to it with the hub's own key, the others once approved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from linkage.contract.agreement import Agreement
from linkage.contract.spec import LinkageSpec
from linkage.errors import ContractError, SealError
from linkage.exchange import Party, PublicParty, envelope, ledger, open_encodings, write_receipt
from linkage.exchange.approval.shared import SharedOpening
from linkage.exchange.envelope import Opener
from linkage.hub.state import REFUSE, StateFolder, place_copy

__all__ = ["fits", "needs_approval", "open_batches", "opener_id", "sealed_for"]

_SENDERS_FAULT = frozenset({"malformed", "cannot-open", "contents-mismatch", "too-few-records"})
"""What can be wrong inside a batch whose signature and digests hold: its sender made it so."""


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


def needs_approval(
    batches: Mapping[str, Path], agreements: Mapping[str, Agreement], hub: Party, opening: SharedOpening | None
) -> list[str]:
    """Return the sources whose batches an approved run alone opens, all batches being sealed as was agreed.

    Raises
    ------
    ContractError
        ``no-opening-key`` if approval is agreed on and nobody is named who gives it.
    SealError
        ``opening-differs`` if a batch is sealed for another key than agreed.
    """
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
    return [source for source in batches if expected[source] != hub.key_id]


def open_batches(
    batches: Mapping[str, Path],
    keys: Mapping[str, Opener],
    *,
    folder: StateFolder,
    hub: Party,
    senders: Mapping[str, PublicParty],
    spec: LinkageSpec,
    progress: Callable[[str], None] | None = None,
) -> dict[str, pl.DataFrame]:
    """Open the encodings of verified batches, each held to the digest under which it was taken in and approved.

    Parameters
    ----------
    batches, keys
        Source -> batch as it was taken in, named by its digest; and what opens it.
    folder, hub
        The hub's state folder, locked, and who signs for it.
    senders, spec
        As for :func:`linkage.hub.run.run`.
    progress
        Called with a word on what is done now.

    Returns
    -------
    dict
        Source -> encodings frame.

    Raises
    ------
    SealError
        A batch's contents are not what it says (``contents-mismatch`` and the like). All such are put into quarantine,
        with receipts, and the next run is without them. Where a file is damaged or cannot be read, nobody is blamed.
    """
    opened, bad = {}, {}
    for source, path in batches.items():
        if progress is not None:
            progress(f"opening {source}")
        try:
            opened[source] = open_encodings(path, keys[source], senders[source], digest=path.stem)
            reason = None if fits(opened[source], spec) else "contents-mismatch"
        except SealError as error:
            if error.reason not in _SENDERS_FAULT:
                raise
            reason = error.reason
        if reason is not None:
            bad[source] = reason
    for source, reason in bad.items():
        _refuse(source, batches[source], reason, folder, hub)
    if bad:
        raise SealError(
            f"opened, and not what they say: the batches of {', '.join(bad)}; they are in quarantine",
            reason=next(iter(bad.values())),
            hint="ask these sources for new batches, or run again to link the others",
        )
    return opened


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
