"""``linkage keys``: make keys and show what is public of them. No key is ever an argument, or printed."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import cyclopts
from rich.console import Console
from rich.table import Table

from linkage.cli.console import say, spaced
from linkage.cli.keys_backup import backup, destroy, restore
from linkage.cli.keys_ceremony import ceremony, confirm, join, revoke, rotate
from linkage.cli.keys_opening import opening
from linkage.cli.keys_protect import protect
from linkage.exchange.approval.shared import load_opening
from linkage.exchange.custody.files import leftovers
from linkage.exchange.keyfile import KIND_LINKAGE, KIND_OPENING, KIND_PARTY, KIND_PUBLIC, read_key_file, read_protected
from linkage.exchange.keys import (
    create_linkage_key,
    create_party,
    load_linkage_key,
    load_party,
    load_public,
    renew_party,
)

__all__ = ["app"]

app = cyclopts.App(name="keys", help="Make key files, and show what is public of them.")
for command in (ceremony, join, confirm, rotate, revoke, backup, restore, destroy):
    app.command(command)
app.command(opening)
app.command(protect)

_TITLES = {
    KIND_OPENING: "opening key in shares (public)",
    KIND_LINKAGE: "linkage key (secret)",
    KIND_PARTY: "party key (secret)",
    KIND_PUBLIC: "public party key",
}


@app.command
def linkage(
    *,
    project: Annotated[str, cyclopts.Parameter(name="--project")],
    epoch: Annotated[str, cyclopts.Parameter(name="--epoch")],
    out: Annotated[Path, cyclopts.Parameter(name="--out")],
) -> None:
    """Make a linkage key alone: for made-up studies and tests, never for an agency's real data (see ceremony).

    Parameters
    ----------
    project
        The project's name, the same at all agencies.
    epoch
        The life of this key, such as 2026-1.
    out
        The file to write, readable by its owner alone. An existing file is never overwritten.
    """
    key = create_linkage_key(out, project, epoch)
    say(f"linkage key written: {out}")
    say(f"check value, for all who hold it to compare: {spaced(key.check_value)}")
    say("one party chose this key: it is for made-up data; for real data the agencies make it together")
    say("  linkage keys ceremony --help")


@app.command
def party(
    *,
    name: Annotated[str, cyclopts.Parameter(name="--name")],
    out: Annotated[Path, cyclopts.Parameter(name="--out")] = Path("keys"),
) -> None:
    """Make the keys of one party: NAME.key stays here, NAME.pub goes to the others.

    Parameters
    ----------
    name
        The party's name, such as mpd, hub or analysis.
    out
        The folder for both files; made for its owner alone if it is not there.
    """
    private_path, public_path = create_party(out, name)
    say(f"private, stays here: {private_path}")
    say(f"public, for the others: {public_path}")
    say(f"key id, to be compared by voice: {spaced(load_public(public_path).key_id)}")


@app.command
def renew(old: Path, *, out: Annotated[Path, cyclopts.Parameter(name="--out")]) -> None:
    """Make a party's keys anew, with the pseudonyms it had: after a theft, on a schedule, or where OLD is outdated.

    Where OLD is protected, so is the new key, by the same keystore or token.

    Parameters
    ----------
    old
        The private key file. Keep it as long as something sealed for it may have to be opened; then destroy it.
    out
        The folder for both new files, which have the same names.
    """
    private_path, public_path = renew_party(old, out)
    say(f"private, stays here: {private_path}")
    protected = read_protected(private_path, (KIND_PARTY,))
    say(f"opens with: {protected.opens_with}" if protected else "it is plain, as the old one: linkage keys protect")
    say(f"public, for the others, in place of the old one: {public_path}")
    say(f"key id, to be compared by voice: {spaced(load_public(public_path).key_id)}")


@app.command
def show(file: Path, *, json: bool = False) -> None:
    """Show what is public of a key file: its kind, its name, its key id or check value.

    Parameters
    ----------
    file
        A key file of any kind. What a protected one says of itself is shown without opening it.
    json
        Write JSON to stdout instead of a table.
    """
    facts = _facts(file)
    if leftovers(file):
        say("a command that was cut off has left the whole old key beside this file, under a hidden name:")
        say("  run linkage keys protect again, or linkage keys destroy: both overwrite it")
    if json:
        print(json_module.dumps(facts, indent=2))  # noqa: T201 - stdout is for data
        return
    table = Table(show_header=False, title=_TITLES[facts["kind"]], title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    for label, value in facts.items():
        table.add_row(label.replace("_", " "), spaced(value) if label in ("key_id", "check_value") else value)
    Console(emoji=False).print(table)


def _facts(file: Path) -> dict[str, str]:
    protected = read_protected(file, (KIND_LINKAGE, KIND_OPENING, KIND_PARTY, KIND_PUBLIC))
    if protected is not None:
        said = {"check_value" if label == "check" else label: value for label, value in protected.public.items()}
        return {"kind": said.pop("kind"), **said, "opens_with": protected.opens_with}
    kind = read_key_file(file, (KIND_LINKAGE, KIND_OPENING, KIND_PARTY, KIND_PUBLIC))["kind"]
    if kind == KIND_LINKAGE:
        key = load_linkage_key(file)
        return {"kind": kind, "project": key.project, "epoch": key.epoch, "check_value": key.check_value}
    if kind == KIND_OPENING:
        opened = load_opening(file)
        approval = f"{opened.threshold} of {', '.join(f'{holder.name} ({holder.key_id})' for holder in opened.holders)}"
        facts = {"kind": kind, "project": opened.project, "epoch": opened.epoch, "key_id": opened.key_id}
        return {**facts, "approved_by": approval}
    public = load_party(file).public if kind == KIND_PARTY else load_public(file)
    return {"kind": kind, "name": public.name, "key_id": public.key_id}
