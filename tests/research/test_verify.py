"""A release that was touched in any way does not verify."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linkage.errors import ReleaseError
from linkage.exchange import create_party, load_party, signatures
from linkage.exchange.canonical import dump, encode_bytes
from linkage.research.bundle import PURPOSE, signed_message
from linkage.research.verify import read_release, verify_release


@pytest.fixture
def copy(large_release: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(large_release.folder, tmp_path / "copy"))


def resign(folder: Path, party: Any) -> None:
    """Sign a changed folder again, as its own signer could."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for entry in manifest["files"]:
        content = (folder / entry["path"]).read_bytes()
        entry["sha256"], entry["size"] = hashlib.sha256(content).hexdigest(), len(content)
    raw = dump(manifest) + b"\n"
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sig").write_bytes(encode_bytes(party.sign(PURPOSE, signed_message(raw))).encode() + b"\n")


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_release_verifies_with_and_without_its_signer_pinned(maker: Any, large_release: Any) -> None:
    pinned = verify_release(large_release.folder, maker.party.public)
    assert pinned.ok and pinned.pinned and len(pinned.passed) == 5
    loose = verify_release(large_release.folder, None)
    assert loose.ok and not loose.pinned
    assert loose.key_id == maker.party.key_id


def test_a_changed_byte_in_any_file_fails(maker: Any, copy: Path) -> None:
    assert len(names(copy)) > 20
    for name in names(copy):
        path = copy / name
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        assert not verify_release(copy, maker.party.public, audit_tables=False).ok, name
        assert not verify_release(copy, None, audit_tables=False).ok, name
        path.write_bytes(content + b"\n")
        assert not verify_release(copy, maker.party.public, audit_tables=False).ok, name
        path.unlink()
        assert not verify_release(copy, maker.party.public, audit_tables=False).ok, name
        path.write_bytes(content)
    assert verify_release(copy, maker.party.public, audit_tables=False).ok


def test_an_extra_file_folder_or_link_fails(maker: Any, copy: Path) -> None:
    (copy / "tables" / "more.csv").write_text("x")
    assert not verify_release(copy, maker.party.public, audit_tables=False).ok
    (copy / "tables" / "more.csv").unlink()
    (copy / "empty").mkdir()
    assert not verify_release(copy, maker.party.public, audit_tables=False).ok
    (copy / "empty").rmdir()
    (copy / "report.html").rename(copy.parent / "report.html")
    (copy / "report.html").symlink_to(copy.parent / "report.html")
    report = verify_release(copy, maker.party.public, audit_tables=False)
    assert report.problems == ("report.html: absent, or not a regular file",)


def test_another_signer_fails_only_where_the_signer_is_pinned(maker: Any, copy: Path, tmp_path: Path) -> None:
    other = load_party(create_party(tmp_path / "other", "analysis")[0])
    manifest = json.loads((copy / "manifest.json").read_bytes())
    public = other.public
    manifest["signer"] = {
        "name": public.name,
        "key_id": public.key_id,
        **public.to_text(),
    }
    (copy / "manifest.json").write_bytes(dump(manifest) + b"\n")
    resign(copy, other)
    assert verify_release(copy, None, audit_tables=False).ok
    report = verify_release(copy, maker.party.public, audit_tables=False)
    assert report.problems == ("signed by another party than the one given",)
    manifest["signer"]["key_id"] = maker.party.key_id
    (copy / "manifest.json").write_bytes(dump(manifest) + b"\n")
    resign(copy, other)
    assert verify_release(copy, None, audit_tables=False).problems == (
        "the key id in the manifest is not that of its keys",
    )


