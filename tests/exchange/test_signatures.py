"""Two algorithms sign, and nothing makes one of them enough."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey

from linkage.cli.keys import app
from linkage.errors import KeyFileError, SealError
from linkage.exchange import (
    Party,
    PublicParty,
    create_party,
    envelope,
    load_party,
    load_public,
    read_receipt,
    renew_party,
    signatures,
)
from linkage.exchange.canonical import CanonicalError, dump, encode_bytes, pack
from linkage.exchange.envelope import Compartment
from linkage.exchange.signatures import ARCHIVED_SIZE, SIZE, load_signature
from linkage.exchange.suites import SUITES

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
BATCHES = {1: "batch-v2.json", 2: "batch-v3.json"}
"""Version of archived party keys -> a batch of their time."""
MESSAGE = b"some message"


def signature_of(party: Party) -> bytes:
    return party.sign("envelope", MESSAGE)


@pytest.fixture(params=sorted(BATCHES))
def generation(request: pytest.FixtureRequest) -> int:
    """A version of party keys that are archived."""
    version: int = request.param
    return version


@pytest.fixture
def archived(tmp_path: Path, generation: int) -> tuple[Path, Path]:
    """A party's key files of an earlier version."""
    files = json.loads((VECTORS / f"parties-v{generation}.json").read_text(encoding="utf-8"))["parties"]["mpd"]
    private, public = tmp_path / "old" / "mpd.key", tmp_path / "old" / "mpd.pub"
    private.parent.mkdir()
    for path, text in ((private, files["private"]), (public, files["public"])):
        path.write_bytes(text.encode())
        path.chmod(0o600)
    return private, public


def test_both_halves_verify(cast: Any) -> None:
    signature = signature_of(cast.mpd)
    assert len(signature) == SIZE == 3373
    assert cast.mpd.public.has_signed(signature, "envelope", MESSAGE)
    assert signature_of(cast.mpd) != signature, "ML-DSA is hedged"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda ours, theirs: ours[:ARCHIVED_SIZE], "the second half stripped"),
        (lambda ours, theirs: ours[ARCHIVED_SIZE:], "the first half stripped"),
        (lambda ours, theirs: bytes(ARCHIVED_SIZE) + ours[ARCHIVED_SIZE:], "the first half blank"),
        (lambda ours, theirs: ours[:ARCHIVED_SIZE] + bytes(SIZE - ARCHIVED_SIZE), "the second half blank"),
        (lambda ours, theirs: theirs[:ARCHIVED_SIZE] + ours[ARCHIVED_SIZE:], "the first half another's"),
        (lambda ours, theirs: ours[:ARCHIVED_SIZE] + theirs[ARCHIVED_SIZE:], "the second half another's"),
        (lambda ours, theirs: ours[ARCHIVED_SIZE:] + ours[:ARCHIVED_SIZE], "the halves in the other order"),
        (lambda ours, theirs: theirs, "another's"),
        (lambda ours, theirs: ours + b"\0", "a byte more"),
        (lambda ours, theirs: ours[:-1], "a byte less"),
        (lambda ours, theirs: b"", "nothing"),
    ],
)
def test_half_a_signature_is_none(cast: Any, change: Callable[[bytes, bytes], bytes], what: str) -> None:
    changed = change(signature_of(cast.mpd), signature_of(cast.dcf))
    assert not cast.mpd.public.has_signed(changed, "envelope", MESSAGE), what


@pytest.mark.parametrize("position", [0, 31, 32, 63, 64, 1000, 3372])
def test_a_flipped_bit_in_either_half(cast: Any, position: int) -> None:
    spoilt = bytearray(signature_of(cast.mpd))
    spoilt[position] ^= 1
    assert not cast.mpd.public.has_signed(bytes(spoilt), "envelope", MESSAGE)


def test_a_half_that_verifies_does_not_make_up_for_the_other(cast: Any) -> None:
    """Whoever has broken one algorithm can make its half well, and gets no further."""
    whole = pack("linkage signature v2", signatures.PAIR, cast.mpd.key_id, "envelope", MESSAGE)
    good = cast.mpd._signing.sign(whole), cast.mpd._mldsa65.sign(whole)
    assert cast.mpd.public.has_signed(good[0] + good[1], "envelope", MESSAGE)
    forged = Ed25519PrivateKey.generate().sign(whole), MLDSA65PrivateKey.generate().sign(whole)
    assert not cast.mpd.public.has_signed(good[0] + forged[1], "envelope", MESSAGE)
    assert not cast.mpd.public.has_signed(forged[0] + good[1], "envelope", MESSAGE)


