"""A second encoder, written from ``schemas/format/README.md`` in plain Python with hashlib and hmac alone.

It holds the page to the truth: vectors, page and package say the same, from the linkage key to the diffused bits, or
this fails. Nothing here makes the vectors: what they hold must be encoded in this way for ever.
"""

from __future__ import annotations

import ast
import hashlib
import hmac
import importlib
import json
import math
from base64 import b64decode
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import linkage.steward.fingerprint
from linkage.contract.spec import LinkageSpec
from linkage.exchange.keys import LinkageKey
from linkage.steward.encode import encode
from linkage.steward.standardise import rules_digest
from linkage.steward.tokens import tokenise

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "encoding-v1.json").read_text(encoding="utf-8"))
KEY = json.loads(VECTORS["key_file"].splitlines()[1])
CASES = {case["what"]: case for case in VECTORS["cases"]}
Record = dict[str, Any]


def mac(key: bytes, *parts: bytes) -> bytes:
    return hmac.digest(key, b"".join(parts), "sha256")


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


# --- the key tree


def subkey(spec_digest: str, purpose: str, field: str) -> bytes:
    """HKDF-SHA-256 (RFC 5869), 32 bytes: extract, then one block of expand."""
    texts = [b"derive", *(part.encode() for part in (KEY["project"], KEY["epoch"], spec_digest, purpose, field))]
    info = b"".join(number(len(text)) + text for text in texts)
    return mac(mac(b"linkage key tree v1", b64decode(KEY["secret"])), info, b"\x01")


# --- tokens


def tokens_of(value: str, kind: str) -> list[str]:
    year = [f"y{i}{digit}" for i, digit in enumerate(value[:4])] + [f"Y{value[:4]}"]
    if kind == "bigrams":
        padded = "_" + value.replace(" ", "") + "_"
        found = [padded[i : i + 2] for i in range(len(padded) - 1)]
    elif kind == "positional":
        found = [f"{i}{character}" for i, character in enumerate(value)] + ["=" + value]
    elif kind == "whole":
        found = ["=" + value]
    elif kind == "year":
        found = year
    else:
        month, day = value[4:6], value[6:8]
        found = year + ([f"M{month}"] if month else [])
        found += [f"D{day}", f"md{month}{day}", f"md{day}{month}"] if day else []
    return list(dict.fromkeys(found))


def values_of(record: Record, field: str) -> list[str]:
    value = record.get(field)
    values = value if isinstance(value, list) else [value]
    return list(dict.fromkeys(text for text in values if text))


# --- positions and filters


def stream(key: bytes, size: int, before: bytes, after: bytes = b"", *, block_last: bool = False) -> Iterator[int]:
    """Positions below ``size``: 16-bit big-endian words of HMAC blocks."""
    for block in count():
        drawn = mac(key, before, number(block)) if block_last else mac(key, number(block), after)
        for start in range(0, 32, 2):
            yield int.from_bytes(drawn[start : start + 2], "big") & (size - 1)


def tag_of(spec: dict[str, Any], part: dict[str, Any]) -> str:
    kind = spec["fields"][part["field"]]["kind"]
    return "name/bigrams" if kind == "name" and part["tokens"] == "bigrams" else f"{part['field']}/{part['tokens']}"


def hashes_of(spec: dict[str, Any], entry: dict[str, Any], record: Record) -> list[int]:
    """How many hashes a token of each part gets."""
    hashing = spec["hashing"]
    if hashing["kind"] == "fixed_hashes":
        base = hashing["hashes"]
    else:
        total = 0.0
        for part in entry["parts"]:
            for value in values_of(record, part["field"]):
                total += len(tokens_of(value, part["tokens"])) * part["weight"]
        base = -math.log1p(-hashing["fill"]) * spec["bits"] / max(total, 1e-9)
    return [max(1, round(base * part["weight"])) for part in entry["parts"]]


def positions_of(spec: dict[str, Any], digest: str, entry: dict[str, Any], record: Record) -> set[int]:
    chosen: set[int] = set()
    for part, hashes in zip(entry["parts"], hashes_of(spec, entry, record), strict=True):
        key = subkey(digest, "filter", f"{entry['name']}/{tag_of(spec, part)}")
        for value in values_of(record, part["field"]):
            for token in tokens_of(value, part["tokens"]):
                chosen.update(islice(stream(key, spec["bits"], b"", token.encode()), hashes))
    return chosen


