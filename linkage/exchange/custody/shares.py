"""A secret in shares: any ``threshold`` of ``count`` give it back, and fewer tell nothing of it (Shamir 1979).

The shares are lists of words after SLIP-39 (SatoshiLabs), by its reference library, which draws from :mod:`secrets`:
one group, no passphrase, with a checksum in each share that finds any three wrong words, and a 32-bit digest of the
secret that finds a share of another set. Any program that reads SLIP-39 reads them.

The library is in the extra ``custody``. It is not written for constant time: split and join where no stranger's
program runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from linkage.errors import KeyFileError

if TYPE_CHECKING:
    from shamir_mnemonic import Share

__all__ = ["MOST_SHARES", "join", "split"]

MOST_SHARES = 16
"""SLIP-39 counts shares in four bits."""

_SMALLEST, _LARGEST = 16, 512
_MOST_WORDS = 7 + -(-_LARGEST * 8 // 10)
# The rounds of PBKDF2 that SLIP-39 wants stretch a passphrase, and there is none here: the fewest it allows.
_EXPONENT = 0


def split(secret: bytes, threshold: int, count: int) -> list[str]:
    """Split a secret into ``count`` lists of words, any ``threshold`` of which give it back.

    Parameters
    ----------
    secret
        16 to 512 random bytes, an even number of them. 32 bytes make 33 words a share.
    threshold
        At least 2: a share that opens alone is a copy.
    count
        At most :data:`MOST_SHARES`.

    Raises
    ------
    KeyFileError
        ``bad-threshold`` if the numbers do not fit; ``bad-secret`` if the secret has another length.
    """
    if not 2 <= threshold <= count <= MOST_SHARES:
        raise KeyFileError(
            f"no {threshold} of {count} shares can be made",
            reason="bad-threshold",
            hint=f"at least 2 shares are needed to join, and at most {MOST_SHARES} can be made",
        )
    if not _SMALLEST <= len(secret) <= _LARGEST or len(secret) % 2:
        raise KeyFileError("a secret of this length is not split", reason="bad-secret")
    from shamir_mnemonic import generate_mnemonics

    groups: list[list[str]] = generate_mnemonics(1, [(threshold, count)], secret, iteration_exponent=_EXPONENT)
    return groups[0]


def join(shares: Sequence[str]) -> bytes:
    """Give the secret back from its shares, in any order; all that are given must fit each other.

    Parameters
    ----------
    shares
        Lists of words, in letters of any case, with any white space between them.

    Raises
    ------
    KeyFileError
        ``too-few-shares``: fewer different shares than are needed. ``bad-shares``: one has a wrong word, or they are
        not of one set. No message holds a word.
    """
    from shamir_mnemonic import MnemonicError, decode_mnemonics, recover_ems

    if not shares:
        raise KeyFileError("no share is given", reason="too-few-shares")
    found = sorted({_read(number, words) for number, words in enumerate(shares, 1)}, key=lambda share: share.index)
    first = found[0]
    indices = {share.index for share in found}
    if {share.group_parameters() for share in found} != {first.group_parameters()} or len(indices) < len(found):
        raise _bad("the shares are not of one set")
    needed = first.member_threshold
    if len(found) < needed:
        raise KeyFileError(
            f"{len(found)} different shares are given, and {needed} are needed",
            reason="too-few-shares",
            hint="ask the other holders for theirs",
        )
    secrets_found: set[bytes] = set()
    # Each share beyond those that are needed takes the first one's place once: one that does not fit is found.
    for chosen in (found[:needed], *([*found[1:needed], share] for share in found[needed:])):
        try:
            whole = recover_ems(decode_mnemonics([share.mnemonic() for share in chosen]))
            secrets_found.add(whole.decrypt(b""))
        except (MnemonicError, ValueError):
            raise _bad("the shares do not fit each other") from None
    if len(secrets_found) > 1:
        raise _bad("the shares do not fit each other")
    return secrets_found.pop()


def _read(number: int, words: str) -> Share:
    from shamir_mnemonic import MnemonicError, Share

    # Bounded before it is split into words and made one large number.
    if len(words) > 16 * _MOST_WORDS or len(words.split()) > _MOST_WORDS:
        raise _bad(f"share {number} is too long for one")
    try:
        share = Share.from_mnemonic(words)
    except (MnemonicError, ValueError, IndexError):
        raise _bad(f"share {number} has a word that is wrong, missing, or out of place") from None
    if (share.group_count, share.group_index) != (1, 0) or share.member_threshold < 2:
        raise _bad(f"share {number} is of another kind than is made here")
    return share


def _bad(what: str) -> KeyFileError:
    return KeyFileError(
        what, reason="bad-shares", hint="compare the words with the page, and the pages with each other"
    )
