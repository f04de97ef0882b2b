"""No error holds a value from the data: every public function that can refuse is called with marked data.

Each function of the three wings and of the exchange whose docstring says what it raises gets its arguments by their
annotations: frames, files, arrays and bytes full of markers, and otherwise what it needs to get as far as reading
them. Whatever it raises is told as the command line tells it, and as an orchestrator does that logs the chain.
"""

from __future__ import annotations

import datetime as dt
import importlib
import inspect
import io
import itertools
import json
import pkgutil
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from linkage.cli.console import guard
from linkage.contract import load_agreement, load_policy, load_settings, load_source, load_spec
from linkage.contract.vocabulary import FACT_SCHEMA
from linkage.errors import LinkageError
from linkage.exchange import create_linkage_key, create_party, ledger, load_linkage_key, load_party
from linkage.exchange.approval.orders import OrderedBatch, read_order, write_order
from linkage.exchange.approval.shared import create_opening
from linkage.exchange.custody.token import TokenKeeper
from linkage.exchange.documents import inspect_document
from linkage.exchange.envelope import Compartment
from linkage.exchange.opening import OpeningKey
from linkage.hub.approvals import Approving
from linkage.hub.intake import Intake
from linkage.hub.registry import Registry
from linkage.hub.state import StateFolder
from linkage.research.bundle import Document
from linkage.research.estimate import HistoryTable
from linkage.research.tables import Table
from tests.fuzz.targets import RELEASE, TARGETS, batch_manifest

TEXT, NUMBER, SHARE = "Zzyzxmarker", 918_273_645, 0.7351986421
MARKS = re.compile("|".join((TEXT, str(NUMBER), f"{NUMBER:,}", str(SHARE)[2:])), re.IGNORECASE)

WINGS = ("linkage.steward", "linkage.exchange", "linkage.hub", "linkage.research")
ROUNDS = 14
"""Calls a function; the kinds of marked data take turns."""

NAMES = {
    "project": "milwaukee", "epoch": "2026-1", "month": "2026-11", "source": "mpd", "status": "accepted",
    "kind": "batch", "name": "facts", "text": TEXT, "sender": "a" * 32, "file_id": "b" * 32, "batch_digest": "a" * 64,
    "digest": "a" * 64, "opening": "c" * 32, "run_id": "d" * 32, "order": "e" * 32, "spec_digest": "1" * 64,
}  # fmt: skip
"""What a string argument says: names of the project's own, which messages may show; ``text`` is data."""


def functions() -> dict[str, Callable[..., Any]]:
    """Every public function that says what it raises."""
    found = {}
    for wing in WINGS:
        package = importlib.import_module(wing)
        for info in pkgutil.walk_packages(package.__path__, f"{wing}."):
            module = importlib.import_module(info.name)
            for name in getattr(module, "__all__", ()):
                function = getattr(module, name)
                if getattr(function, "__module__", "") != info.name:
                    continue
                several = {name: function} if inspect.isfunction(function) else methods(function)
                for each, called in several.items():
                    if re.search(r"Raises\n\s+------", called.__doc__ or ""):
                        found[f"{info.name}.{each}"] = called
    return found


def methods(kind: object) -> dict[str, Callable[..., Any]]:
    """Public methods of a class whose objects the walk has; each is called on one of them."""
    if not inspect.isclass(kind) or kind.__name__ not in ("Party", "PublicParty", "OpeningKey", "Document"):
        return {}
    return {
        f"{kind.__name__}.{name}": method
        for name, method in vars(kind).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }


def marked(kind: pl.DataType | type[pl.DataType]) -> Any:
    if kind == pl.String:
        return TEXT
    if kind == pl.Binary:
        return TEXT.encode() * 3
    if kind == pl.Boolean:
        return True
    return NUMBER if kind in (pl.Int32, pl.UInt32, pl.Int64) else 97


def marked_frame(schema: dict[str, Any], **right: Any) -> pl.DataFrame:
    columns = {name: pl.Series([marked(kind)] * 3, dtype=kind) for name, kind in schema.items()}
    return pl.DataFrame(columns | {name: pl.Series([value] * 3) for name, value in right.items()})


