"""How a standardised value is cut into tokens. Two values look alike when they share tokens.

:func:`tokenise` says it for one value; :func:`cut` does the same for all values of a field at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.contract.spec import Tokens

__all__ = ["Cut", "cut", "number", "spread", "tokenise"]

Numbers = NDArray[np.int64]


def _bigrams(value: str) -> list[str]:
    padded = f"_{value.replace(' ', '')}_"
    return [padded[i : i + 2] for i in range(len(padded) - 1)]


def _positional(value: str) -> list[str]:
    return [f"{i}{character}" for i, character in enumerate(value)] + [f"={value}"]


def _year(value: str) -> list[str]:
    return [f"y{i}{digit}" for i, digit in enumerate(value[:4])] + [f"Y{value[:4]}"]


def _month_and_day(value: str) -> list[str]:
    month, day = value[:2], value[2:4]
    tokens = [f"M{month}"] if month else []
    if day:
        # A swapped day and month share both of the last two tokens, in either order.
        tokens += [f"D{day}", f"md{month}{day}", f"md{day}{month}"]
    return tokens


def _date(value: str) -> list[str]:
    return _year(value[:4]) + _month_and_day(value[4:])


def _whole(value: str) -> list[str]:
    return [f"={value}"]


_CUTS: dict[Tokens, Callable[[str], list[str]]] = {
    "bigrams": _bigrams,
    "positional": _positional,
    "date": _date,
    "year": _year,
    "whole": _whole,
}


def tokenise(value: str, kind: Tokens) -> list[str]:
    """Cut a standardised value into its distinct tokens.

    Parameters
    ----------
    value
        A standardised, non-empty value.
    kind
        ``bigrams`` (padded, spaces dropped), ``positional`` (each character with its place, and the whole),
        ``date`` (digits of the year with their place, year, month, day, month with day in both orders),
        ``year`` (the year's part of ``date``), ``whole``.

    Returns
    -------
    list of str
        Distinct tokens, in order of first occurrence; never empty.
    """
    return list(dict.fromkeys(_CUTS[kind](value)))


@dataclass(frozen=True)
class Cut:
    """The tokens of many values.

    Attributes
    ----------
    tokens
        The distinct tokens; a token's number is its place.
    numbers
        The tokens of all values by number, one value after the other; distinct within a value.
    start, length
        Shape (values,): where in ``numbers`` a value's tokens begin, and how many there are.
    """

    tokens: list[str]
    numbers: Numbers
    start: Numbers
    length: Numbers


def cut(values: pl.Series, kind: Tokens) -> Cut:
    """Cut distinct, non-empty values into the tokens that :func:`tokenise` gives."""
    listed = values.to_list()
    if kind == "bigrams":
        return _cut_pairs(listed)
    if kind == "positional":
        return _join(_cut_places(listed), _cut_wholes(listed))
    if kind == "whole":
        return _cut_wholes(listed)
    # Neither part of a date looks at the other, and there are few of each.
    years = _cut_parts([value[:4] for value in listed], _year)
    return _join(years, _cut_parts([value[4:] for value in listed], _month_and_day)) if kind == "date" else years


def _cut_wholes(values: Sequence[str]) -> Cut:
    every = np.arange(len(values))
    return Cut([f"={value}" for value in values], every, every, np.ones(len(values), np.int64))


def _cut_parts(parts: Sequence[str], tokens_of: Callable[[str], list[str]]) -> Cut:
    """Cut each distinct part once."""
    place = {part: place for place, part in enumerate(dict.fromkeys(parts))}
    found: dict[str, int] = {}
    lists = [[found.setdefault(token, len(found)) for token in dict.fromkeys(tokens_of(part))] for part in place]
    length = np.array([len(entry) for entry in lists], np.int64)
    numbers = np.array([entry for several in lists for entry in several], np.int64)
    which = np.fromiter(map(place.__getitem__, parts), np.int64, len(parts))
    return Cut(list(found), numbers, (np.cumsum(length) - length)[which], length[which])


def _cut_places(values: Sequence[str]) -> Cut:
    """Cut into characters with their places."""
    length = np.fromiter(map(len, values), np.int64, len(values))
    start = np.cumsum(length) - length
    letter, alphabet = _letters("".join(values))
    place = np.arange(len(letter)) - np.repeat(start, length)
    numbers, distinct = number(place * len(alphabet) + letter)
    at, which = np.divmod(distinct, max(len(alphabet), 1))
    return Cut([f"{i}{alphabet[j]}" for i, j in zip(at.tolist(), which.tolist(), strict=True)], numbers, start, length)


def _cut_pairs(values: Sequence[str]) -> Cut:
    """Cut into pairs of neighbouring characters, padded and without spaces."""
    size = np.fromiter(map(len, values), np.int64, len(values)) + 2
    letter, alphabet = _letters(f"_{'__'.join(values)}_" if values else "")
    owner = np.repeat(np.arange(len(values), dtype=np.int32), size)
    if " " in alphabet and (kept := letter != alphabet.index(" ")).any():
        letter, owner = letter[kept], owner[kept]
    # By value, and each pair once: sorted as one number that holds both.
    shift = (len(alphabet) ** 2).bit_length()
    code = owner[:-1].astype(np.int64)
    code <<= shift
    code += np.multiply(letter[:-1], len(alphabet), dtype=np.int64)
    code += letter[1:]
    code = code[owner[1:] == owner[:-1]]
    code.sort()
    code = code[np.diff(code, prepend=-1) != 0]
    length = np.bincount(code >> shift, minlength=len(values))
    numbers, distinct = number(code & ((1 << shift) - 1))
    first, second = np.divmod(distinct, max(len(alphabet), 1))
    tokens = [alphabet[i] + alphabet[j] for i, j in zip(first.tolist(), second.tolist(), strict=True)]
    return Cut(tokens, numbers, np.cumsum(length) - length, length)


def _letters(text: str) -> tuple[NDArray[np.integer], list[str]]:
    """Return the text as numbers, and the character of each number."""
    if text.isascii():
        return np.frombuffer(text.encode(), np.uint8), [chr(code) for code in range(128)]
    letter, alphabet = number(np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.int64))
    return letter, [chr(code) for code in alphabet.tolist()]


def _join(one: Cut, other: Cut) -> Cut:
    """Give each value the tokens of both cuts, which have none in common."""
    length = one.length + other.length
    start = np.cumsum(length) - length
    numbers = np.empty(int(length.sum()), np.int64)
    for part, at, before in ((one, start, 0), (other, start + one.length, len(one.tokens))):
        numbers[spread(at, part.length)] = part.numbers[spread(part.start, part.length)] + before
    return Cut([*one.tokens, *other.tokens], numbers, start, length)


def spread(start: Numbers, length: Numbers) -> Numbers:
    """Return all places of runs, one run after the other."""
    shift = start - (np.cumsum(length) - length)
    places: Numbers = np.repeat(shift, length)
    places += np.arange(len(places))
    return places


def number(codes: Numbers) -> tuple[Numbers, Numbers]:
    """Return each code's number, from 0 on, and the distinct codes in the order of their numbers: ascending."""
    most = int(codes.max(initial=0))
    if most > 4 * len(codes) + 2**20:
        distinct, numbers = np.unique(codes, return_inverse=True)
        return numbers, distinct
    # A table of all possible codes: far faster than sorting, and mostly they are few.
    seen = np.zeros(most + 1, np.bool_)
    seen[codes] = True
    distinct = np.flatnonzero(seen)
    table = np.empty(most + 1, np.int64)
    table[distinct] = np.arange(len(distinct))
    return table[codes], distinct
