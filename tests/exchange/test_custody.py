"""Protected key files: by a keystore of the test's own, and by a real token in software."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import keyring
import pkcs11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyring.backend import KeyringBackend
from keyring.backends import chainer, fail, null

from linkage.cli import main
from linkage.errors import KeyFileError
from linkage.exchange import create_linkage_key, create_party, load_linkage_key, load_party
from linkage.exchange.canonical import dump
from linkage.exchange.custody import keystore as custody_keystore
from linkage.exchange.custody.destruction import destroy_key
from linkage.exchange.custody.keystore import SERVICE, KeystoreKeeper
from linkage.exchange.custody.token import TokenKeeper
from linkage.exchange.keyfile import KIND_PARTY, protect_key_file, read_key_file, read_protected
from linkage.exchange.keys import renew_party

MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
MODULE = next((Path(path) for path in MODULES if Path(path).exists()), None)
PIN = "271828"


class Kept(KeyringBackend):
    """A keystore that keeps in this process."""

    priority = 1  # type: ignore[assignment] # a class property there

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.entries[service, username]


class Forgetful(Kept):
    def set_password(self, service: str, username: str, password: str) -> None:
        pass


class Locked(Kept):
    def get_password(self, service: str, username: str) -> str | None:
        raise keyring.errors.KeyringLocked("a word of the keystore's")


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Make a keystore the account's, and trusted unless said otherwise."""
    before = keyring.core._keyring_backend

    def choose(store: KeyringBackend, *, trusted: bool = True) -> Any:
        keyring.set_keyring(store)
        if trusted:
            monkeypatch.setattr(custody_keystore, "TRUSTED", frozenset({custody_keystore._name(store)}))
        return store

    yield choose
    keyring.core._keyring_backend = before


@pytest.fixture
def keystore(use: Callable[..., Any]) -> Kept:
    store: Kept = use(Kept())
    return store


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    create_party(tmp_path / "keys", "mpd")
    create_linkage_key(tmp_path / "keys" / "linkage.key", "milwaukee", "2026-1")
    return tmp_path / "keys"


def reason_of(call: Callable[[], object]) -> str:
    with pytest.raises(KeyFileError) as caught:
        call()
    return caught.value.reason


def secrets_of(path: Path) -> list[bytes]:
    """Return the secret texts of a plain key file."""
    content = json.loads(path.read_bytes().split(b"\n")[1])
    secret = [content[name] for name in content.keys() - {"kind", "name", "key_id", "project", "epoch", "check"}]
    assert len(secret) in (1, 4)
    return [text.encode() for text in secret]


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    first, line = path.read_bytes().splitlines()
    content = json.loads(line)
    change(content)
    path.write_bytes(first + b"\n" + dump(content) + b"\n")


# --- what is the same whoever keeps the key


def test_a_protected_file_is_loaded_as_the_plain_one_was_and_holds_no_secret(keystore: Kept, keys: Path) -> None:
    party, linkage = keys / "mpd.key", keys / "linkage.key"
    before = load_party(party), load_linkage_key(linkage)
    secret = secrets_of(party) + secrets_of(linkage)
    for path in (party, linkage):
        protect_key_file(path, KeystoreKeeper())
        assert not any(text in path.read_bytes() for text in secret)
        assert path.stat().st_mode & 0o777 == 0o600 or os.name != "posix"
    after = load_party(party), load_linkage_key(linkage)
    assert after[0].public == before[0].public and after[0].pseudonym("7") == before[0].pseudonym("7")
    assert after[1].check_value == before[1].check_value
    derived = [key.derive(spec_digest="d", purpose="p") for key in (before[1], after[1])]
    assert derived[0] == derived[1]
    assert sorted(path.name for path in keys.iterdir()) == ["linkage.key", "mpd.key", "mpd.pub"]
    assert len(keystore.entries) == 2 and {service for service, _ in keystore.entries} == {SERVICE}


@pytest.mark.skipif(os.name != "posix", reason="an open file is not removed on Windows")
def test_the_plain_file_is_overwritten_and_not_only_removed(keystore: Kept, keys: Path) -> None:
    path = keys / "linkage.key"
    (secret,) = secrets_of(path)
    with path.open("rb") as before:
        protect_key_file(path, KeystoreKeeper())
        assert secret not in before.read()


