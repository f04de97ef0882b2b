"""The suites: what each version of party keys signs and seals with, and how long everything in it is.

One suite is in use, that of :data:`NEWEST`, in which every primitive is one that NIST has approved
(:mod:`linkage.contract.fips`). The earlier ones are here so that archives stay readable: nothing is signed or sealed
in them any more, and nothing falls back to them by itself.

=======  ======================  ==========================  ====================
version  signs                   opens                       files
=======  ======================  ==========================  ====================
1        Ed25519                 ML-KEM-768 with X25519      versions 1 and 2
2        Ed25519 and ML-DSA-65   ML-KEM-768 with X25519      version 3
3        Ed25519 and ML-DSA-65   ML-KEM-1024 with P-384      version 4
=======  ======================  ==========================  ====================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from linkage.exchange.opening import MLKEM1024_SIZE, OVERHEAD, P384_SIZE, SEED_SIZE
from linkage.exchange.signatures import ARCHIVED_SIZE, SIZE

__all__ = ["CONTENT_KEY_SIZE", "NEWEST", "SUITES", "Suite"]

CONTENT_KEY_SIZE = 32
"""Bytes of the key under which a compartment is encrypted."""


@dataclass(frozen=True)
class Suite:
    """What one version of party keys is made of.

    Parameters
    ----------
    name
        As it stands beside a sealed compartment.
    wrapped
        Bytes of a wrapped content key.
    signature
        Bytes of a signature.
    public
        Public keys, by their field in a file, with their sizes in bytes, in the order in which the key id is over them.
    private
        The same for the private keys and seeds.
    """

    name: str
    wrapped: int
    signature: int
    public: Mapping[str, int]
    private: Mapping[str, int]


_FORMER = "hpke-mlkem768x25519-hkdfsha256-aes256gcm-cobblestone256"
# The content key, the tag of AES-GCM, the ML-KEM-768 ciphertext, the X25519 share.
_FORMER_WRAPPED = CONTENT_KEY_SIZE + 16 + 1088 + 32

SUITES: Mapping[int, Suite] = {
    1: Suite(
        _FORMER,
        _FORMER_WRAPPED,
        ARCHIVED_SIZE,
        {"signing": 32, "mlkem768": 1184, "x25519": 32},
        {"signing": 32, "mlkem768": 64, "x25519": 32},
    ),
    2: Suite(
        _FORMER,
        _FORMER_WRAPPED,
        SIZE,
        {"signing": 32, "mldsa65": 1952, "mlkem768": 1184, "x25519": 32},
        {"signing": 32, "mldsa65": 32, "mlkem768": 64, "x25519": 32},
    ),
    3: Suite(
        "hpke-mlkem1024p384-hkdfsha384-aes256gcm-cobblestone256",
        CONTENT_KEY_SIZE + OVERHEAD,
        SIZE,
        {"signing": 32, "mldsa65": 1952, "mlkem1024": MLKEM1024_SIZE, "p384": P384_SIZE},
        {"signing": 32, "mldsa65": 32, "opening": SEED_SIZE},
    ),
}
"""By the version of party keys."""

NEWEST = max(SUITES)
"""The version that is made, signs and is sealed for."""
