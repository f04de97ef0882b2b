"""``linkage inspect``: what anybody can see of a file that crosses, without any key."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from linkage.cli.console import printable
from linkage.errors import NO_SUCH_FILE, SealError
from linkage.exchange import file_digest, inspect_receipt, read_manifest, read_person_map_manifest
from linkage.exchange.bridge import read_bridge_manifest
from linkage.exchange.documents import inspect_document
from linkage.exchange.envelope import inspect as inspect_envelope
from linkage.exchange.manifest import Strict

__all__ = ["inspect"]

_LONGEST, _SHOWN = 300, 64
"""Letters of a value, and of a part of one, that are shown: keys and signatures are longer, and tell nobody much."""

_WARNING = "not verified: anybody can write these lines; the recipient checks the signature"


def inspect(file: Path, *, json: bool = False) -> None:
    """Show what anybody can see of a batch, bridge, person map, receipt, order or approval; no key is needed.

    Parameters
    ----------
    file
        The file.
    json
        Write JSON to stdout instead of a table.
    """
    facts = _facts(file)
    if json:
        print(json_module.dumps(facts, indent=2))  # noqa: T201 - stdout is for data
        return
    console = Console(emoji=False)
    title = f"{facts['kind']}, version {facts['version']}: {escape(file.name)}"
    table = Table(show_header=False, title=title, title_justify="left", caption=_WARNING, caption_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    for label, value in facts.items():
        if label not in ("kind", "version", "header", "compartments"):
            table.add_row(_plain(printable(label.replace("_", " "))), _plain(_text(label, value)))
    table.add_section()
    for label, value in facts["header"].items():
        table.add_row(_plain(printable(label.replace("_", " "))), _plain(_text(label, value)))
    for entry in facts.get("compartments", ()):
        table.add_section()
        table.add_row("compartment", entry["name"])
        table.add_row("for", entry["recipient"])
        table.add_row("bytes", _text("size", entry["size"]))
        table.add_row("sha256", entry["sha256"])
    console.print(table)


_READERS: dict[str, Callable[[Path], Strict]] = {
    "batch": read_manifest,
    "bridge": read_bridge_manifest,
    "person-map": read_person_map_manifest,
}


def _facts(file: Path) -> dict[str, Any]:
    """Collect what is visible; a file whose header breaks its format is refused here too."""
    if not file.is_file():
        raise SealError(f"{file}: no such file", reason="unreadable", hint=NO_SUCH_FILE)
    with_receipt = _first_bytes(file) == b"linkage-receipt/"
    if with_receipt:
        receipt = inspect_receipt(file)
        header = receipt.model_dump(exclude_unset=True)
        sender = header.pop("sender")
        return {"kind": "receipt", "version": receipt.version, "sender": sender, "header": header}
    if not _first_bytes(file).startswith((b"linkage-batch/", b"linkage-bridge/", b"linkage-person-m")):
        document = inspect_document(file)
        header = dict(document.content)
        facts = {"kind": document.kind, "version": document.version, "digest": document.digest}
        return {**facts, "sender": header.pop("sender", header.pop("holder", None)), "header": header}
    visible = inspect_envelope(file)
    header = _READERS[visible["kind"]](file).model_dump()
    return {
        "kind": visible["kind"],
        "version": visible["version"],
        "bytes": visible["bytes"],
        "digest": file_digest(file),
        "id": visible["id"],
        "sender": visible["sender"],
        "header": header,
        "compartments": [
            {label: entry[label] for label in ("name", "recipient", "suite", "size", "sha256")}
            for entry in visible["compartments"]
        ],
    }


def _first_bytes(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(16)
    except OSError:
        return b""


def _plain(text: str) -> Text:
    """Show what a stranger wrote as it is: no markup, and cut where it would fill a screen."""
    return Text(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def _text(label: str, value: object) -> str:
    if label in ("serial", "time", "ends") and isinstance(value, int):
        with suppress(OverflowError, OSError, ValueError):
            return f"{value}  ({datetime.fromtimestamp(value / 1e6, UTC):%Y-%m-%d %H:%M:%S} UTC)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return "\n".join(_entry(entry) for entry in value)
    return "-" if value is None else printable(str(value))


def _entry(entry: object) -> str:
    """Write an entry of a list on a line: a group of fields by its values."""
    values = entry.values() if isinstance(entry, dict) else [entry]
    return printable(" ".join(str(value)[:_SHOWN] for value in values))
