"""Verify a release with nothing but the folder: whole, unchanged, signed, consistent, and without a disclosive cell."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from linkage.errors import ReleaseError
from linkage.exchange import PublicParty
from linkage.exchange.canonical import CanonicalError, load, load_bytes, load_loose
from linkage.exchange.signatures import SIZE as SIGNATURE_SIZE
from linkage.research import bundle
from linkage.research.bundle import Document, Manifest, TableEntry
from linkage.research.disclosure import audit
from linkage.research.estimate.families import HEADLINE
from linkage.research.tables import TOTAL

__all__ = ["VerifyReport", "read_release", "verify_release"]

_LARGEST = 64 << 20
"""Bytes of one file; a release is far smaller."""


@dataclass(frozen=True)
class VerifyReport:
    """What verification found.

    Attributes
    ----------
    folder
        The release.
    problems
        What is wrong; empty if nothing is.
    passed
        What was checked and found right, in words.
    pinned
        Whether the signer's key was given from outside. If not, the signature only says that the folder is as its
        signer left it, whoever that is.
    signer, key_id
        As the bundle names them; None if it names none.
    notes
        What an output checker should look at; not wrong.
    """

    folder: Path
    problems: tuple[str, ...]
    passed: tuple[str, ...]
    pinned: bool
    signer: str | None
    key_id: str | None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, object]:
        """Give plain values for JSON."""
        return {
            "folder": str(self.folder),
            "ok": self.ok,
            "pinned": self.pinned,
            "signer": self.signer,
            "key_id": self.key_id,
            "problems": list(self.problems),
            "passed": list(self.passed),
            "notes": list(self.notes),
        }


def read_release(folder: Path) -> Document:
    """Read the document of a release. **Not verified**: see :func:`verify_release`.

    Raises
    ------
    ReleaseError
        ``malformed`` where there is none that can be read.
    """
    try:
        return Document.model_validate(load_loose(_read(Path(folder) / bundle.DOCUMENT)))
    except (OSError, ValidationError, CanonicalError):
        raise ReleaseError(
            f"{folder}: no release that can be read",
            reason="malformed",
            hint="name the folder that holds release.json; another version may have made it",
        ) from None


def verify_release(folder: Path, signer: PublicParty | None, *, audit_tables: bool = True) -> VerifyReport:
    """Check everything that can be checked from outside.

    The manifest is canonical and signed; every file is there with its digest and there is no other; the CSV files and
    the report's document agree byte for byte; no count lies below the floor, and none can be worked out from all
    tables together (:func:`linkage.research.disclosure.audit`, from published values only).

    Parameters
    ----------
    folder
        The release.
    signer
        The analysis party's public key, got from it and not from the folder. Without it the signature is checked
        against the key in the folder, which anybody can replace along with it.
    audit_tables
        Whether to look for counts that can be worked out, which is the one slow step.

    Returns
    -------
    VerifyReport
        Always; a release that is wrong in any way is no error here.
    """
    folder = Path(folder)
    problems: list[str] = []
    passed: list[str] = []
    notes: list[str] = []
    manifest = None
    try:
        manifest = _signed_manifest(folder, signer)
        passed.append("the manifest is canonical and signed")
        _files(folder, manifest)
        passed.append(f"{len(manifest.files)} files are there with their digests, and no other")
        document = read_release(folder)
        _consistent(folder, document, manifest)
        passed.append(f"{len(document.tables)} tables agree with release.json")
        _floor(document)
        passed.append(f"no count lies between 1 and {document.floor - 1}")
        if audit_tables:
            notes += _audit(document)
            passed.append("no withheld count can be worked out from the tables")
    except ReleaseError as error:
        problems += error.problems or [error.message]
    except Exception:  # whoever wrote the folder chose what stands in it: what cannot be judged does not verify
        problems.append("the release is not what the format says")
    named = manifest.signer if manifest else None
    return VerifyReport(
        folder,
        tuple(problems),
        tuple(passed),
        signer is not None,
        named.name if named else None,
        named.key_id if named else None,
        tuple(notes),
    )


def _wrong(*problems: str) -> ReleaseError:
    return ReleaseError("the release does not verify", reason="not-verified", problems=problems)


def _read(path: Path) -> bytes:
    """Read a regular file of bounded size; a link to somewhere else is none."""
    state = path.lstat()
    if not stat.S_ISREG(state.st_mode) or state.st_size > _LARGEST:
        raise OSError("not a regular file")
    return path.read_bytes()


def _signed_manifest(folder: Path, signer: PublicParty | None) -> Manifest:
    try:
        raw = _read(folder / bundle.MANIFEST)
        signature = _read(folder / bundle.SIGNATURE)
    except OSError:
        raise _wrong("no manifest and signature that can be read") from None
    try:
        if not raw.endswith(b"\n") or not signature.endswith(b"\n"):
            raise CanonicalError("no line end")
        manifest = Manifest.model_validate(load(raw[:-1]))
        named = _named_signer(manifest)
        signed = load_bytes(signature[:-1].decode("ascii"), SIGNATURE_SIZE)
    except (ValidationError, ValueError):
        raise _wrong("the manifest or its signature is not what the format says") from None
    if named.key_id != manifest.signer.key_id:
        raise _wrong("the key id in the manifest is not that of its keys")
    if signer is not None and (signer.key_id != named.key_id or signer.name != named.name):
        raise _wrong("signed by another party than the one given")
    if not (signer or named).has_signed(signed, bundle.PURPOSE, bundle.signed_message(raw)):
        raise _wrong("the signature is not over this manifest")
    return manifest


def _named_signer(manifest: Manifest) -> PublicParty:
    # A release of version n names party keys of version n.
    keys = manifest.signer
    return PublicParty.from_text(keys.name, manifest.linkage_release, keys.model_dump())


def _files(folder: Path, manifest: Manifest) -> None:
    """See that the folder holds the files of the manifest, as signed, and nothing else."""
    expected = {entry.path: entry for entry in manifest.files}
    if len(expected) < len(manifest.files) or not {bundle.DOCUMENT, bundle.REPORT} <= set(expected):
        raise _wrong("the manifest names a file twice, or lacks one that a release has")
    problems = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_folder = stat.S_ISDIR(path.lstat().st_mode)
        if name not in (*expected, bundle.MANIFEST, bundle.SIGNATURE) and not (is_folder and name == "tables"):
            problems.append("a file or folder is there that the manifest does not name")
    for name, entry in expected.items():
        try:
            content = _read(folder / name)
        except OSError:
            problems.append(f"{name}: absent, or not a regular file")
            continue
        if len(content) != entry.size or hashlib.sha256(content).hexdigest() != entry.sha256:
            problems.append(f"{name}: changed after it was signed")
    if problems:
        raise _wrong(*problems)


def _consistent(folder: Path, document: Document, manifest: Manifest) -> None:
    """See that manifest, document and CSV files say the same."""
    problems = []
    if _read(folder / bundle.DOCUMENT) != bundle.document_bytes(document):
        problems.append("release.json is not written as the format says")
    for name in ("project", "month", "scope", "floor", "tool_version"):
        if getattr(document, name) != getattr(manifest, name):
            problems.append(f"release.json and the manifest differ in '{name}'")
    tables = {bundle.table_path(entry.name): entry for entry in document.tables}
    files = {entry.path for entry in manifest.files} - {bundle.DOCUMENT, bundle.REPORT}
    if set(tables) != files or len(tables) < len(document.tables):
        problems.append("the CSV files are not the tables of release.json")
    for path in sorted(files & set(tables)):
        if _read(folder / path) != bundle.table_bytes(tables[path]):
            problems.append(f"{path}: differs from release.json")
    problems += [f"table {entry.name}: a status does not fit its count" for entry in document.tables if _odd(entry)]
    persons = [cell.count for entry in document.tables if entry.name == "persons" for cell in entry.cells]
    if any(count != document.persons for count in persons):
        problems.append("the number of persons differs from its table")
    if not _families_fit(document):
        problems.append("the families of assumptions are not those of an estimate, or of none")
    if document.release > 1 and not _records_fit(document):
        problems.append("a number of records does not fit the size of its list")
    if problems:
        raise _wrong(*problems)


def _families_fit(document: Document) -> bool:
    """Tell whether the families are known ones, in their order, where there is a range and nowhere else.

    Of the first version there are documents that do not name them.
    """
    verdict = document.estimate
    if document.release == 1 and "families" not in verdict.model_fields_set:
        return True
    known = tuple(method for method in HEADLINE if method in verdict.families)
    named = "families" in verdict.model_fields_set
    return named and verdict.families == known and bool(known) == (verdict.status == "estimated")


def _records_fit(document: Document) -> bool:
    """Tell whether numbers of records are given for just the lists whose size is, and are no less than it."""
    cells = {cell.values: cell.count for entry in document.tables if entry.name == "overlaps" for cell in entry.cells}
    pairs = [(source.records_about, cells.get((source.source, TOTAL))) for source in document.sources]
    return all((size is None) == (about is None) and (about or 0) >= (size or 0) for about, size in pairs)


def _odd(entry: TableEntry) -> bool:
    return any(cell.status != bundle.status_of(cell.count) for cell in entry.cells)


def _floor(document: Document) -> None:
    def small(count: int | None) -> bool:
        return count is not None and 0 < count < document.floor

    problems = [
        f"table {entry.name}: a count below the floor"
        for entry in document.tables
        if any(small(cell.count) for cell in entry.cells)
    ]
    verdict = document.estimate
    numbers = [verdict.low, verdict.high, *(n for m in verdict.methods for n in (m.n_hat, m.lower, m.upper))]
    if any(map(small, numbers)) or small(document.persons):
        problems.append("an estimate below the floor")
    if any(entry.floor > document.floor for entry in document.sources):
        problems.append("the floor is lower than an agreement's")
    if verdict.status == "refused" and any(number is not None for number in numbers):
        problems.append("a refused estimate shows a number")
    if problems:
        raise _wrong(*problems)


def _audit(document: Document) -> list[str]:
    """Audit the tables from published values; return what is not wrong and yet to be looked at."""
    findings = audit(bundle.protected_tables(document), floor=document.floor)
    problems = [str(finding) for finding in findings if finding.blocking]
    if problems:
        raise _wrong(*problems)
    return [str(finding) for finding in findings]
