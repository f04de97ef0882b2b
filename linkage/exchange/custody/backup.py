"""A key on paper: ``count`` pages, any ``threshold`` of which give the key file back, and fewer tell nothing of it.

A page has a share (:mod:`linkage.exchange.custody.shares`) as numbered words and as a QR code, and above it what is
public of the key. The QR code holds the same as text, which is also what one types in from paper::

    linkage key backup, share 2 of 5; any 3 give the key back
    key: linkage
    project: milwaukee
    epoch: 2026-1
    check value: 3f2a 91c0 77aa 0d5e
    words: academic acid ...

A page is one HTML file without any reference to the outside, black on white.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from string import Template
from typing import Any

from linkage.errors import KeyFileError
from linkage.exchange import ledger
from linkage.exchange.canonical import encode_bytes
from linkage.exchange.ceremony.documents import LEDGER
from linkage.exchange.custody.files import read_file, require_private_folder
from linkage.exchange.custody.shares import join, split
from linkage.exchange.files import atomic_write
from linkage.exchange.keyfile import KIND_LINKAGE, KIND_PARTY, make_private_folder, read_key_file, write_key_file
from linkage.exchange.keys import LinkageKey, write_linkage_key
from linkage.exchange.parties import party_of
from linkage.exchange.suites import NEWEST, SUITES

__all__ = ["Page", "backup", "read_page", "restore"]

_LARGEST = 1 << 20
_TITLE = re.compile(r"linkage key backup, share ([0-9]{1,2}) of ([0-9]{1,2}); any ([0-9]{1,2}) give the key back")
_LABELS: Mapping[str, tuple[str, ...]] = {
    KIND_LINKAGE: ("key", "project", "epoch", "check value"),
    KIND_PARTY: ("key", "name", "key id", "version"),
}
_SECRETS: Mapping[str, int] = {**SUITES[NEWEST].private, "pseudonym": 32}
"""Fields of a party's private key file that are secret, with their sizes, in the order in which a share holds them."""


@dataclass(frozen=True, repr=False)
class Page:
    """One share of a key, with what is public of the key.

    Parameters
    ----------
    number, count, threshold
        Which of how many shares it is, and how many are needed.
    facts
        What is public of the key, by label.
    words
        The share.
    """

    number: int
    count: int
    threshold: int
    facts: Mapping[str, str]
    words: str

    @property
    def title(self) -> str:
        """First line of the text."""
        return f"linkage key backup, share {self.number} of {self.count}; any {self.threshold} give the key back"

    def text(self) -> str:
        """Return the page as it is typed in, and as the QR code has it."""
        return "\n".join((self.title, *(f"{label}: {value}" for label, value in self.facts.items()), self._words()))

    def _words(self) -> str:
        return f"words: {self.words}"

    def html(self) -> str:
        """Return the page for a printer."""
        import segno

        code = segno.make(self.text(), error="m", micro=False, boost_error=False)
        facts = "\n".join(
            f"<dt>{escape(label)}</dt><dd>{escape(_spaced(label, value))}</dd>" for label, value in self.facts.items()
        )
        words = "\n".join(f"<li>{word}</li>" for word in self.words.split())
        svg = code.svg_inline(border=4, dark="#000", light="#fff", omitsize=True)
        return _PAGE.substitute(title=escape(self.title), facts=facts, words=words, code=svg)