@pytest.mark.parametrize(
    "parts",
    [
        ("linkage signature v1", "envelope", MESSAGE),
        ("linkage signature v2", "ed25519", None, "envelope", MESSAGE),
        ("linkage signature v2", "ed25519-mldsa44", None, "envelope", MESSAGE),
        ("linkage signature v2", "ed25519-mldsa65", "0" * 32, "envelope", MESSAGE),
        ("linkage signature v2", "ed25519-mldsa65", None, "receipt", MESSAGE),
    ],
)
def test_what_is_signed_names_the_pair_the_key_and_the_purpose(cast: Any, parts: tuple[Any, ...]) -> None:
    """The same two keys, over the text of another suite, key or purpose."""
    whole = pack(*(cast.mpd.key_id if part is None else part for part in parts))
    signature = cast.mpd._signing.sign(whole) + cast.mpd._mldsa65.sign(whole)
    assert not cast.mpd.public.has_signed(signature, "envelope", MESSAGE)


def test_a_key_with_half_the_pair_exchanged_is_another_key(cast: Any) -> None:
    """An attacker puts a signing key of its own beside one that it cannot use."""
    own, known = MLDSA65PrivateKey.generate(), cast.mpd.public
    mixed = PublicParty(known.name, 3, (known.keys[0], own.public_key().public_bytes_raw(), *known.keys[2:]))
    assert mixed.key_id != known.key_id
    assert not mixed.has_signed(signature_of(cast.mpd), "envelope", MESSAGE)
    files = json.loads((VECTORS / "parties-v1.json").read_text(encoding="utf-8"))["parties"]["mpd"]
    former = json.loads(files["public"].splitlines()[1])
    stripped = PublicParty.from_text(known.name, 1, former | {"signing": encode_bytes(known.fields["signing"])})
    assert stripped.key_id not in (known.key_id, files["key_id"])
    assert not stripped.has_signed(signature_of(cast.mpd)[:ARCHIVED_SIZE], "envelope", MESSAGE)


@pytest.mark.parametrize("place", range(4))
def test_public_keys_are_held_to_their_version(cast: Any, place: int) -> None:
    keys = list(cast.mpd.public.keys)
    keys[place] = keys[place][:-1]
    with pytest.raises(CanonicalError):
        PublicParty("mpd", 3, tuple(keys))
    with pytest.raises(CanonicalError):
        PublicParty("mpd", 3, cast.mpd.public.keys[:place])
    with pytest.raises(CanonicalError):
        PublicParty("mpd", 2, cast.mpd.public.keys)


def rewrite(path: Path, first: bytes | None, change: Callable[[dict[str, Any]], object]) -> None:
    line, second = path.read_bytes().splitlines()
    content = json.loads(second)
    change(content)
    path.write_bytes((first or line) + b"\n" + dump(content) + b"\n")


FILES: dict[str, tuple[bytes | None, Callable[[dict[str, Any]], object]]] = {
    "no ML-DSA key": (None, lambda content: content.pop("mldsa65")),
    "no Ed25519 key": (None, lambda content: content.pop("signing")),
    "an empty ML-DSA key": (None, lambda content: content.update(mldsa65="")),
    "no value": (None, lambda content: content.update(mldsa65=None)),
    "another ML-DSA key": (None, lambda content: content.update(mldsa65=encode_bytes(bytes(1952)))),
    "a seed of another ML-DSA key": (None, lambda content: content.update(mldsa65=encode_bytes(bytes(32)))),
    "no opening key": (None, lambda content: [content.pop(name, None) for name in ("opening", "mlkem1024")]),
    "today's keys under the first line of version 1": (b"linkage-key/1", lambda content: None),
    "today's keys under the first line of version 2": (b"linkage-key/2", lambda content: None),
    "a version to come": (b"linkage-key/4", lambda content: None),
    "a suite named": (None, lambda content: content.update(suite="ed25519")),
}


@pytest.mark.parametrize("fault", FILES)
@pytest.mark.parametrize("which", [0, 1])
def test_key_files_with_less_than_the_pair_are_refused(tmp_path: Path, fault: str, which: int) -> None:
    path = create_party(tmp_path, "mpd")[which]
    rewrite(path, *FILES[fault])
    load: Callable[..., object] = (load_party, load_public)[which]
    for archived in (False, True):
        with pytest.raises(KeyFileError) as caught:
            load(path, archived=archived)
        assert caught.value.reason == "malformed"


@pytest.mark.parametrize("which", ["private", "public"])
def test_a_key_stripped_down_to_version_1_is_another_key_or_damaged(tmp_path: Path, which: str) -> None:
    path = tmp_path / "mpd"
    files = json.loads((VECTORS / "parties-v2.json").read_text(encoding="utf-8"))["parties"]["mpd"]
    path.write_bytes(files[which].encode())
    path.chmod(0o600)
    load: Callable[..., Party | PublicParty] = load_party if which == "private" else load_public
    rewrite(path, b"linkage-key/1", lambda content: content.pop("mldsa65"))
    with pytest.raises(KeyFileError) as caught:
        load(path)
    assert caught.value.reason == "old-key"
    with pytest.raises(KeyFileError) as caught:
        load(path, archived=True)
    assert caught.value.reason == "malformed", "its key id says that it had an ML-DSA key"


