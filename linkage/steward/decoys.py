"""Decoys: made-up records among an agency's own, which the hub cannot tell from people and the analysis leaves out.

They thin what an attack at the hub can match, and are no defence alone. A decoy is put together from the agency's own
values: which fields are filled, how many names it has and how these differ is one person's, each value another's, so
that decoys are as full, as similar to people and as similar to each other as people are. What only one record has (a
rare name, a phone, an address) is never sent again: there parts of two people's values, or new digits, make a new one,
as often as one more person would bring a new one (Good 1953). No decoy has name and birth date of a person, or all of a
record.

All draws come from a key of this agency, project, epoch and source: another agency's decoys have nothing to do with
these, and the same file has the same decoys next month. Where the file changes, few of them do: each draw takes the
next person on a keyed circle (Karger et al. 1997), so that one more person takes over one neighbour's draws.

Leakage
-------
The analysis learns which pseudonyms are decoys; the hub, how many records there are with them.
"""

from __future__ import annotations

import datetime as dt
import hmac
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

import polars as pl

from linkage.contract.vocabulary import FACT_SCHEMA
from linkage.errors import NotPermittedError
from linkage.exchange import Party

__all__ = ["decoy_facts", "decoy_key", "decoy_pseudonyms", "draw_decoys", "number_of_decoys"]

Row = dict[str, list[str]]
"""One name of a record: its values by identifier."""

_NAMES = ("given_name", "middle_name", "family_name")
_TOGETHER = {"sex": "given_name", "postal_code": "street"}
"""What goes with what: from the same person, if that person has both. Alone neither tells who it is.

A postal code only goes with a street (without the number of the house) that several people of that code have.
"""

_ATTEMPTS = 8
_NUMBERED = re.compile(r"([0-9]+)( .*)")


def number_of_decoys(asked: float, persons: int) -> int:
    """Return how many decoys are asked for: a share of the persons, or (a whole number) so many.

    Raises
    ------
    NotPermittedError
        ``too-many-decoys``: more than there are persons. The links between people would drown in them.
    """
    count = asked if isinstance(asked, int) else round(asked * persons)
    if count > persons:
        raise NotPermittedError(
            "the settings ask for more decoys than the extract has persons",
            reason="too-many-decoys",
            hint="give a share in the settings, such as decoys = 0.25",
        )
    return count


def decoy_key(party: Party, project: str, epoch: str, source: str) -> bytes:
    """Return the key of a source's decoys in an epoch: 256 bits by HKDF from a secret of this agency alone."""
    return party.derive(f"decoys of {project}/{epoch}/{source}")


def decoy_pseudonyms(count: int, key: bytes) -> list[str]:
    """Return the decoys' pseudonyms: 128 bits of HMAC-SHA-256, under a key that no person's is made with."""
    return [hmac.digest(key, b"pseudonym %d" % number, "sha256").hex()[:32] for number in range(count)]


def decoy_facts(pseudonyms: Sequence[str]) -> pl.DataFrame:
    """Return the facts of decoys: one row each that says only what it is, in the columns of the vocabulary."""
    frame = pl.DataFrame({"pseudonym": pl.Series(pseudonyms, dtype=pl.String), "decoy": [True] * len(pseudonyms)})
    nothing = [pl.lit(None, kind).alias(name) for name, kind in FACT_SCHEMA.items() if name not in frame.columns]
    return frame.with_columns(nothing).select(list(FACT_SCHEMA))


def draw_decoys(persons: pl.DataFrame, count: int, key: bytes) -> pl.DataFrame:
    """Draw decoys from the identifiers of the persons that are sent.

    Parameters
    ----------
    persons
        As :func:`linkage.steward.group.identifiers` returns them. Nobody else's values are used: not those of persons
        who are not counted, or without a live release.
    count
        How many. The first are the same, however many are drawn.
    key
        :func:`decoy_key`.

    Returns
    -------
    pl.DataFrame
        The columns of ``persons``, a row for each name of a decoy; ``local_id`` is the decoy's number.
    """
    fields = [name for name in persons.columns if name not in ("local_id", "variant")]
    drawn = _Drawing(persons.sort("local_id", "variant"), fields, key)
    rows = [
        {"local_id": str(number), "variant": variant, **row}
        for number in range(count)
        for variant, row in enumerate(drawn.decoy(number))
    ]
    return pl.DataFrame(rows, schema=persons.schema)


