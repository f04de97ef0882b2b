from __future__ import annotations

import ast
from pathlib import Path

import pytest
from cryptography.hazmat.backends import default_backend

import linkage
from linkage.contract import load_settings
from linkage.contract.fips import ARCHIVED_PARTS, PARTS, modes, require_fips
from linkage.errors import ContractError, NotPermittedError

SETTINGS = 'project = "test"\nepoch = "2026-1"\nprofile = "default"\n'
ON = dict.fromkeys(modes(), True)


def test_the_modes_of_this_machine() -> None:
    found = modes()
    assert len(found) == 2
    assert found["cryptography's OpenSSL"] == default_backend()._fips_enabled


@pytest.mark.parametrize("off", list(ON))
def test_one_library_out_of_the_mode_is_enough(off: str) -> None:
    with pytest.raises(NotPermittedError) as caught:
        require_fips(found=ON | {off: False})
    assert caught.value.reason == "fips-off"
    assert caught.value.problems == (f"{off}: not in FIPS mode",)


def test_all_that_is_used_is_approved_and_passes_in_the_mode() -> None:
    assert all(part.standard for part in PARTS)
    require_fips(found=ON)


def test_archives_need_what_is_not_approved_and_it_is_named() -> None:
    with pytest.raises(NotPermittedError) as caught:
        require_fips((*PARTS, *ARCHIVED_PARTS), ON)
    assert caught.value.reason == "not-approved"
    assert caught.value.problems == ("X25519 (opening files of versions 1 to 3): not approved",)


def test_out_of_the_mode_and_not_approved_are_both_told() -> None:
    with pytest.raises(NotPermittedError) as caught:
        require_fips(ARCHIVED_PARTS, dict.fromkeys(ON, False))
    assert caught.value.reason == "fips-off"
    assert len(caught.value.problems) == 3


def test_a_library_that_cannot_tell_is_not_in_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(type(default_backend()), "_fips_enabled", raising=False)
    monkeypatch.setattr(default_backend(), "_fips_enabled", "yes")
    monkeypatch.setattr("importlib.import_module", lambda name: object())
    assert set(modes().values()) == {False}


def test_a_site_that_asks_for_fips_is_served_in_the_mode_alone(tmp_path: Path) -> None:
    path = tmp_path / "linkage.toml"
    path.write_text(SETTINGS + "[security]\nfips = true\n")
    if all(modes().values()):
        assert load_settings(path).security.fips is True
        return
    with pytest.raises(NotPermittedError) as caught:
        load_settings(path)
    assert caught.value.reason == "fips-off"
    assert "not approved" not in str(caught.value) and caught.value.hint


def test_a_site_that_asks_for_fips_is_served_where_both_libraries_are_in_the_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision with the modes given: no validated provider can be switched on in a test."""
    path = tmp_path / "linkage.toml"
    path.write_text(SETTINGS + "[security]\nfips = true\n")
    monkeypatch.setattr("linkage.contract.fips._python_mode", lambda: True)
    monkeypatch.setattr("linkage.contract.fips._cryptography_mode", lambda: True)
    assert load_settings(path).security.fips is True


@pytest.mark.parametrize("section", ["", "[security]\n", "[security]\nfips = false\n"])
def test_a_site_that_does_not_ask_is_not(tmp_path: Path, section: str) -> None:
    path = tmp_path / "linkage.toml"
    path.write_text(SETTINGS + section)
    assert load_settings(path).security.fips is False


@pytest.mark.parametrize("value", ['"true"', '"off"', "1", "0", "[]"])
def test_the_switch_is_on_or_off_and_nothing_else(tmp_path: Path, value: str) -> None:
    path = tmp_path / "linkage.toml"
    path.write_text(SETTINGS + f"[security]\nfips = {value}\n")
    with pytest.raises(ContractError) as caught:
        load_settings(path)
    assert caught.value.reason == "invalid"


KNOWN = {
    "hashes": {"SHA256"},
    "hmac": {"HMAC"},
    "kdf.hkdf": {"HKDF"},
    "hpke": {"AEAD", "KDF", "KEM", "MLKEM1024P384PrivateKey", "MLKEM1024P384PublicKey", "Suite"},
    "serialization": {"Encoding", "PublicFormat"},
    "asymmetric.ec": {"SECP384R1", "EllipticCurvePublicKey", "derive_private_key"},
    "asymmetric.ed25519": {"Ed25519PrivateKey", "Ed25519PublicKey"},
    "asymmetric.mldsa": {"MLDSA65PrivateKey", "MLDSA65PublicKey"},
    "asymmetric.mlkem": {"MLKEM1024PrivateKey", "MLKEM1024PublicKey"},
}
ARCHIVED = {
    "hpke": {"AEAD", "KDF", "KEM", "MLKEM768X25519PrivateKey", "Suite"},
    "asymmetric.mlkem": {"MLKEM768PrivateKey"},
    "asymmetric.x25519": {"X25519PrivateKey"},
}
"""In the one module that opens archives."""


def test_every_primitive_that_is_imported_is_in_the_list() -> None:
    """Whoever brings in another one adds it to PARTS, with its standard or none, and then here."""
    prefix = "cryptography.hazmat.primitives."
    folder = Path(linkage.__file__).parent
    for path in [path for wing in ("contract", "exchange", "steward", "hub") for path in (folder / wing).rglob("*.py")]:
        known = ARCHIVED if path == folder / "exchange" / "archived.py" else KNOWN
        found = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(prefix):
                found |= {(str(node.module).removeprefix(prefix), alias.name) for alias in node.names}
        assert found <= {(module, name) for module, names in known.items() for name in names}, path.name
        if path.name == "archived.py":
            assert ("asymmetric.x25519", "X25519PrivateKey") in found
