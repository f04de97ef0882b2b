"""The main job in one folder: a synthetic Milwaukee, four agencies, a county hub, a release, and the truth beside it.

The folder afterwards::

    demo/
      population/          extracts of the agencies; truth, which no party would have
      ceremony/            the documents by which the agencies made their linkage key
      mpd/, dcf/, ...      an agency each: linkage.toml, agreement.yaml, keys/, outbox/
      county/              hub and analysis on one host: linkage.toml, agreements/, release.yaml,
                           hub/{keys,inbox,state}, analysis/{keys,state}, releases/
      prefect/             the embedded Prefect server's files
"""

from __future__ import annotations

import _thread
import datetime as dt
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flows import PREFECT
from linkage.cli.console import missing_package, say, working
from linkage.contract import schemas_folder
from linkage.errors import ContractError, LinkageError
from linkage.exchange import create_party, load_party, load_public
from linkage.exchange.approval.shared import create_opening
from linkage.exchange.ceremony.invitation import invite
from linkage.exchange.ceremony.steps import confirm, join
from linkage.exchange.site import current_day, require_month

__all__ = ["run_demo"]

SOURCES = ("mpd", "dcf", "pohsey", "medical")
_PROJECT, _EPOCH = "milwaukee", "demo-1"
_THRESHOLD = 2
"""Of the agencies' stewards, how many must approve a run."""


def run_demo(out: Path, seed: int) -> None:
    """Run the main job in a new folder and show what came out beside the truth.

    Raises
    ------
    ContractError
        ``exists`` if the folder holds something.
    """
    out = Path(out).resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ContractError(f"{out}: holds something already", reason="exists", hint="name another folder with --out")
    for package in ("faker", "prefect"):
        if importlib.util.find_spec(package) is None:
            raise missing_package(package)
    _prepare_engine(out / "prefect")
    from flows.encode import encode  # only now: Prefect reads its environment when it is imported
    from flows.monthly import monthly
    from linkage.lab.population import MILWAUKEE, draw_population

    month = require_month(None)
    say(f"demo in {out}; a few minutes, of which half a minute for an embedded Prefect server to start")
    with working("drawing a population") as now:
        manifest = draw_population(MILWAUKEE, seed, out / "population")
        say(f"drawn: synthetic population, seed {seed}; nobody in it exists")
        now("making keys and settings")
        _make_sites(out)
        extracts = {Path(entry["path"]).parent.name: out / "population" / entry["path"] for entry in manifest["files"]}
        for source in SOURCES:
            now(f"{source}: checking, encoding, sealing")
            sealed = encode(str(extracts[source]), source, month, str(out / source / "linkage.toml"))
            say(f"sealed by {source}: {sealed['records']} persons, {sealed['events']} contacts")
            _carry(Path(sealed["batch"]), out / "county" / "hub" / "inbox")
        say("county: taking in, linking, counting, estimating, protecting, releasing")
        now("county: taking in, linking, counting, estimating, protecting, releasing")
        with _approving(out):
            released = monthly(month, str(out / "county" / "linkage.toml"))
    _show(Path(released["release"]), json.loads((out / "population" / "truth" / "summary.json").read_text("utf-8")))


def _prepare_engine(home: Path) -> None:
    """Give Prefect a home and a server of its own, whatever this account's settings are."""
    if "prefect" in sys.modules:
        raise LinkageError("Prefect is loaded already in this process", reason="engine", hint="run: linkage demo")
    home.mkdir(parents=True, mode=0o700)
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ |= {
        **PREFECT,
        "PREFECT_HOME": str(home),
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    }


def _carry(file: Path, inbox: Path) -> None:
    """Bring a file from an outbox to the inbox, as a transfer would: under another name until it is whole."""
    partial = inbox / f".{file.name}.part"
    shutil.copyfile(file, partial)
    partial.rename(inbox / file.name)


