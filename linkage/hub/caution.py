"""What an operator must be told of a linkage in plain words, because an empty result looks like a good one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["link_warnings", "month_warnings"]

_NOBODY = "either the sources share nobody, or next to nobody, or their encodings do not agree (keys, rules, columns)"
_SAY_SO = "(say so: 'deduplicated: false' in its schema, --repeats in linkage lab accuracy)"


def link_warnings(
    records: Mapping[str, int],
    by_sources: Iterable[Mapping[str, Any]],
    expected_matches: float,
    *,
    sources: Iterable[str] = (),
) -> list[str]:
    """Say where nothing was linked, and what that can mean.

    Parameters
    ----------
    records
        Source -> its records; sources without records are left out.
    by_sources
        For each pair of sources that was compared ``sources`` (two names, twice the same within a source) and
        ``links``, as in the engine's quality (:func:`linkage.hub.quality.assess`).
    expected_matches
        Matches that the engine believes there are among the compared pairs.
    sources
        All sources that were given; those of them without a record are told of.

    Returns
    -------
    list of str
        A sentence each, none where every source has a link to another one. They name sources and hold no count.
    """
    empty = [f"source {source} holds no record at all" for source in sorted(sources) if not records.get(source)]
    return [
        *empty,
        *_unlinked({source: held for source, held in records.items() if held}, by_sources, expected_matches),
    ]


def month_warnings(month: str, months: Mapping[str, str], trusted: Iterable[str]) -> list[str]:
    """Say which sources' newest batch is not of the month that is asked for.

    Parameters
    ----------
    month
        The reporting month, ``YYYY-MM``.
    months
        Source -> month of the batch that is linked.
    trusted
        Sources that are expected to send.

    Returns
    -------
    list of str
        A sentence each, none where every trusted source has reported for the month.
    """
    expected = sorted({*trusted, *months})
    if month not in months.values():
        stale = [f"no batch of month {month} has been taken in from any source: what is linked is of other months"]
    else:
        stale = []
    stale += [
        f"source {source}: its newest batch is of month {months[source]}, not of {month}"
        for source in expected
        if months.get(source, month) != month
    ]
    return stale + [
        f"source {source}: no batch of this epoch and spec has been taken in, so it is not linked"
        for source in expected
        if source not in months
    ]


def _unlinked(
    records: Mapping[str, int], by_sources: Iterable[Mapping[str, Any]], expected_matches: float
) -> list[str]:
    compared = [(tuple(entry["sources"]), int(entry["links"])) for entry in by_sources]
    if not compared:
        return [
            "only one source holds records, and is said to hold at most one of each person: there is nothing to link,"
            f" unless it holds repeats {_SAY_SO}"
        ]
    nobody = f"{_NOBODY}{_undeclared(records, [pair for pair, _ in compared])}"
    if not any(links for _, links in compared):
        if len(records) == 1:
            why = "either nobody stands in the source twice, or its records say too little of a person (columns, spec)"
        elif expected_matches > 0:
            why = f"some may be, but none is likely enough; {nobody}"
        else:
            why = nobody
        return [f"no pair is surely a match: nothing is linked; {why}"]
    linked = {source for pair, links in compared if links and pair[0] != pair[1] for source in pair}
    alone = [source for source in records if source not in linked] if len(records) > 1 else []
    if not linked and alone:
        return [f"no source has a link to another one, only to itself; {nobody}"]
    return [
        f"source {source} has no link to any other: it shares nobody with them, or next to nobody, or its encodings"
        " do not agree with theirs (keys, rules, columns)"
        for source in alone
    ]


def _undeclared(records: Mapping[str, int], compared: Iterable[tuple[str, ...]]) -> str:
    """Name the sources whose own records were not compared: repeats in them look like pairs that are no match."""
    within = {pair[0] for pair in compared if pair[0] == pair[1]}
    single = [source for source in records if source not in within]
    return (
        f"; or a source said to hold each person once ({', '.join(single)}) holds repeats {_SAY_SO}" if single else ""
    )