def test_keys_of_earlier_versions_are_refused_with_a_hint(archived: tuple[Path, Path]) -> None:
    for load, path in ((load_party, archived[0]), (load_public, archived[1])):
        with pytest.raises(KeyFileError) as caught:
            load(path)
        assert caught.value.reason == "old-key"
        assert "linkage keys renew" in (caught.value.hint or "")


def test_nothing_new_is_made_with_keys_of_earlier_versions(
    archived: tuple[Path, Path], cast: Any, tmp_path: Path
) -> None:
    party, public = load_party(archived[0], archived=True), load_public(archived[1], archived=True)
    assert party.public == public and public.archived and not cast.mpd.public.archived
    for attempt in (
        lambda: party.sign("envelope", MESSAGE),
        lambda: public.wrap(bytes(32), b""),
        lambda: public.opening,
        lambda: envelope.seal(tmp_path / "a", "batch", {}, [Compartment("c", cast.hub.public, b"x")], party),
        lambda: envelope.seal(tmp_path / "a", "batch", {}, [Compartment("c", public, b"x")], cast.mpd),
    ):
        with pytest.raises(KeyFileError) as caught:
            attempt()
        assert caught.value.reason == "old-key"
    assert not (tmp_path / "a").exists()


def test_renewed_keys_keep_pseudonyms_and_nothing_else(archived: tuple[Path, Path], tmp_path: Path) -> None:
    before = archived[0].read_bytes()
    private, public = renew_party(archived[0], tmp_path / "new")
    old, new = load_party(archived[0], archived=True), load_party(private)
    assert archived[0].read_bytes() == before
    assert new.name == old.name and new.public == load_public(public)
    assert new.pseudonyms(["1", "2"]) == old.pseudonyms(["1", "2"])
    assert new.derive("padding") == old.derive("padding")
    assert new.key_id != old.key_id
    assert new.version == 3 and not set(new.public.keys) & set(old.public.keys)
    with pytest.raises(KeyFileError) as caught:
        renew_party(archived[0], tmp_path / "new")
    assert caught.value.reason == "exists"
    again = load_party(renew_party(private, tmp_path / "next")[0])
    assert again.pseudonym("1") == old.pseudonym("1") and again.key_id != new.key_id


