"""How well a spec links: a labelled file of plain records goes through the real encoder and the real engine."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.contract import load_agreement, load_source
from linkage.contract.spec import LinkageSpec
from linkage.errors import ContractError
from linkage.hub.caution import link_warnings
from linkage.hub.cluster import cluster
from linkage.lab.classifiers import Classifier, Weighed, weigh
from linkage.lab.labelled import TestKey, encode_labelled, read_labelled
from linkage.lab.measures import calibration_error, pair_counts, pairwise, pairwise_by_sources
from linkage.steward.encode import encode
from linkage.steward.extract import check_rows, read_extract
from linkage.steward.facts import facts
from linkage.steward.group import identifiers
from linkage.steward.presence import share_patterns
from linkage.steward.tiers import add_tiers

__all__ = ["TestKey", "accuracy", "encode_population", "pairwise", "population_accuracy"]

Numbers = NDArray[np.int64]

_GRID = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)


def accuracy(
    records: Path,
    spec: LinkageSpec,
    *,
    entity_column: str,
    source_column: str | None = None,
    repeats: frozenset[str] = frozenset(),
    classifier: Classifier = "linkage",
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure a spec on a labelled file.

    Parameters
    ----------
    records
        The file, see :func:`linkage.lab.labelled.read_labelled`.
    source_column, entity_column
        Which file a record belongs to, and who it really is. The engine never sees the second. Without the first, or
        if it says the same everywhere, the file is one source with repeats, which are looked for.
    repeats
        Sources in which one person can have several records.
    classifier
        What weighs the pairs, see :func:`linkage.lab.classifiers.weigh`.
    seed
        Of the key.
    progress
        Called with a word on what is done now.

    Returns
    -------
    dict
        ``records``, ``sources``, ``spec``, ``classifier``; ``pairs_true``, the pairs of records that are one person,
        leaving out pairs within a source that is not said to have repeats, which are in ``repeats_unsaid`` by source;
        ``unreadable``, filled cells without a standard form by field; ``seconds`` by step, ``peak_memory_mb`` of the
        process; and the measures:

        ``chosen``
            precision, recall, F1 at the classifier's own decision, every true pair counted.
        ``by_sources``
            the same for each pair of sources.
        ``best``
            the same at the threshold that the truth would choose, and that threshold.
        ``expected``
            what the classifier itself expects: precision, recall, F1, number of matches.
        ``expected_matches_error``
            expected over true number of matches, less 1; None where there is no true match.
        ``calibration_error``
            see :func:`linkage.lab.measures.calibration_error`.
        ``warnings``
            sentences on what was not linked at all, see :func:`linkage.hub.caution.link_warnings`.

    Raises
    ------
    ContractError
        The file cannot be read or does not fit the spec or the call.
    LinkError
        There is nothing to link.
    """
    say = progress or (lambda _: None)
    say("reading")
    read = read_labelled(records, spec, source_column=source_column, entity_column=entity_column)
    names = set(read.frame["source"])
    if not repeats <= names:
        raise ContractError(
            "a source said to have repeats is not in the file",
            reason="unknown-source",
            hint="name the column of sources and one of its entries"
            if source_column is None
            else "name an entry of the column of sources, letter for letter",
        )
    within = frozenset(names) if len(names) == 1 else repeats
    started = time.perf_counter()
    encodings = encode_labelled(read.frame, spec, TestKey(seed), progress=progress)
    encoded = time.perf_counter()
    weighed = weigh(classifier, encodings, spec, within, progress=progress)
    done = time.perf_counter()
    say("measuring")
    entity = read.frame["entity"].rank("dense").to_numpy().astype(np.int64) - 1
    place = weighed.persons["pseudonym"].cast(pl.Int64).to_numpy()
    return {
        "records": len(read.frame),
        "sources": len(names),
        "spec": spec.name,
        "classifier": classifier,
        "unreadable": read.unreadable,
        **_measured(weighed, entity[place], within),
        "seconds": {"encode": round(encoded - started, 3), "link": round(done - encoded, 3)},
        "peak_memory_mb": _peak_memory(),
    }


