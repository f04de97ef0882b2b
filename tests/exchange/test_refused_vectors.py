"""Files that must be refused, in the manner of Wycheproof: each with one fault, the others as good as the sender can.

Those that only the sender could have made are signed by it: what refuses them is not the signature. Nothing here makes
the vectors; another implementation can be held to them as they are.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from linkage.errors import KeyFileError, SealError
from linkage.exchange import REASONS, Party, envelope, load_party, load_public
from linkage.exchange.canonical import encode_bytes, pack

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
CONTENT = json.loads((VECTORS / "envelope-refused-v3.json").read_text(encoding="utf-8"))
PARTIES = json.loads((VECTORS / CONTENT["parties"]).read_text(encoding="utf-8"))["parties"]
BASE = b64decode(CONTENT["file"])
REFUSED = {case["what"]: case for case in CONTENT["refused"]}


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Party]:
    folder = tmp_path_factory.mktemp("parties")
    for name, files in PARTIES.items():
        path = folder / f"{name}.key"
        path.write_bytes(files["private"].encode())
        path.chmod(0o600)
    return {name: load_party(folder / f"{name}.key") for name in PARTIES}


def file_of(case: dict[str, Any]) -> bytes:
    """Put a case's file together from pieces of the base file and bytes of its own."""
    pieces = [b64decode(piece) if isinstance(piece, str) else BASE[piece[0] :][: piece[1]] for piece in case["pieces"]]
    return b"".join(pieces)


def read(case: dict[str, Any], parties: dict[str, Party], folder: Path) -> bytes:
    path = folder / "a.batch"
    path.write_bytes(file_of(case))
    recipient, name = parties[case.get("recipient", "hub")], case.get("compartment", "chunks")
    return envelope.read_compartments(path, (name,), recipient, parties[CONTENT["sender"]].public)[1][0]


@pytest.mark.parametrize("place", range(len(CONTENT["accepted"])))
def test_accepted(parties: dict[str, Party], tmp_path: Path, place: int) -> None:
    """The base file opens, and so does a key that is wrapped by hand: the faults alone are what is refused."""
    case = CONTENT["accepted"][place]
    content = read(case, parties, tmp_path)
    assert hashlib.sha256(content).hexdigest() == case.get("sha256", CONTENT["sha256"])


@pytest.mark.parametrize("what", REFUSED)
def test_refused(parties: dict[str, Party], tmp_path: Path, what: str) -> None:
    case = REFUSED[what]
    with pytest.raises(SealError) as caught:
        read(case, parties, tmp_path)
    assert caught.value.reason == case["reason"]
    assert str(caught.value) == f"sealed file refused: {case['reason']}"
    # Into a file: nothing is left of it either.
    target = tmp_path / "out" / "plain"
    with pytest.raises(SealError):
        envelope.open_compartment(
            tmp_path / "a.batch",
            case.get("compartment", "chunks"),
            parties[case.get("recipient", "hub")],
            parties["mpd"].public,
            target,
        )
    assert not target.parent.exists() or list(target.parent.iterdir()) == []


def test_the_vectors_hold_every_kind_of_fault() -> None:
    assert len(REFUSED) == len(CONTENT["refused"]) > 140
    met = {case["reason"] for case in REFUSED.values()}
    # What is left concerns the contents of a kind, or a file that is not there.
    assert set(REASONS) - met == {"unreadable", "contents-mismatch", "too-few-records"}
    assert len({file_of(case) for case in REFUSED.values()}) >= len(REFUSED) - 3


SMALL_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    2**255 - 20,
    2**255 - 19,
    2**255 - 18,
]


@pytest.mark.parametrize("u", SMALL_ORDER)
@pytest.mark.parametrize("top", [0, 1 << 255])
def test_public_keys_of_small_order_are_refused(tmp_path: Path, u: int, top: int) -> None:
    """With a key id that fits: nobody could seal for it but to all the world."""
    content = json.loads(PARTIES["hub"]["public"].splitlines()[1])
    point = ((u | top) % 2**256).to_bytes(32, "little")
    keys = [b64decode(content[field]) for field in ("signing", "mldsa65", "mlkem768")]
    content["x25519"] = encode_bytes(point)
    content["key_id"] = hashlib.sha256(pack("linkage party key v2", *keys, point)).hexdigest()[:32]
    path = tmp_path / "hub.pub"
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    path.write_bytes(b"linkage-key/2\n" + text.encode() + b"\n")
    with pytest.raises(KeyFileError) as caught:
        load_public(path)
    assert caught.value.reason == "malformed"
