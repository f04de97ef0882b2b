"""Files that must be refused, in the manner of Wycheproof: each with one fault, the others as good as the sender can.

Those that only the sender could have made are signed by it: what refuses them is not the signature. Nothing here makes
the vectors; another implementation can be held to them as they are.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from linkage.errors import KeyFileError, SealError
from linkage.exchange import REASONS, Party, envelope, load_party, load_public
from linkage.exchange.canonical import encode_bytes, pack

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


class Collection(NamedTuple):
    """The vectors of one version, with the parties of its time."""

    content: dict[str, Any]
    base: bytes
    parties: dict[str, Party]


def read_parties(folder: Path, name: str) -> dict[str, Party]:
    files = json.loads((VECTORS / name).read_text(encoding="utf-8"))["parties"]
    for party, texts in files.items():
        path = folder / f"{party}.key"
        path.write_bytes(texts["private"].encode())
        path.chmod(0o600)
    return {party: load_party(folder / f"{party}.key", archived=True) for party in files}


CONTENTS = {n: json.loads((VECTORS / f"envelope-refused-v{n}.json").read_text(encoding="utf-8")) for n in (3, 4)}
CASES = [(version, case["what"]) for version, content in CONTENTS.items() for case in content["refused"]]


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Collection]:
    """The vectors of each version; those of version 3 are read as an archive is."""
    return {
        version: Collection(
            content, b64decode(content["file"]), read_parties(tmp_path_factory.mktemp("parties"), content["parties"])
        )
        for version, content in CONTENTS.items()
    }


def file_of(case: dict[str, Any], base: bytes) -> bytes:
    """Put a case's file together from pieces of the base file and bytes of its own."""
    pieces = [b64decode(piece) if isinstance(piece, str) else base[piece[0] :][: piece[1]] for piece in case["pieces"]]
    return b"".join(pieces)


def read(case: dict[str, Any], known: Collection, folder: Path) -> bytes:
    path = folder / "a.batch"
    path.write_bytes(file_of(case, known.base))
    recipient, name = known.parties[case.get("recipient", "hub")], case.get("compartment", "chunks")
    sender = known.parties[known.content["sender"]].public
    return envelope.read_compartments(path, (name,), recipient, sender)[1][0]


@pytest.mark.parametrize("version", CONTENTS)
@pytest.mark.parametrize("place", range(3))
def test_accepted(collections: dict[int, Collection], tmp_path: Path, version: int, place: int) -> None:
    """The base file opens, and so does a key that is wrapped by hand: the faults alone are what is refused."""
    known = collections[version]
    assert len(known.content["accepted"]) == 3
    case = known.content["accepted"][place]
    content = read(case, known, tmp_path)
    assert hashlib.sha256(content).hexdigest() == case.get("sha256", known.content["sha256"])


@pytest.mark.parametrize(("version", "what"), CASES)
def test_refused(collections: dict[int, Collection], tmp_path: Path, version: int, what: str) -> None:
    known = collections[version]
    case = next(case for case in known.content["refused"] if case["what"] == what)
    with pytest.raises(SealError) as caught:
        read(case, known, tmp_path)
    assert caught.value.reason == case["reason"]
    assert str(caught.value) == f"sealed file refused: {case['reason']}"
    # Into a file: nothing is left of it either.
    target = tmp_path / "out" / "plain"
    with pytest.raises(SealError):
        envelope.open_compartment(
            tmp_path / "a.batch",
            case.get("compartment", "chunks"),
            known.parties[case.get("recipient", "hub")],
            known.parties["mpd"].public,
            target,
        )
    assert not target.parent.exists() or list(target.parent.iterdir()) == []


@pytest.mark.parametrize("version", CONTENTS)
def test_the_vectors_hold_every_kind_of_fault(collections: dict[int, Collection], version: int) -> None:
    refused = CONTENTS[version]["refused"]
    assert len({case["what"] for case in refused}) == len(refused) > 140
    met = {case["reason"] for case in refused}
    # What is left concerns the contents of a kind, or a file that is not there.
    assert set(REASONS) - met == {"unreadable", "contents-mismatch", "too-few-records"}
    assert len({file_of(case, collections[version].base) for case in refused}) >= len(refused) - 3


# y as it must not be: of another point, of the twist, of no curve.
OFF_THE_CURVE: dict[str, Callable[[bytes], bytes]] = {
    "another y": lambda point: point[:-1] + bytes([point[-1] ^ 1]),
    "zeros": lambda point: b"\x04" + bytes(96),
    "infinity": lambda point: bytes(97),
    "compressed and filled up": lambda point: (bytes([2 + (point[-1] & 1)]) + point[1:49]).ljust(97, b"\0"),
    "hybrid": lambda point: bytes([6 + (point[-1] & 1)]) + point[1:],
    "not reduced": lambda point: b"\x04" + b"\xff" * 48 + point[49:],
}


@pytest.mark.parametrize("what", OFF_THE_CURVE)
def test_public_keys_off_the_curve_are_refused(tmp_path: Path, what: str) -> None:
    """With a key id that fits: who sealed for it would seal for whoever chose the point."""
    files = json.loads((VECTORS / "parties-v3.json").read_text(encoding="utf-8"))["parties"]["hub"]
    content = json.loads(files["public"].splitlines()[1])
    point = OFF_THE_CURVE[what](b64decode(content["p384"]))
    keys = [b64decode(content[field]) for field in ("signing", "mldsa65", "mlkem1024")]
    content["p384"] = encode_bytes(point)
    content["key_id"] = hashlib.sha256(pack("linkage party key v3", *keys, point)).hexdigest()[:32]
    path = tmp_path / "hub.pub"
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    path.write_bytes(b"linkage-key/3\n" + text.encode() + b"\n")
    with pytest.raises(KeyFileError) as caught:
        load_public(path)
    assert caught.value.reason == "malformed"