def frames() -> list[pl.DataFrame]:
    encodings = {"pseudonym": pl.String, "variant": pl.UInt8, "names": pl.Binary}
    persons = {"source": pl.String, "pseudonym": pl.String, "person": pl.UInt32}
    raw = pl.DataFrame({"row": [2, 3, 4]} | {name: [TEXT] * 3 for name in load_source("mpd").columns()})
    return [
        marked_frame(FACT_SCHEMA),
        marked_frame(FACT_SCHEMA, pseudonym="a" * 32, month="2014-03"),
        marked_frame(encodings),
        marked_frame(encodings, pseudonym="a" * 32),
        marked_frame(persons),
        marked_frame(persons, source="mpd"),
        raw,
        pl.DataFrame({TEXT: [TEXT], "count": [NUMBER]}),
        pl.DataFrame({"mpd": [1, 1], "dcf": [0, NUMBER], "count": [NUMBER, -NUMBER]}),
        pl.DataFrame({"mpd": [SHARE], "dcf": [TEXT], "count": [SHARE]}),
    ]


def contents() -> list[bytes]:
    """Files of all kinds that are read, each with markers where data stand."""
    buffer = io.BytesIO()
    pl.DataFrame({name: [TEXT] for name in load_source("mpd").columns()}).write_parquet(buffer)
    columns = ",".join(load_source("mpd").columns())
    release = json.loads(json.dumps(RELEASE))
    release["tables"][0]["cells"][0] = {"values": [TEXT], "count": NUMBER, "status": TEXT}
    planted = f"project,epoch,source,test_person,given_name\n{TEXT},{TEXT},{TEXT},{TEXT},{TEXT}\n"
    marked_json = json.dumps({"kind": TEXT, TEXT: NUMBER}, separators=(",", ":"))
    seeds = [TARGETS[name].seeds()[0] for name in ("envelope", "receipt", "ledger", "public-key")]
    return [
        f"{columns}\n{','.join([TEXT] * (columns.count(',') + 1))}\n".encode(),
        f'{columns}\n{TEXT}\n"{TEXT}'.encode(),
        f"mpd,dcf,count\n1,{TEXT},{NUMBER}\n".encode(),
        f"mpd,dcf,count\n1,1,-{NUMBER}\n1,1,{SHARE}\n".encode(),
        planted.encode(),
        buffer.getvalue(),
        buffer.getvalue()[:-9] + TEXT.encode(),
        f"{TEXT}: [{TEXT}, {NUMBER}]\nproject: {TEXT}\n".encode(),
        f"{TEXT}: [{TEXT}".encode(),
        json.dumps(release).encode(),
        json.dumps({TEXT: SHARE}).encode(),
        f"linkage-receipt/2\n{marked_json}\n{TEXT}\n".encode(),
        f"linkage-key/1\n{marked_json}\n".encode(),
        b"linkage-batch/2\n" + len(marked_json).to_bytes(4, "big") + marked_json.encode() + TEXT.encode() * 9,
        f"{marked_json}\n".encode(),
        TEXT.encode() + b"\xff\xfe\x00",
        *(seed.replace(b"mpd", TEXT.encode()).replace(b"340", str(NUMBER).encode()) for seed in seeds),
    ]


def asked(parameter: inspect.Parameter) -> tuple[str, str]:
    """What an argument is called, and what it is to be; an object's own methods ask for it as ``self``."""
    return parameter.name, "self" if parameter.name == "self" else str(parameter.annotation)


