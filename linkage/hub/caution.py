"""What an operator must be told of a linkage in plain words, because an empty result looks like a good one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["link_warnings"]

_NOBODY = "either the sources share nobody, or next to nobody, or their encodings do not agree (keys, rules, columns)"


def link_warnings(
    records: Mapping[str, int], by_sources: Iterable[Mapping[str, Any]], expected_matches: float
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

    Returns
    -------
    list of str
        A sentence each, none where every source has a link to another one. They name sources and hold no count.
    """
    compared = [(tuple(entry["sources"]), int(entry["links"])) for entry in by_sources]
    if not compared:
        return ["only one source holds records, and at most one of each person: there is nothing to link"]
    if not any(links for _, links in compared):
        if len(records) == 1:
            why = "either nobody stands in the source twice, or its records say too little of a person (columns, spec)"
        elif expected_matches > 0:
            why = f"some may be, but none is likely enough; {_NOBODY}"
        else:
            why = _NOBODY
        return [f"no pair is surely a match: nothing is linked; {why}"]
    linked = {source for pair, links in compared if links and pair[0] != pair[1] for source in pair}
    alone = [source for source in records if source not in linked] if len(records) > 1 else []
    if not linked and alone:
        return [f"no source has a link to another one, only to itself; {_NOBODY}"]
    return [
        f"source {source} has no link to any other: it shares nobody with them, or next to nobody, or its encodings"
        " do not agree with theirs (keys, rules, columns)"
        for source in alone
    ]
