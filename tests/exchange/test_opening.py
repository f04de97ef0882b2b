from __future__ import annotations

import copy
import hashlib
import hmac
import pickle

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey, derive_private_key
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM1024PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from linkage.exchange.canonical import CanonicalError
from linkage.exchange.opening import OVERHEAD, OpeningKey, PublicOpeningKey

SEED = bytes(range(32))
KEY = OpeningKey(SEED)
OTHER = OpeningKey(bytes(32))
WRAPPED = KEY.public.wrap(b"k" * 32, b"info")
# SP 800-186, 3.2.1.4, written out a second time.
ORDER = int(
    "39402006196394479212279040100143613805079739270465446667946905279627659399113263569398956308152294913554433653942643"
)


def derived(purpose: bytes, length: int) -> bytes:
    """HKDF-SHA-256 by RFC 5869, by hand."""
    label = b"linkage opening key v1"
    info = len(label).to_bytes(4, "big") + label + len(purpose).to_bytes(4, "big") + purpose
    key = hmac.digest(bytes(32), SEED, "sha256")
    output = block = b""
    for number in range(1, 4):
        block = hmac.digest(key, block + info + bytes([number]), "sha256")
        output += block
    return output[:length]


def test_both_keys_come_from_the_seed_as_it_is_written_down() -> None:
    lattice = MLKEM1024PrivateKey.from_seed_bytes(derived(b"ML-KEM-1024", 64)).public_key().public_bytes_raw()
    scalar = int.from_bytes(derived(b"P-384", 56), "big") % (ORDER - 1) + 1
    point = derive_private_key(scalar, SECP384R1()).public_key()
    public = KEY.public
    assert public.mlkem1024 == lattice
    assert public.p384 == point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    packed = b"".join(len(p).to_bytes(4, "big") + p for p in (b"linkage opening key v1", lattice, public.p384))
    assert public.key_id == KEY.key_id == hashlib.sha256(packed).hexdigest()[:32]
    assert KEY.seed == SEED


def test_what_is_wrapped_is_unwrapped_by_its_owner_alone() -> None:
    assert len(WRAPPED) == 32 + OVERHEAD
    assert KEY.unwrap(WRAPPED, b"info") == b"k" * 32
    assert OpeningKey(KEY.seed).unwrap(WRAPPED, b"info") == b"k" * 32
    for key, info in ((OTHER, b"info"), (KEY, b"other")):
        with pytest.raises(InvalidTag):
            key.unwrap(WRAPPED, info)


@given(st.integers(0, len(WRAPPED) - 1), st.integers(0, 7))
def test_any_flipped_bit_is_refused(position: int, bit: int) -> None:
    damaged = bytearray(WRAPPED)
    damaged[position] ^= 1 << bit
    with pytest.raises(InvalidTag):
        KEY.unwrap(bytes(damaged), b"info")


@given(st.binary(max_size=2 * len(WRAPPED)))
def test_other_bytes_are_refused_in_the_same_way(wrapped: bytes) -> None:
    with pytest.raises(InvalidTag):
        KEY.unwrap(wrapped, b"info")


def test_keys_differ() -> None:
    made = {OpeningKey.create().key_id for _ in range(4)}
    assert len(made | {KEY.key_id, OTHER.key_id}) == 6


def test_a_point_has_one_form() -> None:
    public = KEY.public
    point = EllipticCurvePublicKey.from_encoded_point(SECP384R1(), public.p384)
    compressed = point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    hybrid = bytes([6 + (public.p384[-1] & 1)]) + public.p384[1:]
    off_the_curve = public.p384[:-1] + bytes([public.p384[-1] ^ 1])
    unreduced = b"\x04" + b"\xff" * 96
    for p384 in (compressed, hybrid, off_the_curve, unreduced, b"\0", b"\x04" + bytes(96), public.p384 + b"\0", b""):
        with pytest.raises(CanonicalError):
            PublicOpeningKey(public.mlkem1024, p384)


def test_a_lattice_key_has_one_form() -> None:
    public = KEY.public
    # 12-bit coefficients at or above q = 3329 are none (FIPS 203, 7.2).
    for mlkem1024 in (b"\xff" * 1568, b"\xff\xff" + public.mlkem1024[2:], public.mlkem1024[:-1], b""):
        with pytest.raises(CanonicalError):
            PublicOpeningKey(mlkem1024, public.p384)


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_seed_has_one_length(length: int) -> None:
    with pytest.raises(CanonicalError):
        OpeningKey(bytes(length))


def test_secrets_are_not_shown_and_not_pickled() -> None:
    assert repr(KEY) == f"OpeningKey(key_id='{KEY.key_id}')"
    assert KEY.public.mlkem1024.hex()[:16] not in repr(KEY.public)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="pickled"):
            attempt(KEY)


def test_public_keys_are_equal_by_value() -> None:
    assert KEY.public == PublicOpeningKey(KEY.public.mlkem1024, KEY.public.p384)
    assert KEY.public != OTHER.public
