"""How a standardised value is cut into tokens. Two values look alike when they share tokens.

:func:`tokenise` says it for one value; :func:`pieces` and :func:`cut` do the same for all values of a field at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.contract.spec import Tokens

__all__ = ["Cut", "Piece", "cut", "number", "pieces", "tokenise"]

Numbers = NDArray[np.integer]
Piece = Literal["bigrams", "positional", "whole", "year", "month_and_day"]


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


def pieces(values: pl.Series, kind: Tokens) -> dict[Piece, pl.Series]:
    """Part values into pieces whose tokens together are the values'; no two pieces have a token in common.

    Neither piece of a date looks at the other, and there are few of each. An empty piece has no tokens.
    """
    if kind == "date":
        return {"year": values.str.slice(0, 4), "month_and_day": values.str.slice(4, 4)}
    return {"year": values.str.slice(0, 4)} if kind == "year" else {kind: values}


@dataclass(frozen=True)
class Cut:
    """The tokens of many pieces.

    Attributes
    ----------
    tokens
        The distinct tokens in UTF-8; a token's number is its place.
    numbers
        The tokens of all pieces by number, one piece after the other; distinct within a piece.
    length
        Shape (pieces,): how many tokens a piece has.
    """

    tokens: list[bytes]
    numbers: Numbers
    length: Numbers


def cut(values: pl.Series, kind: Piece) -> Cut:
    """Cut distinct pieces, none empty, into the tokens that :func:`tokenise` gives."""
    listed = values.to_list()
    if kind == "bigrams":
        return _cut_pairs(listed)
    if kind == "positional":
        return _cut_places(listed)
    if kind == "whole":
        return Cut(_wholes(listed), np.arange(len(listed)), np.ones(len(listed), np.int64))
    return _cut_each(listed, _year if kind == "year" else _month_and_day)


def _wholes(values: Sequence[str]) -> list[bytes]:
    return [f"={value}".encode() for value in values]


def _cut_each(values: Sequence[str], tokens_of: Callable[[str], list[str]]) -> Cut:
    lists = [dict.fromkeys(tokens_of(value)) for value in values]
    tokens = list(dict.fromkeys(chain.from_iterable(lists)))
    place = dict(zip(tokens, range(len(tokens)), strict=True))
    numbers = np.array([place[token] for several in lists for token in several], np.int64)
    return Cut([token.encode() for token in tokens], numbers, np.array([len(several) for several in lists], np.int64))


def _cut_places(values: Sequence[str]) -> Cut:
    """Cut into characters with their places, and the whole."""
    length = np.fromiter(map(len, values), np.int64, len(values))
    end = np.cumsum(length)
    letter, alphabet = _letters("".join(values))
    place = np.arange(len(letter)) - np.repeat(end - length, length)
    numbers, distinct = number(place * len(alphabet) + letter)
    at, which = np.divmod(distinct, max(len(alphabet), 1))
    tokens = [b"%d%b" % (i, alphabet[j]) for i, j in zip(at.tolist(), which.tolist(), strict=True)]
    numbers = np.insert(numbers, end, np.arange(len(tokens), len(tokens) + len(values)))
    return Cut([*tokens, *_wholes(values)], numbers, length + 1)


def _cut_pairs(values: Sequence[str]) -> Cut:
    """Cut into pairs of neighbouring characters, padded and without spaces."""
    code, alphabet = _pairs(values)
    shift = (len(alphabet) ** 2).bit_length()
    length = np.bincount(code >> shift, minlength=len(values))
    code &= (1 << shift) - 1
    numbers, distinct = number(code)
    first, second = np.divmod(distinct, max(len(alphabet), 1))
    tokens = [alphabet[i] + alphabet[j] for i, j in zip(first.tolist(), second.tolist(), strict=True)]
    return Cut(tokens, numbers, length)


def _pairs(values: Sequence[str]) -> tuple[Numbers, list[bytes]]:
    """Return value and pair as one number, each once in ascending order, and the characters that pairs are made of."""
    size = np.fromiter(map(len, values), np.int64, len(values)) + 2
    letter, alphabet = _letters(f"_{'__'.join(values)}_" if values else "")
    shift = (len(alphabet) ** 2).bit_length()
    # In half the memory, and sorted in half the time, where that is enough.
    kind = np.int32 if len(values) << shift < 2**31 else np.int64
    code = np.repeat(np.left_shift(np.arange(len(values), dtype=kind), shift), size)
    if b" " in alphabet and (kept := letter != alphabet.index(b" ")).any():
        letter, code = letter[kept], code[kept]
    within = code[1:] == code[:-1]
    code[:-1] += np.multiply(letter[:-1], len(alphabet), dtype=kind)
    code[:-1] += letter[1:]
    code = code[:-1][within]
    code.sort()
    return code[np.append(True, code[1:] != code[:-1])] if len(code) else code, alphabet


_ASCII = [bytes([code]) for code in range(128)]


def _letters(text: str) -> tuple[NDArray[np.integer], list[bytes]]:
    """Return the text as numbers, and the character of each number in UTF-8."""
    if text.isascii():
        return np.frombuffer(text.encode(), np.uint8), _ASCII
    letter, alphabet = number(np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.int64))
    return letter.astype(np.int32), [chr(code).encode() for code in alphabet.tolist()]


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
    table = np.empty(most + 1, np.int32)
    table[distinct] = np.arange(len(distinct), dtype=np.int32)
    return table[codes], distinct
