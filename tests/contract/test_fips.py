from __future__ import annotations

import ast
from pathlib import Path

import pytest
from cryptography.hazmat.backends import default_backend

import linkage
from linkage.contract import load_settings
from linkage.contract.fips import PARTS, modes, require_fips
from linkage.errors import ContractError, NotPermittedError

SETTINGS = 'project = "test"\nepoch = "2026-1"\nprofile = "default"\n'
ON = dict.fromkeys(modes(), True)
APPROVED = [part for part in PARTS if part.standard]


def test_the_modes_of_this_machine() -> None:
    found = modes()
    assert len(found) == 2
    assert found["cryptography's OpenSSL"] == default_backend()._fips_enabled


@pytest.mark.parametrize("off", list(ON))
def test_one_library_out_of_the_mode_is_enough(off: str) -> None:
    with pytest.raises(NotPermittedError) as caught:
        require_fips(APPROVED, ON | {off: False})
    assert caught.value.reason == "fips-off"
    assert caught.value.problems == (f"{off}: not in FIPS mode",)


def test_approved_parts_in_the_mode_pass() -> None:
    require_fips(APPROVED, ON)


def test_parts_that_are_not_approved_are_named() -> None:
    with pytest.raises(NotPermittedError) as caught:
        require_fips(found=ON)
    assert caught.value.reason == "not-approved"
    assert caught.value.problems == ("X25519 (sealing): not approved",)


def test_a_library_that_cannot_tell_is_not_in_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(type(default_backend()), "_fips_enabled", raising=False)
    monkeypatch.setattr(default_backend(), "_fips_enabled", "yes")
    monkeypatch.setattr("importlib.import_module", lambda name: object())
    assert set(modes().values()) == {False}


def test_a_site_that_asks_for_fips_is_refused_here(tmp_path: Path) -> None:
    path = tmp_path / "linkage.toml"
    path.write_text(SETTINGS + "[security]\nfips = true\n")
    with pytest.raises(NotPermittedError) as caught:
        load_settings(path)
    assert caught.value.reason == ("not-approved" if all(modes().values()) else "fips-off")
    assert "X25519" in str(caught.value) and caught.value.hint


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
    "hpke": {
        "AEAD",
        "KDF",
        "KEM",
        "MLKEM768X25519PrivateKey",
        "MLKEM768X25519PublicKey",
        "MLKEM1024P384PrivateKey",
        "MLKEM1024P384PublicKey",
        "Suite",
    },
    "serialization": {"Encoding", "PublicFormat"},
    "asymmetric.ec": {"SECP384R1", "EllipticCurvePublicKey", "derive_private_key"},
    "asymmetric.ed25519": {"Ed25519PrivateKey", "Ed25519PublicKey"},
    "asymmetric.mldsa": {"MLDSA65PrivateKey", "MLDSA65PublicKey"},
    "asymmetric.mlkem": {"MLKEM768PrivateKey", "MLKEM768PublicKey", "MLKEM1024PrivateKey", "MLKEM1024PublicKey"},
    "asymmetric.x25519": {"X25519PrivateKey", "X25519PublicKey"},
}


def test_every_primitive_that_is_imported_is_in_the_list() -> None:
    """Whoever brings in another one adds it to PARTS, with its standard or none, and then here."""
    prefix = "cryptography.hazmat.primitives."
    folder = Path(linkage.__file__).parent
    found = set()
    for path in [path for wing in ("contract", "exchange", "steward", "hub") for path in (folder / wing).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(prefix):
                found |= {(str(node.module).removeprefix(prefix), alias.name) for alias in node.names}
    assert found <= {(module, name) for module, names in KNOWN.items() for name in names}
    assert ("asymmetric.x25519", "X25519PrivateKey") in found