def population_accuracy(population: Path, spec: LinkageSpec, *, seed: int = 0) -> dict[str, Any]:
    """Measure a synthetic population: its extracts go through the steward's own steps and the real engine.

    Parameters
    ----------
    population
        Folder written by :func:`linkage.lab.population.draw_population`.
    spec
        The linkage spec.
    seed
        Of the key.

    Returns
    -------
    dict
        The measures of :func:`accuracy`, and ``persons`` found, ``persons_true`` and ``repeats_found``.
    """
    encodings, _ = encode_population(population, spec, TestKey(seed))
    weighed = weigh("linkage", encodings, spec, frozenset())
    truth = pl.read_parquet(population / "truth" / "records.parquet")
    found = weighed.persons.join(
        truth.select("source", pseudonym="local_id", entity="person"),
        on=["source", "pseudonym"],
        how="left",
        maintain_order="left",
    )
    entity = found["entity"].rank("dense").to_numpy().astype(np.int64) - 1
    return {
        **_measured(weighed, entity, frozenset()),
        "persons": found["person"].n_unique(),
        "persons_true": found["entity"].n_unique(),
        "repeats_found": len(weighed.repeats),
    }


def encode_population(
    population: Path, spec: LinkageSpec, key: TestKey
) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
    """Take the extracts of a synthetic population through the steward's own steps; nothing is sealed.

    Returns
    -------
    encodings, facts
        Source -> frame as a batch has it, under local person numbers in the place of pseudonyms.
    """
    today, padding = dt.date(2026, 11, 22), key.derive(spec_digest=spec.digest, purpose="padding")
    encodings, contacts = {}, {}
    for folder in sorted((population / "extracts").iterdir()):
        schema, agreement = load_source(folder.name), load_agreement(folder.name)
        checked = check_rows(read_extract(next(folder.iterdir()), schema), schema, today=today)
        tiered = add_tiers(checked.good, schema, agreement, today=today)
        persons = identifiers(tiered, schema, agreement.identifiers, spec.variants)
        labels = (folder.name + "/" + persons["local_id"]).to_list()  # one a person, and no other source's
        persons = share_patterns(persons, spec, labels, padding)
        filters = encode(persons, spec, key, labels=labels, padding_key=padding)
        encodings[folder.name] = filters.with_columns(pseudonym=persons["local_id"], variant=persons["variant"])
        contacts[folder.name] = facts(tiered, schema, agreement).rename({"local_id": "pseudonym"})
    return encodings, contacts


def _measured(weighed: Weighed, entity: Numbers, repeats: frozenset[str]) -> dict[str, Any]:
    """Hold what was found against the truth; ``entity`` is by row of ``weighed.persons``."""
    names = sorted(set(weighed.persons["source"]))
    source = weighed.persons["source"].rank("dense").to_numpy().astype(np.int64) - 1
    within = np.array([name in repeats for name in names], np.bool_)
    person = weighed.persons["person"].to_numpy()
    pairs = pair_counts(entity, source, len(names))
    unsaid = {names[s]: int(pairs[s, s]) for s in np.flatnonzero(~within) if pairs[s, s]}
    counted = int(pairs.sum()) - sum(unsaid.values())
    tried = [
        {**pairwise(_persons_at(weighed, source, ~within, limit), entity, source, within), "threshold": limit}
        for limit in _GRID
    ]
    expected = weighed.expected["expected_matches"] or 0.0
    by_sources = pairwise_by_sources(person, entity, source, within, names)
    records = dict(zip(names, np.bincount(source, minlength=len(names)).tolist(), strict=True))
    return {
        "pairs_true": counted,
        "repeats_unsaid": unsaid,
        "chosen": pairwise(person, entity, source, within),
        "by_sources": by_sources,
        "best": max(tried, key=lambda entry: entry["f1"]),
        "expected": weighed.expected,
        "expected_matches_error": round(expected / counted - 1, 6) if counted else None,
        "calibration_error": calibration_error(weighed.probability, entity[weighed.left] == entity[weighed.right]),
        "warnings": link_warnings(records, by_sources, expected),
    }


def _persons_at(weighed: Weighed, source: Numbers, single: NDArray[np.bool_], limit: float) -> Numbers:
    pairs = weighed.left, weighed.right, weighed.probability
    return cluster(*pairs, source.astype(np.int16), single, weighed.repeats, threshold=limit)


def _peak_memory() -> float | None:
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)