def test_a_plain_file_stays_where_it_cannot_be_protected(
    use: Callable[..., Any], keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = keys / "linkage.key"
    before = path.read_bytes()
    use(Forgetful())
    assert reason_of(lambda: protect_key_file(path, KeystoreKeeper())) == "keystore-failed"
    store = use(Kept())
    with monkeypatch.context() as patch:
        patch.setattr("linkage.exchange.custody.files.os.link", lambda *_: (_ for _ in ()).throw(OSError()))
        assert reason_of(lambda: protect_key_file(path, KeystoreKeeper())) == "unwritable"
    os.link(path, keys / "other")
    assert reason_of(lambda: protect_key_file(path, KeystoreKeeper())) == "linked"
    (keys / "other").unlink()
    assert path.read_bytes() == before and not store.entries
    assert sorted(path.name for path in keys.iterdir()) == ["linkage.key", "mpd.key", "mpd.pub"]


def test_a_key_stays_in_custody_once_its_file_is_in_place(
    keystore: Kept, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old content cannot be overwritten: that is told, and the new file opens."""

    def fails(path: Path) -> None:
        raise KeyFileError("cannot be overwritten", reason="unwritable")

    monkeypatch.setattr("linkage.exchange.custody.files.overwrite", fails)
    assert reason_of(lambda: protect_key_file(keys / "mpd.key", KeystoreKeeper())) == "unwritable"
    assert read_protected(keys / "mpd.key", (KIND_PARTY,)) is not None
    assert load_party(keys / "mpd.key").name == "mpd"


def test_a_renewed_key_is_protected_as_the_old_one_was(
    keystore: Kept, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = keys / "mpd.key"
    pseudonym = json.loads(old.read_bytes().splitlines()[1])["pseudonym"].encode()
    protect_key_file(old, KeystoreKeeper())
    before = load_party(old)
    assert main(["keys", "renew", str(old), "--out", str(tmp_path / "new")]) == 0
    assert "opens with: the keystore" in capsys.readouterr().err
    new = tmp_path / "new" / "mpd.key"
    assert read_protected(new, (KIND_PARTY,)) is not None and pseudonym not in new.read_bytes()
    assert load_party(new).key_id != before.key_id and load_party(new).pseudonym("7") == before.pseudonym("7")
    assert len(keystore.entries) == 2
    assert new.stat().st_mode & 0o777 == 0o600 or os.name != "posix"
    assert reason_of(lambda: renew_party(old, tmp_path / "new")) == "exists"
    (tmp_path / "new" / "mpd.pub").unlink()
    assert reason_of(lambda: renew_party(old, tmp_path / "new")) == "exists"
    assert len(keystore.entries) == 2  # no entry is left of a file that was not written


def test_a_key_that_cannot_be_protected_again_is_not_renewed(
    use: Callable[..., Any], keystore: Kept, keys: Path, tmp_path: Path
) -> None:
    protect_key_file(keys / "mpd.key", KeystoreKeeper())
    use(Forgetful()).entries.update(keystore.entries)
    assert reason_of(lambda: renew_party(keys / "mpd.key", tmp_path / "new")) == "keystore-failed"
    assert not list((tmp_path / "new").iterdir())


def test_a_plain_key_is_renewed_plain_and_that_is_said(
    keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "renew", str(keys / "mpd.key"), "--out", str(tmp_path / "new")]) == 0
    assert "plain" in capsys.readouterr().err


class Cut(BaseException):
    """Stands for the end of the process: nothing that would tidy up catches it."""


def cut_off(*_: object) -> None:
    raise Cut


def test_what_a_run_that_was_cut_off_left_is_overwritten(
    keystore: Kept, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the renaming and the overwriting: the whole plain key has a hidden name beside the new file."""
    path = keys / "mpd.key"
    secret = secrets_of(path)
    with monkeypatch.context() as patch:
        patch.setattr("linkage.exchange.custody.files.overwrite", cut_off)
        with pytest.raises(Cut):
            protect_key_file(path, KeystoreKeeper())
    (left,) = keys.glob(".mpd.key.*.old")
    assert secret[0] in left.read_bytes()
    entries = dict(keystore.entries)
    keystore.entries.clear()  # then it is the only copy
    assert reason_of(lambda: protect_key_file(path, KeystoreKeeper())) == "not-kept"
    assert secret[0] in left.read_bytes()
    keystore.entries.update(entries)
    with left.open("rb") as held:
        assert reason_of(lambda: protect_key_file(path, KeystoreKeeper())) == "protected"
        assert secret[0] not in held.read()
    assert not left.exists() and load_party(path).name == "mpd"


def test_a_second_name_that_a_run_left_does_not_bar_the_next(keystore: Kept, keys: Path) -> None:
    """Killed between the second name and the renaming: both are of the plain file."""
    os.link(keys / "mpd.key", keys / ".mpd.key.0123456789ab.old")
    (keys / ".mpd.key.other.old").write_text("not of this command")
    protect_key_file(keys / "mpd.key", KeystoreKeeper())
    assert load_party(keys / "mpd.key").name == "mpd"
    names = sorted(path.name for path in keys.iterdir())
    assert names == [".mpd.key.other.old", "linkage.key", "mpd.key", "mpd.pub"]


def test_show_warns_of_what_a_run_left(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "show", str(keys / "mpd.key")]) == 0
    assert "cut off" not in capsys.readouterr().err
    (keys / ".mpd.key.0123456789ab.old").write_text("whole key")
    assert main(["keys", "show", str(keys / "mpd.key"), "--json"]) == 0
    said = capsys.readouterr()
    assert "cut off" in said.err and "keys protect" in said.err and json.loads(said.out)["name"] == "mpd"


def test_what_is_protected_or_public_is_not_protected(keystore: Kept, keys: Path) -> None:
    protect_key_file(keys / "mpd.key", KeystoreKeeper())
    assert reason_of(lambda: protect_key_file(keys / "mpd.key", KeystoreKeeper())) == "protected"
    assert reason_of(lambda: protect_key_file(keys / "mpd.pub", KeystoreKeeper())) == "wrong-kind"
    assert len(keystore.entries) == 1


def test_all_that_can_be_read_of_a_file_is_bound_to_what_is_sealed_in_it(keystore: Kept, keys: Path) -> None:
    path, other = keys / "mpd.key", keys / "linkage.key"
    for file in (path, other):
        protect_key_file(file, KeystoreKeeper())
    good = path.read_bytes()
    foreign = json.loads(other.read_bytes().splitlines()[1])

    def flipped(content: dict[str, Any]) -> None:
        sealed = content["sealed"]
        content["sealed"] = ("B" if sealed[0] == "A" else "A") + sealed[1:]

    changes: list[Callable[[dict[str, Any]], object]] = [
        flipped,
        lambda content: content["public"].update(name="dcf"),
        lambda content: content.update(keeper=foreign["keeper"]),
        lambda content: content.update(sealed=foreign["sealed"]),
        lambda content: content.update(public=foreign["public"], version=1),
        lambda content: content.update(version=content["version"] + 1),
        lambda content: content.update(version=True),
        lambda content: content.update(more=1),
        lambda content: content.pop("sealed"),
        lambda content: content.update(sealed=""),
        lambda content: content.update(sealed="=AAA"),
        lambda content: content["keeper"].update(by="nobody"),
        lambda content: content["keeper"].update(by=None),
        lambda content: content["keeper"].update(entry="../x"),
        lambda content: content["public"].update(pseudonym="AAAA"),
        lambda content: content["public"].pop("key_id"),
        lambda content: content["public"].update(kind="party-public"),
    ]
    for change in changes:
        path.write_bytes(good)
        changed(path, change)
        assert path.read_bytes() != good
        kind = json.loads(path.read_bytes().splitlines()[1])["public"]["kind"]
        assert reason_of(lambda: load_party(path)) == ("wrong-kind" if kind == "linkage" else "malformed")
    for spoilt in (
        good[:-1],
        good + b"\n",
        good.replace(b"key/1", b"key/2", 1),
        good.replace(b":", b": ", 1),
        good[:30],
    ):
        path.write_bytes(spoilt)
        assert reason_of(lambda: load_party(path)) == "malformed"
    path.write_bytes(good)
    assert load_party(path).name == "mpd"


@pytest.fixture(scope="module")
def spoilable(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, Kept]:
    path, _ = create_party(tmp_path_factory.mktemp("spoilable"), "mpd")
    with account_of(Kept()) as store:
        protect_key_file(path, KeystoreKeeper())
    return path, path.read_bytes(), store


@contextmanager
def account_of(store: Kept) -> Iterator[Kept]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyring.core, "_keyring_backend", store)
        patch.setattr(custody_keystore, "TRUSTED", frozenset({custody_keystore._name(store)}))
        yield store


