"""The published vectors. Nothing here makes them: what they hold must be read in this way for ever."""

from __future__ import annotations

import hmac
import json
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linkage.errors import SealError
from linkage.exchange import (
    Party,
    PublicParty,
    envelope,
    load_linkage_key,
    load_party,
    load_public,
    open_encodings,
    open_facts,
    open_person_map,
    read_manifest,
    read_receipt,
)
from linkage.exchange.canonical import CanonicalError, dump, load
from linkage.exchange.envelope import KEYS

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


def vectors(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def parties_of(tmp_path: Path, version: int) -> dict[str, tuple[Party, PublicParty]]:
    """Read the test parties; those before version 3 are archived, and read as that alone."""
    read = {}
    for name, files in vectors(f"parties-v{version}.json")["parties"].items():
        private, public = tmp_path / f"{name}.key", tmp_path / f"{name}.pub"
        for path, text, mode in ((private, files["private"], 0o600), (public, files["public"], 0o644)):
            path.write_bytes(text.encode())
            path.chmod(mode)
        read[name] = load_party(private, archived=version < 3), load_public(public, archived=version < 3)
        assert read[name][0].key_id == read[name][1].key_id == files["key_id"]
        assert read[name][0].public == read[name][1]
        assert read[name][1].archived == (version < 3)
    return read


@pytest.fixture
def parties(tmp_path: Path) -> dict[str, tuple[Party, PublicParty]]:
    return parties_of(tmp_path, 1)


def packed(*parts: str) -> bytes:
    return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA-256 for 32 bytes by the letter of RFC 5869, as a second implementation would write it."""
    return hmac.digest(hmac.digest(salt, secret, "sha256"), info + b"\x01", "sha256")


def test_every_file_of_keys_says_that_they_are_test_keys() -> None:
    for path in VECTORS.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        if "linkage-key/1" in text or "secret" in text:
            assert json.loads(text)["note"].startswith("TEST KEYS")


def test_derivations(tmp_path: Path) -> None:
    content = vectors("linkage-key-v1.json")
    path = tmp_path / "linkage.key"
    path.write_bytes(content["key_file"].encode())
    path.chmod(0o600)
    key = load_linkage_key(path)
    assert (key.project, key.epoch, key.check_value) == (content["project"], content["epoch"], content["check_value"])
    secret = b64decode(json.loads(content["key_file"].splitlines()[1])["secret"])
    assert len(content["derivations"]) == 6
    for entry in content["derivations"]:
        parts = entry["spec_digest"], entry["purpose"], entry["field"]
        assert key.derive(spec_digest=parts[0], purpose=parts[1], field=parts[2]).hex() == entry["key"]
        info = packed("derive", key.project, key.epoch, *parts)
        assert hkdf(secret, b"linkage key tree v1", info).hex() == entry["key"]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_pseudonyms(tmp_path: Path, version: int) -> None:
    """The same under the renewed keys."""
    content = vectors("pseudonyms-v1.json")
    party = parties_of(tmp_path, version)[content["party"]][0]
    numbers = [entry["local_id"] for entry in content["pseudonyms"]]
    assert len(numbers) == 7
    assert party.pseudonyms(numbers) == [entry["pseudonym"] for entry in content["pseudonyms"]]
    for entry in content["derived"]:
        assert party.derive(entry["purpose"]).hex() == entry["key"]


@pytest.mark.parametrize("version", KEYS)
def test_batch(tmp_path: Path, version: int) -> None:
    content = vectors(f"batch-v{version}.json")
    assert content["parties"] == f"parties-v{KEYS[version]}.json"
    parties = parties_of(tmp_path, KEYS[version])
    path = tmp_path / "a.batch"
    path.write_bytes(b64decode(content["file"]))
    sender = parties[content["sender"]][1]
    hub, analysis = parties[content["hub"]][0], parties[content["analysis"]][0]
    assert envelope.file_digest(path) == content["sha256"]
    assert read_manifest(path).model_dump() == content["header"]
    rows = open_encodings(path, hub, sender).to_dicts()
    as_text = [{name: cell.hex() if isinstance(cell, bytes) else cell for name, cell in row.items()} for row in rows]
    assert as_text == content["encodings"]
    assert b64decode(content["file"]).startswith(f"linkage-batch/{version}\n".encode())
    # Version 1 had no test persons.
    assert open_facts(path, analysis, sender).to_dicts() == [{"test_person": None} | row for row in content["facts"]]
    for stranger in ("stranger", content["sender"]):
        with pytest.raises(SealError) as caught:
            open_encodings(path, parties[stranger][0], sender)
        assert caught.value.reason == "not-for-us"


def test_receipt(parties: dict[str, tuple[Party, PublicParty]], tmp_path: Path) -> None:
    content = vectors("batch-v1.json")
    (tmp_path / "receipt").write_bytes(content["receipt"].encode())
    receipt = read_receipt(tmp_path / "receipt", parties["hub"][1])
    assert (receipt.batch_digest, receipt.status, receipt.records) == (content["sha256"], "accepted", 5)
    assert (receipt.version, receipt.anchor) == (1, None)


@pytest.mark.parametrize("case", vectors("batch-v1.json")["negative"], ids=lambda case: case["what"])
def test_spoilt_batch(parties: dict[str, tuple[Party, PublicParty]], tmp_path: Path, case: dict[str, Any]) -> None:
    content = vectors("batch-v1.json")
    data = bytearray(b64decode(content["file"]))
    if "at" in case:
        data[case["at"]] ^= case["xor"]
    data = data[: case.get("keep", len(data))] + bytes.fromhex(case.get("append", ""))
    path = tmp_path / "a.batch"
    path.write_bytes(bytes(data))
    openers: list[tuple[Callable[[Path, Party, PublicParty], object], str]] = [
        (open_encodings, "hub"),
        (open_facts, "analysis"),
    ]
    for opener, recipient in openers:
        with pytest.raises(SealError) as caught:
            opener(path, parties[content[recipient]][0], parties[content["sender"]][1])
        assert caught.value.reason == case["reason"]


@pytest.mark.parametrize("version", KEYS)
def test_person_map(tmp_path: Path, version: int) -> None:
    content = vectors(f"person-map-v{version}.json")
    parties = parties_of(tmp_path, KEYS[version])
    path = tmp_path / "a.map"
    path.write_bytes(b64decode(content["file"]))
    opened = open_person_map(path, parties[content["analysis"]][0], parties[content["sender"]][1])
    assert content["parties"] == f"parties-v{KEYS[version]}.json"
    assert opened.frame.to_dicts() == content["rows"]
    assert opened.quality == content["quality"]
    assert b64decode(content["file"]).startswith(f"linkage-person-map/{version}\n".encode())
    assert opened.draws.to_dicts() == content.get("draws", [])
    assert opened.manifest.draws == (3 if version > 1 else 0)


def test_canonical_json() -> None:
    content = vectors("canonical-json-v1.json")
    for text in content["accepted"]:
        assert dump(load(text.encode())) == text.encode()
    refused = [text.encode() for text in content["refused"]] + [bytes.fromhex(text) for text in content["refused_hex"]]
    assert len(refused) > 25
    for data in refused:
        with pytest.raises(CanonicalError):
            load(data)
