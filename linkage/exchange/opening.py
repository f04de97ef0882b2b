"""Opening keys: what a sealed key is opened with, and what others seal it with.

A pair of which an attacker must break each half: ML-KEM-1024 (FIPS 203) and Diffie-Hellman on P-384 (SP 800-56A),
joined by SHA3-256 within HPKE (RFC 9180; KEM ``MLKEM1024-P384`` of draft-ietf-hpke-pq), with HKDF-SHA-384 and
AES-256-GCM. All of a private key comes from one seed of 32 bytes, short enough to be split into shares or printed:

- HKDF-SHA-256 of the seed, no salt, ``info`` = ``pack("linkage opening key v1", "ML-KEM-1024")``, gives the 64 bytes
  from which ML-KEM-1024 makes its key (``d``, then ``z``);
- the same with ``"P-384"`` gives 56 bytes; read big-endian, modulo n - 1, plus 1, they are the scalar ("extra random
  bits", FIPS 186-5, A.2.1), within 2**-64 of uniform.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey, derive_private_key
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM1024PrivateKey, MLKEM1024PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM1024P384PrivateKey, MLKEM1024P384PublicKey, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from linkage.exchange.canonical import CanonicalError, pack
from linkage.exchange.secret import Secret

__all__ = ["MLKEM1024_SIZE", "OVERHEAD", "P384_SIZE", "SEED_SIZE", "OpeningKey", "PublicOpeningKey"]

SEED_SIZE = 32
"""Bytes of the seed."""

MLKEM1024_SIZE = 1568
"""Bytes of an ML-KEM-1024 public key, and of a ciphertext."""

P384_SIZE = 97
"""Bytes of a point of P-384, uncompressed: 04, x, y (SEC 1, 2.3.3); no other form is taken."""

OVERHEAD = MLKEM1024_SIZE + P384_SIZE + 16
"""By how many bytes a wrapped key is longer than the key."""

_HPKE = Suite(KEM.MLKEM1024_P384, KDF.HKDF_SHA384, AEAD.AES_256_GCM)
_UNCOMPRESSED = b"\x04"
_LABEL = "linkage opening key v1"
# The order of P-384's base point, SP 800-186, 3.2.1.4.
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973


@dataclass(frozen=True, repr=False)
class PublicOpeningKey:
    """What is needed to seal for the holder of an opening key.

    Parameters
    ----------
    mlkem1024
        The ML-KEM-1024 encapsulation key, :data:`MLKEM1024_SIZE` bytes.
    p384
        The point, :data:`P384_SIZE` bytes, uncompressed.

    Raises
    ------
    CanonicalError
        If one of them is not a key, or not in its one form: told here and not when something is due to be sealed.
    """

    mlkem1024: bytes
    p384: bytes

    def __post_init__(self) -> None:
        """Check both halves: the modulus (FIPS 203, 7.2), and that the point is on the curve."""
        if len(self.p384) != P384_SIZE or self.p384[:1] != _UNCOMPRESSED:
            raise CanonicalError("not the one form of a point")
        try:
            _ = self._key
        except ValueError:
            raise CanonicalError("not an opening key") from None

    def __repr__(self) -> str:
        return f"PublicOpeningKey(key_id={self.key_id!r})"

    @cached_property
    def _key(self) -> MLKEM1024P384PublicKey:
        return MLKEM1024P384PublicKey(
            MLKEM1024PublicKey.from_public_bytes(self.mlkem1024),
            EllipticCurvePublicKey.from_encoded_point(SECP384R1(), self.p384),
        )

    @cached_property
    def key_id(self) -> str:
        """32 hex characters of the SHA-256 over both public keys."""
        return hashlib.sha256(pack(_LABEL, self.mlkem1024, self.p384)).hexdigest()[:32]

    def wrap(self, content_key: bytes, info: bytes) -> bytes:
        """Encrypt a short key for the holder by HPKE (RFC 9180, base mode), bound to ``info``.

        Returns
        -------
        bytes
            :data:`OVERHEAD` bytes more than ``content_key``: ML-KEM ciphertext, point, encrypted key, tag.
        """
        return _HPKE.encrypt(content_key, self._key, info=info)


class OpeningKey(Secret):
    """The private part.

    Parameters
    ----------
    seed
        32 bytes of a cryptographic random generator; everything else comes from them.

    Raises
    ------
    CanonicalError
        For any other length.
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_SIZE:
            raise CanonicalError("not the seed of an opening key")
        self._seed = bytes(seed)
        self._mlkem = MLKEM1024PrivateKey.from_seed_bytes(self._derived("ML-KEM-1024", 64))
        scalar = int.from_bytes(self._derived("P-384", 56), "big") % (_ORDER - 1) + 1
        self._p384 = derive_private_key(scalar, SECP384R1())

    def __repr__(self) -> str:
        return f"OpeningKey(key_id={self.key_id!r})"

    def _derived(self, purpose: str, length: int) -> bytes:
        return HKDF(SHA256(), length, salt=None, info=pack(_LABEL, purpose)).derive(self._seed)

    @classmethod
    def create(cls) -> OpeningKey:
        """Make a new one, from the operating system's random generator."""
        return cls(secrets.token_bytes(SEED_SIZE))

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes: all that needs to be kept."""
        return self._seed

    @cached_property
    def public(self) -> PublicOpeningKey:
        """The part that others may have."""
        return PublicOpeningKey(
            self._mlkem.public_key().public_bytes_raw(),
            self._p384.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        )

    @property
    def key_id(self) -> str:
        """The id of the public part."""
        return self.public.key_id

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes:
        """Undo :meth:`PublicOpeningKey.wrap`.

        Raises
        ------
        cryptography.exceptions.InvalidTag
            If the key was wrapped for another, under other ``info``, or is damaged.
        """
        if wrapped[MLKEM1024_SIZE : MLKEM1024_SIZE + 1] != _UNCOMPRESSED:
            # OpenSSL would take the hybrid form (06, 07) too, of the same point.
            raise InvalidTag
        return _HPKE.decrypt(wrapped, MLKEM1024P384PrivateKey(self._mlkem, self._p384), info=info)
