from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkage.errors import KeyFileError, LinkageError, NotPermittedError, SealError
from linkage.exchange import Party, create_party, ledger, load_linkage_key, load_party
from linkage.exchange.canonical import dump
from linkage.exchange.ceremony.documents import Ceremony, read_ceremony
from linkage.exchange.ceremony.invitation import invite, rotate
from linkage.exchange.ceremony.steps import agreed, confirm, join
from linkage.exchange.documents import write_document

posix = pytest.mark.skipif(os.name != "posix", reason="Windows protects files by access lists, not by mode bits")

NAMES = ("dcf", "eve", "mpd")


class Table:
    """A folder on the table, and around it the parties with their own folders of keys."""

    def __init__(self, root: Path, cast: dict[str, Party], homes: Path) -> None:
        self.root, self.cast, self.homes = root, cast, homes
        self.folder = root / "ceremony"

    def keys(self, name: str) -> Path:
        return self.root / name

    def out(self, name: str) -> Path:
        return self.keys(name) / "linkage.key"

    def public(self, name: str) -> Path:
        return self.homes / f"{name}.pub"

    def invite(self, names: tuple[str, ...] = NAMES, **changes: Any) -> Ceremony:
        content: dict[str, Any] = {
            "folder": self.folder,
            "project": "milwaukee",
            "epoch": "2026-1",
            "participants": [self.public(name) for name in names],
            "inviter": self.cast["hub"],
            "public_file": self.public("hub"),
            "keys": self.keys("hub"),
        }
        return invite(**(content | changes))

    def join(self, name: str, folder: Path | None = None, **changes: Any) -> str:
        folder = folder or self.folder
        told = {"told": read_ceremony(folder).id} | changes
        return join(folder, self.cast[name], self.keys(name), **told)[1]

    def confirm(self, name: str, folder: Path | None = None) -> Ceremony:
        return confirm(folder or self.folder, self.cast[name], self.keys(name), self.out(name))

    def until(self, stage: str, names: tuple[str, ...] = NAMES) -> Table:
        self.invite(names)
        if stage == "invited":
            return self
        for name in names:
            assert self.join(name) == "committed"
        if stage == "committed":
            return self
        for name in names:
            assert self.join(name) == "contributed"
        if stage == "contributed":
            return self
        for name in names:
            self.confirm(name)
        return self

    def content(self, file: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.folder / file).read_bytes().splitlines()[1])
        return loaded

    def forge(self, file: str, author: str, folder: Path | None = None, **changes: Any) -> None:
        """Write a document anew with other content, signed by a participant that cheats."""
        kind = "ceremony-" + file.partition(".")[2]
        write_document((folder or self.folder) / file, kind, 1, self.content(file) | changes, self.cast[author])


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("homes")
    for name in (*NAMES, "hub", "pohsey"):
        create_party(folder, name)
    return folder


@pytest.fixture(scope="module")
def people(homes: Path) -> dict[str, Party]:
    return {path.stem: load_party(path) for path in homes.glob("*.key")}


@pytest.fixture
def table(tmp_path: Path, people: dict[str, Party], homes: Path) -> Table:
    return Table(tmp_path, people, homes)


def refused(reason: str, call: Callable[[], object]) -> str:
    with pytest.raises(LinkageError) as caught:
        call()
    assert caught.value.reason == reason, caught.value
    return str(caught.value)


# --- the honest road


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """32 bytes after RFC 5869, written out."""
    return hmac.digest(hmac.digest(salt, secret, "sha256"), info + b"\1", "sha256")


def packed(*parts: str | bytes) -> bytes:
    whole = b""
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole += len(data).to_bytes(4, "big") + data
    return whole


