"""Encoded files for the Python Record Linkage Toolkit (recordlinkage): its classifiers on our candidates and filters.

::

    left, right = records(encodings["mpd"], spec), records(encodings["dcf"], spec)
    pairs = recordlinkage.Index([CandidatePairs(spec)]).index(left, right)
    names = [entry.name for entry in spec.filters]
    compare = recordlinkage.Compare([FilterAgreement(spec, name, left) for name in names])
    links = recordlinkage.ECMClassifier().fit_predict(compare.compute(pairs, left, right))

For one file with repeats give one frame: ``index(frame)``, ``compute(pairs, frame)``. :class:`FilterSimilarity` is for
classifiers that take numbers (k-means, logistic regression), :class:`FilterAgreement` for those that take yes or no.

A record is one row. A filter's cell holds its octets, those of the main name first and then those of each alias. What
recordlinkage knows nothing of is not here: how common a value is, the rule that a source gives one record to a person,
calibration. :func:`linkage.hub.link` has them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray
from recordlinkage import ECMClassifier
from recordlinkage.base import BaseCompareFeature, BaseIndexAlgorithm

from linkage.contract.spec import LinkageSpec
from linkage.errors import LinkError
from linkage.hub.compare import compare
from linkage.hub.encoded import stack
from linkage.hub.kernels import pair_distances

__all__ = ["CandidatePairs", "FilterAgreement", "FilterSimilarity", "ecm_probability", "records"]

_SAMPLE = 1_000_000  # unlike pairs that are enough to know how rare a distance is


def records(encodings: pl.DataFrame, spec: LinkageSpec) -> pd.DataFrame:
    """Turn an encodings frame into a pandas frame as recordlinkage takes it.

    Parameters
    ----------
    encodings
        ``pseudonym``, ``variant``, a Binary column for each filter of the spec and, where the spec has presence masks,
        ``<filter>_mask``.

    Returns
    -------
    pandas.DataFrame
        A row a record, indexed by pseudonym. Cells are octets, all variants joined; a filter that the masks say is
        empty is None, or all zeros where another variant of the record has one.

    Raises
    ------
    LinkError
        A filter or mask of the spec is not in the frame, or a filter is of another length.
    """
    octets = spec.diffusion.bits // 8
    names = [entry.name for entry in spec.filters]
    masks = [f"{name}_mask" for name in names] if spec.presence_masks else []
    if not {"pseudonym", "variant", *names, *masks} <= set(encodings.columns):
        raise LinkError("a filter of the spec is not in the encodings", reason="wrong-filters")
    frame = encodings.sort("pseudonym", "variant")
    if any(frame[name].null_count() or (frame[name].bin.size() != octets).any() for name in names):
        raise LinkError("filters of another length than the spec's", reason="wrong-length")
    pseudonyms = frame["pseudonym"].to_list()
    heads = [row for row, name in enumerate(pseudonyms) if row == 0 or name != pseudonyms[row - 1]]
    spans = list(itertools.pairwise([*heads, len(pseudonyms)])) if heads else []
    columns: dict[str, list[bytes | None]] = {}
    for name in names:
        cells = frame[name].to_list()
        if spec.presence_masks:
            filled = (frame[f"{name}_mask"] != 0).to_list()
            cells = [cell if there else bytes(octets) for cell, there in zip(cells, filled, strict=True)]
        joined = [b"".join(cells[first:last]) for first, last in spans]
        columns[name] = [cell if cell.strip(b"\0") else None for cell in joined]
    for mask in masks:
        values = frame[mask].to_numpy().astype("<u2")
        columns[mask] = [values[first:last].tobytes() for first, last in spans]
    index = pd.Index([pseudonyms[head] for head in heads], dtype=object, name="pseudonym")
    return pd.DataFrame({name: _objects(cells) for name, cells in columns.items()}, index=index)


class CandidatePairs(BaseIndexAlgorithm):  # type: ignore[misc] # recordlinkage has no types
    """Index algorithm: the pairs that the engine would weigh, found by comparing encodings.

    Parameters
    ----------
    spec
        The spec of the encodings.
    repeats
        Whether one person can have several records in a file that is linked to another. Pairs within a file that
        has none teach the engine how close unlike records come.
    seed
        Of the samples that are taken on large files.
    **kwargs
        ``verify_integrity`` and ``suffixes`` of recordlinkage's own index algorithms.
    """

    name = "candidate_pairs"
    description = "Pairs of encoded records that look alike"

    def __init__(self, spec: LinkageSpec, *, repeats: bool = False, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        self.repeats = repeats
        self.seed = seed

    def _link_index(self, df_a: pd.DataFrame, df_b: pd.DataFrame) -> pd.MultiIndex:
        frames = {"a": df_a, "b": df_b}
        left, right = self._candidates(frames, repeats=self.repeats) if len(df_a) and len(df_b) else _no_pairs()
        across = (left < len(df_a)) & (right >= len(df_a))
        return pd.MultiIndex.from_arrays([df_a.index[left[across]], df_b.index[right[across] - len(df_a)]])

    def _dedup_index(self, df_a: pd.DataFrame) -> pd.MultiIndex:
        left, right = self._candidates({"a": df_a}, repeats=True) if len(df_a) > 1 else _no_pairs()
        # recordlinkage wants the lower triangle: the later record first.
        return pd.MultiIndex.from_arrays([df_a.index[right], df_a.index[left]])

    def _candidates(
        self, frames: dict[str, pd.DataFrame], *, repeats: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        encodings = {source: _encodings(frame, self.spec) for source, frame in frames.items()}
        encoded = stack(encodings, self.spec, dict.fromkeys(encodings, not repeats))
        found = compare(encoded, seed=self.seed)
        return found.left[found.linkable], found.right[found.linkable]


class FilterSimilarity(BaseCompareFeature):  # type: ignore[misc] # recordlinkage has no types
    """Compare feature: 1 - 2 d / m, d the distance of two filters of m bits. 1 is the same, 0 as far as chance.

    The nearest of the records' variants count.

    Parameters
    ----------
    spec
        The spec of the encodings.
    filter_name
        The filter to compare.
    missing_value
        What stands where either side has nothing in the filter, which only presence masks tell.
    label
        Name of the feature; the filter's by default.
    """

    name = "filter_similarity"
    description = "Similarity of two diffused Bloom filters"

    def __init__(
        self, spec: LinkageSpec, filter_name: str, *, missing_value: float = 0.0, label: str | None = None
    ) -> None:
        super().__init__(filter_name, filter_name, label=label or filter_name)
        _require_filter(spec, filter_name)
        self.bits = spec.diffusion.bits
        self.missing_value = missing_value

    def _compute_vectorized(self, left: pd.Series, right: pd.Series) -> NDArray[np.float64]:
        similarity: NDArray[np.float64] = 1 - 2 * _distances(left, right, self.bits) / self.bits
        similarity[np.isnan(similarity)] = self.missing_value
        return similarity


class FilterAgreement(BaseCompareFeature):  # type: ignore[misc] # recordlinkage has no types
    """Compare feature: how many tail quantiles of unlike pairs two filters reach. With one tail, yes or no.

    The nearest of the records' variants count.

    Parameters
    ----------
    spec
        The spec of the encodings.
    filter_name
        The filter to compare.
    unlike
        Records of which hardly any two are one person, see :func:`records`: one of the files. Pairs of them
        say how close unlike filters come.
    tails
        Shares of unlike pairs: a pair reaches a tail if no larger share of unlike pairs is at least so close. Where
        some of the pairs are one person after all, a tail has to be well above their share.
    missing_value
        What stands where either side has nothing in the filter, which only presence masks tell.
    label
        Name of the feature; the filter's by default.
    seed
        Of the sample of unlike pairs, if there are more than a million.

    Attributes
    ----------
    cuts
        int64, shape (tails,): largest distance that reaches each tail; -1 where the records are too few to tell.
    """

    name = "filter_agreement"
    description = "Agreement level of two diffused Bloom filters"

    def __init__(
        self,
        spec: LinkageSpec,
        filter_name: str,
        unlike: pd.DataFrame,
        *,
        tails: Sequence[float] = (1e-3,),
        missing_value: float = 0.0,
        label: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(filter_name, filter_name, label=label or filter_name)
        _require_filter(spec, filter_name)
        self.bits = spec.diffusion.bits
        self.missing_value = missing_value
        a, b = _some_pairs(len(unlike), np.random.default_rng(seed))
        cells = unlike[filter_name]
        far = _distances(cells.iloc[a], cells.iloc[b], self.bits)
        below = np.cumsum(np.bincount(far[~np.isnan(far)].astype(np.int64), minlength=self.bits + 1))
        self.cuts = np.searchsorted(below, np.array(tails) * below[-1], side="right") - 1

    def _compute_vectorized(self, left: pd.Series, right: pd.Series) -> NDArray[np.float64]:
        distances = _distances(left, right, self.bits)
        reached: NDArray[np.float64] = (distances[:, None] <= self.cuts).sum(axis=1).astype(np.float64)
        reached[np.isnan(distances)] = self.missing_value
        return reached


def ecm_probability(agrees: NDArray[np.bool_], names: Sequence[str]) -> NDArray[np.float64]:
    """Return match probabilities of pairs by recordlinkage's ECM classifier.

    Parameters
    ----------
    agrees
        Shape (pairs, filters): whether each filter agrees.
    names
        Of the filters.

    Raises
    ------
    LinkError
        ``not-estimated``: the classifier came to no probability.
    """
    if not len(agrees):
        return np.zeros(0)
    features = pd.DataFrame(agrees.astype(np.int64), columns=list(names))
    classifier = ECMClassifier()
    with np.errstate(divide="ignore", invalid="ignore"):  # of shares that fall to 0: judged by what comes out
        classifier.fit(features)
        probability = classifier.prob(features).to_numpy(np.float64)
    if not np.isfinite(probability).all():
        raise LinkError("the ECM classifier came to no estimate", reason="not-estimated")
    clipped: NDArray[np.float64] = np.clip(probability, 0.0, 1.0)
    return clipped


def _objects(cells: Sequence[bytes | None]) -> NDArray[np.object_]:
    """Return an array of objects: NumPy would cut trailing zero octets off an array of its own octet type."""
    array = np.empty(len(cells), object)
    array[:] = cells
    return array


def _no_pairs() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.zeros(0, np.int64), np.zeros(0, np.int64)


def _require_filter(spec: LinkageSpec, name: str) -> None:
    if name not in {entry.name for entry in spec.filters}:
        raise LinkError(f"the spec has no filter {name}", reason="wrong-filters")


def _encodings(frame: pd.DataFrame, spec: LinkageSpec) -> pl.DataFrame:
    """Turn :func:`records` back, a pseudonym being the row number."""
    octets = spec.diffusion.bits // 8
    sizes = {entry.name: octets for entry in spec.filters}
    if spec.presence_masks:
        sizes |= {f"{entry.name}_mask": 2 for entry in spec.filters}
    if not set(sizes) <= set(frame.columns):
        raise LinkError("a filter of the spec is not in the frame", reason="wrong-filters")
    cells = {name: [None if cell is None or cell is pd.NA else cell for cell in frame[name]] for name in sizes}
    counts = np.zeros(len(frame), np.int64)
    for name, size in sizes.items():
        counts = np.maximum(counts, [0 if cell is None else len(cell) // size for cell in cells[name]])
    columns: dict[str, Any] = {
        "pseudonym": [f"{row:012d}" for row in np.repeat(np.arange(len(frame)), counts)],
        "variant": pl.Series([number for count in counts for number in range(count)], dtype=pl.UInt8),
    }
    for name, size in sizes.items():
        column = cells[name]
        if any(len(cell) != size * count for cell, count in zip(column, counts, strict=True) if cell is not None):
            raise LinkError("filters of another length than the spec's", reason="wrong-length")
        joined = b"".join(bytes(size * count) if c is None else c for c, count in zip(column, counts, strict=True))
        if size == 2:  # a mask; no filter is so short
            columns[name] = np.frombuffer(joined, "<u2").astype(np.uint16)
        else:
            columns[name] = pl.Series([joined[at : at + size] for at in range(0, len(joined), size)], dtype=pl.Binary)
    return pl.DataFrame(columns)


def _some_pairs(number: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all pairs of so many records, or a sample of them."""
    if number * (number - 1) // 2 <= _SAMPLE:
        left, right = np.triu_indices(number, 1)
        return left.astype(np.int64), right.astype(np.int64)
    a = rng.integers(0, number, _SAMPLE)
    return a, (a + rng.integers(1, number, _SAMPLE)) % number


