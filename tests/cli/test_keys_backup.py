from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from linkage.cli import main
from linkage.exchange import create_party, ledger, load_linkage_key, load_public
from linkage.exchange.custody.backup import read_page
from linkage.exchange.custody.destruction import read_key_destruction

pytest.importorskip("segno")
pytest.importorskip("shamir_mnemonic")

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object, code: int = 0) -> tuple[str, str]:
        assert main(["keys", *(str(word) for word in words)]) == code
        return capsys.readouterr()

    return call


@pytest.fixture
def site(tmp_path: Path) -> Path:
    create_party(tmp_path / "mpd", "mpd")
    return tmp_path


def test_backup_destroy_restore(site: Path, run: Run) -> None:
    run("linkage", "--project", "milwaukee", "--epoch", "2026-1", "--out", site / "mpd" / "linkage.key")
    path, pages = site / "mpd" / "linkage.key", site / "pages"
    before, check = path.read_bytes(), load_linkage_key(path).check_value
    _, said = run("backup", path, "--threshold", 2, "--shares", 3, "--out", pages)
    assert "share-03-of-03.html" in said
    run("destroy", path, "--id", "0" * 16, "--reason", "retired", "--key", site / "mpd" / "mpd.key", code=5)
    assert path.read_bytes() == before
    _, said = run("destroy", path, "--id", check.upper(), "--reason", "retired", "--key", site / "mpd" / "mpd.key")
    assert not path.exists() and "flash" in said
    certificate = read_key_destruction(
        site / "mpd" / f"destroyed-{check}.certificate", load_public(site / "mpd" / "mpd.pub")
    )
    assert (certificate.of, certificate.identity, certificate.by) == ("milwaukee/2026-1", check, "mpd")
    run("restore", pages / "share-01-of-03.html", "--out", path, code=5)
    _, said = run("restore", pages / "share-01-of-03.html", pages / "share-03-of-03.html", "--out", path)
    assert path.read_bytes() == before and check in said.replace(" ", "")
    actions = [entry.action for entry in ledger.entries(site / "mpd" / "ledger")]
    assert actions == ["key-backup", "key-destroy-begun", "key-destroy", "key-restore"]


def test_a_partys_own_key_is_destroyed_and_signs_for_it(site: Path, run: Run) -> None:
    public = load_public(site / "mpd" / "mpd.pub")
    run(
        "destroy",
        site / "mpd" / "mpd.key",
        "--id",
        public.key_id,
        "--reason",
        "retired",
        "--key",
        site / "mpd" / "mpd.key",
    )
    assert not (site / "mpd" / "mpd.key").exists()
    found = read_key_destruction(site / "mpd" / f"destroyed-{public.key_id}.certificate", public)
    assert (found.kind, found.of, found.signer) == ("party", "mpd", public.key_id)


def test_no_word_of_a_share_is_said(site: Path, run: Run) -> None:
    path = site / "mpd" / "linkage.key"
    run("linkage", "--project", "milwaukee", "--epoch", "2026-1", "--out", path)
    said = str(run("backup", path, "--threshold", 2, "--shares", 2, "--out", site / "pages"))
    (site / "pages" / "share-01-of-02.html").chmod(0o600)
    words = read_page(site / "pages" / "share-01-of-02.html").words.split()
    spoilt = site / "spoilt.txt"
    spoilt.write_text(read_page(site / "pages" / "share-02-of-02.html").text().replace(words[0], "zebra"))
    spoilt.chmod(0o600)
    pages = [site / "pages" / "share-01-of-02.html", spoilt]
    said += str(run("restore", *pages, "--out", site / "new.key", code=5))
    told = said + (site / "mpd" / "ledger").read_text()
    assert not any(" ".join(words[at : at + 2]) in told for at in range(32)) and "zebra" not in told
