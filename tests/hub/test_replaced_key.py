"""A key that was replaced: what its thief sent must not stand in its owner's way. And an epoch that is over."""

from __future__ import annotations

from pathlib import Path

import pytest

from linkage.errors import NotPermittedError
from linkage.exchange import Party, create_party, ledger, load_party
from linkage.hub.retire import RETIRE
from tests.hub.test_intake import SOURCES, Hub


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Party]:
    folder = tmp_path_factory.mktemp("parties")
    return {name: load_party(create_party(folder, name)[0]) for name in (*SOURCES, "hub", "analysis", "stranger")}


@pytest.fixture
def hub(tmp_path: Path, parties: dict[str, Party]) -> Hub:
    return Hub(tmp_path, dict(parties))


def test_a_thiefs_serial_from_the_far_future_ends_with_his_key(hub: Hub, tmp_path: Path) -> None:
    hub.send("mpd", serial=2**52)
    assert len(hub.take_in().accepted) == 1
    hub.send("mpd")
    assert [entry.reason for entry in hub.take_in().quarantined] == ["stale"]

    stolen = hub.parties["mpd"]
    hub.parties["mpd"] = load_party(create_party(tmp_path / "new", "mpd")[0])
    hub.parties["thief"] = stolen
    hub.send("mpd", signer="thief", serial=2**52 + 1)
    assert [entry.reason for entry in hub.take_in().quarantined] == ["untrusted-sender"]
    newest = hub.send("mpd")
    (accepted,) = hub.take_in().accepted
    assert not newest.exists()
    assert hub.current() == {"mpd": accepted.path}
    hub.send("mpd", serial=7)  # and among its own, serials count as ever
    assert [entry.reason for entry in hub.take_in().quarantined] == ["stale"]


def test_a_thiefs_batch_has_no_vote_on_the_fingerprint_once_his_key_is_replaced(hub: Hub, tmp_path: Path) -> None:
    hub.send("mpd", fingerprint="e" * 64)
    assert len(hub.take_in().accepted) == 1
    hub.parties["mpd"] = load_party(create_party(tmp_path / "new", "mpd")[0])
    hub.send("dcf")
    assert [entry.source for entry in hub.take_in().accepted] == ["dcf"]


def test_nothing_goes_on_under_a_retired_epoch(hub: Hub) -> None:
    hub.send("mpd")
    hub.take_in()
    ledger.append(hub.state.ledger, actor="hub", action=RETIRE, object_digest="0" * 64, extra={"epoch": "2026-1"})
    waiting = hub.send("mpd")
    for step in (hub.take_in, hub.run):
        with pytest.raises(NotPermittedError) as refused:
            step()
        assert refused.value.reason == "epoch-retired"
    assert waiting.exists()
