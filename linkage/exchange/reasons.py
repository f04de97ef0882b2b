"""Why a sealed file is refused. One error, a code, and no detail that could help whoever made the file."""

from __future__ import annotations

from linkage.errors import SealError

__all__ = ["REASONS", "refuse"]

REASONS = {
    "unreadable": "the file is not there, or this account may not read it",
    "bad-version": "not a sealed file of the kind and version that is read here; the sender may use another release",
    "malformed": "the file does not follow the format; ask the sender to seal it again",
    "untrusted-sender": "sealed by a key that is not this sender's; compare the key ids",
    "bad-signature": "changed after it was signed, or signed by another key; do not use it",
    "downgraded": "signed in an older way than this sender's key signs; do not use it",
    "truncated": "the file is shorter than its manifest says; copy it again",
    "damaged": "the contents differ from what was signed; copy it again",
    "not-for-us": "sealed for another recipient than this key",
    "cannot-open": "the contents cannot be opened with this key",
    "contents-mismatch": "the contents are not what the manifest says; ask the sender to seal it again",
    "too-few-records": "fewer than two records are never sent",
}
"""Why a sealed file is refused: code -> what that means. Receipts use the same codes."""


def refuse(reason: str) -> SealError:
    """Make the one error of sealed files: a reason code, its meaning as a hint, and no detail."""
    return SealError(f"sealed file refused: {reason}", reason=reason, hint=REASONS[reason])
