"""A second reader of a batch, written from ``schemas/batch.md`` with single primitives and none of our code.

It holds the document to the truth: if one of the two changes, this fails.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import math
from base64 import b64decode
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cryptography.cobblestone import Cobblestone256Encryptor
from cryptography.hazmat.primitives.asymmetric.ec import ECDH, SECP384R1, EllipticCurvePublicKey, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM1024PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
BATCHES = {n: json.loads((VECTORS / f"batch-v{n}.json").read_text(encoding="utf-8")) for n in (1, 2, 3, 4)}
MAPS = {n: json.loads((VECTORS / f"person-map-v{n}.json").read_text(encoding="utf-8")) for n in (2, 3, 4)}
PARTIES = {n: json.loads((VECTORS / f"parties-v{n}.json").read_text(encoding="utf-8"))["parties"] for n in (1, 2, 3)}


def keys(generation: int, name: str, which: str) -> dict[str, bytes]:
    first, second = PARTIES[generation][name][which].splitlines()
    assert first == f"linkage-key/{generation}"
    content = json.loads(second)
    return {field: b64decode(content[field]) for field in content if field not in ("kind", "name", "key_id")}


def pack(*parts: str | bytes) -> bytes:
    data = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in data)


def expand(prk: bytes, info: bytes, length: int, name: str) -> bytes:
    """HKDF-Expand, RFC 5869."""
    output, block, number = b"", b"", 1
    while len(output) < length:
        block = hmac.digest(prk, block + info + bytes([number]), name)
        output, number = output + block, number + 1
    return output[:length]


# The order of P-384's base point.
ORDER = (
    39402006196394479212279040100143613805079739270465446667946905279627659399113263569398956308152294913554433653942643
)


def mlkem1024_p384(wrapped: bytes, private: dict[str, bytes]) -> tuple[bytes, bytes]:
    """Return the shared secret of ML-KEM-1024 and P-384, joined by SHA3-256, and the encrypted content key."""
    ciphertext, share, sealed = wrapped[:1568], wrapped[1568:1665], wrapped[1665:]
    prk = hmac.digest(bytes(32), private["opening"], "sha256")
    lattice = expand(prk, pack("linkage opening key v1", "ML-KEM-1024"), 64, "sha256")
    scalar = int.from_bytes(expand(prk, pack("linkage opening key v1", "P-384"), 56, "sha256"), "big") % (ORDER - 1) + 1
    own = derive_private_key(scalar, SECP384R1())
    parts = (
        MLKEM1024PrivateKey.from_seed_bytes(lattice).decapsulate(ciphertext),
        own.exchange(ECDH(), EllipticCurvePublicKey.from_encoded_point(SECP384R1(), share)),
        share,
        own.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        b"MLKEM1024-P384",
    )
    return hashlib.sha3_256(b"".join(parts)).digest(), sealed


def x_wing(wrapped: bytes, private: dict[str, bytes]) -> tuple[bytes, bytes]:
    """Return the shared secret of X-Wing, ML-KEM-768 and X25519, joined by SHA3-256, and the encrypted content key."""
    ciphertext, share = wrapped[:1088], wrapped[1088:1120]
    own = X25519PrivateKey.from_private_bytes(private["x25519"])
    parts = (
        MLKEM768PrivateKey.from_seed_bytes(private["mlkem768"]).decapsulate(ciphertext),
        own.exchange(X25519PublicKey.from_public_bytes(share)),
        share,
        own.public_key().public_bytes_raw(),
        b"\\.//^\\",
    )
    return hashlib.sha3_256(b"".join(parts)).digest(), wrapped[1120:]


def hpke_open(wrapped: bytes, private: dict[str, bytes], info: bytes) -> bytes:
    """HPKE base mode, RFC 9180, one message, no associated data.

    KEM 0x0051, KDF 0x0002, AEAD 0x0002; with party keys of versions 1 and 2 KEM 0x647a, KDF 0x0001, AEAD 0x0002.
    """
    if "opening" in private:
        name, suite = "sha384", b"HPKE" + bytes.fromhex("005100020002")
        shared, sealed = mlkem1024_p384(wrapped, private)
    else:
        name, suite = "sha256", b"HPKE" + bytes.fromhex("647a00010002")
        shared, sealed = x_wing(wrapped, private)

    def extract(label: bytes, salt: bytes, secret: bytes) -> bytes:
        zeros = bytes(hashlib.new(name).digest_size)
        return hmac.digest(salt or zeros, b"HPKE-v1" + suite + label + secret, name)

    def labelled(label: bytes, length: int) -> bytes:
        prefix = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label
        return expand(secret, prefix + schedule, length, name)

    schedule = b"\x00" + extract(b"psk_id_hash", b"", b"") + extract(b"info_hash", b"", info)
    secret = extract(b"secret", shared, b"")
    return AESGCM(labelled(b"key", 32)).decrypt(labelled(b"base_nonce", 12), sealed, b"")


def cobblestone_open(key: bytes, context: bytes, data: bytes) -> bytes:
    """C2SP chunked encryption with SHA-512 and AES-256-GCM."""
    salt, commitment, body = data[:24], data[24:56], data[56:]
    material = expand(key, b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + salt + context, 76, "sha512")
    assert material[44:] == commitment
    cipher, nonce = AESGCM(material[:32]), int.from_bytes(material[32:44], "big")
    chunks = [body[start : start + 16400] for start in range(0, len(body) + 1, 16400)]
    assert len(chunks[-1]) < 16400
    return b"".join(cipher.decrypt((nonce ^ n).to_bytes(12, "big"), chunk, None) for n, chunk in enumerate(chunks))


def key_id(public: dict[str, bytes]) -> str:
    lattice = [public["mldsa65"]] if "mldsa65" in public else []
    opening = [public[name] for name in (("mlkem1024", "p384") if "p384" in public else ("mlkem768", "x25519"))]
    label = f"linkage party key v{3 if 'p384' in public else 1 + len(lattice)}"
    packed = pack(label, public["signing"], *lattice, *opening)
    return hashlib.sha256(packed).hexdigest()[:32]


def check_signature(sender: dict[str, bytes], signature: bytes, message: bytes) -> None:
    """Verify a signature of purpose "envelope": Ed25519 alone for keys of version 1, then ML-DSA-65 beside it."""
    if "mldsa65" in sender:
        message = pack("linkage signature v2", "ed25519-mldsa65", key_id(sender), "envelope", message)
        MLDSA65PublicKey.from_public_bytes(sender["mldsa65"]).verify(signature[64:], message)
    else:
        message = pack("linkage signature v1", "envelope", message)
        assert len(signature) == 64
    Ed25519PublicKey.from_public_bytes(sender["signing"]).verify(signature[:64], message)


def opened(
    vector: dict[str, Any], first: bytes, kind: str, sender_name: str, compartment: str, recipient: str
) -> bytes:
    """Verify a vector's file and open one compartment."""
    data = b64decode(vector["file"])
    assert data.startswith(first)
    data = data[len(first) :]
    length = int.from_bytes(data[:4], "big")
    version = int(first[-2:-1])
    generation = max(1, version - 1)
    start = 4 + length + (64 if generation == 1 else 64 + 3309)
    raw, signature, body = data[4 : 4 + length], data[4 + length : start], data[start:]
    sender = keys(generation, sender_name, "public")
    check_signature(sender, signature, first + raw)
    manifest: dict[str, Any] = json.loads(raw)
    assert manifest["sender"] == key_id(sender)
    assert manifest["header"] == vector.get("header", manifest["header"])

    offset = 0
    for entry in manifest["compartments"]:
        if entry["name"] == compartment:
            break
        offset += entry["size"]
    assert entry["recipient"] == key_id(keys(generation, recipient, "public"))
    sealed = body[offset : offset + entry["size"]]
    assert hashlib.sha256(sealed).hexdigest() == entry["sha256"]
    info = pack("linkage compartment v1", kind, manifest["id"], compartment, manifest["sender"], entry["recipient"])
    content_key = hpke_open(b64decode(entry["key"]), keys(generation, recipient, "private"), info)
    content = cobblestone_open(content_key, info, sealed)
    return content if version < 4 else unpadded(content)