def test_all_have_one_key_and_a_second_computation_from_the_files_gives_it(table: Table) -> None:
    table.until("contributed")
    # Two thieves' view: with the private keys of two participants the files give all contributions.
    ceremony = hashlib.sha256((table.folder / "invitation").read_bytes()).hexdigest()
    seen = [(name, hashlib.sha256((table.folder / f"{name}.commitment").read_bytes()).hexdigest()) for name in NAMES]
    bound = hashlib.sha256(
        packed("linkage ceremony commitments v1", ceremony, *(part for pair in seen for part in pair))
    ).hexdigest()
    opened = {}
    for sender in NAMES:
        recipient = next(name for name in NAMES if name != sender)
        ids = [table.cast[name].key_id for name in (sender, recipient)]
        info = packed("linkage ceremony contribution v1", ceremony, *ids, bound)
        sealed = table.content(f"{sender}.contribution")["sealed"][recipient]
        opened[sender] = table.cast[recipient].unwrap(b64decode(sealed), info)
        promise = packed("linkage ceremony commitment v1", ceremony, sender, opened[sender])
        assert table.content(f"{sender}.commitment")["commitment"] == hashlib.sha256(promise).hexdigest()
    whole = b"".join(opened[name] for name in sorted(opened))
    key = hkdf(whole, b"linkage ceremony v1", packed("linkage key", ceremony, bound))
    for name in NAMES:
        table.confirm(name)
        assert json.loads(table.out(name).read_bytes().splitlines()[1])["secret"] == b64encode(key).decode()
    done = read_ceremony(table.folder)
    assert agreed(done)
    assert {load_linkage_key(table.out(name)).check_value for name in NAMES} == {
        signed.content.check_value for signed in done.confirmations.values()
    }


def test_nothing_secret_is_on_the_table_and_nothing_is_left_behind(table: Table) -> None:
    table.until("contributed")
    randoms = []
    for name in NAMES:
        (secret,) = table.keys(name).glob("*.secret")
        randoms.append(json.loads(secret.read_bytes().splitlines()[1])["random"])
        if os.name == "posix":
            assert secret.stat().st_mode & 0o777 == 0o600
    for name in NAMES:
        table.confirm(name)
        assert sorted(path.name for path in table.keys(name).iterdir()) == [
            f"ceremony-{read_ceremony(table.folder).id[:32]}.done",
            "ledger",
            "linkage.key",
        ]
    key = json.loads(table.out("mpd").read_bytes().splitlines()[1])["secret"]
    expected = {"invitation", *(f"{name}.pub" for name in (*NAMES, "hub"))}
    expected |= {f"{name}.{part}" for name in NAMES for part in ("commitment", "contribution", "confirmation")}
    assert {path.name for path in table.folder.iterdir()} == expected
    kept = [path for name in NAMES for path in table.keys(name).iterdir() if path.suffix != ".key"]
    for path in [*table.folder.iterdir(), *kept]:
        data = path.read_text()
        for secret_text in (*randoms, key):
            assert secret_text not in data and b64decode(secret_text).hex() not in data


def test_each_step_is_on_the_ledger_with_its_document(table: Table) -> None:
    table.until("done")
    for name in NAMES:
        found = list(ledger.entries(table.keys(name) / "ledger"))
        assert [entry.action for entry in found] == ["ceremony-commit", "ceremony-contribute", "ceremony-confirm"]
        for entry, part in zip(found, ("commitment", "contribution", "confirmation"), strict=True):
            assert entry.object == hashlib.sha256((table.folder / f"{name}.{part}").read_bytes()).hexdigest()
            assert entry.extra["ceremony"] == read_ceremony(table.folder).id
    (begun,) = ledger.entries(table.keys("hub") / "ledger")
    assert (begun.action, begun.object) == ("ceremony-invite", read_ceremony(table.folder).id)