def as_bytes(bits: set[int], size: int) -> bytes:
    return sum(1 << bit for bit in bits).to_bytes(size // 8, "little")


# --- diffusion and padding


def diffusion_sets(spec: dict[str, Any], digest: str, name: str) -> list[list[int]]:
    key = subkey(digest, "diffusion", name)
    sets = []
    for output in range(spec["diffusion"]["bits"]):
        drawn: dict[int, None] = {}
        for position in stream(key, spec["bits"], number(output), block_last=True):
            drawn[position] = None
            if len(drawn) == spec["diffusion"]["inputs"]:
                break
        sets.append(list(drawn))
    return sets


def padding(spec: dict[str, Any], digest: str, name: str, agency: bytes, label: str) -> set[int]:
    key = mac(agency, subkey(digest, "padding", name))
    share = 0.5
    if spec["hashing"]["kind"] == "constant_fill":
        share = (1 - (1 - 2 * spec["hashing"]["fill"]) ** spec["diffusion"]["inputs"]) / 2
    limit, size = round(share * 65536), spec["diffusion"]["bits"]
    drawn = b"".join(mac(key, number(block), label.encode()) for block in range(size // 16))
    return {bit for bit in range(size) if int.from_bytes(drawn[2 * bit : 2 * bit + 2], "little") < limit}


def encoded(spec: dict[str, Any], digest: str, record: Record, agency: bytes, label: str) -> dict[str, Any]:
    """Return, for each filter: hashes, the filter before diffusion, the filter that is sent, the mask."""
    result = {}
    for entry in spec["filters"]:
        name = entry["name"]
        fields = list(dict.fromkeys(part["field"] for part in entry["parts"]))
        mask = sum(1 << i for i, field in enumerate(fields) if values_of(record, field))
        before = positions_of(spec, digest, entry, record)
        if mask:
            sets = diffusion_sets(spec, digest, name)
            sent = {output for output, inputs in enumerate(sets) if len(before & set(inputs)) % 2}
        else:
            sent = padding(spec, digest, name, agency, label)
        result[name] = {
            "hashes": hashes_of(spec, entry, record) if mask else None,
            "before": as_bytes(before, spec["bits"]).hex(),
            "sent": as_bytes(sent, spec["diffusion"]["bits"]).hex(),
            "mask": mask,
        }
    return result


# --- the vectors


def canonical(spec: dict[str, Any]) -> str:
    content = {name: value for name, value in spec.items() if name != "title"}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_check_value() -> None:
    texts = [part.encode() for part in ("check value", KEY["project"], KEY["epoch"])]
    info = b"".join(number(len(text)) + text for text in texts)
    assert mac(mac(b"linkage key tree v1", b64decode(KEY["secret"])), info, b"\x01")[:8].hex() == KEY["check"]


@pytest.mark.parametrize("what", CASES)
def test_spec_digest(what: str) -> None:
    case = CASES[what]
    assert hashlib.sha256(canonical(case["spec"]).encode()).hexdigest() == case["spec_digest"]
    assert LinkageSpec.model_validate(case["spec"]).digest == case["spec_digest"]


@pytest.mark.parametrize("what", CASES)
def test_subkeys(what: str) -> None:
    case = CASES[what]
    key = LinkageKey(KEY["project"], KEY["epoch"], b64decode(KEY["secret"]))
    used = {("diffusion", entry["name"]) for entry in case["spec"]["filters"]}
    used |= {("padding", name) for _, name in used}
    for entry in case["spec"]["filters"]:
        used |= {("filter", f"{entry['name']}/{tag_of(case['spec'], part)}") for part in entry["parts"]}
    assert {(row["purpose"], row["field"]) for row in case["subkeys"]} == used
    for row in case["subkeys"]:
        assert subkey(case["spec_digest"], row["purpose"], row["field"]).hex() == row["key"]
        derived = key.derive(spec_digest=case["spec_digest"], purpose=row["purpose"], field=row["field"])
        assert derived.hex() == row["key"]


def test_tokens() -> None:
    kinds = {row["tokens"] for row in VECTORS["tokens"]}
    assert kinds == {"bigrams", "positional", "date", "year", "whole"}
    for row in VECTORS["tokens"]:
        assert tokens_of(row["value"], row["tokens"]) == row["cut"]
        assert tokenise(row["value"], row["tokens"]) == row["cut"]


def test_positions() -> None:
    for row in VECTORS["positions"]:
        drawn = islice(stream(bytes.fromhex(row["key"]), row["bits"], b"", row["token"].encode()), len(row["first"]))
        assert list(drawn) == row["first"]


@pytest.mark.parametrize("what", CASES)
def test_second_encoder(what: str) -> None:
    case = CASES[what]
    agency = bytes.fromhex(case["padding_key"])
    for row in case["records"]:
        found = encoded(case["spec"], case["spec_digest"], row["fields"], agency, row["label"])
        assert found == row["filters"], row["label"]


@pytest.mark.parametrize("what", CASES)
def test_package(what: str) -> None:
    case = CASES[what]
    spec = LinkageSpec.model_validate(case["spec"])
    rows = case["records"]
    columns = {}
    for field in spec.fields:
        cells = [row["fields"].get(field) for row in rows]
        several = any(isinstance(cell, list) for cell in cells)
        listed = [[cell] if several and isinstance(cell, str) else cell for cell in cells]
        columns[field] = pl.Series(listed, dtype=pl.List(pl.String) if several else pl.String)
    key = LinkageKey(KEY["project"], KEY["epoch"], b64decode(KEY["secret"]))
    labels = [row["label"] for row in rows]
    frame = encode(pl.DataFrame(columns), spec, key, labels=labels, padding_key=bytes.fromhex(case["padding_key"]))
    for name in (entry.name for entry in spec.filters):
        assert [cell.hex() for cell in frame[name]] == [row["filters"][name]["sent"] for row in rows]
        if spec.presence_masks:
            assert frame[f"{name}_mask"].to_list() == [row["filters"][name]["mask"] for row in rows]


@pytest.mark.parametrize("inputs", [1, 15, 16, 17, 18, 32])
def test_any_number_of_inputs(inputs: int) -> None:
    """Sixteen positions are one block of a stream: those beyond come from the next."""
    case = CASES["constant fill"]
    content = case["spec"] | {"diffusion": {"bits": 512, "inputs": inputs}}
    spec = LinkageSpec.model_validate(content)
    content = spec.model_dump(mode="json")
    key = LinkageKey(KEY["project"], KEY["epoch"], b64decode(KEY["secret"]))
    record = {"given_name": "maria", "family_name": "garcia"}
    frame = encode(pl.DataFrame([record]), spec, key, labels=["a"], padding_key=b"x")
    found = encoded(content, spec.digest, record, b"x", "a")
    assert {name: frame[name][0].hex() for name in found} == {name: row["sent"] for name, row in found.items()}


def test_vectors_hold_what_is_special() -> None:
    """Empty filters, several values, a mask, both kinds of hashing, letters beyond ASCII, the least fill of a token."""
    kinds = {case["spec"]["hashing"]["kind"] for case in CASES.values()}
    filters = [found for case in CASES.values() for row in case["records"] for found in row["filters"].values()]
    texts = json.dumps([row["fields"] for case in CASES.values() for row in case["records"]], ensure_ascii=False)
    assert kinds == {"constant_fill", "fixed_hashes"}
    assert {case["spec"]["presence_masks"] for case in CASES.values()} == {True, False}
    assert any(found["mask"] == 0 for found in filters)
    assert any(found["hashes"] and 1 in found["hashes"] for found in filters)
    assert "[" in texts and not texts.isascii()


def test_fingerprint() -> None:
    vector = VECTORS["fingerprint"]
    spec = next(case for case in CASES.values() if case["what"] == vector["case"])["spec"]
    digest = hashlib.sha256(canonical(spec).encode()).hexdigest()
    code = hmac.new(subkey(digest, "fingerprint", ""), digestmod="sha256")
    code.update(b"linkage fingerprint 1\0" + vector["rules_digest"].encode() + b"\0")
    rows = [
        encoded(spec, digest, record, vector["padding_key"].encode(), str(place))
        for place, record in enumerate(vector["panel"])
    ]
    for name in (entry["name"] for entry in spec["filters"]):
        code.update(b"".join(bytes.fromhex(row[name]["sent"]) for row in rows))
        if spec["presence_masks"]:
            code.update(b"".join(row[name]["mask"].to_bytes(2, "little") for row in rows))
    assert code.hexdigest() == vector["fingerprint"]


def test_fingerprint_of_the_package() -> None:
    vector = VECTORS["fingerprint"]
    spec = next(case for case in CASES.values() if case["what"] == vector["case"])["spec"]
    key = LinkageKey(KEY["project"], KEY["epoch"], b64decode(KEY["secret"]))
    assert rules_digest() == vector["rules_digest"]
    assert linkage.steward.fingerprint.fingerprint(LinkageSpec.model_validate(spec), key) == vector["fingerprint"]


# --- approved primitives alone

ROAD = ("exchange.keys", "steward.tokens", "steward.streams", "steward.bits", "steward.encode", "steward.fingerprint")
APPROVED = {
    "cryptography.hazmat.primitives.hashes": {"SHA256"},
    "cryptography.hazmat.primitives.hmac": {"HMAC"},
    "cryptography.hazmat.primitives.kdf.hkdf": {"HKDF"},
}


@pytest.mark.parametrize("name", ROAD)
def test_the_encoding_road_uses_approved_primitives_alone(name: str) -> None:
    """HMAC (FIPS 198-1), SHA-256 (FIPS 180-4) and HKDF (SP 800-56C); no other digest is asked for by name."""
    source = Path(str(importlib.import_module(f"linkage.{name}").__file__)).read_text(encoding="utf-8")
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cryptography"):
            assert {alias.name for alias in node.names} <= APPROVED[str(node.module)]
        if isinstance(node, ast.Import):
            assert not {alias.name for alias in node.names} & {"random", "zlib", "xxhash", "cryptography"}
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "hashlib":
            assert node.attr == "sha256"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value.lower() not in {"md5", "sha1", "blake2b", "blake2s", "blake3", "sha512", "siphash"}
