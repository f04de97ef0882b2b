from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkage.errors import KeyFileError
from linkage.exchange import create_linkage_key, create_party, ledger, load_linkage_key, load_party
from linkage.exchange.custody.backup import backup, read_page, restore

segno = pytest.importorskip("segno")
pytest.importorskip("shamir_mnemonic")
posix = pytest.mark.skipif(os.name != "posix", reason="Windows protects files by access lists, not by mode bits")


def refused(reason: str, call: Callable[[], object]) -> str:
    with pytest.raises(KeyFileError) as caught:
        call()
    assert caught.value.reason == reason, caught.value
    return str(caught.value)


def private(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.fixture
def linkage(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "linkage.key"
    create_linkage_key(path, "milwaukee", "2026-1")
    return path


@pytest.fixture
def pages(linkage: Path, tmp_path: Path) -> list[Path]:
    return backup(linkage, tmp_path / "pages", threshold=2, count=3)


def test_linkage_key_round_trip_by_any_pages(linkage: Path, pages: list[Path], tmp_path: Path) -> None:
    for number, chosen in enumerate([*itertools.permutations(pages, 2), pages]):
        out = tmp_path / f"{number}" / "linkage.key"
        facts = restore(chosen, out)
        assert out.read_bytes() == linkage.read_bytes()
        assert facts["check value"] == load_linkage_key(linkage).check_value
        if os.name == "posix":
            assert out.stat().st_mode & 0o777 == 0o600


def test_party_key_round_trip(tmp_path: Path) -> None:
    path, _ = create_party(tmp_path / "keys", "mpd")
    pages = backup(path, tmp_path / "pages", threshold=3, count=5)
    facts = restore(pages[1:4], tmp_path / "new" / "mpd.key")
    assert (tmp_path / "new" / "mpd.key").read_bytes() == path.read_bytes()
    assert facts["key id"] == load_party(path).key_id
    refused("too-few-shares", lambda: restore(pages[:2], tmp_path / "other.key"))


def test_pages_show_what_is_public_and_of_the_secret_only_their_share(linkage: Path, pages: list[Path]) -> None:
    secret = json.loads(linkage.read_bytes().splitlines()[1])["secret"]
    words = [set(read_page(path).words.split()) for path in pages]
    assert [path.name for path in pages] == [f"share-{number:02d}-of-03.html" for number in (1, 2, 3)]
    for number, path in enumerate(pages):
        text = path.read_text()
        assert secret not in text
        assert "milwaukee" in text and "2026-1" in text and f"share {number + 1} of 3; any 2 give" in text
        others = set.union(*(words[:number] + words[number + 1 :])) - words[number]
        assert others and not others & set(re.findall("<li>([a-z]+)</li>", text))
        assert "http:" not in text.replace("http://www.w3.org/2000/svg", "") and "https:" not in text
        assert "<script" not in text and "src=" not in text
        if os.name == "posix":
            assert path.stat().st_mode & 0o777 == 0o600
            assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_code_holds_the_text_which_alone_is_enough(pages: list[Path], tmp_path: Path) -> None:
    """The squares drawn are those of the text's code, row by row; the text brings the key back."""
    typed = []
    for number, path in enumerate(pages[1:]):
        text = read_page(path).text()
        expected = [
            [bool(dot) for dot in row] for row in segno.make(text, error="m", micro=False, boost_error=False).matrix
        ]
        (drawn,) = re.findall(r'<path[^>]*stroke="#000"[^>]* d="([^"]+)"', path.read_text())
        assert squares(drawn, len(expected)) == expected
        whole = len(expected) + 8  # with the quiet zone, all of it in the picture whatever its size
        assert f'viewBox="0 0 {whole} {whole}"' in path.read_text() and "transform" not in path.read_text()
        typed.append(private(tmp_path / f"{number}.txt", text))
    restore(typed, tmp_path / "typed.key")


def squares(path: str, size: int) -> list[list[bool]]:
    """Draw the horizontal lines of a path, which start in the middle of their first square, into a grid of squares."""
    grid = [[False] * size for _ in range(size)]
    x, y = 0.0, 0.0
    for command, first, second in re.findall(r"([Mmh])(-?[\d.]+)(?:[ ,]?(-?[\d.]+))?", path):
        if command == "M":
            x, y = float(first), float(second)
        elif command == "m":
            x, y = x + float(first), y + float(second)
        else:
            for column in range(int(first)):
                grid[int(y) - 4][int(x) + column - 4] = True
            x += float(first)
    return grid


def test_typed_with_numbers_capitals_and_breaks(pages: list[Path], tmp_path: Path, linkage: Path) -> None:
    typed = []
    for number, path in enumerate(pages[:2]):
        head, _, words = read_page(path).text().partition("\nwords: ")
        check = load_linkage_key(linkage).check_value
        spaced = " ".join(check[at : at + 4] for at in range(0, 16, 4)).upper()
        lines = [f"{place}. {word.title()}" for place, word in enumerate(words.split(), 1)]
        text = "\ufeff\r\n" + head.replace(check, spaced) + "\r\n\r\nwords:\r\n" + "\r\n".join(lines) + "\r\n"
        typed.append(private(tmp_path / f"{number}.txt", text.replace("key:", "Key :", 1)))
    restore(typed, tmp_path / "typed.key")
    assert (tmp_path / "typed.key").read_bytes() == linkage.read_bytes()


def test_missing_and_repeated_pages(pages: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "new.key"
    refused("too-few-shares", lambda: restore([], out))
    refused("too-few-shares", lambda: restore(pages[:1], out))
    refused("too-few-shares", lambda: restore([pages[0], pages[0]], out))
    refused("missing", lambda: restore([pages[0], tmp_path / "nothing"], out))
    assert not out.exists()


def test_mixed_sets(pages: list[Path], linkage: Path, tmp_path: Path) -> None:
    again = backup(linkage, tmp_path / "again", threshold=2, count=3)
    refused("bad-shares", lambda: restore([pages[0], again[1]], tmp_path / "new.key"))
    create_linkage_key(tmp_path / "other.key", "milwaukee", "2026-2")
    other = backup(tmp_path / "other.key", tmp_path / "others", threshold=2, count=3)
    refused("bad-shares", lambda: restore([pages[0], other[1]], tmp_path / "new.key"))
    assert not (tmp_path / "new.key").exists()


@pytest.mark.parametrize(
    ("old", "new"), [("milwaukee", "racine"), ("2026-1", "2026-2"), ("check value: ", "check value: 0")]
)
def test_shares_of_another_key_than_stands_on_the_pages(pages: list[Path], tmp_path: Path, old: str, new: str) -> None:
    typed = [
        private(tmp_path / f"{number}.txt", read_page(path).text().replace(old, new))
        for number, path in enumerate(pages)
    ]
    refused("bad-shares", lambda: restore(typed, tmp_path / "new.key"))
    assert not (tmp_path / "new.key").exists()


def test_a_party_key_of_another_id_is_not_left(tmp_path: Path) -> None:
    path, _ = create_party(tmp_path / "keys", "mpd")
    key_id = load_party(path).key_id
    texts = [read_page(page).text() for page in backup(path, tmp_path / "pages", threshold=2, count=2)]
    for number, (old, new) in enumerate([(key_id, "0" * 32), ("name: mpd", "name: Mpd"), ("version: 3", "version: 2")]):
        typed = [private(tmp_path / f"{at}.txt", text.replace(old, new)) for at, text in enumerate(texts)]
        refused("old-key" if number == 2 else "bad-shares", lambda typed=typed: restore(typed, tmp_path / "new.key"))
    assert not (tmp_path / "new.key").exists()


@posix
@pytest.mark.parametrize("kind", ["linkage", "party"])
def test_a_folder_that_others_can_write_to_is_named_and_nothing_is_written(
    linkage: Path, tmp_path: Path, kind: str
) -> None:
    path = linkage if kind == "linkage" else create_party(tmp_path / "keys", "mpd")[0]
    pages = backup(path, tmp_path / "copy", threshold=2, count=2)
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    refused("folder-too-open", lambda: restore(pages, folder / "new.key"))
    assert not list(folder.iterdir())
    folder.chmod(0o700)
    restore(pages, folder / "new.key")
    assert (folder / "new.key").read_bytes() == path.read_bytes()


def test_faults_of_the_file_are_told_as_such_and_only_a_good_key_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = create_party(tmp_path / "keys", "mpd")
    pages = backup(path, tmp_path / "copy", threshold=2, count=2)
    refused("exists", lambda: restore(pages, path))
    text = [read_page(page).text().replace(load_party(path).key_id, "0" * 32) for page in pages]
    typed = [private(tmp_path / f"{number}.txt", page) for number, page in enumerate(text)]
    written: list[object] = []
    monkeypatch.setattr("linkage.exchange.custody.backup.write_key_file", lambda *words: written.append(words))
    refused("bad-shares", lambda: restore(typed, tmp_path / "new.key"))
    assert not written


def test_nothing_is_overwritten(pages: list[Path], linkage: Path, tmp_path: Path) -> None:
    refused("exists", lambda: restore(pages, linkage))
    refused("exists", lambda: backup(linkage, tmp_path / "pages", threshold=2, count=3))


def test_numbers_that_do_not_fit_make_no_folder(linkage: Path, tmp_path: Path) -> None:
    for threshold, count in ((1, 3), (4, 3), (2, 17)):
        refused("bad-threshold", lambda t=threshold, c=count: backup(linkage, tmp_path / "p", threshold=t, count=c))
    assert not (tmp_path / "p").exists()


def test_public_keys_have_no_backup(tmp_path: Path) -> None:
    _, public = create_party(tmp_path / "keys", "mpd")
    refused("wrong-kind", lambda: backup(public, tmp_path / "p", threshold=2, count=3))


@posix
def test_pages_that_others_can_read_are_refused(pages: list[Path], tmp_path: Path) -> None:
    pages[1].chmod(0o644)
    refused("too-open", lambda: restore(pages, tmp_path / "new.key"))


def test_both_steps_are_on_the_ledger_without_the_secret(linkage: Path, pages: list[Path], tmp_path: Path) -> None:
    restore(pages[:2], tmp_path / "new" / "linkage.key")
    check = load_linkage_key(linkage).check_value
    (made,) = ledger.entries(linkage.parent / "ledger")
    (back,) = ledger.entries(tmp_path / "new" / "ledger")
    assert (made.action, made.extra["check_value"], made.extra["threshold"], made.extra["shares"]) == (
        "key-backup",
        check,
        2,
        3,
    )
    assert (back.action, back.extra["check_value"]) == ("key-restore", check)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_pages_are_read_or_refused(pages: list[Path], tmp_path: Path, data: st.DataObject) -> None:
    """Whatever is cut, added or changed in a page, it is read or refused, and no word of it is in the refusal."""
    whole = data.draw(st.sampled_from([pages[0].read_text(), read_page(pages[0]).text(), ""]))
    at = data.draw(st.integers(0, len(whole)))
    cut = data.draw(st.integers(0, 60))
    added = data.draw(
        st.text(max_size=20) | st.sampled_from(["words:", "\nkey: party", "<li>", "<!doctype html>", "\0"])
    )
    path = private(tmp_path / "page.txt", whole[:at] + added + whole[at + cut :])
    try:
        read_page(path)
    except KeyFileError as error:
        assert error.reason == "bad-shares"
        assert not set(read_page(pages[0]).words.split()) & set(str(error).replace("\n", " ").split(" "))