def _distances(left: pd.Series, right: pd.Series, bits: int) -> NDArray[np.float64]:
    """Return the distance of the nearest variants of each pair of cells: float64, nan where either side is missing."""
    octets, width = bits // 8, bits // 64
    codes, cells = pd.factorize(pd.concat([left, right], ignore_index=True))
    counts = np.array([len(cell) // octets for cell in cells], np.int64)
    joined = b"".join(cells)
    if len(joined) != octets * counts.sum():
        raise LinkError("filters of another length than the spec's", reason="wrong-length")
    words = np.frombuffer(joined, "<u8").reshape(-1, width).astype(np.uint64)
    empty = words.max(axis=1, initial=0) == 0
    start = np.cumsum(counts) - counts
    there = np.flatnonzero((codes[: len(left)] >= 0) & (codes[len(left) :] >= 0))
    one, other = codes[: len(left)][there], codes[len(left) :][there]
    nearest = np.full(len(left), np.nan)
    for a in range(int(counts.max(initial=0))):
        for b in range(int(counts.max(initial=0))):
            both = np.flatnonzero((counts[one] > a) & (counts[other] > b))
            i, j = start[one[both]] + a, start[other[both]] + b
            distance = pair_distances(words, width, i, j)[:, 0].astype(np.float64)
            distance[empty[i] | empty[j]] = np.nan
            nearest[there[both]] = np.fmin(nearest[there[both]], distance)
    return nearest
