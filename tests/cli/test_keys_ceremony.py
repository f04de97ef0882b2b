from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from linkage.cli import main
from linkage.exchange import create_party, ledger, load_linkage_key, load_public

AGENCIES = ("dcf", "medical", "mpd", "pohsey")


class Room:
    """Four agencies and a hub; the folder goes round."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.capsys = root, capsys
        self.folder = root / "ceremony"
        for name in (*AGENCIES, "hub"):
            create_party(root / name, name)

    def key(self, name: str) -> Path:
        return self.root / name / f"{name}.key"

    def publics(self) -> list[Path]:
        return [self.root / name / f"{name}.pub" for name in AGENCIES]

    def run(self, *words: object, code: int = 0) -> tuple[dict[str, Any], str]:
        assert main(["keys", *(str(word) for word in words)]) == code
        said = self.capsys.readouterr()
        return json.loads(said.out) if said.out else {}, said.err

    def begin(self) -> str:
        told, _ = self.run("ceremony", "--project", "milwaukee", "--epoch", "2026-1", "--participants", *self.publics(),
                           "--key", self.key("hub"), "--out", self.folder, "--json")  # fmt: skip
        return str(told["ceremony"])

    def whole(self, folder: Path, file: str, ceremony: str, names: tuple[str, ...] = AGENCIES) -> None:
        for name in names:
            self.run("join", folder, "--key", self.key(name), "--ceremony", ceremony)
        for name in names:
            self.run("join", folder, "--key", self.key(name))
        for name in names:
            self.run("confirm", folder, "--key", self.key(name), "--out", self.root / name / file)


@pytest.fixture
def room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Room:
    return Room(tmp_path, capsys)


def test_four_agencies_make_a_key_through_one_folder(room: Room) -> None:
    ceremony = room.begin()
    told, said = room.run("join", room.folder, "--key", room.key("mpd"), "--ceremony", ceremony[:32], "--json")
    assert (told["step"], told["committed"], told["awaited"]) == ("committed", ["mpd"], ["dcf", "medical", "pohsey"])
    assert "awaited: the commitment of dcf, medical, pohsey" in said
    assert load_public(room.publics()[3]).key_id in said.replace(" ", "")
    for name in ("dcf", "medical", "pohsey"):
        room.run("join", room.folder, "--key", room.key(name), "--ceremony", ceremony)
    for name in AGENCIES:
        told, said = room.run("join", room.folder, "--key", room.key(name), "--json")
        assert told["step"] == "contributed"
    assert told["awaited"] == list(AGENCIES) and "the confirmation of" in said
    values = set()
    for name in AGENCIES:
        out = room.root / name / "linkage.key"
        told, said = room.run("confirm", room.folder, "--key", room.key(name), "--out", out, "--json")
        values.add(load_linkage_key(out).check_value)
        assert told["confirmed"][name] in values
        assert ("all have confirmed the same key" in said) == (name == AGENCIES[-1])
    assert len(values) == 1
    seen, said = room.run("confirm", room.folder, "--json")  # the hub, which has no part in it
    assert set(seen["confirmed"].values()) == values and "all have confirmed the same key" in said
    actions = [entry.action for entry in ledger.entries(room.root / "mpd" / "ledger")]
    assert actions == ["ceremony-commit", "ceremony-contribute", "ceremony-confirm"]


def test_what_is_refused_is_told_with_its_exit_code(room: Room) -> None:
    room.begin()
    _, said = room.run("join", room.folder, "--key", room.key("mpd"), code=4)
    assert "--ceremony" in said
    _, said = room.run("join", room.folder, "--key", room.key("hub"), "--ceremony", "0", code=4)
    assert "not invited" in said
    _, said = room.run("confirm", room.folder, "--key", room.key("mpd"), "--out", room.root / "k", code=4)
    assert "awaited" in said
    (room.folder / "mpd.commitment").write_text("hello")
    _, said = room.run("confirm", room.folder, code=6)
    assert "mpd.commitment" in said


def test_revocation_and_rotation_say_what_else_must_be_done(room: Room) -> None:
    room.whole(room.folder, "1.key", room.begin())
    second, third = room.root / "second", room.root / "third"
    told, said = room.run("revoke", "pohsey", "--previous", room.folder, "--epoch", "2026-2",
                          "--key", room.key("hub"), "--out", second, "--json")  # fmt: skip
    assert sorted(told["participants"]) == ["dcf", "medical", "mpd"]
    for part in ("without pohsey", "takes pohsey out of its settings", "submits again", "destroys the encodings"):
        assert part in said
    room.whole(second, "2.key", told["ceremony"], ("dcf", "medical", "mpd"))
    room.run("join", second, "--key", room.key("pohsey"), code=4)
    told, said = room.run("rotate", "--previous", second, "--epoch", "2026-3", "--reason", "suspicion",
                          "--key", room.key("mpd"), "--out", third, "--json")  # fmt: skip
    assert told["reason"] == "suspicion" and "2026-3 follows 2026-2" in said
    room.whole(third, "3.key", told["ceremony"], ("dcf", "medical", "mpd"))
    keys = [load_linkage_key(room.root / "mpd" / f"{number}.key") for number in (1, 2, 3)]
    assert [key.epoch for key in keys] == ["2026-1", "2026-2", "2026-3"]
    assert len({key.check_value for key in keys}) == 3


def test_no_secret_is_said(room: Room) -> None:
    """No key is in what the commands write, nor in a ledger."""
    ceremony = room.begin()
    said = []
    for words in (["--ceremony", ceremony], []):
        for name in AGENCIES:
            said.append(room.run("join", room.folder, "--key", room.key(name), *words, "--json"))
    for name in AGENCIES:
        out = room.root / name / "linkage.key"
        said.append(room.run("confirm", room.folder, "--key", room.key(name), "--out", out, "--json"))
    told = str(said) + (room.root / "mpd" / "ledger").read_text()
    key = room.root / "mpd" / "linkage.key"
    assert json.loads(key.read_bytes().splitlines()[1])["secret"] not in told
    for field in ("signing", "mldsa65", "opening", "pseudonym"):
        assert json.loads(room.key("mpd").read_bytes().splitlines()[1])[field] not in told