@given(place=st.floats(0, 1, exclude_max=True), put=st.binary(max_size=3), cut=st.integers(0, 3))
def test_a_spoilt_protected_file_is_refused_by_a_key_file_error_or_is_the_same(
    spoilable: tuple[Path, bytes, Kept], place: float, put: bytes, cut: int
) -> None:
    path, good, store = spoilable
    start = int(place * len(good))
    spoilt = good[:start] + put + good[start + cut :]
    path.write_bytes(spoilt)
    with account_of(store):
        try:
            assert load_party(path).name == "mpd" and spoilt == good
        except KeyFileError as error:
            assert spoilt != good and error.reason in ("malformed", "wrong-kind", "old-key", "not-kept")


def test_the_keeper_is_not_asked_for_a_file_that_is_not_needed(keystore: Kept, keys: Path) -> None:
    protect_key_file(keys / "linkage.key", KeystoreKeeper())
    keystore.entries.clear()
    assert reason_of(lambda: load_party(keys / "linkage.key")) == "wrong-kind"
    assert reason_of(lambda: load_linkage_key(keys / "linkage.key")) == "not-kept"
    if os.name == "posix":
        (keys / "linkage.key").chmod(0o640)
        assert reason_of(lambda: load_linkage_key(keys / "linkage.key")) == "too-open"


