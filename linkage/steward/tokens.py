"""How a standardised value is cut into tokens. Two values look alike when they share tokens.

:func:`tokenise` says it for one value; :func:`cut` does the same for all values of a field at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.contract.spec import Tokens

__all__ = ["Cut", "cut", "tokenise"]

Numbers = NDArray[np.int64]


def _bigrams(value: str) -> list[str]:
    padded = f"_{value.replace(' ', '')}_"
    return [padded[i : i + 2] for i in range(len(padded) - 1)]


def _positional(value: str) -> list[str]:
    return [f"{i}{character}" for i, character in enumerate(value)] + [f"={value}"]


def _year(value: str) -> list[str]:
    return [f"y{i}{digit}" for i, digit in enumerate(value[:4])] + [f"Y{value[:4]}"]


def _date(value: str) -> list[str]:
    month, day = value[4:6], value[6:8]
    tokens = _year(value)
    if month:
        tokens.append(f"M{month}")
    if day:
        # A swapped day and month share both of the last two tokens, in either order.
        tokens += [f"D{day}", f"md{month}{day}", f"md{day}{month}"]
    return tokens


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

    Tokens are of two sorts, because they come in such different numbers: *pieces* are shared by many values and few in
    all; the token of the *whole* value (``=VALUE``) is its own alone.

    Attributes
    ----------
    pieces
        The distinct pieces; a piece's number is its place.
    numbers
        The pieces of all values by number, one value after the other; distinct within a value.
    start, length
        Shape (values,): where in ``numbers`` a value's pieces begin, and how many there are.
    wholes
        The tokens of the whole values, by value; empty where this way of cutting has none.
    """

    pieces: list[str]
    numbers: Numbers
    start: Numbers
    length: Numbers
    wholes: list[str]


def cut(values: pl.Series, kind: Tokens) -> Cut:
    """Cut distinct, non-empty values into the tokens that :func:`tokenise` gives."""
    wholes = [f"={value}" for value in values.to_list()] if kind in ("positional", "whole") else []
    if kind == "whole":
        nothing = np.zeros(len(values), np.int64)
        return Cut([], nothing[:0], nothing, nothing, wholes)
    if kind in ("date", "year"):
        return _cut_each(values, kind)
    return _cut_characters(values, kind, wholes)


def _cut_each(values: pl.Series, kind: Tokens) -> Cut:
    """Cut value by value: good for kinds of which there are few distinct values."""
    found: dict[str, int] = {}
    lists = [[found.setdefault(token, len(found)) for token in tokenise(value, kind)] for value in values.to_list()]
    length = np.array([len(entry) for entry in lists], np.int64)
    numbers = np.array([number for entry in lists for number in entry], np.int64)
    return Cut(list(found), numbers, np.cumsum(length) - length, length, [])


def _cut_characters(values: pl.Series, kind: Tokens, wholes: list[str]) -> Cut:
    """Cut into pairs of characters, or into characters with their places, all values of one length at a time."""
    bigrams = kind == "bigrams"
    if bigrams:
        values = "_" + values.str.replace_all(" ", "", literal=True) + "_"
    size = values.str.len_chars().to_numpy().astype(np.int64)
    order = np.argsort(size, kind="stable")
    text = "".join(values.gather(order).to_list())
    letter, alphabet = _number(np.frombuffer(bytearray(text, "utf-32-le"), "<u4").astype(np.int64))
    letters = len(alphabet)
    start, length = np.zeros(len(values), np.int64), np.zeros(len(values), np.int64)
    codes: list[Numbers] = []
    filled = 0
    for places, rows in _by_length(letter, size, order):
        if bigrams:
            code = np.sort(rows[:, :-1] * letters + rows[:, 1:], axis=1)
            kept = np.diff(code, axis=1, prepend=-1) != 0
        else:
            code = rows + np.arange(rows.shape[1]) * letters
            kept = np.ones(code.shape, np.bool_)
        length[places] = kept.sum(axis=1)
        start[places] = filled + np.cumsum(length[places]) - length[places]
        codes.append(code[kept])
        filled += len(codes[-1])
    numbers, distinct = _number(np.concatenate([np.zeros(0, np.int64), *codes]))
    name = [chr(code) for code in alphabet.tolist()]
    pairs = zip((distinct // max(letters, 1)).tolist(), (distinct % max(letters, 1)).tolist(), strict=True)
    pieces = [f"{name[first] if bigrams else first}{name[second]}" for first, second in pairs]
    return Cut(pieces, numbers, start, length, wholes)


def _by_length(letter: Numbers, size: Numbers, order: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield places and letters (values, length) of the values of each length; ``letter`` holds them in ``order``."""
    at = 0
    ordered = size[order]
    heads = np.flatnonzero(np.diff(ordered, prepend=-1))
    for first, last in zip(heads, np.append(heads, len(order))[1:], strict=True):
        until = at + (last - first) * ordered[first]
        yield order[first:last], letter[at:until].reshape(last - first, ordered[first])
        at = until


def _number(codes: Numbers) -> tuple[Numbers, Numbers]:
    """Return each code's number, from 0 on, and the distinct codes in the order of their numbers: ascending."""
    most = int(codes.max(initial=0))
    if most > 4 * len(codes) + 2**20:
        distinct = np.unique(codes)
        return np.searchsorted(distinct, codes).astype(np.int64), distinct
    # A table of all possible codes: far faster than sorting, and Latin letters make a small one.
    seen = np.zeros(most + 1, np.bool_)
    seen[codes] = True
    return (np.cumsum(seen) - 1)[codes], np.flatnonzero(seen)