_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>
@page { margin: 15mm }
body { font: 11pt/1.4 sans-serif; color: #000; background: #fff; max-width: 180mm; margin: auto }
h1 { font-size: 14pt; margin: 0 }
dl { display: grid; grid-template-columns: max-content auto; gap: 0 1em; margin: 2mm 0 }
dd { margin: 0; font-family: monospace }
ol { columns: 5; padding: 2mm 2mm 2mm 10mm; font: 10.5pt/1.25 monospace; border: 1px solid #000 }
svg { display: block; width: 66mm; break-inside: avoid }
p { font-size: 9.5pt; margin: 2mm 0 }
</style>
<h1>$title</h1>
<dl>
$facts
</dl>
<ol>
$words
</ol>
$code
<p>Keep this page where nobody finds it together with another one, and make no photograph of it. Alone it tells nothing
of the key; with enough of the others it is the key. The code holds what is printed above.</p>
<p>To bring the key back: put each page's text, from the code or typed in (the heading, the lines below it, then
<code>words:</code> and the words), into a file of its own that you alone can read, on the machine that shall have the
key; run <code>linkage keys restore</code> on these files; compare the check value or key id; destroy the files.</p>
</html>
""")


def _spaced(label: str, value: str) -> str:
    if label not in ("check value", "key id"):
        return value
    return " ".join(value[start : start + 4] for start in range(0, len(value), 4))


# --- writing


def backup(path: Path, folder: Path, *, threshold: int, count: int) -> list[Path]:
    """Write the pages of a linkage key or of a party's private keys into a new folder, and enter it in the ledger.

    Parameters
    ----------
    path
        The key file, of the present version.
    folder
        Made for its owner alone; each page has mode 0600. Print them where nothing is kept, then destroy them.
    threshold, count
        How many pages give the key back, and how many there are; see :func:`linkage.exchange.custody.shares.split`.

    Returns
    -------
    list of Path
        The pages.

    Raises
    ------
    KeyFileError
        If the key file cannot be read, the numbers do not fit, or the folder has pages (``exists``).
    """
    content = read_key_file(path, (KIND_LINKAGE, KIND_PARTY))
    facts, secret = _facts(content), _secret(content)
    shares = split(secret, threshold, count)
    if not hmac.compare_digest(join(shares), secret):
        raise RuntimeError("shares do not give back what was split")
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise KeyFileError(f"{folder}: is not empty", reason="exists", hint="name a new folder")
    make_private_folder(folder)
    pages = []
    for number, words in enumerate(shares, 1):
        page = Page(number, count, threshold, facts, words)
        pages.append(folder / f"share-{number:02d}-of-{count:02d}.html")
        with atomic_write(pages[-1], private=True) as temporary:
            temporary.write_text(page.html(), encoding="utf-8")
    _note(path, "key-backup", facts, threshold=threshold, shares=count)
    return pages


def _facts(content: Mapping[str, Any]) -> dict[str, str]:
    if content["kind"] == KIND_LINKAGE:
        values = (KIND_LINKAGE, content["project"], content["epoch"], content["check"])
    else:
        values = (KIND_PARTY, content["name"], content["key_id"], str(NEWEST))
    return dict(zip(_LABELS[content["kind"]], values, strict=True))


def _secret(content: Mapping[str, Any]) -> bytes:
    names = ("secret",) if content["kind"] == KIND_LINKAGE else tuple(_SECRETS)
    return b"".join(b64decode(content[name]) for name in names)


def _note(path: Path, action: str, facts: Mapping[str, str], **extra: int) -> None:
    """Enter a step in the ledger beside the key file: whose key, and which."""
    actor = facts["name"] if facts["key"] == KIND_PARTY else "custodian"
    said = {label.replace(" ", "_"): value for label, value in facts.items()}
    ledger.append(Path(path).parent / LEDGER, actor=actor, action=action, extra={**said, **extra})


# --- reading


def read_page(path: Path) -> Page:
    """Read a page: the HTML file, or the text of its code, or what was typed in from paper.

    Raises
    ------
    KeyFileError
        ``missing``, ``unreadable``, ``too-open`` or another fault of a private file; ``bad-shares`` if it is no page.
    """
    found = read_file(Path(path), _LARGEST)
    found.require_private()
    try:
        text = found.data.decode("utf-8")
    except UnicodeDecodeError:
        raise _no_page(path) from None
    if len(found.data) > _LARGEST:
        raise _no_page(path)
    if text.lstrip("\ufeff \t\r\n")[:14].lower() == "<!doctype html":
        text = _typed(text)
    head, colon, words = text.partition("\nwords:")
    lines = [line.strip() for line in head.strip("\ufeff \t\r\n").splitlines() if line.strip()]
    title = _TITLE.fullmatch(" ".join(lines[0].lower().split())) if lines else None
    said = [tuple(part.strip() for part in line.partition(":")[::2]) for line in lines[1:]]
    facts = {label.lower(): _joined(label.lower(), value) for label, value in said}
    expected = _LABELS.get(facts.get("key", ""))
    if not title or not colon or len(said) != len(facts) or expected is None or set(facts) != set(expected):
        raise _no_page(path)
    number, count, threshold = (int(part) for part in title.groups())
    ordered = {label: facts[label] for label in expected}
    return Page(number, count, threshold, ordered, " ".join(re.findall("[a-z]+", words.lower())))


def _typed(page: str) -> str:
    """Take from an HTML page what one would type in."""
    title = re.findall("<h1>([^<>]*)</h1>", page)
    facts = re.findall("<dt>([^<>]*)</dt><dd>([^<>]*)</dd>", page)
    words = re.findall("<li>([^<>]*)</li>", page)
    lines = [*title[:1], *(f"{label}: {value}" for label, value in facts), "words: " + " ".join(words)]
    return unescape("\n".join(lines))


def _joined(label: str, value: str) -> str:
    return "".join(value.lower().split()) if label in ("check value", "key id") else value


def _no_page(path: Path) -> KeyFileError:
    return KeyFileError(
        f"{path}: not a page of a backup",
        reason="bad-shares",
        hint="as in the page's code: the heading, the lines on the key, then 'words:' and the words",
    )


def restore(files: Sequence[Path], out: Path) -> dict[str, str]:
    """Bring a key file back from pages, and hold it to the check value or key id that stands on them.

    Parameters
    ----------
    files
        At least as many pages as are needed; see :func:`read_page`.
    out
        The key file to write. One that exists is never overwritten.

    Returns
    -------
    dict of str
        What is public of the key, by label. Compare the check value or key id with somebody who knows it.

    Raises
    ------
    KeyFileError
        ``bad-shares``, ``too-few-shares``; ``folder-too-open`` if others can write to the folder of ``out``; or as
        :func:`read_page` and :func:`~linkage.exchange.keyfile.write_key_file`. No key file is written then.
    """
    pages = [read_page(path) for path in files]
    sets = {(page.count, page.threshold, *page.facts.items()) for page in pages}
    if len(sets) > 1:
        raise KeyFileError(
            "the pages are of different keys or backups", reason="bad-shares", hint="compare what stands on them"
        )
    secret = join([page.words for page in pages])
    facts = dict(pages[0].facts)
    out = Path(out)
    make_private_folder(out.parent)
    require_private_folder(out)  # before anything is in it
    if facts["key"] == KIND_LINKAGE:
        _restore_linkage(out, facts, secret)
    else:
        _restore_party(out, facts, secret)
    _note(out, "key-restore", facts)
    return facts


def _restore_linkage(out: Path, facts: Mapping[str, str], secret: bytes) -> None:
    if len(secret) != 32:
        raise _another()
    key = LinkageKey(facts["project"], facts["epoch"], secret)
    if not hmac.compare_digest(key.check_value.encode(), facts["check value"].encode()):
        raise _another()
    write_linkage_key(out, key.project, key.epoch, secret)


def _restore_party(out: Path, facts: Mapping[str, str], secret: bytes) -> None:
    if facts["version"] != str(NEWEST):
        raise KeyFileError(
            "a backup of keys of another version than is made now",
            reason="old-key",
            hint="restore it with the release that made it, then renew the keys",
        )
    if len(secret) != sum(_SECRETS.values()):
        raise _another()
    content: dict[str, Any] = {"kind": KIND_PARTY, "name": facts["name"], "key_id": facts["key id"]}
    at = 0
    for name, size in _SECRETS.items():
        content[name] = encode_bytes(secret[at : at + size])
        at += size
    try:
        party_of(content, out)
    except KeyFileError:
        raise _another() from None
    write_key_file(out, content)


def _another() -> KeyFileError:
    return KeyFileError(
        "the shares give another key than the one that stands on the pages",
        reason="bad-shares",
        hint="compare the check value or key id, the project and the epoch with the pages",
    )