def test_secrets_of_another_kind_do_not_pass_for_these(keystore: Kept, keys: Path) -> None:
    """Even the account itself cannot bring in a file with other fields than its kind has."""
    from linkage.exchange.custody.protected import protect

    content = read_key_file(keys / "mpd.key", (KIND_PARTY,))
    version = read_version(keys / "mpd.key")
    data, _ = protect(version, content | {"extra": "x"}, KeystoreKeeper())
    (keys / "mpd.key").write_bytes(data)
    assert reason_of(lambda: load_party(keys / "mpd.key")) == "malformed"


def read_version(path: Path) -> int:
    return int(path.read_bytes().splitlines()[0].rpartition(b"/")[2])


# --- keystores


def plaintext() -> KeyringBackend:
    """A keystore as the package keyrings.alt has it, which writes into a plain file."""
    module = ModuleType("keyrings.alt.file")
    kind = type("PlaintextKeyring", (Kept,), {"__module__": module.__name__, "__qualname__": "PlaintextKeyring"})
    store: KeyringBackend = kind()
    return store


class Chain(Kept):
    backends: tuple[KeyringBackend, ...] = ()


def chain(*stores: KeyringBackend) -> KeyringBackend:
    kind = type(
        "ChainerBackend",
        (Chain,),
        {"__module__": chainer.__name__, "__qualname__": "ChainerBackend", "backends": stores},
    )
    made: KeyringBackend = kind()
    return made


@pytest.mark.parametrize(
    "make",
    [null.Keyring, fail.Keyring, plaintext, Kept, chain, lambda: chain(null.Keyring()), lambda: chain(Kept())],
    ids=["null", "fail", "plaintext", "unknown", "empty chain", "chain of null", "chain with unknown"],
)
def test_keystores_that_protect_nothing_are_refused(
    use: Callable[..., Any], keys: Path, make: Callable[[], KeyringBackend]
) -> None:
    before = (keys / "mpd.key").read_bytes()
    use(make(), trusted=False)
    assert reason_of(lambda: protect_key_file(keys / "mpd.key", KeystoreKeeper())) == "no-keystore"
    assert (keys / "mpd.key").read_bytes() == before


