"""Signatures: Ed25519 (RFC 8032, FIPS 186-5) and ML-DSA-65 (FIPS 204) side by side, and both must verify.

A forger has to break both. What each signs names the pair, the key id (which is over all of a party's public keys) and
the purpose: neither half is a signature by itself, of another party, or of another purpose, and none of the older
kind, which was Ed25519 alone, can be made from one.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from linkage.exchange.canonical import CanonicalError, load_bytes, pack

__all__ = ["ARCHIVED_SIZE", "PAIR", "SIZE", "load_signature", "sign", "verify", "verify_archived"]

PAIR = "ed25519-mldsa65"
"""The one pair of algorithms that signs."""

_CLASSICAL = 64
SIZE = _CLASSICAL + 3309
"""Bytes of a signature: Ed25519's, then ML-DSA-65's."""

ARCHIVED_SIZE = _CLASSICAL
"""Bytes of a signature by a party key of version 1: Ed25519's alone."""


def _message(key_id: str, purpose: str, message: bytes) -> bytes:
    return pack("linkage signature v2", PAIR, key_id, purpose, message)


def sign(classical: Ed25519PrivateKey, lattice: MLDSA65PrivateKey, key_id: str, purpose: str, message: bytes) -> bytes:
    """Sign with both keys; ML-DSA is hedged, so that two signatures over the same message differ.

    Returns
    -------
    bytes
        :data:`SIZE` bytes.
    """
    whole = _message(key_id, purpose, message)
    return classical.sign(whole) + lattice.sign(whole)


def verify(classical: bytes, lattice: bytes, key_id: str, signature: bytes, purpose: str, message: bytes) -> bool:
    """Tell whether both halves of a signature verify under the two public keys; one half is none."""
    if len(signature) != SIZE:
        return False
    whole = _message(key_id, purpose, message)
    try:
        Ed25519PublicKey.from_public_bytes(classical).verify(signature[:_CLASSICAL], whole)
        MLDSA65PublicKey.from_public_bytes(lattice).verify(signature[_CLASSICAL:], whole)
    except InvalidSignature:
        return False
    return True


def verify_archived(classical: bytes, signature: bytes, purpose: str, message: bytes) -> bool:
    """Tell whether a signature of version 1, Ed25519 alone, verifies: for archived files under archived keys."""
    try:
        Ed25519PublicKey.from_public_bytes(classical).verify(signature, pack("linkage signature v1", purpose, message))
    except InvalidSignature:
        return False
    return True


def load_signature(text: str) -> bytes:
    """Read a signature in base64, of either size; which one a party must make, its key says.

    Raises
    ------
    CanonicalError
        If it is neither, or not the one base64 text of it.
    """
    for size in (SIZE, ARCHIVED_SIZE):
        if len(text) == -(-size // 3) * 4:
            return load_bytes(text, size)
    raise CanonicalError("not the base64 text of a signature")
