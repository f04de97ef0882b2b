from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag

from linkage.errors import KeyFileError
from linkage.exchange.approval.shared import (
    SharedOpening,
    create_opening,
    join_opening,
    load_opening,
    open_share,
)
from linkage.exchange.canonical import dump
from linkage.exchange.custody import shares
from linkage.exchange.opening import OpeningKey


@pytest.fixture(scope="module")
def path(cast: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("opening") / "opening.pub"
    create_opening(path, "milwaukee", "2026-1", [party.public for party in (cast.mpd, cast.dcf, cast.analysis)], 2)
    return path


@pytest.fixture
def opening(path: Path) -> SharedOpening:
    return load_opening(path)


def test_any_two_of_three_open_what_was_sealed(cast: Any, opening: SharedOpening) -> None:
    sealed = opening.wrap(b"k" * 32, b"for this")
    held = [open_share(opening, party) for party in (cast.mpd, cast.dcf, cast.analysis)]
    for two in itertools.combinations(held, 2):
        joined = join_opening(opening, two)
        assert joined.key_id == opening.key_id
        assert joined.unwrap(sealed, b"for this") == b"k" * 32
        with pytest.raises(InvalidTag):
            joined.unwrap(sealed, b"for that")


def test_one_holder_alone_opens_nothing(cast: Any, opening: SharedOpening) -> None:
    share = open_share(opening, cast.mpd)
    for given in ([share], [share, share]):
        with pytest.raises(KeyFileError) as refused:
            join_opening(opening, given)
        assert refused.value.reason == "too-few-shares"


def test_who_holds_no_share_opens_none(cast: Any, opening: SharedOpening) -> None:
    with pytest.raises(KeyFileError) as refused:
        open_share(opening, cast.hub)
    assert refused.value.reason == "no-share"


def test_the_file_holds_no_secret(cast: Any, path: Path, opening: SharedOpening) -> None:
    lists = [open_share(opening, party).split() for party in (cast.mpd, cast.dcf)]
    seed = shares.join([open_share(opening, party) for party in (cast.mpd, cast.dcf)])
    content = path.read_bytes()
    assert OpeningKey(seed).key_id == opening.public.key_id
    assert seed.hex().encode() not in content and seed not in content
    assert not any(f"{one} {other}".encode() in content for words in lists for one, other in itertools.pairwise(words))
    assert [entry.name for entry in path.parent.iterdir()] == ["opening.pub"]


def test_shares_of_another_key_are_refused(cast: Any, opening: SharedOpening, tmp_path: Path) -> None:
    other = create_opening(tmp_path / "b.pub", "milwaukee", "2026-1", [cast.mpd.public, cast.dcf.public], 2)
    theirs = [open_share(other, party) for party in (cast.mpd, cast.dcf)]
    for words in (theirs, [theirs[0], open_share(opening, cast.dcf)]):
        with pytest.raises(KeyFileError) as refused:
            join_opening(opening, words)
        assert refused.value.reason == "bad-shares"


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 3},
        {"threshold": 1},
        {"threshold": 4},
        {"threshold": True},
        {"project": "madison"},
        {"epoch": "2027-1"},
        {"holders": []},
        {"holders": {}},
        {"p384": "BA=="},
        {"mlkem1024": 7},
        {"key_id": "0" * 32},
        {"key_id": None},
    ],
)
def test_a_changed_file_is_refused(path: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    first_line, line, _ = path.read_bytes().split(b"\n")
    spoilt = tmp_path / "spoilt.pub"
    spoilt.write_bytes(first_line + b"\n" + dump(json.loads(line) | change) + b"\n")
    with pytest.raises(KeyFileError) as refused:
        load_opening(spoilt)
    assert refused.value.reason == "malformed"


def test_holders_cannot_be_swapped_or_given_twice(path: Path, tmp_path: Path) -> None:
    first_line, line, _ = path.read_bytes().split(b"\n")
    content = json.loads(line)
    a, b, c = content["holders"]
    for number, holders in enumerate(([b, a, c], [a, a, b], [a, b | {"share": a["share"]}, c], [a, b])):
        spoilt = tmp_path / f"{number}.pub"
        spoilt.write_bytes(first_line + b"\n" + dump(content | {"holders": holders}) + b"\n")
        with pytest.raises(KeyFileError) as refused:
            load_opening(spoilt)
        assert refused.value.reason == "malformed"


def test_holders_and_threshold_must_make_sense(cast: Any, tmp_path: Path) -> None:
    two = [cast.mpd.public, cast.dcf.public]
    for holders, threshold, reason in (
        (two, 1, "bad-threshold"),
        (two, 3, "bad-threshold"),
        ([*two, cast.mpd.public], 2, "bad-holders"),
    ):
        with pytest.raises(KeyFileError) as refused:
            create_opening(tmp_path / "a.pub", "milwaukee", "2026-1", holders, threshold)
        assert refused.value.reason == reason
    assert list(tmp_path.iterdir()) == []


def test_shares_are_sealed_in_one_length(opening: SharedOpening) -> None:
    assert len({len(holder.share) for holder in opening.holders}) == 1
