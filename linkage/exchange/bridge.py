"""The bridge file: an agency's old pseudonyms beside its new ones, for the hub alone.

Pseudonyms do not depend on the linkage key, and stay over a renewal of a party key. Where the secret behind them must
change - a device with the party's key was stolen - the hub's persons would lose the agency's records. So the agency
says once which pseudonym became which. One sealed file of kind ``bridge``, signed by the new key, with one
compartment, ``pseudonyms``: a Parquet frame of :data:`BRIDGE_SCHEMA`, in the order of the new ones, which says nothing.

Whoever opens it learns no name and no local person number, but how many records there are, and for old batches that he
has the new pseudonyms.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import polars as pl
from pydantic import Field, StringConstraints, ValidationError

from linkage import __version__
from linkage.contract.vocabulary import Name
from linkage.exchange.envelope import KINDS, Compartment, Opener, Recipient, inspect, read_compartments, seal
from linkage.exchange.frames import from_parquet, to_parquet
from linkage.exchange.keys import Party, PublicParty
from linkage.exchange.manifest import HEX32, Strict
from linkage.exchange.reasons import refuse

__all__ = ["BRIDGE_SCHEMA", "BridgeManifest", "open_bridge", "read_bridge_manifest", "seal_bridge"]

BRIDGE_SCHEMA: dict[str, pl.DataType] = {"before": pl.String(), "after": pl.String()}
"""One row a record: its pseudonym until now, and from now on."""

KIND, PSEUDONYMS = "bridge", "pseudonyms"

_Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,79}$")]


class BridgeManifest(Strict):
    """What the manifest of a bridge file says: signed, and visible to anybody.

    Parameters
    ----------
    project, epoch, source
        Whose pseudonyms, and the epoch from which the new ones hold.
    records
        How many.
    tool_version
        Version of this package that sealed it.
    """

    project: Name
    epoch: _Label
    source: Name
    records: Annotated[int, Field(ge=2, le=1 << 31)]
    tool_version: _Label


def seal_bridge(
    path: Path, pairs: pl.DataFrame, sender: Party, hub: Recipient, *, project: str, epoch: str, source: str
) -> BridgeManifest:
    """Check, sort, encrypt and sign a bridge file.

    Parameters
    ----------
    path
        The file to write; it appears whole or not at all.
    pairs
        The columns of :data:`BRIDGE_SCHEMA`; none twice in its column, none in both.
    sender, hub
        The agency under its new key, and who alone can open it.
    project, epoch, source
        For the manifest.

    Raises
    ------
    SealError
        ``contents-mismatch`` if the frame is not what the format says, ``too-few-records`` below two, ``malformed``.
    """
    if pairs.height < 2:
        raise refuse("too-few-records")
    if set(pairs.columns) != set(BRIDGE_SCHEMA):
        raise refuse("contents-mismatch")
    pairs = pairs.select(list(BRIDGE_SCHEMA)).sort("after")
    content = {"project": project, "epoch": epoch, "source": source, "records": pairs.height}
    manifest = _validated({**content, "tool_version": __version__})
    _check(pairs, manifest)
    seal(path, KIND, manifest.model_dump(), [Compartment(PSEUDONYMS, hub, to_parquet(pairs))], sender)
    return manifest


def _validated(header: dict[str, Any]) -> BridgeManifest:
    try:
        return BridgeManifest.model_validate(header)
    except ValidationError:
        raise refuse("malformed") from None


def _manifest(envelope: dict[str, Any]) -> BridgeManifest:
    if envelope["version"] != KINDS[KIND]:  # there was none before
        raise refuse("bad-version")
    if [entry["name"] for entry in envelope["compartments"]] != [PSEUDONYMS]:
        raise refuse("malformed")
    return _validated(envelope["header"])


def _check(pairs: pl.DataFrame, manifest: BridgeManifest) -> None:
    fits = (
        list(pairs.schema.items()) == list(BRIDGE_SCHEMA.items())
        and pairs.height == manifest.records
        and sum(pairs.null_count().row(0)) == 0
        and all(bool(pairs[column].str.contains(HEX32).all()) for column in pairs.columns)
        and pl.concat([pairs["before"], pairs["after"]]).n_unique() == 2 * pairs.height
        and pairs["after"].is_sorted()
    )
    if not fits:
        raise refuse("contents-mismatch")


def read_bridge_manifest(path: Path) -> BridgeManifest:
    """Read the manifest of a bridge file, without any key. Not verified.

    Raises
    ------
    SealError
        If the file is no bridge file, or the manifest is not one.
    """
    return _manifest(inspect(path, KIND))


def open_bridge(path: Path, hub: Opener, sender: PublicParty) -> tuple[BridgeManifest, pl.DataFrame]:
    """Verify a bridge file, open it and check it against its manifest.

    Returns
    -------
    manifest, pairs
        What it says of itself, and the frame of :data:`BRIDGE_SCHEMA`.

    Raises
    ------
    SealError
        With one of the codes of :data:`linkage.exchange.reasons.REASONS`.
    """
    envelope, contents = read_compartments(path, (PSEUDONYMS,), hub, sender, KIND)
    manifest = _manifest(envelope)
    pairs = from_parquet(contents[0], manifest.records)
    _check(pairs, manifest)
    return manifest, pairs
