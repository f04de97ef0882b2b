from __future__ import annotations

from pathlib import Path

import pytest

from linkage.contract import find_settings, load_settings
from linkage.errors import ContractError

TEXT = """
project = "test"
epoch = "2026-1"
profile = "default"
spec_file = "spec.yaml"

[steward]
source = "harbor"
agreement = "contract/harbor.yaml"
linkage_key = "../keys/linkage.key"
party_key = "/somewhere/harbor.key"
hub = "hub.pub"
analysis = "analysis.pub"
outbox = "outbox"

[hub]
party_key = "hub.key"
analysis = "analysis.pub"
inbox = "in"
state = "state"

[hub.senders]
harbor = "harbor.pub"

[hub.agreements]
harbor = "contract/harbor.yaml"

[analysis]
party_key = "analysis.key"
hub = "hub.pub"
policy = "release.yaml"
state = "analysis"
releases = "releases"

[analysis.senders]
harbor = "harbor.pub"

[analysis.agreements]
harbor = "contract/harbor.yaml"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    target = folder / "linkage.toml"
    target.write_text(TEXT, encoding="utf-8")
    return target


@pytest.mark.parametrize("how", ["absolute", "relative", "bare name"])
def test_relative_paths_count_from_the_folder_of_the_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.chdir(path.parent if how == "bare name" else tmp_path)
    named = {"absolute": path, "relative": Path("site/linkage.toml"), "bare name": Path("linkage.toml")}[how]
    settings = load_settings(named)
    monkeypatch.chdir(tmp_path.anchor)  # they stay right wherever the process goes
    folder = path.parent.resolve()
    assert settings.spec_file == folder / "spec.yaml"
    assert settings.steward and settings.hub and settings.analysis
    assert settings.steward.agreement == folder / "contract" / "harbor.yaml"
    assert settings.steward.linkage_key == folder / ".." / "keys" / "linkage.key"
    assert settings.steward.party_key == Path("/somewhere/harbor.key")
    assert settings.steward.schema_file is None
    assert settings.hub.senders == {"harbor": folder / "harbor.pub"}
    assert settings.hub.agreements == {"harbor": folder / "contract" / "harbor.yaml"}
    assert settings.analysis.releases == folder / "releases"


def test_a_site_may_have_one_role(path: Path) -> None:
    path.write_text(TEXT[: TEXT.index("[hub]")], encoding="utf-8")
    settings = load_settings(path)
    assert settings.steward and settings.hub is None and settings.analysis is None


def test_a_byte_order_mark_is_no_fault(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert load_settings(path).project == "test"


def test_all_faults_are_told_at_once_by_place_and_never_a_value(path: Path) -> None:
    text = TEXT.replace('project = "test"', 'project = "Zzyzx City"').replace('epoch = "2026-1"', "epoch = 20261")
    text = text.replace('outbox = "outbox"', 'outbox = 7\nlinkage_secret = "Zzyzx"').replace('hub = "hub.pub"\n', "")
    text = text.replace("[hub.senders]\nharbor", '[hub.senders]\n"Zzyzx Harbor"', 1).replace('state = "state"', "")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ContractError) as caught:
        load_settings(path)
    error = caught.value
    assert error.reason == "invalid" and str(error).startswith(f"{path}: {len(error.problems)} faults")
    places = {problem.split(":")[0] for problem in error.problems}
    assert places >= {
        "project",
        "epoch",
        "steward.hub",
        "steward.outbox",
        "steward.linkage_secret",
        "hub.state",
        "analysis.hub",
    }
    assert "Zzyzx City" not in str(error) and "20261" not in str(error)
    assert "Zzyzx'" not in str(error) and '"Zzyzx"' not in str(error)


def test_one_fault_is_one(path: Path) -> None:
    path.write_text(TEXT.replace('profile = "default"', ""), encoding="utf-8")
    with pytest.raises(ContractError) as caught:
        load_settings(path)
    assert str(caught.value) == f"{path}: 1 fault\n  - profile: Field required"


@pytest.mark.parametrize(
    "content",
    [
        b"Zzyzx",
        b"a = 1\na = 2",
        b"\xff\xfe",
        "x = 'Zzyzxñ'".encode("windows-1252"),
        b"a = " + b"[" * 5000,
        b"d = 2026-02-30",
    ],
    ids=["text", "twice", "no text", "another encoding", "deep", "no such day"],
)
def test_what_is_not_toml_is_a_fault_without_its_text(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ContractError) as caught:
        load_settings(path)
    assert caught.value.reason == "malformed"
    assert "Zzyzx" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_which_file_is_found(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is named, else the environment's, else linkage.toml in the folder at hand."""
    monkeypatch.delenv("LINKAGE_SETTINGS", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ContractError) as caught:
        find_settings(None)
    assert caught.value.reason == "no-settings" and caught.value.hint
    monkeypatch.setenv("LINKAGE_SETTINGS", str(path))
    assert find_settings(None) == path
    with pytest.raises(ContractError):
        find_settings(tmp_path / "gone.toml")
    monkeypatch.delenv("LINKAGE_SETTINGS")
    monkeypatch.chdir(path.parent)
    assert find_settings(None) == Path("linkage.toml")
    assert find_settings(path) == path


def test_a_file_that_is_not_there_is_a_contract_error(tmp_path: Path) -> None:
    with pytest.raises(ContractError) as caught:
        load_settings(tmp_path / "gone.toml")
    assert caught.value.reason == "not-found"


@pytest.mark.parametrize(("written", "read"), [("0.25", 0.25), ("1.0", 1.0), ("1", 1), ("50", 50)])
def test_decoys_are_a_share_or_a_number(path: Path, written: str, read: float) -> None:
    path.write_text(TEXT.replace('outbox = "outbox"', f'outbox = "outbox"\ndecoys = {written}'), encoding="utf-8")
    steward = load_settings(path).steward
    assert steward is not None and steward.decoys == read and type(steward.decoys) is type(read)


@pytest.mark.parametrize("written", ["0", "0.0", "-1", "1.5", "true", '"many"', "nan"])
def test_decoys_that_are_neither(path: Path, written: str) -> None:
    path.write_text(TEXT.replace('outbox = "outbox"', f'outbox = "outbox"\ndecoys = {written}'), encoding="utf-8")
    with pytest.raises(ContractError) as caught:
        load_settings(path)
    assert all(problem.startswith("steward.decoys") for problem in caught.value.problems)
