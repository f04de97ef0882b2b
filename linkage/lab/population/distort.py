"""How names, numbers and dates go wrong on their way into a record."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from linkage.lab.population.sampling import Flags, Ints, Texts

__all__ = ["DAY", "apply", "digit_typo", "month_of", "typo", "wrong_dates"]

DAY = "datetime64[D]"

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = {
    letter: "".join(
        row[at]
        for row, shift in ((rows[i + step], step) for step in (-1, 0, 1) if 0 <= i + step < 3)
        for at in (j - 1, j, j + 1)
        if 0 <= at < len(row)
        and not (shift == 0 and at == j)
        and not (shift == 1 and at > j)
        and not (shift == -1 and at < j)
    )
    for rows in (_ROWS,)
    for i, line in enumerate(rows)
    for j, letter in enumerate(line)
}
_OCR = {"rn": "m", "m": "rn", "cl": "d", "d": "cl", "w": "vv", "l": "i", "i": "l", "h": "b", "e": "c", "o": "0"}


def apply(values: Texts, at: Flags, change: Callable[[str], str]) -> Texts:
    """Change the values where ``at`` holds; returns a copy. Empty values stay empty."""
    changed = values.copy()
    for i in np.flatnonzero(at):
        if changed[i]:
            changed[i] = change(changed[i])
    return changed


def typo(rng: np.random.Generator) -> Callable[[str], str]:
    """Return a function that makes one slip in a word, so that it always differs.

    A neighbouring key, two letters swapped, a letter dropped or doubled, or a shape misread.
    """

    def change(word: str) -> str:
        for _ in range(20):
            made = _slip(rng, word)
            if made.casefold() != word.casefold() and made:
                return made
        return word + word[-1]

    return change


def _slip(rng: np.random.Generator, word: str) -> str:
    kind, at = int(rng.integers(0, 5)), int(rng.integers(0, len(word)))
    letter = word[at]
    if kind == 0 and letter.lower() in _NEIGHBOURS:
        near = _NEIGHBOURS[letter.lower()]
        return word[:at] + _cased(near[int(rng.integers(0, len(near)))], letter) + word[at + 1 :]
    if kind == 1 and at + 1 < len(word):
        return word[:at] + _cased(word[at + 1], letter) + _cased(letter, word[at + 1]) + word[at + 2 :]
    if kind == 2 and len(word) > 3:
        return word[:at] + word[at + 1 :]
    if kind == 3:
        return word[: at + 1] + letter.lower() + word[at + 1 :]
    for seen, read in _OCR.items():
        if at > 0 and word.startswith(seen, at) and read.isalpha():
            return word[:at] + read + word[at + len(seen) :]
    return word


def _cased(letter: str, like: str) -> str:
    return letter.upper() if like.isupper() else letter.lower()


def digit_typo(rng: np.random.Generator) -> Callable[[str], str]:
    """Return a function that gets one digit of a number wrong, or swaps two."""

    def change(number: str) -> str:
        places = [i for i, c in enumerate(number) if c.isdigit()]
        if not places:
            return number
        i = places[int(rng.integers(0, len(places)))]
        later = [j for j in places if j > i and number[j] != number[i]]
        if later and rng.random() < 0.4:
            j = later[0]
            return number[:i] + number[j] + number[i + 1 : j] + number[i] + number[j + 1 :]
        wrong = str((int(number[i]) + int(rng.integers(1, 10))) % 10)
        return number[:i] + wrong + number[i + 1 :]

    return change


def wrong_dates(rng: np.random.Generator, dates: Ints, at: Flags) -> Ints:
    """Get the dates wrong where ``at`` holds.

    Day and month swapped, only the year kept (as 1 January), the year one off, or the day misread.

    Parameters
    ----------
    dates
        Days since 1970-01-01, ``(n,)``.
    """
    changed = dates.copy()
    for i in np.flatnonzero(at):
        day = np.datetime64(int(dates[i]), "D").item()
        kind = rng.random()
        if kind < 0.40 and day.day <= 12 and day.day != day.month:
            made = day.replace(month=day.day, day=day.month)
        elif kind < 0.55 and (day.month, day.day) != (1, 1):
            made = day.replace(month=1, day=1)
        elif kind < 0.80:
            made = day.replace(day=min(day.day, 28), year=day.year + (1 if rng.random() < 0.5 else -1))
        else:
            other = (day.day + int(rng.choice([-10, -3, -2, -1, 1, 2, 3, 10])) - 1) % 28 + 1
            made = day.replace(day=other if other != day.day else other % 28 + 1)
        changed[i] = np.datetime64(made, "D").astype(np.int64)
    return changed


def month_of(days: Ints) -> Ints:
    """Return the month of each day as months since 1970-01."""
    return days.astype(DAY).astype("datetime64[M]").astype(np.int64)