@pytest.mark.parametrize(("version", "named", "ok"), [(2, 2, True), (3, 2, False), (2, 3, False)])
def test_a_release_names_keys_of_its_own_version(
    maker: Any, copy: Path, tmp_path: Path, version: int, named: int, ok: bool
) -> None:
    """One of version 2 is read with the archived keys of its time, under which nothing new is signed."""
    vectors = Path(__file__).resolve().parents[1] / "vectors" / "parties-v2.json"
    private, party = tmp_path / "analysis.key", maker.party
    private.write_text(json.loads(vectors.read_text(encoding="utf-8"))["parties"]["analysis"]["private"])
    private.chmod(0o600)
    if named == 2:
        party = load_party(private, archived=True)
    manifest = json.loads((copy / "manifest.json").read_bytes())
    signer = {"name": party.public.name, "key_id": party.key_id, **party.public.to_text()}
    raw = dump(manifest | {"linkage_release": version, "signer": signer}) + b"\n"
    (copy / "manifest.json").write_bytes(raw)
    signature = signatures.sign(party._signing, party._mldsa65, party.key_id, PURPOSE, signed_message(raw))
    (copy / "manifest.sig").write_bytes(encode_bytes(signature).encode() + b"\n")
    for pinned in (None, party.public):
        assert verify_release(copy, pinned, audit_tables=False).ok == ok
    assert not verify_release(copy, load_party(create_party(tmp_path, "other")[0]).public, audit_tables=False).ok


def test_a_signature_for_another_purpose_fails(maker: Any, copy: Path) -> None:
    raw = (copy / "manifest.json").read_bytes()
    signature = maker.party.sign("receipt", signed_message(raw))
    (copy / "manifest.sig").write_bytes(encode_bytes(signature).encode() + b"\n")
    assert verify_release(copy, None).problems == ("the signature is not over this manifest",)


def test_a_manifest_that_is_not_canonical_fails(maker: Any, copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_bytes())
    raw = json.dumps(manifest, indent=1).encode() + b"\n"
    (copy / "manifest.json").write_bytes(raw)
    signature = maker.party.sign(PURPOSE, signed_message(raw))
    (copy / "manifest.sig").write_bytes(encode_bytes(signature).encode() + b"\n")
    assert not verify_release(copy, maker.party.public).ok


def test_a_csv_that_differs_from_the_document_fails_though_it_is_signed(maker: Any, copy: Path) -> None:
    path = copy / "tables" / "years.csv"
    path.write_bytes(path.read_bytes().replace(b"published", b"suppressed", 1))
    resign(copy, maker.party)
    assert verify_release(copy, maker.party.public).problems == ("tables/years.csv: differs from release.json",)


