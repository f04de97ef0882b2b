from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.cobblestone import Cobblestone256Encryptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkage.errors import SealError
from linkage.exchange import REASONS, envelope, file_digest
from linkage.exchange.canonical import CanonicalError, dump, encode_bytes, load_bytes
from linkage.exchange.envelope import KINDS, Compartment
from linkage.exchange.manifest import compartment_info
from linkage.exchange.signatures import SIZE

FIRST = b"linkage-batch/4\n"
AsFile = Callable[[bytes], Path]
CONTENTS = {"one": b"first content" * 3000, "two": b"second"}
together = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def sealed(cast: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("envelope") / "a.batch"
    envelope.seal(
        path,
        "batch",
        {"colour": "blue", "count": 3},
        [
            Compartment("one", cast.hub.public, CONTENTS["one"]),
            Compartment("two", cast.analysis.public, CONTENTS["two"]),
        ],
        cast.mpd,
    )
    assert [entry.name for entry in path.parent.iterdir()] == ["a.batch"]
    return path.read_bytes()


def split(data: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    """Return manifest, signature and compartments."""
    length = int.from_bytes(data[len(FIRST) : len(FIRST) + 4], "big")
    start = len(FIRST) + 4
    return json.loads(data[start : start + length]), data[start + length :][:SIZE], data[start + length + SIZE :]


def join(manifest: dict[str, Any] | bytes, signature: bytes, body: bytes, first: bytes = FIRST) -> bytes:
    raw = manifest if isinstance(manifest, bytes) else dump(manifest)
    return first + len(raw).to_bytes(4, "big") + raw + signature + body


def signed_by(party: Any, manifest: dict[str, Any] | bytes, body: bytes, first: bytes = FIRST) -> bytes:
    """Put a file together as an attacker with a key of its own can."""
    raw = manifest if isinstance(manifest, bytes) else dump(manifest)
    return join(raw, party.sign("envelope", first + raw), body, first)


def attempt(path: Path, cast: Any, name: str = "one") -> str | None:
    """Try to open for the rightful recipient; return the reason of the refusal, and see that nothing was left."""
    recipient = cast.hub if name == "one" else cast.analysis
    target = path.parent / "out" / "plain"
    try:
        envelope.open_compartment(path, name, recipient, cast.mpd.public, target)
    except SealError as error:
        assert error.reason in REASONS
        assert str(error) == f"sealed file refused: {error.reason}"
        assert not target.parent.exists() or list(target.parent.iterdir()) == []
        return error.reason
    return None


def test_round_trip(sealed: bytes, as_file: AsFile, cast: Any, tmp_path: Path) -> None:
    path = as_file(sealed)
    visible = envelope.inspect(path)
    assert visible == envelope.verify(path, cast.mpd.public, "batch")
    assert (visible["kind"], visible["version"], visible["bytes"]) == ("batch", 4, len(sealed))
    assert visible["header"] == {"colour": "blue", "count": 3}
    assert visible["sender"] == cast.mpd.key_id
    for name, recipient in (("one", cast.hub), ("two", cast.analysis)):
        target = tmp_path / "plain" / name
        assert envelope.open_compartment(path, name, recipient, cast.mpd.public, target) == visible
        assert target.read_bytes() == CONTENTS[name]
        if os.name == "posix":
            assert target.stat().st_mode & 0o777 == 0o600
        read = envelope.read_compartments(path, (name,), recipient, cast.mpd.public)
        assert read == (visible, [CONTENTS[name]])
    assert {entry.name for entry in (tmp_path / "plain").iterdir()} == {"one", "two"}
    assert file_digest(path) == hashlib.sha256(sealed).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 3 * 16384, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_every_size_of_content(cast: Any, tmp_path: Path, size: int) -> None:
    source = tmp_path / "plain"
    source.write_bytes(os.urandom(size))
    sealed = tmp_path / "a.map"
    envelope.seal(sealed, "person-map", {}, [Compartment("c", cast.hub.public, source)], cast.mpd)
    _, contents = envelope.read_compartments(sealed, ("c",), cast.hub, cast.mpd.public)
    assert contents == [source.read_bytes()]


def test_sealing_twice_gives_other_bytes(cast: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        envelope.seal(tmp_path / name, "batch", {}, [Compartment("c", cast.hub.public, b"same")], cast.mpd)
    a, b = (split((tmp_path / name).read_bytes()) for name in ("a", "b"))
    assert a[0]["id"] != b[0]["id"]
    assert a[0]["compartments"][0]["key"] != b[0]["compartments"][0]["key"]
    assert a[2] != b[2]


@pytest.mark.parametrize(
    ("kind", "header", "names"),
    [
        ("letter", {}, ["c"]),
        ("batch", {"share": 0.5}, ["c"]),
        ("batch", {"large": 2**53}, ["c"]),
        ("batch", {"text": "\ud800"}, ["c"]),
        ("batch", {"deep": json.loads("[" * 30 + "]" * 30)}, ["c"]),
        ("batch", {"long": "x" * (1 << 20)}, ["c"]),
        ("batch", {}, []),
        ("batch", {}, ["c", "c"]),
        ("batch", {}, ["Not A Name"]),
        ("batch", {}, [f"c-{letter}" for letter in "abcdefghi"]),
    ],
)
def test_what_cannot_be_read_is_not_written(
    cast: Any, tmp_path: Path, kind: str, header: dict[str, Any], names: list[str]
) -> None:
    compartments = [Compartment(name, cast.hub.public, b"content") for name in names]
    with pytest.raises(SealError):
        envelope.seal(tmp_path / "a", kind, header, compartments, cast.mpd)
    assert list(tmp_path.iterdir()) == []


def test_failure_while_sealing_leaves_the_old_file(cast: Any, tmp_path: Path) -> None:
    target = tmp_path / "a.batch"
    target.write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        envelope.seal(target, "batch", {}, [Compartment("c", cast.hub.public, tmp_path / "none")], cast.mpd)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


# Places are drawn as shares of a region, so that what is drawn does not go by the file at hand.
shares = st.integers(0, 2**32 - 1)


def place(share: int, start: int, end: int) -> int:
    """Return a place from ``start`` to before ``end``."""
    return start + share * (end - start) // 2**32


@together
@given(region=st.integers(0, 5), share=shares, bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(
    sealed: bytes, as_file: AsFile, cast: Any, region: int, share: int, bit: int
) -> None:
    _, _, body = split(sealed)
    header = len(sealed) - len(body)
    regions = [(0, len(FIRST)), (len(FIRST), len(FIRST) + 4), (len(FIRST) + 4, header - SIZE), (header - SIZE, header)]
    position = place(share, *[*regions, (header, len(sealed)), (header, header + 60)][region])
    spoilt = bytearray(sealed)
    spoilt[position] ^= 1 << bit
    path = as_file(bytes(spoilt))
    reason = attempt(path, cast)
    assert reason is not None
    if position < len(FIRST):
        assert reason == "bad-version", "no flipped bit makes an earlier version of 4; see the next test for all bits"
    elif header - SIZE <= position < header:
        assert reason == "bad-signature"
    elif position >= header:
        assert reason == "damaged"
    else:
        assert reason in {"malformed", "truncated", "untrusted-sender", "bad-signature"}


def test_every_bit_of_the_first_line(sealed: bytes, as_file: AsFile, cast: Any) -> None:
    """A flipped bit can turn the digit of one version into that of another: all are tried, and the digits too."""
    for position in range(len(FIRST)):
        for bit in range(8):
            spoilt = bytearray(sealed)
            spoilt[position] ^= 1 << bit
            assert attempt(as_file(bytes(spoilt)), cast) == "bad-version"
    for version in range(1, KINDS["batch"]):
        earlier = sealed.replace(FIRST, b"linkage-batch/%d\n" % version, 1)
        assert attempt(as_file(earlier), cast) == "malformed", "its suite is not one of that version"


@together
@given(region=st.integers(0, 4), share=shares)
def test_any_truncation_is_refused(sealed: bytes, as_file: AsFile, cast: Any, region: int, share: int) -> None:
    _, _, body = split(sealed)
    header = len(sealed) - len(body)
    bounds = [
        (0, len(FIRST) - 1),
        (len(FIRST), len(FIRST) + 3),
        (len(FIRST) + 4, header - SIZE - 1),
        (header - SIZE, header - 1),
    ]
    start, end = [*bounds, (header, len(sealed) - 1)][region]
    length = place(share, start, end + 1)
    path = as_file(sealed[:length])
    expected = "bad-version" if length < len(FIRST) else "truncated"
    assert attempt(path, cast) == expected
    with pytest.raises(SealError) as caught:
        envelope.inspect(path)
    assert caught.value.reason == expected


@together
@given(content=st.binary(max_size=200))
def test_any_other_file_is_refused(as_file: AsFile, cast: Any, content: bytes) -> None:
    assert attempt(as_file(content), cast) == "bad-version"
    assert attempt(as_file(FIRST + content), cast) in {"malformed", "truncated"}


def test_missing_file_is_refused(cast: Any, tmp_path: Path) -> None:
    assert attempt(tmp_path / "none", cast) == "unreadable"
    assert attempt(tmp_path, cast) == "unreadable"


def test_other_kind_is_refused(sealed: bytes, as_file: AsFile, cast: Any) -> None:
    path = as_file(sealed)
    for call in (
        lambda: envelope.inspect(path, "person-map"),
        lambda: envelope.verify(path, cast.mpd.public, "person-map"),
        lambda: envelope.read_compartments(path, ("one",), cast.hub, cast.mpd.public, "person-map"),
    ):
        with pytest.raises(SealError) as caught:
            call()
        assert caught.value.reason == "bad-version"


@pytest.mark.parametrize(
    "line",
    [
        b"linkage-batch/5\n",
        b"linkage-batch/0\n",
        b"linkage-batch/01\n",
        b"linkage-batch/1\r\n",
        b"linkage-letter/1\n",
        b"Linkage-batch/1\n",
    ],
)
def test_other_version_is_refused_even_if_signed(sealed: bytes, as_file: AsFile, cast: Any, line: bytes) -> None:
    manifest, _, body = split(sealed)
    assert attempt(as_file(signed_by(cast.mpd, manifest, body, line)), cast) == "bad-version"


def test_kind_is_signed(sealed: bytes, as_file: AsFile, cast: Any) -> None:
    manifest, signature, body = split(sealed)
    renamed = as_file(join(manifest, signature, body, b"linkage-person-map/4\n"))
    assert attempt(renamed, cast) == "bad-signature"
    # The sender itself cannot turn the compartment of a batch into one of a person map.
    signed = as_file(signed_by(cast.mpd, manifest, body, b"linkage-person-map/4\n"))
    assert attempt(signed, cast) == "cannot-open"


def test_resigned_by_another_key(sealed: bytes, as_file: AsFile, cast: Any) -> None:
    manifest, _, body = split(sealed)
    assert attempt(as_file(signed_by(cast.dcf, manifest, body)), cast) == "bad-signature"
    manifest["sender"] = cast.dcf.key_id
    stolen = as_file(signed_by(cast.dcf, manifest, body))
    assert attempt(stolen, cast) == "untrusted-sender"
    # Even where dcf is trusted: what mpd sealed does not open as a file of dcf.
    with pytest.raises(SealError) as caught:
        envelope.read_compartments(stolen, ("one",), cast.hub, cast.dcf.public)
    assert caught.value.reason == "cannot-open"


def test_signature_for_another_purpose_is_none(sealed: bytes, as_file: AsFile, cast: Any) -> None:
    manifest, _, body = split(sealed)
    signature = cast.mpd.sign("receipt", FIRST + dump(manifest))
    assert attempt(as_file(join(manifest, signature, body)), cast) == "bad-signature"


def test_foreign_recipient(sealed: bytes, as_file: AsFile, cast: Any, tmp_path: Path) -> None:
    path = as_file(sealed)
    for name, recipient in (("one", cast.analysis), ("two", cast.hub), ("one", cast.dcf), ("one", cast.mpd)):
        with pytest.raises(SealError) as caught:
            envelope.open_compartment(path, name, recipient, cast.mpd.public, tmp_path / "plain")
        assert caught.value.reason == "not-for-us"
    assert not (tmp_path / "plain").exists()


def test_unknown_compartment(sealed: bytes, as_file: AsFile, cast: Any) -> None:
    with pytest.raises(SealError) as caught:
        envelope.read_compartments(as_file(sealed), ("three",), cast.hub, cast.mpd.public)
    assert caught.value.reason == "malformed"


def test_swapped_recipients(sealed: bytes, as_file: AsFile, cast: Any) -> None:
    """Even the sender's own signature does not make a wrapped key open under another recipient's id."""
    manifest, _, body = split(sealed)
    one, two = manifest["compartments"]
    one["recipient"], two["recipient"] = two["recipient"], one["recipient"]
    path = as_file(signed_by(cast.mpd, manifest, body))
    assert attempt(path, cast) == "not-for-us"
    with pytest.raises(SealError) as caught:
        envelope.read_compartments(path, ("one",), cast.analysis, cast.mpd.public)
    assert caught.value.reason == "cannot-open"


def test_swapped_compartments(sealed: bytes, as_file: AsFile, cast: Any) -> None:
    manifest, _, body = split(sealed)
    size = manifest["compartments"][0]["size"]
    reversed_body = body[size:] + body[:size]
    original = dict(manifest, compartments=list(manifest["compartments"]))
    assert attempt(as_file(join(original, split(sealed)[1], reversed_body)), cast) == "damaged"
    one, two = manifest["compartments"]
    one["name"], two["name"] = two["name"], one["name"]
    path = as_file(signed_by(cast.mpd, manifest, body))
    with pytest.raises(SealError) as caught:
        envelope.read_compartments(path, ("two",), cast.hub, cast.mpd.public)
    assert caught.value.reason == "cannot-open"


def test_compartment_of_another_file(sealed: bytes, as_file: AsFile, cast: Any, tmp_path: Path) -> None:
    """A compartment with its wrapped key, moved into another file and signed there by the same sender."""
    manifest, _, body = split(sealed)
    manifest["id"] = "0" * 32
    assert attempt(as_file(signed_by(cast.mpd, manifest, body)), cast) == "cannot-open"


def test_wrapped_key_of_another_compartment(sealed: bytes, as_file: AsFile, cast: Any) -> None:
    manifest, _, body = split(sealed)
    one, two = manifest["compartments"]
    one["key"] = two["key"]
    assert attempt(as_file(signed_by(cast.mpd, manifest, body)), cast) == "cannot-open"


def test_chunks_cannot_be_taken_away(cast: Any, as_file: AsFile, sealed: bytes) -> None:
    """A shortened ciphertext, with size, digest and signature made to fit, still does not open."""
    manifest, _, body = split(sealed)
    one = manifest["compartments"][0]
    for kept in (56, 56 + 16400, one["size"] - 1, 1):
        cut = body[:kept] + body[one["size"] :]
        changed = dict(one, size=kept, sha256=hashlib.sha256(body[:kept]).hexdigest())
        forged = dict(manifest, compartments=[changed, manifest["compartments"][1]])
        assert attempt(as_file(signed_by(cast.mpd, forged, cut)), cast) == "cannot-open"


@pytest.mark.parametrize("extra", [b"\0", b"\n", b"x" * 5000])
def test_trailing_bytes(sealed: bytes, as_file: AsFile, cast: Any, extra: bytes) -> None:
    path = as_file(sealed + extra)
    assert attempt(path, cast) == "malformed"
    with pytest.raises(SealError) as caught:
        envelope.inspect(path)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("length", [0, (1 << 20) + 1, 1 << 31, (1 << 32) - 1])
def test_absurd_manifest_length(sealed: bytes, as_file: AsFile, cast: Any, length: int) -> None:
    spoilt = FIRST + length.to_bytes(4, "big") + sealed[len(FIRST) + 4 :]
    assert attempt(as_file(spoilt), cast) == "malformed"


def respell(change: Callable[[str], str]) -> Callable[[dict[str, Any]], bytes]:
    return lambda manifest: change(dump(manifest).decode()).encode("utf-8", "surrogatepass")


RESPELT: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "duplicate key": respell(lambda text: text.replace('{"compartments"', '{"id":"' + "0" * 32 + '","compartments"')),
    "duplicate key, same value": respell(lambda text: text.replace('"count":3', '"count":3,"count":3')),
    "space": respell(lambda text: text.replace('"count":3', '"count": 3')),
    "line end": respell(lambda text: text + "\n"),
    "float": respell(lambda text: text.replace('"count":3', '"count":3.0')),
    "exponent": respell(lambda text: text.replace('"count":3', '"count":3e0')),
    "not a number": respell(lambda text: text.replace('"count":3', '"count":NaN')),
    "long integer": respell(lambda text: text.replace('"count":3', '"count":' + "9" * 5000)),
    "escape": respell(lambda text: text.replace("blue", "\\u0062lue")),
    "lone surrogate": respell(lambda text: text.replace("blue", "\\ud800")),
    "surrogate bytes": respell(lambda text: text.replace("blue", "\ud800")),
    "order": lambda manifest: json.dumps(dict(sorted(manifest.items(), reverse=True)), separators=(",", ":")).encode(),
    "array": lambda manifest: b"[]",
    "not JSON": lambda manifest: b"{",
    "not UTF-8": lambda manifest: b'{"\xff":1}',
    "byte order mark": lambda manifest: b"\xef\xbb\xbf" + dump(manifest),
    "deep": lambda manifest: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}


@pytest.mark.parametrize("spelling", RESPELT)
def test_only_canonical_manifests_are_read(sealed: bytes, as_file: AsFile, cast: Any, spelling: str) -> None:
    manifest, _, body = split(sealed)
    raw = RESPELT[spelling](manifest)
    assert raw != dump(manifest)
    assert attempt(as_file(signed_by(cast.mpd, raw, body)), cast) == "malformed"


def sealed_by_hand(cast: Any, manifest: dict[str, Any], content: bytes, as_file: AsFile) -> Path:
    """Encrypt what a sender chooses to, padded or not."""
    recipient = cast.hub.public
    info = compartment_info("batch", manifest["id"], "one", cast.mpd.key_id, recipient.key_id)
    encryptor = Cobblestone256Encryptor(b"k" * 32, info)
    body = encryptor.update(content) + encryptor.finalize()
    changes = {"key": encode_bytes(recipient.wrap(b"k" * 32, info)), "size": len(body)}
    one = manifest["compartments"][0] | changes | {"sha256": hashlib.sha256(body).hexdigest()}
    return as_file(signed_by(cast.mpd, manifest | {"compartments": [one]}, body))


BADLY_PADDED: dict[str, bytes] = {
    "nothing": b"",
    "half a length": bytes(7),
    "a length alone": bytes(8),
    "no padding": (5).to_bytes(8, "big") + b"12345",
    "a byte short": ((5).to_bytes(8, "big") + b"12345").ljust(4095, b"\0"),
    "a byte long": ((5).to_bytes(8, "big") + b"12345").ljust(4097, b"\0"),
    "another bucket": ((5).to_bytes(8, "big") + b"12345").ljust(4352, b"\0"),
    "not zeros": ((5).to_bytes(8, "big") + b"12345").ljust(4095, b"\0") + b"\1",
    "a shorter length": ((4).to_bytes(8, "big") + b"12345").ljust(4096, b"\0"),
    "a longer length": (4089).to_bytes(8, "big") + bytes(4088),
    "a length of 64 bits": b"\xff" * 8 + bytes(4088),
    "little-endian": ((5).to_bytes(8, "little") + b"12345").ljust(4096, b"\0"),
}


@pytest.mark.parametrize("fault", BADLY_PADDED)
def test_padding_has_one_form(sealed: bytes, as_file: AsFile, cast: Any, fault: str) -> None:
    """Even the sender's own: what it signed and encrypted is read in one way or not at all."""
    manifest = split(sealed)[0]
    good = sealed_by_hand(cast, manifest, ((5).to_bytes(8, "big") + b"12345").ljust(4096, b"\0"), as_file)
    assert envelope.read_compartments(good, ("one",), cast.hub, cast.mpd.public)[1] == [b"12345"]
    assert attempt(sealed_by_hand(cast, manifest, BADLY_PADDED[fault], as_file), cast) == "malformed"


def entry(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: manifest["compartments"][0].update(changes)


FAULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown field": lambda manifest: manifest.update(note="x"),
    "unknown field of a compartment": entry(note="x"),
    "missing field": lambda manifest: manifest.pop("id"),
    "no compartments": lambda manifest: manifest.update(compartments=[]),
    "too many compartments": lambda manifest: manifest.update(compartments=manifest["compartments"] * 5),
    "same name twice": entry(name="two"),
    "id in capitals": lambda manifest: manifest.update(id="A" * 32),
    "header is a list": lambda manifest: manifest.update(header=[]),
    "other suite": entry(suite="none"),
    "size below zero": entry(size=-1),
    "size zero": entry(size=0),
    "size absurd": entry(size=(1 << 40) + 1),
    "size is text": entry(size="100"),
    "size is true": entry(size=True),
    "key too short": entry(key=encode_bytes(bytes(1712))),
    "key too long": entry(key=encode_bytes(bytes(1 << 16))),
    "key is no base64": entry(key="-" * 2284),
    "path as a name": entry(name="../../x"),
    "digest in capitals": entry(sha256="A" * 64),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_manifests_that_break_the_grammar(sealed: bytes, as_file: AsFile, cast: Any, fault: str) -> None:
    manifest, _, body = split(sealed)
    FAULTS[fault](manifest)
    assert attempt(as_file(signed_by(cast.mpd, manifest, body)), cast) == "malformed"


def test_huge_sizes_allocate_nothing(sealed: bytes, as_file: AsFile, cast: Any) -> None:
    manifest, _, body = split(sealed)
    manifest["compartments"][0]["size"] = 1 << 40
    assert attempt(as_file(signed_by(cast.mpd, manifest, body)), cast) == "truncated"


@pytest.mark.parametrize("size", [16, 31, 32, 3373])
def test_base64_with_stray_bits_is_refused(size: int) -> None:
    """Where the length is no multiple of 3, the last character has spare bits, which must be zero."""
    text = encode_bytes(bytes(size))
    assert load_bytes(text, size) == bytes(size) and text.rstrip("=").endswith("A")
    last = len(text.rstrip("=")) - 1
    with pytest.raises(CanonicalError):
        load_bytes(text[:last] + "B" + text[last + 1 :], size)


def test_existing_target_survives_a_refusal(sealed: bytes, as_file: AsFile, cast: Any, tmp_path: Path) -> None:
    target = tmp_path / "plain"
    target.write_bytes(b"old")
    path = as_file(sealed[:-1])
    with pytest.raises(SealError):
        envelope.open_compartment(path, "one", cast.hub, cast.mpd.public, target)
    assert target.read_bytes() == b"old"


def test_errors_carry_no_secret_and_no_content(sealed: bytes, as_file: AsFile, cast: Any) -> None:
    manifest, _, body = split(sealed)
    manifest["id"] = "0" * 32
    with pytest.raises(SealError) as caught:
        envelope.read_compartments(as_file(signed_by(cast.mpd, manifest, body)), ("one",), cast.hub, cast.mpd.public)
    error = caught.value
    assert error.__cause__ is None
    assert error.__suppress_context__
    assert error.args == ("sealed file refused: cannot-open",)
    assert error.hint == REASONS["cannot-open"]
