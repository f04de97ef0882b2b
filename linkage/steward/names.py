"""Standard forms of personal names: A-Z only, one word.

Decisions, all part of the rules version:

- Compatibility decomposition (NFKD), marks stripped; letters that do not decompose are written out (ß SS, ø O, ł L,
  æ AE). Scripts other than Latin have no letters left and are missing: an agency that holds such names transliterates.
- Apostrophes vanish (O'Brien, OBRIEN); hyphens, spaces and particles are joined (Garcia-Lopez, GARCIALOPEZ), because
  agencies disagree about them more than about the letters.
- Text in brackets or double quotes is a remark or a nickname and is dropped, unless nothing else is there.
- Titles and suffixes (JR, SR, II, III, IV) are dropped where another word remains; the suffix is an
  identifier of its own.
- Entries that stand for "no name" are missing. NULL and NA stay, for people are called so: a source whose system
  writes them lists them in its schema.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from linkage.steward import rules

__all__ = [
    "SUFFIXES",
    "SUFFIX_COLUMN",
    "WholeName",
    "given_name",
    "letters",
    "name",
    "name_suffix",
    "parse_whole_name",
    "standard_suffix",
]

SUFFIXES = {
    "JR": "JR",
    "JNR": "JR",
    "SR": "SR",
    "SNR": "SR",
    "II": "II",
    "III": "III",
    "IV": "IV",
    "2ND": "II",
    "3RD": "III",
    "4TH": "IV",
}
"""Suffix as written -> suffix. V and VI are left out: they are initials and given names."""

SUFFIX_COLUMN = SUFFIXES | {"JUNIOR": "JR", "SENIOR": "SR", "2": "II", "3": "III", "4": "IV"}
"""The same for a column of suffixes. Inside a name Junior and Senior are names."""

SPECIAL_LETTERS = {
    "Æ": "AE",
    "Œ": "OE",
    "Ø": "O",
    "Ł": "L",
    "Đ": "D",
    "Ð": "D",
    "Þ": "TH",
    "Ħ": "H",
    "Ŧ": "T",
    "Ŋ": "N",
    "ẞ": "SS",
    "Ə": "E",
}
"""Upper-case letters without a decomposition -> plain letters."""

_SPECIAL = str.maketrans(SPECIAL_LETTERS)
APOSTROPHES = "['`´‘’ʻʼ′]"
"""Pattern of everything that is typed as an apostrophe."""

_REMARK = re.compile(r"\([^)]*\)|\[[^\]]*\]|\"[^\"]*\"|“[^”]*”")
_WORD = re.compile(r"[A-Z]+")
_MARKED_WORD = re.compile(r"[A-Z0-9]+")


@dataclass(frozen=True)
class WholeName:
    """A whole name cut into its standard parts; a part that is not there is None."""

    given: str | None
    middle: str | None
    family: str | None


def letters(text: str) -> str:
    """Return ``text`` in upper case without marks: every Latin letter is A-Z, all else is left as it is."""
    if text.isascii():
        return text.upper()
    # Decompose before and after: some capitals exist only decomposed, and upper case undoes ligatures.
    upper = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).upper()).upper()
    return "".join(letter for letter in upper if not unicodedata.combining(letter)).translate(_SPECIAL)


def _words(text: str) -> list[str]:
    """Return the words of a name that count: without remarks, titles and suffixes where another word remains."""
    # Apostrophes go before the compatibility form, which would turn some of them into a space and a mark.
    plain = letters(re.sub(APOSTROPHES, "", text))
    found = _WORD.findall(_REMARK.sub(" ", plain)) or _WORD.findall(plain)
    kept = [word for word in found if word not in SUFFIXES]
    found = kept or found
    while len(found) > 1 and found[0] in rules.words("title"):
        found = found[1:]
    return found


def _join(words: list[str]) -> str | None:
    joined = "".join(words)
    return joined if joined and joined not in rules.words("name_placeholder") else None


def name(text: str) -> str | None:
    """Return the standard form of a name of any kind, or None. A nickname stays: it may be a family name."""
    return _join(_words(text))


def given_name(text: str) -> str | None:
    """Return the standard form of a given name: a nickname becomes its name, a trailing initial is dropped.

    Only for columns that a source schema declares as given names.
    """
    found = _words(text)
    while len(found) > 1 and len(found[-1]) == 1:
        found = found[:-1]
    joined = _join(found)
    return None if joined is None else rules.nicknames().get(joined, joined)


def standard_suffix(text: str) -> str | None:
    """Return the standard form of a suffix column, or None if it is none of the known ones."""
    found = _MARKED_WORD.findall(letters(text))
    return SUFFIX_COLUMN.get("".join(found))


def name_suffix(text: str) -> str | None:
    """Return the suffix written inside a name, or None. A name that is nothing but a suffix is a name."""
    found = _MARKED_WORD.findall(_REMARK.sub(" ", letters(re.sub(APOSTROPHES, "", text))))
    return SUFFIXES.get(found[-1]) if len(found) > 1 else None


def parse_whole_name(text: str, order: Literal["given family", "family, given"]) -> WholeName:
    """Cut a whole name, such as an alias, into its parts.

    A single word is a given name (a street name). Particles stay with the family name they precede.
    """
    if "".join(_words(text)) in rules.words("name_placeholder"):
        return WholeName(None, None, None)
    if order == "family, given":
        family, _, rest = text.partition(",")
        if not rest.strip():
            return WholeName(given_name(family), None, None)
        words = _words(rest)
        return WholeName(given_name(rest if not words else words[0]), _join(words[1:]), name(family))
    words = _words(text)
    if len(words) < 2:
        return WholeName(given_name(text), None, None)
    start = len(words) - 1
    while start > 1 and words[start - 1] in rules.words("particle"):
        start -= 1
    return WholeName(given_name(words[0]), _join(words[1:start]), _join(words[start:]))
