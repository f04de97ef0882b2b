"""How a standardised value is cut into tokens. Two values look alike when they share tokens."""

from __future__ import annotations

from collections.abc import Callable

from linkage.contract.spec import Tokens

__all__ = ["tokenise"]


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