@contextmanager
def _approving(out: Path) -> Iterator[None]:
    """Have the first agencies' stewards approve the hub's order as soon as it is there, each in its own process."""
    ended = threading.Event()
    orders, inbox = out / "county" / "hub" / "state" / "orders", out / "county" / "hub" / "inbox"

    def watch() -> None:
        answered: set[Path] = set()
        while not ended.wait(0.5):
            for order in sorted(set(orders.glob("*.order")) - answered):
                answered.add(order)
                for source in SOURCES[:_THRESHOLD]:
                    _approve(out / source, order, inbox)

    thread = threading.Thread(target=watch, name="stewards")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _approve(site: Path, order: Path, inbox: Path) -> None:
    words = ["steward", "approve", str(order), "--yes", "--settings", str(site / "linkage.toml")]
    done = subprocess.run([sys.executable, "-m", "linkage", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        say(f"{site.name} did not approve: {done.stderr.strip()}")
        _thread.interrupt_main()  # nobody else will: the county would wait for days
        return
    _carry(site / "outbox" / f"{order.stem}-{site.name}.approval", inbox)
    say(f"approved by {site.name}")


# --- sites


def _make_sites(out: Path) -> None:
    county = out / "county"
    public = {name: create_party(county / name / "keys", name)[1] for name in ("hub", "analysis")}
    for source in SOURCES:
        site = out / source
        public[source] = create_party(site / "keys", source)[1]
        _copy_agreement(source, site / "agreement.yaml")
        _copy_agreement(source, county / "agreements" / f"{source}.yaml")
        for name in ("hub", "analysis"):
            shutil.copyfile(public[name], site / "keys" / f"{name}.pub")
        (site / "linkage.toml").write_text(_agency_settings(source), encoding="utf-8")
    _hold_ceremony(out, [public[source] for source in SOURCES])
    opening = county / "hub" / "keys" / "opening.pub"
    create_opening(opening, _PROJECT, _EPOCH, [load_public(public[source]) for source in SOURCES], _THRESHOLD)
    for source in SOURCES:
        shutil.copyfile(opening, out / source / "keys" / "opening.pub")
    shutil.copyfile(schemas_folder() / "release.yaml", county / "release.yaml")
    (county / "hub" / "inbox").mkdir()
    (county / "senders").mkdir()
    for source in SOURCES:
        shutil.copyfile(public[source], county / "senders" / f"{source}.pub")
    (county / "linkage.toml").write_text(_county_settings(), encoding="utf-8")


def _hold_ceremony(out: Path, participants: list[Path]) -> None:
    """Have the agencies make the linkage key together: commitments, contributions, confirmations, in one folder."""
    folder = out / "ceremony"
    keys = {source: out / source / "keys" for source in SOURCES}
    parties = {source: load_party(keys[source] / f"{source}.key") for source in SOURCES}
    first = SOURCES[0]
    ceremony = invite(
        folder,
        project=_PROJECT,
        epoch=_EPOCH,
        participants=participants,
        inviter=parties[first],
        public_file=participants[0],
        keys=keys[first],
    )
    for _ in ("commit", "contribute"):
        for source in SOURCES:
            join(folder, parties[source], keys[source], told=ceremony.id)
    for source in SOURCES:
        confirm(folder, parties[source], keys[source], keys[source] / "linkage.key")


def _copy_agreement(source: str, target: Path) -> None:
    """Copy an example agreement, in force now: the demo shall run on any day."""
    today = current_day()
    text = (schemas_folder() / "agreements" / f"{source}.yaml").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^starts: .*$", f"starts: {today - dt.timedelta(days=30)}", text)
    text = re.sub(r"(?m)^ends: .*$", f"ends: {today + dt.timedelta(days=365)}", text)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def _toml(sections: dict[str, dict[str, str]]) -> str:
    """Write sections of strings; a JSON string is a TOML string."""
    lines = []
    for section, entries in sections.items():
        lines += [f"[{section}]"] if section else []
        lines += [f"{name} = {json.dumps(value)}" for name, value in entries.items()]
        lines.append("")
    return "\n".join(lines)


def _agency_settings(source: str) -> str:
    common = {"project": _PROJECT, "epoch": _EPOCH, "profile": "default"}
    steward = {
        "source": source,
        "agreement": "agreement.yaml",
        "linkage_key": "keys/linkage.key",
        "party_key": f"keys/{source}.key",
        "hub": "keys/hub.pub",
        "analysis": "keys/analysis.pub",
        "opening": "keys/opening.pub",
        "outbox": "outbox",
    }
    return _toml({"": common, "steward": steward})


def _county_settings() -> str:
    common = {"project": _PROJECT, "epoch": _EPOCH, "profile": "default"}
    senders = {source: f"senders/{source}.pub" for source in SOURCES}
    agreements = {source: f"agreements/{source}.yaml" for source in SOURCES}
    hub = {
        "party_key": "hub/keys/hub.key",
        "analysis": "analysis/keys/analysis.pub",
        "inbox": "hub/inbox",
        "state": "hub/state",
        "opening": "hub/keys/opening.pub",
    }
    analysis = {
        "party_key": "analysis/keys/analysis.key",
        "hub": "hub/keys/hub.pub",
        "policy": "release.yaml",
        "state": "analysis/state",
        "releases": "releases",
    }
    sections = {"": common}
    for name, entries in (("hub", hub), ("analysis", analysis)):
        sections |= {name: entries, f"{name}.senders": senders, f"{name}.agreements": agreements}
    sections["hub.holders"] = senders
    return _toml(sections)


# --- result


def _show(folder: Path, truth: dict[str, Any]) -> None:
    from linkage.research.verify import read_release

    document = read_release(folder)
    cells = {entry.name: {cell.values: cell.count for cell in entry.cells} for entry in document.tables}
    overlaps = cells["overlaps"]
    table = Table("", "released", "truth", title="Synthetic Milwaukee, 2013-2016", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    total = next(value for values in overlaps for value in values if value not in document.lists)
    for name in document.lists:
        table.add_row(f"persons on list {name}", _count(overlaps[name, total]), _count(truth["lists"][name]))
    table.add_section()
    for pair, count in truth["overlaps"].items():
        one, other = pair.split("+")
        table.add_row(f"on both {one} and {other}", _count(overlaps[one, other]), _count(count))
    table.add_section()
    table.add_row("deduplicated persons", _count(document.persons), _count(truth["observed"]))
    verdict = document.estimate
    shown = "none defensible"
    if verdict.status == "estimated":
        shown = f"{_count(verdict.low)} to {_count(verdict.high)}"
    table.add_row("estimated persons, seen and unseen", shown, _count(truth["true_n"]))
    console = Console(emoji=False)
    console.print(table)
    for line in (
        f"[c] withheld, floor {document.floor}; the truth is known because everybody here is made up",
        f"verdict: {verdict.status} ({verdict.reason}): {verdict.words}",
        f"release: {folder}",
        f"report:  {folder / 'report.html'}",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _count(count: int | None) -> str:
    return "[c]" if count is None else f"{count:,}"
