from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linkage.errors import SealError
from linkage.exchange import inspect_receipt, read_receipt, write_receipt
from linkage.exchange.documents import write_document
from linkage.exchange.ledger import Anchor

ACCEPTED: dict[str, Any] = {
    "batch_digest": "a" * 64,
    "source": "mpd",
    "status": "accepted",
    "reason": None,
}
ANCHOR = Anchor(7, "b" * 64)


def test_round_trip(cast: Any, tmp_path: Path) -> None:
    written = write_receipt(tmp_path / "a", **ACCEPTED, anchor=ANCHOR, sender=cast.hub)
    assert read_receipt(tmp_path / "a", cast.hub.public) == inspect_receipt(tmp_path / "a") == written
    place = {"ledger_entries": 7, "ledger_head": "b" * 64}
    assert written.model_dump(exclude={"time", "sender"}) == ACCEPTED | place | {"records": None}
    assert b"records" not in (tmp_path / "a").read_bytes()
    assert (written.anchor, written.version) == (ANCHOR, 3)
    refused = ACCEPTED | {"status": "quarantined", "reason": "bad-signature"}
    write_receipt(tmp_path / "b", **refused, anchor=ANCHOR, sender=cast.hub)
    assert read_receipt(tmp_path / "b", cast.hub.public).reason == "bad-signature"


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": "bad-signature"},
        {"status": "quarantined"},
        {"status": "lost"},
        {"batch_digest": "mpd.batch"},
        {"source": "MPD Milwaukee"},
        {"status": "quarantined", "reason": "Bad Signature of a Person"},
    ],
)
def test_what_is_no_receipt_is_not_written(cast: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(SealError) as caught:
        write_receipt(tmp_path / "a", **(ACCEPTED | changes), anchor=ANCHOR, sender=cast.hub)
    assert caught.value.reason == "malformed"
    assert list(tmp_path.iterdir()) == []


def test_every_flipped_bit_is_refused(cast: Any, tmp_path: Path) -> None:
    write_receipt(tmp_path / "a", **ACCEPTED, anchor=ANCHOR, sender=cast.hub)
    data = (tmp_path / "a").read_bytes()
    for position in range(len(data)):
        spoilt = bytearray(data)
        spoilt[position] ^= 1 << position % 8
        (tmp_path / "b").write_bytes(bytes(spoilt))
        with pytest.raises(SealError):
            read_receipt(tmp_path / "b", cast.hub.public)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: data + b"\n", "malformed"),
        (lambda data: data[:-1], "malformed"),
        (lambda data: data.rsplit(b"\n", 2)[0], "malformed"),
        (lambda data: data.replace(b"\n", b"\r\n"), "bad-version"),
        (lambda data: data.replace(b"receipt/3", b"receipt/4"), "bad-version"),
        (lambda data: data.replace(b"receipt/3", b"receipt/2"), "malformed"),
        (lambda data: data.replace(b"receipt/3", b"receipt/1"), "malformed"),
        (lambda data: data.replace(b'"ledger_entries":7,', b""), "malformed"),
        (lambda data: data.replace(b'"ledger_entries":7,', b'"ledger_entries":null,'), "malformed"),
        (lambda data: data.replace(b'"ledger_entries":7,', b'"ledger_entries":8,'), "bad-signature"),
        (lambda data: data.replace(b'"source"', b'"records":340,"source"'), "malformed"),
        (lambda data: data.replace(b'"source"', b'"records":null,"source"'), "malformed"),
        (lambda data: data.replace(b'"ledger_entries":7,', b'"ledger_entries": 7,'), "malformed"),
        (lambda data: data + b"x" * 10_000, "malformed"),
        (lambda data: b"", "bad-version"),
    ],
)
def test_spoilt_receipts_are_refused(cast: Any, tmp_path: Path, spoil: Callable[[bytes], bytes], reason: str) -> None:
    write_receipt(tmp_path / "a", **ACCEPTED, anchor=ANCHOR, sender=cast.hub)
    (tmp_path / "a").write_bytes(spoil((tmp_path / "a").read_bytes()))
    with pytest.raises(SealError) as caught:
        read_receipt(tmp_path / "a", cast.hub.public)
    assert caught.value.reason == reason


@pytest.mark.parametrize("version", [1, 2])
def test_earlier_receipts_say_how_many_records_and_are_read(cast: Any, tmp_path: Path, version: int) -> None:
    place = {"ledger_entries": 7, "ledger_head": "b" * 64} if version == 2 else {}
    content = {**ACCEPTED, "records": 340, "time": 1, "sender": cast.hub.key_id, **place}
    write_document(tmp_path / "a", "receipt", version, content, cast.hub)
    receipt = read_receipt(tmp_path / "a", cast.hub.public)
    assert (receipt.records, receipt.version) == (340, version)
    for records in ({}, {"records": None}, {"records": -1}):
        changed = {name: value for name, value in content.items() if name != "records"} | records
        write_document(tmp_path / "a", "receipt", version, changed, cast.hub)
        with pytest.raises(SealError) as caught:
            read_receipt(tmp_path / "a", cast.hub.public)
        assert caught.value.reason == "malformed"


def test_receipt_of_another_is_refused(cast: Any, tmp_path: Path) -> None:
    write_receipt(tmp_path / "a", **ACCEPTED, anchor=ANCHOR, sender=cast.dcf)
    data = (tmp_path / "a").read_bytes()
    for content, reason in (
        (data, "untrusted-sender"),
        (data.replace(cast.dcf.key_id.encode(), cast.hub.key_id.encode()), "bad-signature"),
    ):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(SealError) as caught:
            read_receipt(tmp_path / "a", cast.hub.public)
        assert caught.value.reason == reason
    with pytest.raises(SealError) as caught:
        read_receipt(tmp_path / "none", cast.hub.public)
    assert caught.value.reason == "unreadable"