def change(folder: Path, party: Any, table: str, values: list[str], count: int | None) -> None:
    """Change one cell in the document and its CSV file, and sign."""
    document = json.loads((folder / "release.json").read_bytes())
    entry = next(entry for entry in document["tables"] if entry["name"] == table)
    cell = next(cell for cell in entry["cells"] if cell["values"] == values)
    old = ",".join([*values, "" if cell["count"] is None else str(cell["count"]), cell["status"]])
    status = "suppressed" if count is None else "zero" if count == 0 else "published"
    cell["count"], cell["status"] = count, status
    new = ",".join([*values, "" if count is None else str(count), status])
    (folder / "release.json").write_bytes((json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
    path = folder / "tables" / f"{table}.csv"
    text = path.read_text(encoding="utf-8")
    assert f"\n{old}\n" in text
    path.write_text(text.replace(f"\n{old}\n", f"\n{new}\n"), encoding="utf-8")
    resign(folder, party)


def test_a_count_below_the_floor_fails_though_it_is_signed(maker: Any, copy: Path) -> None:
    change(copy, maker.party, "sex", ["transgender_female", "believed"], 3)
    report = verify_release(copy, maker.party.public)
    assert report.problems == ("table sex: a count below the floor",)


def test_counts_that_give_a_withheld_one_away_fail_though_they_are_signed(
    maker: Any, small_release: Any, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(small_release.folder, tmp_path / "copy"))
    assert verify_release(folder, maker.party.public).ok
    # All but one cell of a row that adds up to its margin.
    entry = next(entry for entry in small_release.document.tables if entry.name == "systems")
    assert [cell.count for cell in entry.cells[:4]] == [None] * 4
    total = small_release.document.persons
    for size, count in (("1", total - 60), ("2", 40), ("3", 13)):
        change(folder, maker.party, "systems", [size], count)
    report = verify_release(folder, maker.party.public)
    assert not report.ok
    assert any("computed" in problem or "systems" in problem or "contradict" in problem for problem in report.problems)


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: entry["cells"][0].update(count=1 << 70, status="published"),
        lambda entry: entry["meaning"].update(sex={"female": {"nothing": ["of the kind"]}}),
        lambda entry: entry.update(links=[[[1 << 70, {"sex": ["female"]}], [1, {}]]]),
        lambda entry: entry["dimensions"].reverse(),
        lambda entry: entry.update(domains={"sex": []}),
    ],
)
def test_a_signed_document_that_makes_no_sense_does_not_verify(
    maker: Any, copy: Path, damage: Callable[[Any], object]
) -> None:
    document = json.loads((copy / "release.json").read_bytes())
    entry = next(entry for entry in document["tables"] if entry["name"] == "sex")
    damage(entry)
    (copy / "release.json").write_bytes((json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
    columns = [*entry["dimensions"], "count", "status"]
    rows = [
        [*cell["values"], "" if cell["count"] is None else cell["count"], cell["status"]] for cell in entry["cells"]
    ]
    text = "".join(",".join(map(str, row)) + "\n" for row in [columns, *rows])
    (copy / "tables" / "sex.csv").write_text(text, encoding="utf-8")
    resign(copy, maker.party)
    report = verify_release(copy, maker.party.public)
    assert not report.ok
    assert "changed after it was signed" not in " ".join(report.problems)


@pytest.mark.parametrize("families", [[], ["chao", "zelterman"], ["averaged-aic", "chao"], ["chao", "chao"], None])
def test_families_that_make_no_range_fail_though_they_are_signed(maker: Any, copy: Path, families: Any) -> None:
    document = json.loads((copy / "release.json").read_bytes())
    assert document["estimate"]["status"] == "estimated"
    document["estimate"]["families"] = families
    if families is None:
        del document["estimate"]["families"]
    (copy / "release.json").write_bytes((json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
    resign(copy, maker.party)
    problems = verify_release(copy, maker.party.public, audit_tables=False).problems
    assert len(problems) == 1 and "families" in problems[0]


def test_a_release_from_before_families_were_named_verifies_and_no_later_one(maker: Any, copy: Path) -> None:
    document = json.loads((copy / "release.json").read_bytes())
    assert document["release"] == 2 and document["estimate"]["families"]
    del document["estimate"]["families"]
    for version in (1, 2):
        document["release"] = version
        (copy / "release.json").write_bytes((json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
        resign(copy, maker.party)
        assert verify_release(copy, maker.party.public, audit_tables=False).ok == (version == 1)
        assert read_release(copy).estimate.families == ()


@pytest.mark.parametrize("about", [None, 20])
def test_a_number_of_records_that_does_not_fit_its_list_fails_though_it_is_signed(
    maker: Any, copy: Path, about: int | None
) -> None:
    document = json.loads((copy / "release.json").read_bytes())
    document["sources"][0]["records_about"] = about
    (copy / "release.json").write_bytes((json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
    resign(copy, maker.party)
    problems = verify_release(copy, maker.party.public, audit_tables=False).problems
    assert problems == ("a number of records does not fit the size of its list",)


def test_what_is_no_release_is_told_so(maker: Any, tmp_path: Path) -> None:
    assert not verify_release(tmp_path, None).ok
    assert not verify_release(tmp_path / "nowhere", None).ok
    with pytest.raises(ReleaseError):
        read_release(tmp_path)
