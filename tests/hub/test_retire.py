"""An epoch that is retired: nothing of its encodings is left, a certificate says so, the ledger still holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from linkage.errors import LinkError, NotPermittedError, SealError
from linkage.exchange import (
    BatchManifest,
    Party,
    create_party,
    file_digest,
    ledger,
    load_party,
    new_batch_id,
    seal_batch,
)
from linkage.hub import retire as module
from linkage.hub.destroy import destroy
from linkage.hub.retire import DESTROY, RETIRE, Retired, read_destruction, refuse_retired, retire
from linkage.hub.state import ACCEPT, StateFolder, current_batches, place_copy
from tests.hub.test_intake import SPEC, frames

OLD, NEW = "2026-1", "2027-1"


class Hub:
    """A state folder with batches of two epochs, as intake and runs leave it."""

    def __init__(self, root: Path, parties: dict[str, Party]) -> None:
        self.root, self.parties, self.state = root, parties, StateFolder(root / "state")
        self.digests: dict[str, list[str]] = {OLD: [], NEW: []}
        for serial, epoch in enumerate((OLD, OLD, NEW), start=1):
            for source in ("dcf", "mpd"):
                self.digests[epoch].append(self.accept(source, epoch, serial))

    def batch(self, name: str, source: str, epoch: str, serial: int) -> Path:
        encodings, facts = frames(source, 4, SPEC, serial)
        manifest = BatchManifest(
            project="milwaukee",
            epoch=epoch,
            source=source,
            batch_id=new_batch_id(),
            serial=serial,
            month="2026-11",
            spec_name="default",
            spec_digest=SPEC.digest,
            rules_version=SPEC.rules,
            fingerprint="f" * 64,
            mode="full",
            agreement_digest="0" * 64,
            deduplicated=True,
            tool_version="0.1.0",
        )
        path = self.root / name
        hub, analysis = self.parties["hub"].public, self.parties["analysis"].public
        seal_batch(path, manifest, encodings, facts, self.parties[source], hub, analysis)
        return path

    def accept(self, source: str, epoch: str, serial: int) -> str:
        path = self.batch("one.batch", source, epoch, serial)
        digest = file_digest(path)
        place_copy(path, self.state.batch(source, digest))
        place_copy(path, self.state.root / "runs" / f"2026-11-{serial}" / "batches" / f"{source}.batch")
        path.unlink()
        extra = {
            "source": source,
            "epoch": epoch,
            "serial": serial,
            "batch_id": new_batch_id(),
            "spec_digest": SPEC.digest,
            "fingerprint": "f" * 64,
        }
        ledger.append(self.state.ledger, actor="hub", action=ACCEPT, object_digest=digest, extra=extra)
        return digest

    def retire(self, epoch: str = OLD, **changes: object) -> Retired:
        known = {"folder": self.state, "hub": self.parties["hub"], "project": "milwaukee", "present": NEW}
        return retire(epoch, **(known | changes))  # type: ignore[arg-type]

    def left(self) -> set[str]:
        return {file_digest(path) for path in self.root.rglob("*.batch")}

    def entries(self, action: str) -> list[ledger.Entry]:
        return [entry for entry in ledger.entries(self.state.ledger) if entry.action == action]


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Party]:
    folder = tmp_path_factory.mktemp("parties")
    return {name: load_party(create_party(folder, name)[0]) for name in ("dcf", "mpd", "hub", "analysis")}


@pytest.fixture
def hub(tmp_path: Path, parties: dict[str, Party]) -> Hub:
    return Hub(tmp_path, parties)


def test_all_of_the_epoch_is_gone_and_all_of_the_present_one_stays(hub: Hub) -> None:
    elsewhere = hub.root / "by-hand" / "2026-10-x" / "batches" / "mpd.batch"
    place_copy(hub.state.batch("mpd", hub.digests[OLD][1]), elsewhere)
    before = ledger.head(hub.state.ledger)
    done = hub.retire(runs=[hub.root / "by-hand"])
    assert hub.left() == set(hub.digests[NEW])
    assert not elsewhere.exists()
    assert done.files == 4 * 2 + 1
    assert done.destruction.destroyed == sorted(hub.digests[OLD])
    assert done.destruction.missing == []
    assert ledger.verify(hub.state.ledger, [before], hub.digests[OLD]).entries > before.entries
    assert [entry.object for entry in hub.entries(DESTROY)] == sorted(hub.digests[OLD])
    assert set(current_batches(hub.state.root, epoch=NEW, spec=SPEC)) == {"dcf", "mpd"}
    refuse_retired(hub.state, NEW)
    with pytest.raises(NotPermittedError) as refused:
        refuse_retired(hub.state, OLD)
    assert refused.value.reason == "epoch-retired"


def test_refused_and_unreadable_ones_go_too_and_refused_ones_of_the_present_stay(hub: Hub) -> None:
    hub.state.quarantine.mkdir()
    for name, epoch in (("a", OLD), ("b", NEW)):
        hub.batch("one.batch", "mpd", epoch, 9).rename(hub.state.quarantine / f"{name}.batch")
    whole = hub.batch("one.batch", "mpd", OLD, 10)
    (hub.state.quarantine / "c.batch").write_bytes(whole.read_bytes()[:2000])
    (hub.state.accepted / "mpd" / ".x.batch.0123456789ab.part").write_bytes(whole.read_bytes()[:5000])
    hub.state.incoming.mkdir()
    whole.rename(hub.state.incoming / "d.batch")
    done = hub.retire()
    assert [path.name for path in hub.state.quarantine.iterdir()] == ["b.batch"]
    assert not list(hub.state.incoming.iterdir())
    assert not list(hub.state.accepted.rglob("*.part"))
    assert len(done.destruction.destroyed) == 4 + 3


def test_contents_are_overwritten_under_every_name(tmp_path: Path) -> None:
    path, other = tmp_path / "one", tmp_path / "two"
    path.write_bytes(os.urandom(3_000_001))
    other.hardlink_to(path)
    destroy(path)
    assert not path.exists()
    assert other.read_bytes() == bytes(3_000_001)
    destroy(path)


def test_the_certificate_is_signed_and_on_the_ledger(hub: Hub) -> None:
    done = hub.retire()
    public = hub.parties["hub"].public
    assert read_destruction(done.certificate, public) == done.destruction
    assert [entry.object for entry in hub.entries(RETIRE)] == [file_digest(done.certificate)]
    anchor = ledger.Anchor(done.destruction.ledger_entries, done.destruction.ledger_head)
    ledger.verify(hub.state.ledger, [anchor], [file_digest(done.certificate)])
    with pytest.raises(SealError) as refused:
        read_destruction(done.certificate, hub.parties["mpd"].public)
    assert refused.value.reason == "untrusted-sender"
    text = done.certificate.read_bytes()
    done.certificate.write_bytes(text.replace(hub.digests[OLD][0].encode(), b"0" * 64))
    with pytest.raises(SealError) as refused:
        read_destruction(done.certificate, public)
    assert refused.value.reason == "bad-signature"


def test_repeating_it_changes_nothing_and_takes_what_came_to_light(hub: Hub) -> None:
    lost = hub.state.batch("dcf", hub.digests[OLD][0])
    content = lost.read_bytes()
    for path in (lost, hub.state.root / "runs" / "2026-11-1" / "batches" / "dcf.batch"):
        path.unlink()
    first = hub.retire()
    assert first.destruction.missing == [hub.digests[OLD][0]]
    entries = ledger.head(hub.state.ledger)
    assert hub.retire().destruction == first.destruction
    assert ledger.head(hub.state.ledger) == entries
    lost.write_bytes(content)
    again = hub.retire()
    assert (again.files, again.destruction.missing) == (1, [])
    assert again.destruction.destroyed == sorted(hub.digests[OLD])


def test_killed_in_the_middle_it_is_finished_by_the_next(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[Path] = []

    def killed(path: Path) -> None:
        if len(gone) == 3:
            raise KeyboardInterrupt
        gone.append(path)
        destroy(path)

    with monkeypatch.context() as patch:
        patch.setattr(module, "destroy", killed)
        with pytest.raises(KeyboardInterrupt):
            hub.retire()
    assert not hub.entries(RETIRE)
    assert hub.retire().destruction.destroyed == sorted(hub.digests[OLD])
    assert hub.left() == set(hub.digests[NEW])


def test_the_present_epoch_and_one_that_never_was_are_refused(hub: Hub) -> None:
    with pytest.raises(NotPermittedError) as refused:
        hub.retire(NEW)
    assert refused.value.reason == "present-epoch"
    with pytest.raises(LinkError) as unknown:
        hub.retire("2026-11")
    assert unknown.value.reason == "unknown-epoch"
    assert hub.left() == {*hub.digests[OLD], *hub.digests[NEW]}
