"""Open what the analysis may open: the facts of each batch and the person map that was made of these very batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from linkage.errors import ReleaseError, SealError
from linkage.exchange import (
    BatchManifest,
    Party,
    PersonMapManifest,
    PublicParty,
    file_digest,
    open_facts,
    open_person_map,
    read_manifest,
    verify_batch,
)

__all__ = ["Inputs", "open_inputs"]

_NOT_THERE = "a batch is not there; those of a run are in its folder, batches/*.batch"


@dataclass(frozen=True)
class Inputs:
    """One run's inputs, verified.

    Attributes
    ----------
    facts
        Source -> facts frame, one row a contact, decoys included.
    person_map
        ``source``, ``pseudonym``, ``person``; one row a record, decoys included.
    draws
        Partitions drawn from the posterior (:mod:`linkage.research.draws`), by row of ``person_map``.
    quality
        What the hub says about the linkage. Confidential: it holds exact numbers of links.
    manifests
        Source -> manifest of its batch.
    map_manifest
        Manifest of the person map.
    """

    facts: dict[str, pl.DataFrame]
    person_map: pl.DataFrame
    draws: pl.DataFrame
    quality: dict[str, Any]
    manifests: dict[str, BatchManifest]
    map_manifest: PersonMapManifest


def open_inputs(
    batches: Sequence[Path],
    person_map: Path,
    *,
    party: Party,
    senders: Mapping[str, PublicParty],
    hub: PublicParty,
) -> Inputs:
    """Verify and open the facts of all batches and the person map that belongs to them.

    Parameters
    ----------
    batches
        The sealed batches, one a source. Their encodings compartment is not for this party and is not touched.
    person_map
        The sealed person map.
    party
        The analysis, which opens.
    senders, hub
        Whose signatures are trusted: source -> agency, and the hub.

    Returns
    -------
    Inputs

    Raises
    ------
    SealError
        A file is damaged, foreign, not signed by whom it should be, or from a source without a trusted key.
    ReleaseError
        ``other-batches``: the person map was made of other batches. ``two-batches``: a source has two.
        ``other-project``: project or epoch differ.
    """
    opened = open_person_map(person_map, party, hub)
    _check_digests(batches, opened.manifest)
    facts: dict[str, pl.DataFrame] = {}
    manifests: dict[str, BatchManifest] = {}
    for path in batches:
        source = read_manifest(path).source  # not to be believed before that source's signature is checked
        if source not in senders:
            raise SealError(
                "sealed file refused: untrusted-sender",
                reason="untrusted-sender",
                hint="the settings name no public key for this source",
            )
        if source in facts:
            raise ReleaseError(f"source {source} has two batches", reason="two-batches")
        manifest = verify_batch(path, senders[source])
        if manifest.source != source:
            raise SealError("sealed file refused: damaged", reason="damaged", hint="the file changes while it is read")
        facts[source] = open_facts(path, party, senders[source])
        manifests[source] = manifest
        if (manifest.project, manifest.epoch) != (opened.manifest.project, opened.manifest.epoch):
            raise ReleaseError(
                f"the batch of source {source} is of another project or epoch than the person map",
                reason="other-project",
            )
    return Inputs(facts, opened.frame, opened.draws, opened.quality, manifests, opened.manifest)


def _check_digests(batches: Sequence[Path], manifest: PersonMapManifest) -> None:
    """Hold the batches to the list of digests that the hub has signed."""
    try:
        given = sorted(file_digest(path) for path in batches)
    except OSError:
        raise SealError("sealed file refused: unreadable", reason="unreadable", hint=_NOT_THERE) from None
    if given == manifest.batches:
        return
    known, wanted = set(given), set(manifest.batches)
    problems = [f"batches that the map was not made of: {len(known - wanted)}"] if known - wanted else []
    problems += [f"batches that the map was made of and that are not given: {len(wanted - known)}"]
    raise ReleaseError(
        "the person map was made of other batches",
        reason="other-batches",
        hint="give exactly the batches of the run that made the map",
        problems=problems,
    )