class _Circle:
    """Entries on a keyed circle; a draw takes the next one."""

    def __init__(self, key: bytes, label: str, entries: Sequence[tuple[str, str]]) -> None:
        """Place entries: whose each is, and what it is. What is drawn with the same label is of the same person."""
        digest = partial(hmac.digest, key, digest="sha256")
        placed = sorted((digest(f"place {label} {owner}".encode()), entry) for owner, entry in entries)
        self._places = [place for place, _ in placed]
        self._entries = [entry for _, entry in placed]
        self._of = Counter({entry: len(owners) for entry, owners in _owners(entries).items()})

    def take(self, draw: bytes) -> str:
        return self._entries[bisect_left(self._places, draw) % len(self._entries)] if self._entries else ""

    def is_common(self, entry: str) -> bool:
        """Say whether several persons have it."""
        return self._of[entry] > 1

    def __contains__(self, entry: str) -> bool:
        return entry in self._of


def _owners(entries: Sequence[tuple[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for owner, entry in entries:
        found.setdefault(entry, set()).add(owner)
    return found


class _Drawing:
    """What decoys are drawn from."""

    def __init__(self, persons: pl.DataFrame, fields: list[str], key: bytes) -> None:
        self._key, self._fields = key, fields
        self._people: dict[str, list[Row]] = {}
        for row in persons.iter_rows(named=True):
            self._people.setdefault(row["local_id"], []).append({name: row[name] for name in fields})
        self._patterns = _Circle(key, "pattern", [(person, person) for person in self._people])
        self._circles = {}
        for name in fields:
            # With several values the first keeps the place that it shares with the other fields of its label.
            entries = [
                (person if turn == 0 else f"{person} {turn}", value)
                for person, names in self._people.items()
                for turn, value in enumerate(dict.fromkeys(value for row in names for value in row[name]))
            ]
            if entries:
                self._circles[name] = _Circle(key, _TOGETHER.get(name, name), entries)
        homes = [
            (person, _way(street), code)
            for person, names in self._people.items()
            for street in names[0].get("street", [])[:1]
            for code in names[0].get("postal_code", [])[:1] or [""]
        ]
        self._ways = _Circle(key, "street", [(person, way) for person, way, _ in homes])
        self._homes = _Circle(key, "street", [(person, f"{way}/{code}") for person, way, code in homes])
        self._real = {whole for names in self._people.values() for row in names for whole in _identities(row)}

    def decoy(self, number: int) -> list[Row]:
        """Return the names of a decoy, the main one first."""
        pattern = self._people[self._patterns.take(self._draw("pattern", number))]
        for attempt in range(_ATTEMPTS + 1):
            new = attempt == _ATTEMPTS  # at the last, whatever is rare or not
            main = self._main(pattern[0], f"{number}/{attempt}", new=new)
            names = [main]
            for variant, other in enumerate(pattern[1:], 1):
                alias = self._alias(main, pattern[0], other, f"{number}/{attempt}/{variant}", new=new)
                if alias not in names:
                    names.append(alias)
            if new or not any(whole in self._real for row in names for whole in _identities(row)):
                break
        return names

    def _main(self, pattern: Row, label: str, *, new: bool) -> Row:
        row: Row = {}
        for name in self._fields:
            values: dict[str, None] = {}
            for turn in range(len(pattern[name])):
                values[self._value(name, f"{label}/{turn}", new=new)] = None
            row[name] = list(values)
        return row

    def _alias(self, main: Row, before: Row, after: Row, label: str, *, new: bool) -> Row:
        """Change the names of a decoy as one person's other name differs from the main one."""
        row = dict(main)
        for name in (name for name in _NAMES if name in main and before[name] != after[name]):
            if not after[name]:
                row[name] = []
            elif main[name] and before[name] and _are_alike(before[name][0], after[name][0]):
                row[name] = [self._misspelt(main[name][0], f"{label}/{name}")]
            else:
                row[name] = [self._value(name, label, new=new)]
        return row

    def _value(self, name: str, label: str, *, new: bool) -> str:
        circle, what = self._circles[name], _TOGETHER.get(name, name)
        if name == "postal_code" and not self._homes.is_common(self._homes.take(self._draw(what, label))):
            what = name
        drawn = circle.take(self._draw(what, label))
        if circle.is_common(drawn) and not new:
            return drawn
        value = drawn
        for attempt in range(_ATTEMPTS):
            value = self._new_value(name, drawn, f"{label}/{attempt}")
            if value not in circle:  # nobody has it, as nobody else has what it stands for
                break
        return value

    def _new_value(self, name: str, drawn: str, label: str) -> str:
        """Make of two people's values one that is like them and neither's."""
        other = self._circles[name].take(self._draw(f"other {name}", label))
        digits = int.from_bytes(self._draw(f"digits {name}", label)[:8], "big")
        if name == "birth_date":
            return _new_date(drawn, digits)
        if name in ("ssn4", "phone", "medicaid_id"):
            kept = max(len(drawn) - 4, 0)
            return drawn[:kept] + f"{digits % 10 ** (len(drawn) - kept):0{len(drawn) - kept}d}"
        if name == "postal_code":
            return drawn[:3] + other[3:]
        if name == "street" and (house := _NUMBERED.fullmatch(drawn)):
            least = 10 ** (len(house[1]) - 1)
            way = house[2] if self._ways.is_common(house[2]) else _spliced(house[2], _way(other))
            return f"{least + digits % (9 * least)}{way}"
        return other if name in ("sex", "suffix") else _spliced(drawn, other)

    def _misspelt(self, text: str, label: str) -> str:
        """Leave out a letter, or double it where there is only one."""
        at = int.from_bytes(self._draw("letter", label)[:8], "big") % len(text)
        return text[:at] + text[at + 1 :] if len(text) > 2 else text + text[at]

    def _draw(self, what: str, label: object) -> bytes:
        return hmac.digest(self._key, f"draw {what} {label}".encode(), "sha256")


def _identities(row: Row) -> Iterator[tuple[object, ...]]:
    """Yield what no decoy may have of a person: name with birth date, and all that there is of a record."""
    named = [tuple(row[name]) for name in ("given_name", "family_name") if row.get(name)]
    if named and row.get("birth_date"):
        yield (*named, tuple(row["birth_date"]))
    filled = [(name, tuple(values)) for name, values in row.items() if values and name != "sex"]
    if len(filled) > 1:
        yield tuple(filled)


def _are_alike(one: str, other: str) -> bool:
    """Say whether two names look like the same one misspelt: half their pairs of letters are the same."""
    pairs, others = ({a + b for a, b in pairwise(f"_{text}_")} for text in (one, other))
    return len(pairs & others) >= (len(pairs) + len(others)) / 4


def _way(street: str) -> str:
    """Return a street without the number of the house."""
    house = _NUMBERED.fullmatch(street)
    return house[2] if house else street


def _spliced(drawn: str, other: str) -> str:
    return drawn[: (len(drawn) + 1) // 2] + other[len(other) // 2 :]


def _new_date(drawn: str, digits: int) -> str:
    """Keep the year of a birth date, and of the rest as much as there is."""
    if len(drawn) < 6:
        return drawn
    day = dt.date(int(drawn[:4]), 1, 1) + dt.timedelta(days=digits % 365)
    return f"{day:%Y%m%d}"[: len(drawn)]