@dataclass
class Maker:
    """Arguments by annotation and name; ``turn`` says which kind of marked data it is now."""

    root: Path
    turn: int = 0
    number: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.frames, self.contents = frames(), contents()
        self.party = load_party(create_party(self.root / "keys", "mpd")[0])
        self.hub = load_party(create_party(self.root / "keys", "hub")[0])
        create_linkage_key(self.root / "keys" / "linkage.key", "milwaukee", "2026-1")
        self.key = load_linkage_key(self.root / "keys" / "linkage.key")
        (self.root / "linkage.toml").write_bytes(TARGETS["settings"].seeds()[0])
        self.settings = load_settings(self.root / "linkage.toml")
        content = json.loads(json.dumps(RELEASE))
        content["tables"][0]["cells"] = [{"values": [TEXT, TEXT], "count": NUMBER, "status": "published"}]
        self.document = Document.model_validate(content)
        holders = [self.hub.public, self.party.public]
        self.opening = create_opening(self.root / "opening.pub", "milwaukee", "2026-1", holders, 2)
        self.key_of_run = OpeningKey.create()
        order = self.root / "order"
        write_order(
            order,
            project="milwaukee",
            epoch="2026-1",
            month="2026-11",
            spec_digest="1" * 64,
            opening=self.opening,
            batches=[OrderedBatch(source="mpd", digest="a" * 64)],
            analysis=self.party.public,
            key=self.key_of_run.public,
            hub=self.hub,
            life=1,  # so that nobody waits for approvals
        )
        self.order, _ = read_order(order, self.hub.public)
        self.signed = inspect_document(order)
        self.table = Table("sex", "-", ("sex",), pl.DataFrame({"sex": ["f", "total"], "count": [NUMBER, NUMBER - 1]}))

    def path(self, name: str) -> Path:
        place = self.root / f"place-{next(self.number)}"
        content = self.contents[self.turn % len(self.contents)]
        if name in ("state", "outbox", "releases", "out", "target"):
            return place
        if name == "folder":
            place.mkdir()
            for file in ("release.json", "manifest.json", "manifest.sig"):
                (place / file).write_bytes(content)
            return place
        suffix = (".csv", ".parquet", ".xlsx", "", ".yaml")[self.turn % 5 if self.turn > 6 else int(self.turn > 4)]
        place = place.with_suffix(suffix)
        place.write_bytes(content)
        place.chmod(0o600)
        return place

    def argument(self, name: str, annotation: str, kind: str = "") -> Any:
        frame = self.frames[self.turn % len(self.frames)]
        other = self.frames[(self.turn // 2 + 1) % len(self.frames)]
        if (
            name == "persons" and "person" in frame.columns
        ):  # numbers from 0, dense: the marked one would fill the memory
            frame = frame.with_columns(person=pl.lit(97, pl.UInt32))
        sources = ("mpd", "dcf")
        plain: dict[str, Callable[[], Any]] = {
            "Path": lambda: self.path(name),
            "str | Path": lambda: self.path(name),
            "pl.DataFrame": lambda: other if name in ("facts", "draws") else frame,
            "HistoryTable | pl.DataFrame": lambda: frame,
            "HistoryTable": lambda: HistoryTable(("mpd", "dcf"), np.array([NUMBER, 97, 3])),
            "int | None": lambda: -1,
            "Sequence[int]": lambda: [NUMBER],
            "tuple[str, str]": lambda: sources,
            "dict[str, pl.DataFrame]": lambda: dict.fromkeys(sources, frame),
            "Mapping[str, pl.DataFrame]": lambda: dict.fromkeys(sources, frame),
            "bytes": lambda: self.contents[self.turn % len(self.contents)],
            "object": lambda: [TEXT, {TEXT: SHARE}, NUMBER, {"a": NUMBER * 10**9}][self.turn % 4],
            "str": lambda: NAMES.get(name, "mpd"),
            "str | None": lambda: NAMES.get(name, "mpd"),
            "int": lambda: 3,
            "float": lambda: SHARE,
            "dt.date": lambda: dt.date(2026, 11, 22),
            "dict[str, Any]": lambda: {"kind": "party", TEXT: SHARE, "text": TEXT, "nan": float("nan")},
            "Mapping[str, Any]": lambda: (
                dict.fromkeys(("signing", "mldsa65", "opening", "pseudonym", "name", "key_id"), TEXT)
                if name == "content"
                else {TEXT: SHARE, "precision": TEXT}
            ),
            "Keeper": lambda: TokenKeeper(self.path(name), "token", "key"),
            "dict[str, bool]": lambda: dict.fromkeys(sources, True),
            "list[str]": lambda: [TEXT],
            "Iterable[str]": lambda: ["party"],
            "Sequence[str]": lambda: list(sources),
            "tuple[str, ...]": lambda: sources,
            "tuple[str, ...] | None": lambda: None,
            "Iterable[Iterable[str]]": lambda: [[TEXT]],
            "list[dict[str, Any]]": lambda: [{"name": TEXT, "size": NUMBER}],
            "re.Pattern[str]": lambda: re.compile("[a-z]+"),
            "Party": lambda: self.party if name in ("party", "sender") else self.hub,
            "PublicParty": lambda: self.hub.public if name == "hub" else self.party.public,
            "Mapping[str, PublicParty]": lambda: dict.fromkeys(sources, self.party.public),
            "LinkageKey": lambda: self.key,
            "LinkageSpec": lambda: load_spec("default"),
            "SourceSchema": lambda: load_source("mpd"),
            "Agreement": lambda: load_agreement("mpd"),
            "Agreement | None": lambda: load_agreement("mpd"),
            "Mapping[str, Agreement]": lambda: {source: load_agreement(source) for source in sources},
            "Sequence[Agreement]": lambda: [load_agreement(source) for source in load_policy().lists],
            "ReleasePolicy": load_policy,
            "Document": lambda: self.document,
            "Sequence[Grid]": lambda: [self.table],
            "Sequence[Table]": lambda: [self.table],
            "Settings": lambda: self.settings,
            "list[Compartment]": lambda: [Compartment(TEXT, self.hub.public, TEXT.encode())],
            "BatchManifest": batch_manifest,
            "Mapping[str, BatchManifest]": lambda: dict.fromkeys(sources, batch_manifest()),
            "self": lambda: {"Party": self.party, "PublicParty": self.hub.public, "OpeningKey": self.key_of_run}.get(
                kind, self.signed
            ),
            "Recipient": lambda: self.hub.public if name == "hub" else self.party.public,
            "Opener": lambda: self.hub,
            "OpeningKey": lambda: self.key_of_run,
            "PublicOpeningKey": lambda: self.key_of_run.public,
            "SharedOpening": lambda: self.opening,
            "Order": lambda: self.order,
            "Sequence[OrderedBatch]": lambda: self.order.batches,
            "Sequence[PublicParty]": lambda: [self.hub.public, self.party.public],
            "Approving": lambda: Approving(self.opening, (self.hub.public,), self.path("inbox"), lambda _: None, 1),
            "StateFolder": lambda: StateFolder(self.path("state")),
            "Registry": Registry.empty,
            "Collection[str] | None": lambda: [TEXT],
            "Collection[int]": lambda: {1, 2},
            "Mapping[str, str]": lambda: {"kind": TEXT, "service": TEXT, "token": TEXT},
            "Mapping[str, Path]": lambda: {"mpd": self.path(name)},
            "Sequence[Path]": lambda: [self.path(name)],
            "Iterable[Path]": lambda: [self.path(name)],
            "Anchor": lambda: ledger.Anchor(1, "c" * 64),
            "NDArray[np.float64]": lambda: np.array([SHARE, np.nan, NUMBER]),
            "Floats": lambda: np.array([SHARE, -SHARE, NUMBER]),
            "NDArray[np.int64]": lambda: np.array([[0, 1], [2, NUMBER], [1, 0]]) if name == "repeats" else np.arange(3),
            "NDArray[np.int16]": lambda: np.array([0, 0, 1], np.int16),
            "NDArray[np.bool_]": lambda: np.array([True, False, True]),
        }
        return plain[annotation]() if annotation in plain else None

    def call(self, function: Callable[..., Any]) -> object:
        given = {
            parameter.name: self.argument(*asked(parameter), function.__qualname__.split(".")[0])
            for parameter in inspect.signature(function).parameters.values()
            if parameter.default is parameter.empty
        }
        result = function(**given)
        if isinstance(result, AbstractContextManager):
            with result:
                raise LinkageError("left early")
        if isinstance(result, Intake):
            result.require_all()
        return list(result) if inspect.isgenerator(result) else None


def logged(error: BaseException) -> str:
    """What a log may get that writes an error of ours and all that it says it came from."""
    texts = []
    seen: BaseException | None = error
    while seen is not None:
        texts += [repr(seen), str(seen), repr(seen.args), repr(vars(seen)), *getattr(seen, "__notes__", ())]
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\n".join(texts)


def watched(maker: Maker, function: Callable[..., Any], caught: list[BaseException]) -> None:
    """Call a function and keep what it raises, whatever that is."""
    try:
        maker.call(function)
    except BaseException as error:
        caught.append(error)
        raise


@pytest.mark.filterwarnings("ignore")
def test_no_error_holds_a_value_from_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maker, refusing, leaks = Maker(tmp_path), set(), set()
    walked = functions()
    for name, function in walked.items():
        for maker.turn in range(ROUNDS):
            caught: list[BaseException] = []
            capsys.readouterr()
            guard(partial(watched, maker, function, caught), as_json=True, usage="linkage --help")
            told = "".join(capsys.readouterr())
            ours = [error for error in caught if type(error).__module__.startswith("linkage.")]
            refusing |= {name for _ in ours}
            leaks |= {f"{name}: told: {line}" for line in told.splitlines() if MARKS.search(line)}
            leaks |= {f"{name}: logged" for error in ours if MARKS.search(logged(error))}
    assert not leaks, "\n".join(sorted(leaks))
    # The walk is worth nothing if it ends before the data are read.
    assert len(refusing) > len(walked) * 0.65, sorted(set(walked) - refusing)


def test_the_walk_would_find_a_leak(capsys: pytest.CaptureFixture[str]) -> None:
    def leaky(path: Path) -> None:
        """Raise what must never be raised."""
        raise LinkageError("refused", problems=[f"row 3: {path.read_text()}"])

    def cause() -> None:
        try:
            int(TEXT)
        except ValueError as error:
            raise LinkageError("refused") from error

    with pytest.raises(LinkageError) as caught:
        cause()
    assert MARKS.search(logged(caught.value))
    for content in (TEXT, f"{NUMBER:,}", f"{SHARE}"):
        assert MARKS.search(content) and not MARKS.search("row 3: date-format")
    assert guard(lambda: leaky(Path(__file__)), as_json=True, usage="") == 1
    assert MARKS.search("".join(capsys.readouterr()))
