"""The bridge file: for the hub alone, from the agency alone, and nothing but pairs of pseudonyms."""

from __future__ import annotations

import hashlib
from pathlib import Path

import polars as pl
import pytest

from linkage.errors import SealError
from linkage.exchange import Party, envelope
from linkage.exchange.bridge import open_bridge, read_bridge_manifest, seal_bridge

ABOUT = {"project": "milwaukee", "epoch": "2027-1", "source": "mpd"}


def pairs(count: int = 5) -> pl.DataFrame:
    names = [[hashlib.sha256(f"{when}{number}".encode()).hexdigest()[:32] for number in range(count)] for when in "ab"]
    return pl.DataFrame(dict(zip(("before", "after"), names, strict=True)))


@pytest.fixture
def path(tmp_path: Path, cast: tuple[Party, ...]) -> Path:
    mpd, _, hub, _ = cast
    seal_bridge(tmp_path / "mpd.bridge", pairs(), mpd, hub.public, **ABOUT)
    return tmp_path / "mpd.bridge"


def test_the_hub_reads_what_the_agency_sent(path: Path, cast: tuple[Party, ...]) -> None:
    mpd, _, hub, _ = cast
    manifest, found = open_bridge(path, hub, mpd.public)
    assert (manifest.source, manifest.epoch, manifest.records) == ("mpd", "2027-1", 5)
    assert found.equals(pairs().sort("after"))
    assert read_bridge_manifest(path) == manifest


def test_nobody_else_can_open_it_and_nobody_else_can_have_sent_it(path: Path, cast: tuple[Party, ...]) -> None:
    mpd, dcf, hub, analysis = cast
    for opener, sender, reason in (
        (analysis, mpd, "not-for-us"),
        (mpd, mpd, "not-for-us"),
        (hub, dcf, "untrusted-sender"),
    ):
        with pytest.raises(SealError) as refused:
            open_bridge(path, opener, sender.public)
        assert refused.value.reason == reason
    assert not [name for name in pl.concat(pairs().get_columns()) if name.encode() in path.read_bytes()]


@pytest.mark.parametrize("place", [1, 40, 400, -1])
def test_a_changed_byte_is_refused(path: Path, cast: tuple[Party, ...], place: int) -> None:
    mpd, _, hub, _ = cast
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(SealError):
        open_bridge(path, hub, mpd.public)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (pairs(1), "too-few-records"),
        (pairs().rename({"after": "now"}), "contents-mismatch"),
        (pairs().with_columns(after="before"), "contents-mismatch"),
        (pairs().with_columns(after=pl.lit("a" * 32)), "contents-mismatch"),
        (pairs().with_columns(before=pl.col("before").str.to_uppercase()), "contents-mismatch"),
        (pairs().with_columns(after=pl.lit(None, pl.String)), "contents-mismatch"),
    ],
)
def test_what_is_no_bridge_is_neither_sealed_nor_opened(
    tmp_path: Path, cast: tuple[Party, ...], frame: pl.DataFrame, reason: str
) -> None:
    mpd, _, hub, _ = cast
    path = tmp_path / "mpd.bridge"
    with pytest.raises(SealError) as refused:
        seal_bridge(path, frame, mpd, hub.public, **ABOUT)
    assert refused.value.reason == reason
    assert not path.exists()
    if reason == "contents-mismatch":  # the same, sealed by somebody who does not check
        from linkage.exchange.frames import to_parquet

        header = {**ABOUT, "records": frame.height, "tool_version": "0.1.0"}
        envelope.seal(path, "bridge", header, [envelope.Compartment("pseudonyms", hub.public, to_parquet(frame))], mpd)
        with pytest.raises(SealError) as refused:
            open_bridge(path, hub, mpd.public)
        assert refused.value.reason == reason


def test_another_kind_or_shape_is_refused(tmp_path: Path, cast: tuple[Party, ...]) -> None:
    mpd, _, hub, _ = cast
    path = tmp_path / "mpd.bridge"
    header = {**ABOUT, "records": 5, "tool_version": "0.1.0"}
    for kind, about, name, reason in (
        ("batch", header, "pseudonyms", "bad-version"),
        ("bridge", header, "names", "malformed"),
        ("bridge", {**header, "more": 1}, "pseudonyms", "malformed"),
        ("bridge", {**header, "records": 1}, "pseudonyms", "malformed"),
    ):
        envelope.seal(path, kind, about, [envelope.Compartment(name, hub.public, b"x" * 9)], mpd)
        with pytest.raises(SealError) as refused:
            read_bridge_manifest(path)
        assert refused.value.reason == reason