def test_a_real_chain_is_as_good_as_its_worst_part(use: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    use(chainer.ChainerBackend(), trusted=False)
    good = Kept()
    monkeypatch.setattr(custody_keystore, "TRUSTED", frozenset({custody_keystore._name(good)}))
    use(chain(good), trusted=False)
    KeystoreKeeper()
    use(chain(good, null.Keyring()), trusted=False)
    assert reason_of(KeystoreKeeper) == "no-keystore"


def test_a_file_that_was_protected_is_not_read_through_an_unsafe_keystore(
    use: Callable[..., Any], keystore: Kept, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protect_key_file(keys / "mpd.key", KeystoreKeeper())
    monkeypatch.setattr(custody_keystore, "TRUSTED", frozenset())
    assert reason_of(lambda: load_party(keys / "mpd.key")) == "no-keystore"


def test_what_the_environment_names_is_not_trusted(keys: Path) -> None:
    environment = os.environ | {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
    words = ["keys", "protect", str(keys / "mpd.key"), "--by", "keystore"]
    program = "import sys; from linkage.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 5 and "no keystore" in done.stderr
    assert b"linkage-key/" in (keys / "mpd.key").read_bytes()


def test_a_keystore_that_is_locked_or_has_lost_the_entry(use: Callable[..., Any], keystore: Kept, keys: Path) -> None:
    path = keys / "mpd.key"
    protect_key_file(path, KeystoreKeeper())
    for entry in keystore.entries:
        keystore.entries[entry] = "not a key"
    assert reason_of(lambda: load_party(path)) == "not-kept"
    use(Locked())
    with pytest.raises(KeyFileError) as caught:
        load_party(path)
    assert caught.value.reason == "keystore-failed" and "a word" not in f"{caught.value}{caught.value.hint}"


class Clinging(Kept):
    """Refuses to delete."""

    def delete_password(self, service: str, username: str) -> None:
        raise keyring.errors.PasswordDeleteError("a word of the keystore's")


class Lying(Kept):
    """Says that it has deleted."""

    def delete_password(self, service: str, username: str) -> None:
        pass


@pytest.mark.parametrize("make", [Locked, Clinging, Lying])
def test_no_certificate_while_the_keystore_has_the_entry(
    use: Callable[..., Any], keystore: Kept, keys: Path, make: Callable[[], Kept]
) -> None:
    path, signer = keys / "linkage.key", load_party(keys / "mpd.key")
    check = load_linkage_key(path).check_value
    protect_key_file(path, KeystoreKeeper())

    def destroy() -> Path:
        return destroy_key(path, expected=check, reason="retired", party=signer, keys=keys)

    store = use(make())
    store.entries.update(keystore.entries)
    with pytest.raises(KeyFileError) as caught:
        destroy()
    assert caught.value.reason == "keystore-failed" and "a word" not in f"{caught.value}{caught.value.hint}"
    assert path.exists() and not list(keys.glob("*.certificate"))
    use(keystore)  # it answers again
    assert destroy().exists() and not path.exists() and not keystore.entries


def test_an_entry_that_is_not_there_is_as_good(keystore: Kept, keys: Path) -> None:
    path, signer = keys / "linkage.key", load_party(keys / "mpd.key")
    check = load_linkage_key(path).check_value
    protect_key_file(path, KeystoreKeeper())
    keystore.entries.clear()
    assert destroy_key(path, expected=check, reason="retired", party=signer, keys=keys).exists()


@pytest.mark.parametrize(("library", "by"), [("keyring", "keystore"), ("pkcs11", "token")])
def test_without_its_library_it_says_what_to_install(
    keys: Path, monkeypatch: pytest.MonkeyPatch, library: str, by: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    keeper = KeystoreKeeper if by == "keystore" else lambda: TokenKeeper(Path("/x"), "a", "b").keep(bytes(32))
    with pytest.raises(KeyFileError) as caught:
        keeper()
    assert caught.value.reason == "missing-package" and f"[{by}]" in str(caught.value.hint)


# --- a token


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """SoftHSM with one token in a folder of the test's own; the library reads where from once a process."""
    util = shutil.which("softhsm2-util")
    if MODULE is None or util is None:
        pytest.skip("SoftHSM is not installed here: apt-get install softhsm2")
    folder = tmp_path_factory.mktemp("token")
    (folder / "tokens").mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(config))
        words = ["--init-token", "--free", "--label", "agency", "--pin", PIN, "--so-pin", "314159"]
        subprocess.run([util, *words], check=True, capture_output=True)
        yield MODULE
        pkcs11.unload(str(MODULE))


@pytest.fixture
def pin(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answer for the terminal; what was asked is in the list. One test asks at a real one."""
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return PIN

    monkeypatch.setattr("getpass.getpass", answer)
    return asked


def on_token(module: Path, make: Callable[[pkcs11.Session], object]) -> None:
    with pkcs11.lib(str(module)).get_token(token_label="agency").open(rw=True, user_pin=PIN) as session:
        make(session)


def test_an_aes_key_that_never_leaves_the_token_opens_the_file(token: Path, pin: list[str], keys: Path) -> None:
    path = keys / "mpd.key"
    before, secret = load_party(path), secrets_of(path)
    protected = protect_key_file(path, TokenKeeper(token, "agency", "aes", new=True))
    assert protected.keeper["mechanism"] == "aes-256-gcm"
    assert not any(text in path.read_bytes() for text in secret)
    assert PIN.encode() not in path.read_bytes()
    pin.clear()
    assert load_party(path).public == before.public
    assert pin == ["PIN of token agency for mpd.key: "]
    again = TokenKeeper(token, "agency", "aes", new=True)
    assert reason_of(lambda: protect_key_file(keys / "linkage.key", again)) == "exists"
    protect_key_file(keys / "linkage.key", TokenKeeper(token, "agency", "aes"))
    assert load_linkage_key(keys / "linkage.key").epoch == "2026-1"


def test_a_key_under_a_token_is_renewed_under_it(token: Path, pin: list[str], keys: Path, tmp_path: Path) -> None:
    protect_key_file(keys / "mpd.key", TokenKeeper(token, "agency", "renewed", new=True))
    new, _ = renew_party(keys / "mpd.key", tmp_path / "new")
    protected = read_protected(new, (KIND_PARTY,))
    assert protected is not None and (protected.keeper["token"], protected.keeper["key"]) == ("agency", "renewed")
    assert load_party(new).key_id != load_party(keys / "mpd.key").key_id


def test_an_rsa_key_does_so_too(token: Path, pin: list[str], keys: Path) -> None:
    before = load_party(keys / "mpd.key").public
    on_token(token, lambda session: session.generate_keypair(pkcs11.KeyType.RSA, 2048, store=True, label="rsa"))
    assert protect_key_file(keys / "mpd.key", TokenKeeper(token, "agency", "rsa")).keeper["mechanism"] == "rsa-oaep"
    assert load_party(keys / "mpd.key").public == before


def test_keys_that_are_short_or_can_be_taken_out_are_refused(token: Path, pin: list[str], keys: Path) -> None:
    loose = {pkcs11.Attribute.EXTRACTABLE: True, pkcs11.Attribute.SENSITIVE: True}
    readable = {pkcs11.Attribute.EXTRACTABLE: False, pkcs11.Attribute.SENSITIVE: False}
    aes, rsa = pkcs11.KeyType.AES, pkcs11.KeyType.RSA
    made: dict[str, Callable[[pkcs11.Session], object]] = {
        "loose": lambda session: session.generate_key(aes, 256, store=True, label="loose", template=loose),
        "readable": lambda session: session.generate_key(aes, 256, store=True, label="readable", template=readable),
        "short": lambda session: session.generate_key(aes, 128, store=True, label="short"),
        "small": lambda session: session.generate_keypair(rsa, 1024, store=True, label="small"),
    }
    before = (keys / "mpd.key").read_bytes()
    for label, make in made.items():
        on_token(token, make)
        keeper = TokenKeeper(token, "agency", label)
        assert reason_of(lambda keeper=keeper: protect_key_file(keys / "mpd.key", keeper)) == "weak-token-key"
    twice = made["short"]
    on_token(token, twice)
    for label in ("short", "not there"):
        keeper = TokenKeeper(token, "agency", label)
        assert reason_of(lambda keeper=keeper: protect_key_file(keys / "mpd.key", keeper)) == "no-token-key"
    assert (keys / "mpd.key").read_bytes() == before


def test_without_the_token_its_key_or_its_pin_nothing_opens(
    token: Path, pin: list[str], keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = keys / "linkage.key"
    protect_key_file(path, TokenKeeper(token, "agency", "opens", new=True))
    good = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("getpass.getpass", lambda prompt: "999999")
        assert reason_of(lambda: load_linkage_key(path)) == "bad-pin"
        patch.setattr("getpass.getpass", lambda prompt: "")
        assert reason_of(lambda: load_linkage_key(path)) == "bad-pin"
    assert load_linkage_key(path).epoch == "2026-1", "the token was locked by two wrong PINs"
    on_token(token, lambda session: session.generate_key(pkcs11.KeyType.AES, 256, store=True, label="another"))
    for change, reason in (
        ({"token": "stolen"}, "no-token"),
        ({"key": "gone"}, "no-token-key"),
        ({"key": "another"}, "token-failed"),
        ({"module": "/usr/lib/not-there.so"}, "bad-module"),
        ({"module": "libsofthsm2.so"}, "bad-module"),
        ({"module": "//host/share/lib.so"}, "bad-module"),
        ({"module": sys.executable}, "token-failed"),
        ({"mechanism": "rsa-oaep"}, "malformed"),
        ({"mechanism": "none"}, "malformed"),
        ({"wrapped": "AAAA"}, "malformed"),
        ({"token": "\x1b[2J"}, "malformed"),
    ):
        path.write_bytes(good)
        changed(path, lambda content, change=change: content["keeper"].update(change))
        assert reason_of(lambda: load_linkage_key(path)) == reason, change
    path.write_bytes(good)
    on_token(token, lambda session: next(iter(session.get_objects({pkcs11.Attribute.LABEL: "opens"}))).destroy())
    assert reason_of(lambda: load_linkage_key(path)) == "no-token-key"


@pytest.mark.skipif(os.name != "posix", reason="Windows protects files by access lists, not by mode bits")
def test_a_library_that_others_can_exchange_is_not_loaded(
    token: Path, pin: list[str], keys: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "library" / "lib.so"
    copy.parent.mkdir(mode=0o755)
    shutil.copy(token, copy)
    for library, folder in ((0o666, 0o755), (0o644, 0o777)):
        copy.chmod(library)
        copy.parent.chmod(folder)
        keeper = TokenKeeper(copy, "agency", "aes")
        assert reason_of(lambda keeper=keeper: protect_key_file(keys / "mpd.key", keeper)) == "bad-module"
    assert not pin


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no terminals of this kind")
def test_the_pin_is_asked_for_at_the_terminal_and_nowhere_else(token: Path, keys: Path) -> None:
    path = keys / "mpd.key"
    named = ["--by", "token", "--module", str(token), "--token-label", "agency", "--key-label", "typed", "--new"]
    program = "import sys; from linkage.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["keys", "protect", str(path), *named]
    without = subprocess.run(
        [sys.executable, "-c", program, *words],
        input=f"{PIN}\n",
        env=os.environ | {"PIN": PIN},
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        timeout=60,
    )
    assert without.returncode == 5 and "at a terminal, and there is none" in without.stderr
    assert path.read_bytes().startswith(b"linkage-key/")

    mine, theirs = os.openpty()
    program = f"import os; os.open({os.ttyname(theirs)!r}, os.O_RDWR); {program}"  # becomes the terminal of the session
    with subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            shown = b""
            for number in (1, 2):  # once to encrypt, once to see that the file opens
                while shown.count(b": ") < number:
                    assert select.select([mine], [], [], 30)[0], "no question at the terminal"
                    shown += os.read(mine, 1024)
                os.write(mine, f"{PIN}\n".encode())
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    os.close(mine)
    os.close(theirs)
    assert process.returncode == 0, err
    assert path.read_bytes().startswith(b"linkage-protected-key/1\n")
    assert PIN not in out + err and PIN.encode() not in shown


# --- the commands


def test_the_commands_protect_and_show(keystore: Kept, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    party = load_party(keys / "mpd.key")
    check = load_linkage_key(keys / "linkage.key").check_value
    for name in ("mpd.key", "linkage.key"):
        assert main(["keys", "protect", str(keys / name), "--by", "keystore"]) == 0
    told = capsys.readouterr()
    assert not told.out and told.err.count("flash storage") == 2
    keystore.entries.clear()  # showing asks nobody
    assert main(["keys", "show", str(keys / "mpd.key"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    opens = "the keystore of the account that protected it"
    assert shown == {"kind": "party", "name": "mpd", "key_id": party.key_id, "opens_with": opens}
    assert main(["keys", "show", str(keys / "linkage.key"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["epoch"], shown["check_value"]) == ("2026-1", check)
    assert main(["keys", "show", str(keys / "linkage.key")]) == 0
    assert read_protected(keys / "mpd.pub", ("party-public",)) is None


@pytest.mark.parametrize(
    "words",
    [
        ["--by", "token"],
        ["--by", "token", "--module", "/x", "--token-label", "a"],
        ["--by", "keystore", "--key-label", "a"],
        ["--by", "keystore", "--new"],
    ],
)
def test_half_of_what_is_needed_is_refused(keys: Path, words: list[str]) -> None:
    before = (keys / "mpd.key").read_bytes()
    assert main(["keys", "protect", str(keys / "mpd.key"), *words]) == 5
    assert (keys / "mpd.key").read_bytes() == before


# --- who can read and exchange a private file

posix = pytest.mark.skipif(os.name != "posix", reason="Windows protects files by access lists, not by mode bits")


@posix
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o720, 0o702, 0o777])
def test_a_private_file_in_a_folder_that_others_can_write_to_is_refused(keys: Path, mode: int) -> None:
    keys.chmod(mode)
    try:
        for call in (lambda: load_party(keys / "mpd.key"), lambda: load_linkage_key(keys / "linkage.key")):
            if mode & 0o022:
                assert reason_of(call) == "folder-too-open"
            else:
                call()
        from linkage.exchange import load_public

        assert load_public(keys / "mpd.pub").name == "mpd"
    finally:
        keys.chmod(0o700)


@posix
def test_a_folder_in_which_nobody_touches_what_is_anothers_passes(keys: Path) -> None:
    keys.chmod(0o1777)
    assert load_party(keys / "mpd.key").name == "mpd"


def test_a_symbolic_link_to_a_private_file_is_refused(keys: Path, tmp_path: Path) -> None:
    (tmp_path / "link.key").symlink_to(keys / "mpd.key")
    (tmp_path / "link.pub").symlink_to(keys / "mpd.pub")
    (tmp_path / "folder").symlink_to(keys)
    from linkage.exchange import load_public

    assert reason_of(lambda: load_party(tmp_path / "link.key")) == "linked"
    assert reason_of(lambda: protect_key_file(tmp_path / "link.key", TokenKeeper(Path("/x"), "a", "b"))) == "linked"
    assert load_public(tmp_path / "link.pub").name == "mpd"
    assert load_party(tmp_path / "folder" / "mpd.key").name == "mpd"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
def test_a_private_file_or_folder_of_another_account_is_refused(keys: Path) -> None:
    os.chown(keys / "mpd.key", 65534, 65534)
    assert reason_of(lambda: load_party(keys / "mpd.key")) == "not-own"
    os.chown(keys, 65534, 65534)
    assert reason_of(lambda: load_linkage_key(keys / "linkage.key")) == "folder-too-open"
    os.chown(keys, 0, 0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_no_key_and_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.key", 0o600)
    assert reason_of(lambda: load_party(tmp_path / "pipe.key")) == "malformed"
    assert reason_of(lambda: load_party(tmp_path)) in ("malformed", "unreadable")
