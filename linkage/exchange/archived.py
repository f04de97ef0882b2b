"""What opened files before there were opening keys: ML-KEM-768 with X25519, for archives and nothing else.

Nothing here seals. X25519 is not among the curves that SP 800-186 lists for key agreement, so that reading such an
archive is no approved operation: no command of the package does it, only a caller that says ``archived=True``.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite

from linkage.exchange.secret import Secret

__all__ = ["ArchivedOpeningKey"]

_HPKE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class ArchivedOpeningKey(Secret):
    """The opening part of a party key of version 1 or 2.

    Parameters
    ----------
    mlkem768
        The seed (d, z) of the ML-KEM-768 key, 64 bytes.
    x25519
        The X25519 private key, 32 bytes.

    Raises
    ------
    ValueError
        For any other lengths.
    """

    def __init__(self, mlkem768: bytes, x25519: bytes) -> None:
        self._mlkem = MLKEM768PrivateKey.from_seed_bytes(mlkem768)
        self._x25519 = X25519PrivateKey.from_private_bytes(x25519)

    @property
    def public_keys(self) -> tuple[bytes, bytes]:
        """The ML-KEM-768 and the X25519 public key."""
        return self._mlkem.public_key().public_bytes_raw(), self._x25519.public_key().public_bytes_raw()

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes:
        """Open a key that was wrapped by HPKE for this one.

        Raises
        ------
        cryptography.exceptions.InvalidTag
            If it was wrapped for another, under other ``info``, or is damaged.
        """
        return _HPKE.decrypt(wrapped, MLKEM768X25519PrivateKey(self._mlkem, self._x25519), info=info)
