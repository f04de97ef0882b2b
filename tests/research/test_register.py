"""The register of releases: none is forgotten, moved away or made elsewhere."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from linkage.errors import ReleaseError, SealError
from linkage.exchange import create_party, ledger, load_party
from linkage.research.register import LEDGER, earlier_folders, register, require_inside


class Site:
    """A state folder, and two releases that are registered."""

    def __init__(self, folder: Path, maker: Any, *made: Path) -> None:
        self.maker, self.state, self.releases = maker, folder / "state", folder / "releases"
        self.folders = [self.releases / name for name in ("first", "second")]
        for source, target in zip(made, self.folders, strict=True):
            shutil.copytree(source, target)
            register(self.state, target, maker.party)

    def earlier(self) -> list[Path]:
        return earlier_folders(self.state, self.releases, project="milwaukee", party=self.maker.party)

    def registered(self) -> list[ledger.Entry]:
        return list(ledger.entries(self.state / LEDGER))


@pytest.fixture
def site(maker: Any, small_release: Any, large_release: Any, tmp_path: Path) -> Site:
    return Site(tmp_path, maker, small_release.folder, large_release.folder)


def test_registered_releases_are_the_earlier_ones(site: Site) -> None:
    assert site.earlier() == site.folders
    entries = site.registered()
    assert len(entries) == 2  # looking adds nothing
    for entry, folder in zip(entries, site.folders, strict=True):
        assert entry.action == "release"
        assert entry.object == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
        assert entry.extra == {"folder": folder.name, "month": "2026-11"}


def test_nothing_made_nothing_earlier(maker: Any, tmp_path: Path) -> None:
    assert earlier_folders(tmp_path / "state", tmp_path / "releases", project="milwaukee", party=maker.party) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["deleted", "renamed", "replaced", "without manifest"])
def test_an_earlier_release_that_is_gone_is_refused(site: Site, how: str) -> None:
    first, second = site.folders
    if how == "renamed":
        first.rename(site.releases / "other")
    elif how == "without manifest":
        (first / "manifest.json").unlink()
    else:
        shutil.rmtree(first)
        if how == "replaced":
            shutil.copytree(second, first)
    with pytest.raises(ReleaseError) as caught:
        site.earlier()
    assert caught.value.reason == "earlier-release-missing"
    assert caught.value.hint is not None
    assert caught.value.problems == ("first: missing or changed",)
    assert len(site.registered()) == 2


def test_a_registered_release_said_to_be_of_another_project_still_counts(site: Site) -> None:
    document = site.folders[0] / "release.json"
    document.write_text(document.read_text().replace('"milwaukee"', '"elsewhere"'))
    assert site.folders[0] in site.earlier()
    with pytest.raises(ReleaseError) as caught:
        site.maker.release(site.maker.world(400, 3), site.releases / "third", previous=site.earlier())
    assert caught.value.reason == "earlier-release"


@pytest.mark.parametrize("how", ["changed", "first line gone", "cut off"])
def test_a_tampered_register_is_refused(site: Site, how: str) -> None:
    path = site.state / LEDGER
    lines = path.read_bytes().splitlines(keepends=True)
    tampered = {
        "changed": lines[0].replace(b'"first"', b'"fjrst"') + lines[1],
        "first line gone": lines[1],
        "cut off": lines[0] + lines[1][:-9],
    }
    assert tampered[how] != b"".join(lines)
    path.write_bytes(tampered[how])
    with pytest.raises(SealError) as caught:
        site.earlier()
    assert caught.value.reason == "ledger-broken"


def test_a_release_of_an_interrupted_run_is_registered(site: Site, small_release: Any) -> None:
    third = site.releases / "third"
    shutil.copytree(small_release.folder, third)
    assert site.earlier() == [*site.folders, third]
    assert [entry.extra["folder"] for entry in site.registered()] == ["first", "second", "third"]
    shutil.rmtree(third)
    with pytest.raises(ReleaseError) as caught:
        site.earlier()
    assert caught.value.reason == "earlier-release-missing"


def test_a_release_that_somebody_else_signed_is_not_registered_and_stops_the_next(site: Site, tmp_path: Path) -> None:
    stranger = load_party(create_party(tmp_path / "keys", "stranger")[0])
    small = site.maker.world(400, 3)
    site.maker.release(small, site.releases / "third", party=stranger)
    earlier = site.earlier()
    assert site.releases / "third" in earlier
    assert len(site.registered()) == 2
    with pytest.raises(ReleaseError) as caught:
        site.maker.release(small, site.releases / "fourth", previous=earlier)
    assert caught.value.reason == "earlier-release"


@pytest.mark.parametrize(
    "out", ["elsewhere/new", "releases/within/new", "releases/.new", "releases/../new", "releases"]
)
def test_a_folder_outside_the_releases_is_refused(tmp_path: Path, out: str) -> None:
    require_inside(tmp_path / "releases" / "new", tmp_path / "releases")
    with pytest.raises(ReleaseError) as caught:
        require_inside(tmp_path / out, tmp_path / "releases")
    assert caught.value.reason == "outside-releases"


@pytest.mark.parametrize("lists", [("mpd", "dcf", "pohsey"), ("dcf", "mpd", "pohsey", "medical")])
def test_other_lists_of_the_same_scope_are_refused(
    maker: Any, small: Any, small_release: Any, tmp_path: Path, lists: tuple[str, ...]
) -> None:
    facts = {name: small.facts[name] for name in lists}
    small = type(small)(facts, small.person_map, small.quality, {name: small.manifests[name] for name in lists})
    with pytest.raises(ReleaseError) as caught:
        maker.release(
            small,
            tmp_path / "release",
            policy=maker.policy(lists=lists),
            agreements=[maker.agreement(name) for name in lists],
            previous=[small_release.folder],
        )
    assert caught.value.reason == "lists-differ"
    assert list(tmp_path.iterdir()) == []
