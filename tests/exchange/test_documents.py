from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkage.errors import SealError
from linkage.exchange.documents import read_document, write_document


@pytest.fixture(scope="module")
def written(cast: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("documents") / "a.note"
    write_document(path, "note", 2, {"text": "what is said", "number": 7}, cast.mpd)
    return path


def test_what_was_written_is_read_and_verified(cast: Any, written: Path) -> None:
    document = read_document(written, "note", (1, 2))
    document.verify(cast.mpd.public)
    assert (document.kind, document.version) == ("note", 2)
    assert document.content == {"text": "what is said", "number": 7}
    assert document.digest == hashlib.sha256(written.read_bytes()).hexdigest()


def test_another_party_has_not_signed_it(cast: Any, written: Path) -> None:
    with pytest.raises(SealError) as refused:
        read_document(written, "note", (2,)).verify(cast.dcf.public)
    assert refused.value.reason == "bad-signature"


@pytest.mark.parametrize(("kind", "versions"), [("receipt", (2,)), ("note", (1, 3)), ("not", (2,))])
def test_another_kind_or_version_is_refused(written: Path, kind: str, versions: tuple[int, ...]) -> None:
    with pytest.raises(SealError) as refused:
        read_document(written, kind, versions)
    assert refused.value.reason == "bad-version"


def test_a_signature_is_one_for_its_kind_alone(cast: Any, written: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "a.order"
    renamed.write_bytes(written.read_bytes().replace(b"linkage-note/2", b"linkage-order/2"))
    with pytest.raises(SealError) as refused:
        read_document(renamed, "order", (2,)).verify(cast.mpd.public)
    assert refused.value.reason == "bad-signature"


@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_any_flipped_bit_is_refused(cast: Any, written: Path, tmp_path: Path, share: float, bit: int) -> None:
    spoilt = bytearray(written.read_bytes())
    spoilt[int(share * len(spoilt))] ^= 1 << bit
    path = tmp_path / "spoilt"
    path.write_bytes(bytes(spoilt))
    with pytest.raises(SealError):
        read_document(path, "note", (1, 2)).verify(cast.mpd.public)


@pytest.mark.parametrize(
    "change", [lambda data: data + b"\n", lambda data: data[:-1], lambda data: data[:-1] + b"\r\n"]
)
def test_there_is_one_way_to_end_it(written: Path, tmp_path: Path, change: Any) -> None:
    path = tmp_path / "other"
    path.write_bytes(change(written.read_bytes()))
    with pytest.raises(SealError) as refused:
        read_document(path, "note", (2,))
    assert refused.value.reason == "malformed"


def test_too_long_a_document_is_refused_unread(written: Path) -> None:
    with pytest.raises(SealError) as refused:
        read_document(written, "note", (2,), largest=100)
    assert refused.value.reason == "malformed"


def test_what_cannot_be_written_in_one_way_is_not_written(cast: Any, tmp_path: Path) -> None:
    with pytest.raises(SealError) as refused:
        write_document(tmp_path / "a", "note", 1, {"share": 0.5}, cast.mpd)
    assert refused.value.reason == "malformed"
    assert list(tmp_path.iterdir()) == []