def unpadded(padded: bytes) -> bytes:
    """Take the padding away and hold it to the page."""
    length = int.from_bytes(padded[:8], "big")
    least = max(8 + length, 4096)
    free = math.floor(math.log2(least)) - (math.floor(math.log2(math.log2(least))) + 1)
    assert len(padded) == math.ceil(least / 2**free) * 2**free
    assert not padded[8 + length :].strip(b"\0")
    return padded[8 : 8 + length]


@pytest.mark.parametrize("version", [1, 2, 3, 4])
@pytest.mark.parametrize(("compartment", "recipient"), [("encodings", "hub"), ("facts", "analysis")])
def test_batch(version: int, compartment: str, recipient: str) -> None:
    vector = BATCHES[version]
    content = opened(vector, f"linkage-batch/{version}\n".encode(), "batch", "mpd", compartment, recipient)
    if version == 4:
        records = len({row["pseudonym"] for row in vector["encodings"]})
        counts = [len(vector["facts"])] if compartment == "facts" else [records, len(vector["encodings"])]
        assert content.startswith(b"".join(count.to_bytes(8, "big") for count in counts))
        content = content[8 * len(counts) :]
    frame = pl.read_parquet(io.BytesIO(content))
    rows = [{k: v.hex() if isinstance(v, bytes) else v for k, v in row.items()} for row in frame.to_dicts()]
    assert rows == vector[compartment]


@pytest.mark.parametrize("version", [2, 3, 4])
def test_draws_of_a_person_map(version: int) -> None:
    vector = MAPS[version]
    content = opened(vector, f"linkage-person-map/{version}\n".encode(), "person-map", "hub", "draws", "analysis")
    length = int.from_bytes(content[:8], "big")
    assert len(content) == 4096 and not content[8 + length :].strip(b"\0")
    assert pl.read_parquet(io.BytesIO(content[8 : 8 + length])).to_dicts() == vector["draws"]


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 40000])
def test_chunks(size: int, cast: Any) -> None:
    """The vector's compartments are one chunk long; here are the other cases, and a wrapped key of today."""
    encryptor = Cobblestone256Encryptor(b"k" * 32, b"context")
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    sealed = encryptor.update(content) + encryptor.finalize()
    assert len(sealed) == size + 56 + 16 * (size // 16384 + 1)
    assert cobblestone_open(b"k" * 32, b"context", sealed) == content
    private = {"opening": cast.hub._opening.seed}
    assert hpke_open(cast.hub.public.wrap(b"c" * 32, b"info"), private, b"info") == b"c" * 32