def test_steps_wait_for_the_others_and_are_done_once(table: Table) -> None:
    table.invite()
    assert table.join("mpd") == "committed"
    before = (table.folder / "mpd.commitment").read_bytes()
    assert table.join("mpd") == "awaits-commitments"
    refused("not-yet", lambda: table.confirm("mpd"))
    assert (table.folder / "mpd.commitment").read_bytes() == before
    for name in ("dcf", "eve"):
        table.join(name)
    assert table.join("mpd") == "contributed"
    assert table.join("mpd") == "awaits-contributions"
    assert "dcf, eve" in refused("not-yet", lambda: table.confirm("mpd"))
    for name in ("dcf", "eve"):
        table.join(name)
    assert table.join("mpd") == "may-confirm"
    table.confirm("mpd")
    assert table.join("mpd") == "confirmed"
    assert not agreed(table.confirm("dcf"))
    table.confirm("mpd")  # again: no harm
    assert agreed(table.confirm("eve"))


def test_a_stopped_run_goes_on(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    table.until("committed")
    (table.folder / "mpd.commitment").unlink()  # as if stopped between the random bytes and the commitment
    assert table.join("mpd") == "committed"
    for name in NAMES:
        table.join(name)
    monkeypatch.setattr("linkage.exchange.ceremony.steps.write_linkage_key", lambda *_: (_ for _ in ()).throw(OSError))
    with pytest.raises(OSError):
        table.confirm("mpd")
    monkeypatch.undo()
    assert (table.folder / "mpd.confirmation").exists() and not table.out("mpd").exists()
    table.confirm("mpd")
    assert load_linkage_key(table.out("mpd")).epoch == "2026-1"
    assert not list(table.keys("mpd").glob("*.secret"))


@pytest.mark.parametrize("by", ["confirm", "join"])
def test_a_confirmation_that_is_lost_is_made_again(table: Table, by: str) -> None:
    table.until("done")
    said = table.content("mpd.confirmation")
    (table.folder / "mpd.confirmation").unlink()
    assert not agreed(read_ceremony(table.folder))
    if by == "join":
        assert table.join("mpd") == "confirmed"
    else:
        table.confirm("mpd")
    assert agreed(read_ceremony(table.folder))
    again = table.content("mpd.confirmation")
    assert again | {"time": 0} == said | {"time": 0}
    *_, last = ledger.entries(table.keys("mpd") / "ledger")
    digest = hashlib.sha256((table.folder / "mpd.confirmation").read_bytes()).hexdigest()
    assert (last.action, last.object, last.extra["check_value"]) == ("ceremony-confirm", digest, said["check_value"])


def test_who_has_confirmed_does_not_take_part_again(table: Table) -> None:
    table.until("done")
    before = (table.keys("mpd") / "ledger").read_bytes()
    for gone in (["mpd.confirmation", "mpd.contribution", "mpd.commitment"], ["*.con*", "*.commitment"]):
        for pattern in gone:
            for path in table.folder.glob(pattern):
                shutil.move(path, table.root / path.name)
        if gone[0] == "mpd.confirmation":  # the others' documents know of these: that is told first
            refused("too-early", lambda: table.join("mpd"))
            continue
        for call in (table.join, table.confirm):
            refused("other-documents", lambda call=call: call("mpd"))
        assert not list(table.folder.glob("mpd.c*")) and not list(table.keys("mpd").glob("*.secret"))
    assert (table.keys("mpd") / "ledger").read_bytes() == before
    for path in table.root.glob("*.co*"):
        shutil.move(path, table.folder / path.name)
    assert table.join("mpd") == "confirmed" and agreed(table.confirm("mpd"))


def test_what_stays_of_a_ceremony_is_of_this_participant_and_whole(table: Table) -> None:
    table.until("done")
    (stays,) = table.keys("mpd").glob("*.done")
    good = stays.read_bytes()
    (other,) = table.keys("dcf").glob("*.done")
    for data, reason in ((other.read_bytes(), "wrong-kind"), (good[:-1], "malformed"), (good[:40], "malformed")):
        stays.write_bytes(data)
        for call in (table.join, table.confirm):
            refused(reason, lambda call=call: call("mpd"))
    stays.write_bytes(good)
    if os.name == "posix":
        stays.chmod(0o644)
        refused("too-open", lambda: table.join("mpd"))


@pytest.mark.parametrize("stage", ["invited", "committed", "contributed"])
def test_a_step_whose_entry_was_cut_off_is_entered_by_the_next_run(
    table: Table, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.until(stage)
    part = {"invited": "commitment", "committed": "contribution", "contributed": "confirmation"}[stage]
    act: Callable[[str], object] = table.confirm if stage == "contributed" else table.join
    with monkeypatch.context() as patch:
        patch.setattr("linkage.exchange.ceremony.steps.note", lambda *_, **__: (_ for _ in ()).throw(OSError))
        with pytest.raises(OSError):
            act("mpd")
    digest = hashlib.sha256((table.folder / f"mpd.{part}").read_bytes()).hexdigest()
    for _ in range(2):
        act("mpd")
        book = table.keys("mpd") / "ledger"
        assert [entry.object for entry in ledger.entries(book)].count(digest) == 1
    if part == "confirmation":
        assert entry_of(book, digest).extra["check_value"] == table.content("mpd.confirmation")["check_value"]


def entry_of(book: Path, digest: str) -> ledger.Entry:
    return next(entry for entry in ledger.entries(book) if entry.object == digest)


def test_another_key_in_the_way_is_kept_and_nothing_is_confirmed(table: Table) -> None:
    table.until("done")
    old = table.out("mpd").read_bytes()
    shutil.move(table.folder, table.root / "first")
    table.until("contributed")
    refused("exists", lambda: table.confirm("mpd"))
    assert table.out("mpd").read_bytes() == old
    assert not (table.folder / "mpd.confirmation").exists()
    confirm(table.folder, table.cast["mpd"], table.keys("mpd"), table.keys("mpd") / "next.key")


def test_two_ceremonies_give_two_keys(table: Table) -> None:
    table.until("done")
    first = load_linkage_key(table.out("mpd")).check_value
    shutil.rmtree(table.folder)
    for name in NAMES:
        table.out(name).unlink()
    table.until("done")
    assert load_linkage_key(table.out("mpd")).check_value != first


# --- the invitation


def test_an_invitation_is_accepted_only_by_the_id_that_was_told(table: Table) -> None:
    ceremony = table.invite()
    refused("unconfirmed-ceremony", lambda: table.join("mpd", told=None))
    refused("another-ceremony", lambda: table.join("mpd", told="0" * 32))
    refused("another-ceremony", lambda: table.join("mpd", told=ceremony.id[:31]))
    refused("another-ceremony", lambda: table.join("mpd", told=""))
    spaced = " ".join(ceremony.id[at : at + 4] for at in range(0, 32, 4)).upper()
    assert table.join("mpd", told=spaced) == "committed"


def test_who_invites_knows_its_own_invitation(table: Table) -> None:
    table.invite(inviter=table.cast["mpd"], public_file=table.public("mpd"))
    assert table.join("mpd", told=None) == "committed"
    refused("unconfirmed-ceremony", lambda: table.join("dcf", told=None))


def test_strangers_and_renewed_keys_are_not_invited(table: Table, tmp_path: Path) -> None:
    table.invite()
    refused("not-invited", lambda: table.join("hub"))
    refused("not-invited", lambda: table.join("pohsey"))
    renewed = load_party(create_party(tmp_path / "renewed", "mpd")[0])
    refused(
        "not-invited", lambda: join(table.folder, renewed, tmp_path / "renewed", told=read_ceremony(table.folder).id)
    )
    refused("not-invited", lambda: confirm(table.folder, renewed, tmp_path / "renewed", tmp_path / "k"))


@pytest.mark.parametrize(
    "changes",
    [
        {"project": "Milwaukee"},
        {"epoch": "of 2026"},
        {"reason": "scheduled"},
        {"revoked": ["pohsey"]},
        {"names": ("mpd",)},
        {"names": ("mpd", "mpd")},
    ],
)
def test_invitations_that_make_no_sense(table: Table, changes: dict[str, Any]) -> None:
    refused("bad-invitation", lambda: table.invite(**changes))
    assert not table.folder.exists()


def test_an_invitation_is_not_overwritten_and_is_signed_by_its_inviter(table: Table) -> None:
    table.invite()
    refused("exists", table.invite)
    refused("wrong-key", lambda: table.invite(folder=table.root / "other", public_file=table.public("mpd")))


def test_an_inviter_that_signs_nonsense_is_refused(table: Table) -> None:
    """The same rules when an invitation is read as when it is made; and one that its inviter did not sign."""
    table.invite()
    whole = table.content("invitation")
    first, second, third = whole["participants"]
    previous = {"previous": "0" * 64, "previous_epoch": "2025-1"}
    twice = first | {"name": "zzz"}
    for changes in (
        {"participants": [first]},
        {"participants": [second, first, third]},
        {"participants": [first, second, second]},
        {"participants": [first, second, twice]},
        {"inviter": first | {"key_id": "0" * 32}},
        {"inviter": first | {"name": "hub"}},
        {"reason": "scheduled"},
        {"previous": "0" * 64},
        previous,
        previous | {"reason": "scheduled", "previous_epoch": "2026-1"},
        previous | {"reason": "revoked"},
        previous | {"reason": "revoked", "revoked": ["mpd"]},
        previous | {"reason": "scheduled", "revoked": ["pohsey"]},
    ):
        write_document(table.folder / "invitation", "ceremony-invitation", 1, whole | changes, table.cast["hub"])
        refused("malformed", lambda: read_ceremony(table.folder))
    good = previous | {"reason": "revoked", "revoked": ["pohsey"]}
    write_document(table.folder / "invitation", "ceremony-invitation", 1, whole | good, table.cast["hub"])
    assert read_ceremony(table.folder).invitation.revoked == ["pohsey"]
    write_document(table.folder / "invitation", "ceremony-invitation", 1, whole, table.cast["eve"])
    refused("bad-signature", lambda: read_ceremony(table.folder))


def test_an_exchanged_public_key_is_found(table: Table, tmp_path: Path) -> None:
    table.invite()
    create_party(tmp_path / "false", "dcf")
    shutil.copy(tmp_path / "false" / "dcf.pub", table.folder / "dcf.pub")
    assert "dcf.pub" in refused("wrong-key", lambda: table.join("mpd", told="0"))


# --- cheaters: each is found, and named


def test_bytes_that_were_not_committed_to(table: Table) -> None:
    table.until("committed")
    (secret,) = table.keys("eve").glob("*.secret")
    first, second = secret.read_bytes().splitlines()
    content = json.loads(second) | {"random": b64encode(bytes(32)).decode()}
    secret.write_bytes(first + b"\n" + dump(content) + b"\n")
    refused("not-committed", lambda: table.join("eve"))  # the program does not do it
    for name in ("dcf", "mpd"):
        table.join(name)
    ceremony = read_ceremony(table.folder)
    from linkage.exchange.ceremony.steps import _seal_info

    sealed = {
        name: b64encode(ceremony.parties[name].wrap(bytes(32), _seal_info(ceremony, "eve", name))).decode()
        for name in ("dcf", "mpd")
    }
    honest = table.content("mpd.contribution")
    write_document(
        table.folder / "eve.contribution",
        "ceremony-contribution",
        1,
        honest | {"name": "eve", "sealed": sealed},
        table.cast["eve"],
    )
    for name in ("dcf", "mpd"):
        assert "eve" in refused("not-committed", lambda name=name: table.confirm(name))
        assert not table.out(name).exists() and not (table.folder / f"{name}.confirmation").exists()


def test_a_contribution_sealed_for_nobody(table: Table) -> None:
    table.until("contributed")
    sealed = table.content("eve.contribution")["sealed"]
    table.forge("eve.contribution", "eve", sealed={**sealed, "mpd": sealed["dcf"]})
    assert "eve" in refused("cannot-open", lambda: table.confirm("mpd"))
    table.forge("eve.contribution", "eve", sealed={**sealed, "mpd": "AAAA"})
    assert "eve" in refused("cannot-open", lambda: table.confirm("mpd"))
    assert not table.out("mpd").exists()


def test_a_participant_left_out(table: Table) -> None:
    table.until("contributed")
    sealed = table.content("eve.contribution")["sealed"]
    table.forge("eve.contribution", "eve", sealed={"dcf": sealed["dcf"]})
    assert "eve" in refused("left-out", lambda: table.confirm("mpd"))


def test_an_earlier_or_anothers_document_is_not_taken_for_this_ceremonys(table: Table) -> None:
    table.until("done")
    old = shutil.move(table.folder, table.root / "old")
    table.invite(epoch="2026-2")
    shutil.copy(old / "eve.commitment", table.folder)
    assert "eve.commitment" in refused("foreign-ceremony", lambda: table.join("mpd", told="0"))
    (table.folder / "eve.commitment").unlink()
    table.join("mpd")
    shutil.copy(table.folder / "mpd.commitment", table.folder / "eve.commitment")
    assert "eve.commitment" in refused("bad-signature", lambda: table.join("dcf"))
    table.forge("mpd.commitment", "eve")
    shutil.move(table.folder / "mpd.commitment", table.folder / "eve.commitment")
    assert "eve.commitment" in refused("wrong-author", lambda: table.join("dcf"))


def test_a_copied_commitment_opens_to_nothing(table: Table) -> None:
    """Eve repeats the digest of mpd as her own, to repeat its bytes later: her name is in the digest."""
    table.invite()
    for name in ("mpd", "dcf"):
        table.join(name)
    content = table.content("mpd.commitment") | {"name": "eve"}
    write_document(table.folder / "eve.commitment", "ceremony-commitment", 1, content, table.cast["eve"])
    for name in ("mpd", "dcf"):
        table.join(name)
    refused("missing", lambda: table.join("eve"))


def test_different_commitments_for_different_people(table: Table) -> None:
    table.until("committed")
    other = table.root / "for-dcf"
    shutil.copytree(table.folder, other)
    table.forge("eve.commitment", "eve", folder=other, commitment="0" * 64)
    table.join("mpd")
    table.join("dcf", other)
    shutil.copy(other / "dcf.contribution", table.folder)
    told = refused("other-commitments", lambda: table.join("eve"))
    assert "eve" in told and "dcf" in told
    refused("other-commitments", lambda: table.confirm("mpd"))


def test_whoever_saw_a_contribution_cannot_choose_anew(table: Table) -> None:
    """The carrier helps Eve: she opens mpd's bytes, then commits to others, and mpd's contribution is taken away."""
    table.until("committed")
    table.join("mpd")
    (table.folder / "mpd.contribution").unlink()
    table.forge("eve.commitment", "eve", commitment="0" * 64)
    refused("other-commitments", lambda: table.join("mpd"))
    assert not (table.folder / "mpd.contribution").exists()


def test_a_contribution_before_all_have_committed(table: Table) -> None:
    table.until("committed")
    table.join("eve")
    (table.folder / "dcf.commitment").unlink()
    assert "dcf" in refused("too-early", lambda: table.join("mpd"))


def test_a_contribution_taken_away_after_confirmation(table: Table) -> None:
    table.until("contributed")
    table.confirm("mpd")
    (table.folder / "eve.contribution").unlink()
    assert "eve" in refused("too-early", lambda: table.confirm("dcf"))


def test_an_exchanged_contribution(table: Table) -> None:
    table.until("contributed")
    table.confirm("mpd")
    table.forge("eve.contribution", "eve", time=1)
    told = refused("other-contributions", lambda: table.confirm("dcf"))
    assert "eve" in told and "mpd" in told


def test_check_values_that_differ_name_who_has_which(table: Table) -> None:
    table.until("contributed")
    table.confirm("mpd")
    table.confirm("eve")
    table.forge("eve.confirmation", "eve", check_value="0" * 16)
    told = refused("check-values-differ", lambda: table.confirm("dcf"))
    assert "eve" in told and "dcf, mpd" in told
    assert not table.out("dcf").exists()
    refused("check-values-differ", lambda: table.confirm("mpd"))


def test_the_last_to_contribute_changes_nothing_by_sealing_anew(table: Table) -> None:
    """What is random in a contribution is not in the key: grinding it is of no use."""
    table.until("contributed")
    other = table.root / "other"
    shutil.copytree(table.folder, other)
    table.forge("eve.contribution", "eve", folder=other, time=2)
    confirm(table.folder, table.cast["mpd"], table.keys("mpd"), table.root / "a.key")
    confirm(other, table.cast["dcf"], table.keys("dcf"), table.root / "b.key")
    assert load_linkage_key(table.root / "a.key").check_value == load_linkage_key(table.root / "b.key").check_value


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, people: dict[str, Party], homes: Path) -> Table:
    return Table(tmp_path_factory.mktemp("finished"), people, homes).until("done")


def fields(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All places in a document, leaves and branches."""
    if at:
        yield at
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from fields(value[key], (*at, key))


CHANGES = [None, 0, 1, True, "", "mpd", "eve", "0" * 64, "f" * 16, [], {}, "AAAA", "suspicion", "2026-9", ["x"]]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_field_of_any_document_changed_is_refused(finished: Table, tmp_path: Path, data: st.DataObject) -> None:
    """By whoever carries it, who cannot sign; and for malformed content, by its author too."""
    names = sorted(path.name for path in finished.folder.iterdir() if path.suffix != ".pub")
    name = data.draw(st.sampled_from(names))
    first, second, third = (finished.folder / name).read_bytes().splitlines()
    content = json.loads(second)
    *way, last = data.draw(st.sampled_from(list(fields(content))))
    parent = content
    for key in way:
        parent = parent[key]
    change = data.draw(st.sampled_from([*CHANGES, "delete"]))
    if change == "delete":
        del parent[last]
    elif parent[last] == change and type(parent[last]) is type(change):
        return
    else:
        parent[last] = change
    shutil.rmtree(tmp_path / "folder", ignore_errors=True)
    folder = Path(shutil.copytree(finished.folder, tmp_path / "folder"))
    (folder / name).write_bytes(b"\n".join((first, dump(content), third, b"")))
    told = refused_somehow(folder)
    # A name that is changed in the invitation names a public key file, which is read before any signature.
    assert name in told or (name == "invitation" and last == "name" and f"{change}.pub" in told)
    author = name.partition(".")[0] if "." in name else "hub"
    write_document(
        folder / name, first.decode().split("/")[0].removeprefix("linkage-"), 1, content, finished.cast[author]
    )
    if name == "invitation" or not name.endswith("confirmation"):
        refused_somehow(folder)  # another digest than the others saw


def refused_somehow(folder: Path) -> str:
    with pytest.raises((SealError, KeyFileError)) as caught:
        agreed(read_ceremony(folder))
    return str(caught.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["invitation", "mpd.commitment", "eve.contribution", "dcf.confirmation", "mpd.pub"]),
       place=st.integers(0, 10_000), byte=st.integers(1, 255))  # fmt: skip
def test_no_byte_can_be_changed(finished: Table, tmp_path: Path, name: str, place: int, byte: int) -> None:
    shutil.rmtree(tmp_path / "folder", ignore_errors=True)
    folder = Path(shutil.copytree(finished.folder, tmp_path / "folder"))
    data = bytearray((folder / name).read_bytes())
    data[place % len(data)] ^= byte
    (folder / name).write_bytes(data)
    refused_somehow(folder)


# --- random bytes that stay


@posix
def test_random_bytes_that_others_can_read_are_refused(table: Table) -> None:
    table.until("committed")
    (secret,) = table.keys("mpd").glob("*.secret")
    secret.chmod(0o644)
    refused("too-open", lambda: table.join("mpd"))


@pytest.mark.parametrize(
    "content", [b"", b"linkage-ceremony-secret/1\n{}\n", b"\xff" * 2000, b"linkage-ceremony-secret/1\n"]
)
def test_damaged_random_bytes_are_refused(table: Table, content: bytes) -> None:
    table.until("committed")
    (secret,) = table.keys("mpd").glob("*.secret")
    secret.write_bytes(content)
    refused("malformed", lambda: table.join("mpd"))


def test_lost_random_bytes(table: Table) -> None:
    table.until("committed")
    (secret,) = table.keys("mpd").glob("*.secret")
    secret.unlink()
    refused("missing", lambda: table.join("mpd"))


# --- rotation and revocation


def test_rotation_and_revocation(table: Table) -> None:
    table.until("done")
    hub = {"inviter": table.cast["hub"], "public_file": table.public("hub"), "keys": table.keys("hub")}
    later = table.root / "later"
    made = rotate(table.folder, later, epoch="2026-2", reason="revoked", revoked=["eve"], **hub)
    assert made.invitation.names == ["dcf", "mpd"]
    assert (made.invitation.previous, made.invitation.previous_epoch) == (read_ceremony(table.folder).id, "2026-1")
    refused("not-invited", lambda: table.join("eve", later))
    for _ in range(2):
        for name in ("dcf", "mpd"):
            table.join(name, later)
    new = [confirm(later, table.cast[name], table.keys(name), table.keys(name) / "2.key") for name in ("dcf", "mpd")]
    assert agreed(new[-1])
    key = load_linkage_key(table.keys("mpd") / "2.key")
    assert key.epoch == "2026-2" and key.check_value != load_linkage_key(table.out("mpd")).check_value


def test_rotation_on_a_schedule_takes_renewed_keys_and_new_agencies(table: Table, tmp_path: Path) -> None:
    table.until("done")
    hub = {"inviter": table.cast["hub"], "public_file": table.public("hub"), "keys": table.keys("hub")}
    _, renewed = create_party(tmp_path / "renewed", "mpd")
    made = rotate(
        table.folder,
        table.root / "later",
        epoch="2026-2",
        reason="scheduled",
        participants=[renewed, table.public("pohsey")],
        **hub,
    )
    assert made.invitation.names == ["dcf", "eve", "mpd", "pohsey"]
    assert made.parties["mpd"].key_id != table.cast["mpd"].key_id


def test_rotations_that_make_no_sense(table: Table) -> None:
    table.until("invited")
    later = table.root / "later"
    hub = {"inviter": table.cast["hub"], "public_file": table.public("hub"), "keys": table.keys("hub")}
    refused("bad-invitation", lambda: rotate(table.folder, later, epoch="2026-1", reason="scheduled", **hub))
    refused(
        "not-a-participant",
        lambda: rotate(table.folder, later, epoch="2", reason="revoked", revoked=["pohsey"], **hub),
    )
    refused("bad-invitation", lambda: rotate(table.folder, later, epoch="2", reason="revoked", **hub))
    refused(
        "bad-invitation",
        lambda: rotate(table.folder, later, epoch="2", reason="revoked", revoked=["mpd", "eve"], **hub),
    )
    assert not later.exists()


def test_a_ceremony_that_is_not_there(tmp_path: Path) -> None:
    refused("unreadable", lambda: read_ceremony(tmp_path))


def test_not_permitted_is_told_as_such(table: Table) -> None:
    table.invite()
    with pytest.raises(NotPermittedError):
        table.confirm("mpd")