def test_the_command_that_the_hint_names(
    archived: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app(["renew", str(archived[0]), "--out", str(tmp_path / "new")], result_action="return_value")
    out, said = capsys.readouterr()
    key_id = load_public(tmp_path / "new" / "mpd.pub").key_id
    assert out == "" and key_id in said.replace(" ", "")
    assert load_party(tmp_path / "new" / "mpd.key").key_id == key_id


@pytest.fixture
def sealed(cast: Any, tmp_path: Path) -> Path:
    path = tmp_path / "a.batch"
    envelope.seal(path, "batch", {"a": 1}, [Compartment("c", cast.hub.public, b"content")], cast.mpd)
    return path


def refusal(path: Path, cast: Any) -> str | None:
    try:
        envelope.read_compartments(path, None, cast.hub, cast.mpd.public)
    except SealError as error:
        return error.reason
    return None


def test_a_sealed_file_cannot_be_taken_back_to_one_signature(sealed: Path, cast: Any) -> None:
    data = sealed.read_bytes()
    first = b"linkage-batch/4\n"
    length = int.from_bytes(data[len(first) :][:4], "big")
    end = len(first) + 4 + length
    raw, signature, body = data[len(first) + 4 : end], data[end : end + SIZE], data[end + SIZE :]
    assert refusal(sealed, cast) is None
    for version in (1, 2, 3):
        old = b"linkage-batch/%d\n" % version
        # The Ed25519 half as it is; one that the thief of an Ed25519 key makes in the old way; both halves.
        forged = cast.mpd._signing.sign(pack("linkage signature v1", "envelope", old + raw))
        for half in (signature[:ARCHIVED_SIZE], forged, signature):
            sealed.write_bytes(old + length.to_bytes(4, "big") + raw + half + body)
            assert refusal(sealed, cast) == "malformed", "the suite is not one of that version"
        former = json.loads(raw)
        for entry in former["compartments"]:
            entry |= {"suite": SUITES[1].name, "key": encode_bytes(bytes(SUITES[1].wrapped))}
        text = dump(former)
        # Signed in the way of that version, by the thief of an Ed25519 key or by the sender itself.
        packed = pack("linkage signature v1", "envelope", old + text)
        made = cast.mpd._signing.sign(packed) if version < 3 else cast.mpd.sign("envelope", old + text)
        sealed.write_bytes(old + len(text).to_bytes(4, "big") + text + made + body)
        assert refusal(sealed, cast) == "downgraded"
        assert envelope.inspect(sealed)["version"] == version
    # The new first line over an old signature: what follows it is taken for the other half.
    sealed.write_bytes(first + length.to_bytes(4, "big") + raw + signature[:ARCHIVED_SIZE] + body)
    assert refusal(sealed, cast) in {"truncated", "bad-signature"}


def test_a_suite_with_less_is_refused_even_if_signed(sealed: Path, cast: Any) -> None:
    data = sealed.read_bytes()
    first = b"linkage-batch/4\n"
    length = int.from_bytes(data[len(first) :][:4], "big")
    end = len(first) + 4 + length
    manifest = json.loads(data[len(first) + 4 : end])
    suite = manifest["compartments"][0]["suite"]
    for weaker in (
        SUITES[2].name,
        suite.replace("mlkem1024p384", "p384"),
        suite.replace("mlkem1024p384", "mlkem1024"),
        suite.replace("aes256gcm", "aes128gcm"),
        suite.upper(),
        suite + "\n",
        "",
        "none",
    ):
        manifest["compartments"][0]["suite"] = weaker
        raw = dump(manifest)
        signature = cast.mpd.sign("envelope", first + raw)
        sealed.write_bytes(first + len(raw).to_bytes(4, "big") + raw + signature + data[end + SIZE :])
        assert refusal(sealed, cast) == "malformed"


def test_an_archive_is_read_with_archived_keys_alone(
    archived: tuple[Path, Path], generation: int, cast: Any, tmp_path: Path
) -> None:
    vector = json.loads((VECTORS / BATCHES[generation]).read_text(encoding="utf-8"))
    path = tmp_path / "old.batch"
    path.write_bytes(b64decode(vector["file"]))
    public = load_public(archived[1], archived=True)
    assert envelope.verify(path, public)["header"] == vector["header"]
    with pytest.raises(SealError) as caught:
        envelope.verify(path, cast.mpd.public)
    assert caught.value.reason == "untrusted-sender"
    # An archived key signs no file of today, whatever stands in it.
    first = b"linkage-batch/4\n"
    content = envelope.inspect(path)
    entries = content["compartments"]
    for entry in entries:
        entry |= {"suite": SUITES[3].name, "key": encode_bytes(bytes(SUITES[3].wrapped))}
    raw = dump({name: content[name] for name in ("id", "sender", "header", "compartments")})
    signature = bytes(SIZE)
    if generation == 2:
        old = load_party(archived[0], archived=True)
        assert old._mldsa65 is not None
        signature = signatures.sign(old._signing, old._mldsa65, old.key_id, "envelope", first + raw)
        assert public.has_signed(signature, "envelope", first + raw)
    path.write_bytes(first + len(raw).to_bytes(4, "big") + raw + signature)
    with pytest.raises(SealError) as caught:
        envelope.verify(path, public)
    assert caught.value.reason == "bad-signature"


def test_a_receipt_with_half_a_signature_is_refused(cast: Any, tmp_path: Path) -> None:
    path = tmp_path / "receipt"
    path.write_bytes(b"linkage-receipt/1\n")
    content = {
        "batch_digest": "a" * 64,
        "source": "mpd",
        "status": "accepted",
        "reason": None,
        "records": 3,
        "time": 1,
        "sender": cast.hub.key_id,
    }
    body = b"linkage-receipt/1\n" + dump(content)
    whole = cast.hub.sign("receipt", body)
    old = cast.hub._signing.sign(pack("linkage signature v1", "receipt", body))
    path.write_bytes(body + b"\n" + encode_bytes(whole).encode() + b"\n")
    assert read_receipt(path, cast.hub.public).records == 3
    for half in (whole[:ARCHIVED_SIZE], old):
        path.write_bytes(body + b"\n" + encode_bytes(half).encode() + b"\n")
        with pytest.raises(SealError) as caught:
            read_receipt(path, cast.hub.public)
        assert caught.value.reason == "bad-signature"
    path.write_bytes(body + b"\n" + encode_bytes(whole[ARCHIVED_SIZE:]).encode() + b"\n")
    with pytest.raises(SealError) as caught:
        read_receipt(path, cast.hub.public)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("size", [0, 63, 65, 3309, 3372, 3374])
def test_signatures_of_other_sizes_are_not_read(size: int) -> None:
    with pytest.raises(CanonicalError):
        load_signature(encode_bytes(bytes(size)))
